"""One labelled picture of a data set, as its reader yields it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "valid", "test"]


@dataclass(frozen=True, slots=True)
class Record:
    """One picture with its label.

    Attributes:
        path: The picture's file.
        split: The split its owners put it in.
        votes: Raters' votes in the data set's own columns, where it has them.
    """

    path: Path
    split: Split
    votes: tuple[int, ...]
