"""One labelled face of a data set, as its reader yields it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mftn.types import Box

Split = Literal["train", "valid", "test"]
Framing = Literal["arcface", "fer2013"]
CropFormat = Literal["png", "jpg"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")


@dataclass(frozen=True, slots=True)
class Record:
    """One face with its label.

    Attributes:
        source: The image's file, or the table that holds its pixels.
        where: File and line that name it, for error messages.
        name: Its crop in the prepared data set, without suffix: FOLDER/STEM, as published layouts have it.
        split: The split its owners put it in; None where they give none.
        label: The expression; None where only votes tell.
        votes: Raters' votes in FERPlus's columns, where there are any.
        box: The annotated face, where the data set has one.
        face: Number of the face in its image.
        pixels: A square grey image, row by row, where the source is a table.
    """

    source: Path
    where: str
    name: str
    split: Split | None
    label: str | None
    votes: tuple[int, ...] | None = None
    box: Box | None = None
    face: int = 0
    pixels: bytes | None = None
