"""The results of a run, as numbers and as a few lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """What one node has done.

    Attributes:
        images: Images and frames.
        seconds: Total time for which its workers were busy.
    """

    images: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run has done, and what is left.

    Attributes:
        output: Address of the output.
        images: Images and frames of this run.
        faces: Faces in them.
        failures: Images and videos of this run that could not be read, or not to their end.
        seconds: Duration of the run, including listing.
        shards: Shards that this run finished.
        before: Shards that earlier runs finished.
        failures_before: Images and videos in these that could not be read, or not to their end.
        nodes: What each node has done.
        set_aside: Names of the shards that are skipped because their workers were lost three times, and why.
        unfinished: Names of the shards that are left for the next run, and why.
        notes: Videos that could not be read, or not to their end.
        unread: Number of files in folders that are not read, by kind.
    """

    output: str
    images: int
    faces: int
    failures: int
    seconds: float
    shards: int
    before: int
    failures_before: int
    nodes: Mapping[str, Share]
    set_aside: Mapping[str, str]
    unfinished: Mapping[str, str]
    notes: tuple[str, ...]
    unread: Mapping[str, int]

    @property
    def complete(self) -> bool:
        """Whether every shard is done."""
        return not self.set_aside and not self.unfinished

    def __str__(self) -> str:
        rate = self.images / max(self.seconds, 1e-3)
        earlier = f" (shards already done: {self.before}, with {self.failures_before} failures)" if self.before else ""
        lines = [
            f"{self.images} images, {self.faces} faces, {self.failures} failures in {self.seconds:.1f} s, "
            f"{rate:.1f} images per second{earlier}"
        ]
        for node, share in sorted(self.nodes.items()):
            lines.append(f"  {node}: {share.images} images in {share.seconds:.1f} s of worker time")
        lines += self.notes
        lines += [f"set aside: {name}: {why}" for name, why in sorted(self.set_aside.items())]
        lines += [
            f"unfinished: {name}: {why}; run the same command again" for name, why in sorted(self.unfinished.items())
        ]
        return "\n".join(lines)
