"""The data set for training and evaluation: aligned crops with their labels."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from torch import Tensor
from torch.utils.data import Dataset

from mftn.data.duplicates import near_pairs
from mftn.data.manifest import read_description, read_manifest
from mftn.data.records import SPLITS, Split
from mftn.data.votes import PROTOCOLS, VOTE_COLUMNS, Protocol, distributions, hard_labels
from mftn.errors import DataError
from mftn.labels import EXPRESSIONS, LABEL_SETS

COLUMNS = ["path", "split", "label", "votes", "phash"]
IN_MEMORY = 2 * 1024**3
"""Splits whose crops, with those of the unaligned copy, take at most this many bytes are kept in memory; larger ones
are read batch by batch."""


class CropIndex(NamedTuple):
    """Identifies a crop of a split.

    Attributes:
        image: Index of the image in the split.
        aligned: Whether it is the aligned crop, or the one of the unaligned copy of the data set.
    """

    image: int
    aligned: bool = True


class Batch(NamedTuple):
    """Images of a training step.

    Attributes:
        crops: uint8 (B, C, H, W).
        targets: Distributions over the classes, (B, K).
        labels: Class indices, (B,).
        paths: The crops' files, relative to the data set's folder.
        unreadable: Crops that could not be read; each is replaced by a neighbour in the batch.
    """

    crops: Tensor
    targets: Tensor
    labels: Tensor
    paths: list[str]
    unreadable: list[str]


class FaceDataset(Dataset[tuple[Tensor, Tensor, int]]):
    """The crops of one split as uint8, in memory if they fit (28,558 grey crops of 96×96 take 263 MB).

    An item is the crop, uint8 (C, H, W), the distribution over classes (K,) and the class index; a list of `CropIndex`
    gives a `Batch`. `excluded` counts the split's images that the protocol excludes.

    Args:
        folder: A prepared data set.
        split: Which split, as in the manifest.
        channels: 1 for grey, 3 for colour.
        protocol: If there are raters' votes, images that this protocol excludes are omitted.
        unaligned: A copy of the data set that was prepared without a detector; empty for none.
        skip_unreadable: Omit crops that cannot be read and name them in `unreadable`, instead of raising an error.
        in_memory: Keep the crops in memory if they fit; otherwise they are read batch by batch.
        without_copies_of: Omit images that are also, exactly or nearly, in this other split, so that figures measured
            on it can be trusted; `copies` counts them.

    Raises:
        DataError: The folder holds no manifest, a crop is missing or unreadable, or `unaligned` is not a copy.
    """

    def __init__(
        self,
        folder: str | Path,
        split: Split,
        channels: int = 1,
        protocol: Protocol = "argmax",
        unaligned: str | Path = "",
        skip_unreadable: bool = False,
        in_memory: bool = True,
        without_copies_of: Split | None = None,
    ) -> None:
        self.folder, self.channels, self.skip_unreadable = Path(folder), channels, skip_unreadable
        self.protocol = protocol
        self.unaligned = Path(unaligned) if str(unaligned) else None
        rows, self.copies = _rows(self.folder, split, without_copies_of)
        description = read_description(folder)
        self.classes = LABEL_SETS[description["classes"]]
        self.side: int = description["preparation"]["size"]  # of a crop in pixels
        self.template = np.asarray(description["preparation"]["template"])  # (5, 2) landmarks, as fractions of the side
        self.paths = [row["path"] for row in rows]
        self.votes = _votes(folder, rows, description.get("votes"))  # (n, columns)
        if self.votes is not None:
            count = len(self.classes)
            labels, targets = hard_labels(self.votes, protocol, count), distributions(self.votes, count)
        else:
            labels = _labels(folder, rows, self.classes)
            targets = np.eye(len(self.classes), dtype=np.float32)[labels]
        self.labels = torch.from_numpy(labels)  # (n,)
        self.targets = torch.from_numpy(targets)  # (n, K)
        self._keep(np.flatnonzero(labels >= 0).tolist())
        if self.unaligned:
            _check_copy(self.folder, self.unaligned, self.paths)
        self.excluded = len(rows) - len(self)
        if not len(self):
            raise DataError(f"{folder}: the {protocol} protocol excludes all {len(rows):,} images of the split {split}")
        self.unreadable: list[str] = []
        self.crops: Tensor | None = None  # (n, C, H, W)
        self.unaligned_crops: Tensor | None = None  # (n, C, H, W)
        copies = 2 if self.unaligned else 1
        if in_memory and self.side**2 * channels * len(self) * copies <= IN_MEMORY:
            self._load()

    def _keep(self, indices: list[int]) -> None:
        self.paths = [self.paths[index] for index in indices]
        self.labels, self.targets = self.labels[indices], self.targets[indices]
        self.votes = self.votes[indices] if self.votes is not None else None

    def _load(self) -> None:
        """Read all crops into memory."""
        crops, unaligned, readable = [], [], []
        for index in range(len(self)):
            try:
                crop = self._read(index)
                copy = self._read(index, aligned=False) if self.unaligned else None
            except DataError:
                if not self.skip_unreadable:
                    raise
                self.unreadable.append(self.paths[index])
                continue
            readable.append(index)
            crops.append(crop)
            if copy is not None:
                unaligned.append(copy)
        if not crops:
            raise DataError(f"{self.folder}: no crop can be read; prepare the data set again")
        if self.unreadable:
            self._keep(readable)
        self.crops = torch.stack(crops)
        self.unaligned_crops = torch.stack(unaligned) if unaligned else None

    def protocols(self) -> dict[str, NDArray[np.int64]]:
        """The class of every image by protocol, -1 where the protocol excludes it; "label" if there are no votes.

        The images are those of the data set's own protocol. Majority keeps a subset of what argmax keeps, so argmax is
        omitted for a data set of the majority protocol.
        """
        if self.votes is None:
            return {"label": self.labels.numpy()}
        protocols = (self.protocol,) if self.protocol == "majority" else PROTOCOLS
        return {protocol: hard_labels(self.votes, protocol, len(self.classes)) for protocol in protocols}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        return self.read([index])[0], self.targets[index], int(self.labels[index])

    def __getitems__(self, indices: list[CropIndex]) -> Batch:
        """A whole batch; data loaders call this where it exists."""
        unreadable: list[str] = []
        if self.skip_unreadable:
            crops, indices = self._read_around(indices, unreadable)
        else:
            crops = torch.stack([self._crop(*index) for index in indices])
        images = [index.image for index in indices]
        return Batch(crops, self.targets[images], self.labels[images], [self.paths[i] for i in images], unreadable)

    def _read_around(self, indices: list[CropIndex], unreadable: list[str]) -> tuple[Tensor, list[CropIndex]]:
        """Crops (B, C, H, W) and their indices; where one cannot be read, its nearest neighbour is repeated."""
        crops: dict[int, Tensor] = {}
        for position, index in enumerate(indices):
            try:
                crops[position] = self._crop(*index)
            except DataError:
                unreadable.append(self.paths[index.image])
        if not crops:
            raise DataError(f"{self.folder}: cannot read {', '.join(unreadable[:3])} …; prepare the data set again")
        chosen = [min(crops, key=lambda good: abs(good - position)) for position in range(len(indices))]
        return torch.stack([crops[position] for position in chosen]), [indices[position] for position in chosen]

    def batches(self, size: int, indices: Sequence[int] | None = None, aligned: bool = True) -> Iterator[Tensor]:
        """Crops in order, (B, C, H, W) at a time: all, or those of the indices."""
        chosen = range(len(self)) if indices is None else indices
        for start in range(0, len(chosen), size):
            yield self.read(chosen[start : start + size], aligned)

    def read(self, indices: Sequence[int], aligned: bool = True) -> Tensor:
        """Crops, uint8 (B, C, H, W), of the data set or of its unaligned copy."""
        return torch.stack([self._crop(index, aligned) for index in indices])

    def _crop(self, index: int, aligned: bool) -> Tensor:
        """One crop, uint8 (C, H, W), from memory where it is kept there."""
        kept = self.crops if aligned else self.unaligned_crops
        return self._read(index, aligned) if kept is None else kept[index]

    def _read(self, index: int, aligned: bool = True) -> Tensor:
        folder = self.folder if aligned else self.unaligned
        assert folder is not None
        path = folder / self.paths[index]
        try:
            with PillowImage.open(path) as file:
                if file.size != (self.side, self.side):  # damaged: all crops of a batch have the same size
                    raise ValueError(f"it has {file.width}×{file.height} pixels, not {self.side}×{self.side}")
                pixels = np.array(file.convert("L" if self.channels == 1 else "RGB"))
        except (OSError, ValueError, SyntaxError, PillowImage.DecompressionBombError) as error:
            raise DataError(f"{path}: cannot be read ({error}); prepare the data set again") from error
        return torch.from_numpy(pixels.reshape(*pixels.shape[:2], self.channels)).permute(2, 0, 1)


def _rows(folder: Path, split: Split, without_copies_of: Split | None) -> tuple[list[dict[str, Any]], int]:
    """The manifest's rows of a split, and how many are omitted because they are also in the other one."""
    rows, copies = read_manifest(folder, COLUMNS).to_pylist(), 0
    if without_copies_of:
        rows, copies = _without_copies(rows, split, without_copies_of)
    chosen = [row for row in rows if row["split"] == split]
    if not chosen:
        present = " and ".join(name for name in SPLITS if any(row["split"] == name for row in rows))
        share = split == "valid" and "train" in present
        advice = "with a larger --valid-share" if share else f"from a source that has a split {split}"
        where = f", only in {present}" if present else ""
        raise DataError(f"{folder}: has no images in the split {split}{where}; prepare it again {advice}")
    return chosen, copies


