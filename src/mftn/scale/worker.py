"""The code of Ray's actors: each has one recognizer and processes one shard at a time."""

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

MAX_ATTEMPTS = 3
"""Workers that may be lost with a shard in a run."""

MAX_REST_S = 60.0
"""Longest pause of a failing worker in seconds, so that one with a full disk does not take all shards."""


class State(StrEnum):
    """What became of a shard."""

    DONE = "done"
    UNFINISHED = "unfinished"
    SET_ASIDE = "set aside"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A worker's result for a shard.

    Attributes:
        name: The shard's name.
        number: Its position in the plan.
        state: What became of it.
        images: Images and frames in it.
        faces: Faces in them.
        failures: Images and videos that could not be read, or not to their end.
        seconds: Processing time.
        node: Where it ran.
        note: Why it was not finished, or which videos could not be read.
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
    """What all workers of a run share.

    Attributes:
        settings: Options of the prediction.
        model: The content of the model's file; None for a shipped model.
        made_by: Provenance, stored in every part.
        output: Address of the output.
        run: Random id of this run; attempts are counted per run.
        folder: The folder that relative paths start from.
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
        settings: Options of the prediction.
        model: The content of the model's file; None for a shipped model.
        folder: The folder that relative paths start from; if it is missing on this machine, so are the files.
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
        work: What the workers of the run share.
    """

    def __init__(self, work: Work) -> None:
        self.work, self.store, self.rest = work, Store(work.output), 1.0
        self.recognizer = load_recognizer(work.settings, work.model, work.folder)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Process the shard of a row and return its outcome; no error ends the run."""
        started, outcome = time.monotonic(), Outcome(row["name"], row["number"], State.UNFINISHED)
        try:
            outcome = self._process(outcome, last=row["last"])
            self.rest = 1.0
        except Exception as error:
            outcome = replace(outcome, note=f"{type(error).__name__}: {error}")
            time.sleep(self.rest)
            self.rest = min(2 * self.rest, MAX_REST_S)
        note = readable(outcome.note)  # Ray's rows hold valid text
        return asdict(replace(outcome, note=note, seconds=time.monotonic() - started, node=node_name()))

    def _process(self, outcome: Outcome, last: bool) -> Outcome:
        part = f"{outcome.name}.parquet"
        attempts = [f"_mftn/attempts/{self.work.run}/{outcome.name}.{number}" for number in range(MAX_ATTEMPTS)]
        done, *before = self.store.have([part, *attempts])
        if done:  # its worker was lost after finishing it
            return replace(counted(outcome, read_counts(self.store, part)), state=State.DONE)
        if all(before):
            note = f"{MAX_ATTEMPTS} workers were lost while processing it"
            self.store.put(f"_mftn/aside/{outcome.name}", note.encode())
            return replace(outcome, state=State.SET_ASIDE, note=note)
        attempt = attempts[before.index(False)]
        mark = {"node": node_name(), "pid": os.getpid(), "time": time.time()}  # helps to find the cause
        self.store.mark(attempt, json.dumps(mark).encode())
        try:
            outcome, content = self._recognise(outcome, last)
            self.store.put(part, content)
        finally:  # only the loss of this process counts as an attempt
            self.store.delete_files([attempt])
        return replace(outcome, state=State.DONE)

    def _recognise(self, outcome: Outcome, last: bool) -> tuple[Outcome, bytes]:
        """The part of a shard, with its counts. It is made in memory: nothing unfinished is ever on a disk.

        If every file is missing, the machine may lack a network share; only in the last round do they count as missing.
        """
        content, notes = io.BytesIO(), list[str]()
        shard = read_shard(self.store, outcome.number)
        if shard.name != outcome.name:  # two runs with different sources began at the same time
            raise ConfigError(
                f"{self.work.output}: another run has replaced the plan; use a separate folder for each run"
            )
        images = faces = errors = 0
        with closing(ParquetWriter(content, self.work.made_by)) as writer:
            for prediction in predictions_of(shard, self.recognizer, self.work.settings, notes):
                writer.write(prediction)
                images += 1
                faces += len(prediction)
                errors += prediction.error is not None
            if images == errors > 0 and not last and not any(is_there(item) for item in shard.items):
                raise OSError(
                    f"none of its files, such as {shard.items[0].path}, is on {node_name()}; is a share missing?"
                )
            counts = {"images": images, "faces": faces, "failures": len(notes) or errors}
            writer.file.add_key_value_metadata({"mftn_counts": json.dumps(counts)})
        return replace(counted(outcome, counts), note="; ".join(notes)), content.getvalue()


def is_there(item: Item) -> bool:
    """Whether a file exists, was already missing when it was listed, or is not on a disk."""
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
    """This machine's address and the start of its Ray node id, because several nodes can share a machine."""
    import ray

    context = ray.get_runtime_context()
    return f"{ray.util.get_node_ip_address()} ({context.get_node_id()[:6]})"
