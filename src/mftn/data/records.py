"""One labelled face of a data set, as yielded by its reader."""

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
        where: File and line that list it, for error messages.
        name: Its crop in the prepared data set, without suffix: FOLDER/STEM, as in published layouts.
        split: The owners' split; None if they give none.
        label: The expression; None if there are only votes.
        votes: Raters' votes in FERPlus's columns, if there are any.
        box: The annotated face, if the data set has one.
        face: Number of the face in its image.
        pixels: A square grey image, row by row, if the source is a table.
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