def _check_copy(folder: Path, unaligned: Path, paths: Sequence[str]) -> None:
    """Refuse a copy whose crops do not show the same faces; a face's split may differ."""
    again = f"prepare it again as {folder}, with --detector none"
    columns = ["path", "source", "face"]
    theirs, ours = (
        {row["path"]: row for row in read_manifest(each, columns).to_pylist()} for each in (unaligned, folder)
    )
    cut, own = (read_description(each)["preparation"] for each in (unaligned, folder))
    for key in ("size", "template"):
        if cut[key] != own[key]:
            raise DataError(f"{unaligned}: not a copy of {folder}: the {key} of its crops differs; {again}")
    if others := [path for path in paths if theirs.get(path) != ours[path]]:
        raise DataError(
            f"{unaligned}: not a copy of {folder}: {len(others):,} of {len(paths):,} images, such as {others[0]}, "
            f"are missing or show another face; {again}"
        )


def _votes(
    folder: str | Path, rows: Sequence[Mapping[str, Any]], names: Sequence[str] | None
) -> NDArray[np.int64] | None:
    """The raters' votes (n, columns) in the order of `VOTE_COLUMNS`; None if there are none.

    Votes in a different order would silently teach wrong classes: `names` are the columns' names; without them, each
    label must be among the expressions with the most votes.
    """
    unrated = [row["path"] for row in rows if row["votes"] is None]
    if len(unrated) == len(rows):
        return None
    if unrated:
        raise DataError(f"{folder}: {unrated[0]} has no votes, but other images of its split do; prepare it again")
    columns = list(names or VOTE_COLUMNS)
    if sorted(columns) != sorted(VOTE_COLUMNS) or any(len(row["votes"]) != len(columns) for row in rows):
        known = ", ".join(VOTE_COLUMNS)
        raise DataError(f"{folder}: its votes are not one number for each of {known}; prepare it again")
    order = [columns.index(name) for name in VOTE_COLUMNS]
    votes = np.array([row["votes"] for row in rows], dtype=np.int64)[:, order]
    for row, counts in zip(rows, votes, strict=True) if names is None else ():
        if row["label"] in EXPRESSIONS and counts[VOTE_COLUMNS.index(row["label"])] < counts[: len(EXPRESSIONS)].max():
            raise DataError(
                f"{folder}: {row['path']} has the label {row['label']!r}, but another expression has more votes: "
                "the votes are in a different order, or the label was changed; prepare it again"
            )
    return votes


def _labels(folder: str | Path, rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> NDArray[np.int64]:
    """Class indices (n,)."""
    for row in rows:
        if row["label"] not in classes:
            what = f"the label {row['label']!r}" if row["label"] else "no label"
            raise DataError(
                f"{folder}: {row['path']} has {what}; known are {', '.join(classes)}. "
                "Correct the source and prepare it again"
            )
    return np.array([classes.index(row["label"]) for row in rows])


def _without_copies(rows: list[dict[str, Any]], split: Split, other: Split) -> tuple[list[dict[str, Any]], int]:
    """The rows whose image is not in both splits, and how many of `split` are omitted."""
    pairs = near_pairs(row["phash"] for row in rows)[:, :2]
    both = {int(index) for pair in pairs for index in pair if {rows[i]["split"] for i in pair} == {split, other}}
    copies = {index for index in both if rows[index]["split"] == split}
    return [row for index, row in enumerate(rows) if index not in copies], len(copies)
