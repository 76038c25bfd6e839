"""Align and document a data set for training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro


@dataclass(frozen=True)
class Arguments:
    """What `mftn prepare` takes.

    Attributes:
        dataset: The data set's kind.
        root: Folder of the data set as its owners give it.
        out: Folder to make.
        size: Side of the crops in pixels.
        workers: Processes.
    """

    dataset: Annotated[Literal["ferplus"], tyro.conf.Positional]
    root: Path
    out: Path
    size: int = 96
    workers: int = 2


def run(arguments: Arguments) -> int:
    """Prepare and print what was made."""
    import json

    from rich.console import Console
    from rich.progress import track

    from mftn.data.ferplus import read_ferplus
    from mftn.data.prepare import ferplus_preparation, prepare

    records = list(read_ferplus(arguments.root))

    def progress(rows: Any) -> Any:
        return track(rows, "pictures", total=len(records), console=Console(stderr=True), transient=True)

    manifest = prepare(records, arguments.out, ferplus_preparation(arguments.size), arguments.workers, progress)
    description = json.loads((arguments.out / "dataset.json").read_text(encoding="utf-8"))
    for split, count in description["pictures"].items():
        lost = description["without_face"].get(split, 0)
        print(f"{split}: {count:,} pictures, {lost} without a face found (kept whole and flagged)")
    print(manifest)
    return 0
