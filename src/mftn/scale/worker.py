"""What runs in Ray's actors: one recognizer each, and a shard at a time."""

from __future__ import annotations

import io
import json
import os
import tempfile
import time
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from mftn.errors import ConfigError
from mftn.files import readable
from mftn.output import ParquetWriter, Provenance
from mftn.recognize import Recognizer
from mftn.scale.plan import read_shard
from mftn.scale.reading import predictions_of
from mftn.scale.settings import Settings
from mftn.scale.shards import Item
from mftn.scale.storage import Store

MOST_ATTEMPTS = 3
"""Workers that a shard may cost in a run."""

LONGEST_REST_S = 60.0
"""Seconds for which a worker that fails rests at most, so that one with a full disk does not take all shards."""


class State(StrEnum):
    """What became of a shard."""

    DONE = "done"
    UNFINISHED = "unfinished"
    SET_ASIDE = "set aside"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A shard that a worker has returned.

    Attributes:
        name: The shard's.
        number: Its place in the plan.
        state: What became of it.
        images: Images and frames in it.
        faces: Faces in them.
        failures: Images and videos that could not be read, or not to their end.
        seconds: That it took.
        node: Where it ran.
        note: Why it was not finished, or what could not be read of a video.
    """

    name: str
    number: int
    state: State
    images: int = 0
    faces: int = 0
    failures: int = 0
    seconds: float = 0.0
    node: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Work:
    """What every worker of a run knows.

    Attributes:
        settings: How to recognise.
        model: The content of the model's file, where it is no installed one.
        made_by: Goes into every part.
        output: Address of the output.
        run: Drawn for this run; attempts are counted for each.
        folder: From which relative paths count.
    """

    settings: Settings
    model: bytes | None
    made_by: Provenance
    output: str
    run: str
    folder: str


def load_recognizer(settings: Settings, model: bytes | None, folder: str) -> Recognizer:
    """The recognizer of a worker, in the working folder of the program that started the run.

    Args:
        settings: How to recognise.
        model: The content of the model's file, where it is no installed one.
        folder: From which relative paths count; where it is missing on this machine, so are the files.
    """
    with suppress(OSError):
        os.chdir(folder)
    if model is None:
        return settings.load()
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "model.onnx"
        path.write_bytes(model)
        return replace(settings, model=path).load()


class ShardWorker:
    """An actor that turns shards into parts of the output.

    Args:
        work: Of the run.
    """

    def __init__(self, work: Work) -> None:
        self.work, self.store, self.rest = work, Store(work.output), 1.0
        self.recognizer = load_recognizer(work.settings, work.model, work.folder)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row per shard in, its outcome out; no error ends the run."""
        started, outcome = time.monotonic(), Outcome(row["name"], row["number"], State.UNFINISHED)
        try:
            outcome = self._process(outcome, last=row["last"])
            self.rest = 1.0
        except Exception as error:
            outcome = replace(outcome, note=f"{type(error).__name__}: {error}")
            time.sleep(self.rest)
            self.rest = min(2 * self.rest, LONGEST_REST_S)
        note = readable(outcome.note)  # Ray's rows hold valid text
        return asdict(replace(outcome, note=note, seconds=time.monotonic() - started, node=node_name()))

    def _process(self, outcome: Outcome, last: bool) -> Outcome:
        part = f"{outcome.name}.parquet"
        attempts = [f"_mftn/attempts/{self.work.run}/{outcome.name}.{number}" for number in range(MOST_ATTEMPTS)]
        done, *before = self.store.have([part, *attempts])
        if done:  # its worker was lost after it had finished
            return replace(counted(outcome, read_counts(self.store, part)), state=State.DONE)
        if all(before):
            note = f"{MOST_ATTEMPTS} workers were lost with it"
            self.store.put(f"_mftn/aside/{outcome.name}", note.encode())
            return replace(outcome, state=State.SET_ASIDE, note=note)
        attempt = attempts[before.index(False)]
        mark = {"node": node_name(), "pid": os.getpid(), "time": time.time()}  # for people who look for the cause
        self.store.mark(attempt, json.dumps(mark).encode())
        try:
            outcome, content = self._recognise(outcome, last)
            self.store.put(part, content)
        finally:  # only what ends this process counts as an attempt
            self.store.delete_files([attempt])
        return replace(outcome, state=State.DONE)

    def _recognise(self, outcome: Outcome, last: bool) -> tuple[Outcome, bytes]:
        """The part of a shard, and its counts. It is made in memory: nothing unfinished is ever on a disk.

        Where every file is missing, the machine may lack a share: only in the last round are they taken as gone.
        """
        content, notes = io.BytesIO(), list[str]()
        shard = read_shard(self.store, outcome.number)
        if shard.name != outcome.name:  # two runs began with other sources at the same time
            raise ConfigError(f"{self.work.output}: another run has replaced the plan; run one into each folder")
        images = faces = errors = 0
        with closing(ParquetWriter(content, self.work.made_by)) as writer:
            for prediction in predictions_of(shard, self.recognizer, self.work.settings, notes):
                writer.write(prediction)
                images += 1
                faces += len(prediction)
                errors += prediction.error is not None
            if images == errors > 0 and not last and not any(is_there(item) for item in shard.items):
                raise OSError(
                    f"none of its files is on {node_name()}, such as {shard.items[0].path}; is a share missing?"
                )
            counts = {"images": images, "faces": faces, "failures": len(notes) or errors}
            writer.file.add_key_value_metadata({"mftn_counts": json.dumps(counts)})
        return replace(counted(outcome, counts), note="; ".join(notes)), content.getvalue()


def is_there(item: Item) -> bool:
    """Whether a file is there, or was missing when it was listed, or is not on a disk."""
    return bool(item.error) or "://" in item.path or os.path.lexists(item.path)


def counted(outcome: Outcome, counts: dict[str, int]) -> Outcome:
    """An outcome with its images, faces and failures."""
    return replace(outcome, images=counts["images"], faces=counts["faces"], failures=counts["failures"])


def read_counts(store: Store, part: str) -> dict[str, int]:
    """Images, faces and failures of a finished part, from its footer."""
    import pyarrow.parquet as pq

    with store.open(part) as file:
        counts: dict[str, int] = json.loads(pq.read_metadata(file).metadata[b"mftn_counts"])
    return counts


def node_name() -> str:
    """This machine's address and the first letters of its node's number, as several nodes can share a machine."""
    import ray

    context = ray.get_runtime_context()
    return f"{ray.util.get_node_ip_address()} ({context.get_node_id()[:6]})"
