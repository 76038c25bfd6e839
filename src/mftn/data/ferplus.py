"""FERPlus: the FER2013 pictures with ten raters' votes each.

Layout: folders FER2013Train, FER2013Valid and FER2013Test, each with 48×48 grey PNG files and `label.csv`:
file, box, then the votes for neutral, happiness, surprise, sadness, anger, disgust, fear, contempt, unknown and
not-a-face. Source: Barsoum et al., Training deep networks for facial expression recognition with crowd-sourced
label distribution, 2016.
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mftn.data.records import Record, Split
from mftn.errors import DataError
from mftn.labels import EXPRESSIONS

Protocol = Literal["majority", "argmax"]

FOLDERS: Mapping[str, Split] = {"FER2013Train": "train", "FER2013Valid": "valid", "FER2013Test": "test"}
VOTE_COLUMNS = (*EXPRESSIONS, "unknown", "not-a-face")


def read_ferplus(root: str | Path) -> Iterator[Record]:
    """Every picture of the splits found under `root`, in the order of `label.csv`.

    Raises:
        DataError: There is no FERPlus folder, a row cannot be read, or a picture is missing.
    """
    root = Path(root)
    present = [folder for folder in FOLDERS if (root / folder).is_dir()]
    if not present:
        raise DataError(f"{root}: none of the folders {', '.join(FOLDERS)} is here; give the folder that holds them")
    for folder in present:
        yield from _read_split(root / folder, FOLDERS[folder])


def _read_split(folder: Path, split: Split) -> Iterator[Record]:
    table = folder / "label.csv"
    if not table.is_file():
        raise DataError(f"{table}: missing; FERPlus keeps one beside the pictures of every split")
    with table.open(newline="") as file:
        for line, row in enumerate(csv.reader(file), start=1):
            try:
                name, _box, *columns = row
                votes = tuple(int(vote) for vote in columns)
            except ValueError as error:
                raise DataError(f"{table}:{line}: not a file name, a box and vote counts: {row}") from error
            if len(votes) != len(VOTE_COLUMNS) or min(votes) < 0:
                raise DataError(f"{table}:{line}: expected {len(VOTE_COLUMNS)} vote counts, found {columns}")
            path = folder / name
            if not path.is_file():
                raise DataError(f"{path}: missing, but named in {table}:{line}; extract the archive again")
            yield Record(path, split, votes)


def hard_labels(votes: NDArray[np.int64], protocol: Protocol) -> NDArray[np.int64]:
    """One class a picture, or -1 where the protocol leaves it out.

    *argmax* takes the first highest of the ten columns. *majority* sets single votes to zero and asks the top
    column to hold more than half of what is left. Both keep a picture only if its top column is an expression.

    Args:
        votes: (n, 10) counts.
        protocol: Which rule.

    Returns:
        (n,) indices into `EXPRESSIONS`, or -1.
    """
    if protocol == "majority":
        votes = np.where(votes > 1, votes, 0)
    top = votes.argmax(axis=1)  # (n,)
    kept = top < len(EXPRESSIONS)
    if protocol == "majority":
        kept &= 2 * votes.max(axis=1) > votes.sum(axis=1)
    return np.where(kept, top, -1)


def distributions(votes: NDArray[np.int64]) -> NDArray[np.float32]:
    """The raters' distribution over the eight expressions, (n, 10) counts to (n, 8).

    Single votes count as slips and are dropped, unless nothing else is left.
    """
    expressions = votes[:, : len(EXPRESSIONS)].astype(np.float32)
    trusted = np.where(expressions > 1, expressions, 0)
    trusted = np.where(trusted.any(axis=1, keepdims=True), trusted, expressions)
    return trusted / np.maximum(trusted.sum(axis=1, keepdims=True), 1)
