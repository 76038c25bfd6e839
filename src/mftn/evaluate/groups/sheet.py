"""Join people.csv with predictions: each image's person, label and groups, and whether it is classified correctly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mftn.analysis.formats import Table
from mftn.analysis.sheets import Sources, read_sheet
from mftn.analysis.table import Tables
from mftn.errors import DataError
from mftn.evaluate.groups.request import GroupRequest
from mftn.labels import EXPRESSIONS, find_expression

IMAGE_COLUMNS = ("image", "path", "source", "file")
OTHER_COLUMNS = ("label", "expression", "person", "split", "left", "top", "right", "bottom")
"""Columns that are not groups."""
UNKNOWN = ("", "na", "n/a", "nan", "unknown")
"""Text that means unknown. "none" is not among them, since it can be a group: no glasses, no beard."""
MAX_LEVELS, BANDS = 12, 3
"""Maximum number of levels of a column of groups; number of bands that a column of many numbers is cut into."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImages:
    """n images with a label, a person and a prediction.

    Attributes:
        names: (n,) names in people.csv.
        people: (n,) numbers of the people, 0 to N−1.
        labels: (n,) expressions.
        right: (n,) whether the prediction is the label; an image without a face is wrong.
        missed: (n,) whether no face was found.
        groups: Columns of groups: (n,) levels, "" where unknown.
        covariates: Columns of numbers that make an image easy or hard: (n,), NaN where unknown.
        notes: What was left out or assumed.
    """

    names: tuple[str, ...]
    people: NDArray[np.int64]
    labels: NDArray[np.str_]
    right: NDArray[np.bool_]
    missed: NDArray[np.bool_]
    groups: dict[str, NDArray[np.str_]]
    covariates: dict[str, NDArray[np.float64]]
    notes: tuple[str, ...]


def predicted_expressions(table: Table) -> dict[str, str | None]:
    """The expression of the largest face by photograph, from the output of `mftn predict`; None without a face.

    Raises:
        DataError: The table cannot be read, or contains a video.
    """
    found: dict[str, str | None] = {}
    with Tables(table) as tables:
        for recording in tables.recordings():
            if not recording.is_image:
                raise DataError(f"{recording.source}: is a video; groups are compared on photographs")
            if recording.errors:
                continue
            sizes = np.nan_to_num(recording.sizes, nan=0.0)
            largest = int(sizes.argmax()) if len(sizes) else None
            found[recording.source] = (
                None if largest is None else EXPRESSIONS[int(np.nanargmax(recording.probabilities[largest]))]
            )
    return found


def join(
    request: GroupRequest, predicted: Mapping[str, str | None], labels: Mapping[str, str] | None = None
) -> LabelledImages:
    """Join the rows of people.csv with the predictions.

    Args:
        request: people.csv and its columns.
        predicted: Expression by source; None where no face was found.
        labels: Expression by source, if a prepared data set has it rather than people.csv.

    Raises:
        DataError: A column is missing, a cell cannot be understood, or no image is in both.
    """
    by, adjust, label = (
        [name.strip().lower() for name in names] for names in (request.by, request.adjust, [request.label])
    )
    frame = read_sheet(request.people, "people", [])
    name = frame.attrs["name"]
    image = _first(frame, IMAGE_COLUMNS, name, "image")
    said = "" if labels is not None else label[0] or _first(frame, ("label", "expression"), name, "label")
    for column in (*by, *adjust, *([said] if said else [])):
        if column not in frame:
            raise DataError(f"{name}: lacks the column {column}; it has {', '.join(frame.columns)}")
    notes: list[str] = []
    frame = _with_predictions(frame, image, predicted, name, notes)
    if labels is None:
        expressions = [_expression(word, name, said) for word in frame[said]]
    else:
        expressions = [labels[source] for source in frame["__source"]]
    if bare := expressions.count(""):
        notes.append(f"{bare:,} images have no label and are left out")
    labelled = np.array([expression != "" for expression in expressions])
    frame, shown = frame[labelled].reset_index(drop=True), np.array(expressions)[labelled]
    if frame.empty:
        raise DataError(f"{name}: no image has a label")
    given = [predicted[source] for source in frame["__source"]]
    reserved = {image, said, "__source", *OTHER_COLUMNS, *IMAGE_COLUMNS, *adjust}
    columns = list(by) or [column for column in frame.columns if column not in reserved]
    return LabelledImages(
        names=tuple(frame[image]),
        people=_people(frame, name, notes),
        labels=shown,
        right=np.array([guess == truth for guess, truth in zip(given, shown, strict=True)]),
        missed=np.array([guess is None for guess in given]),
        groups=_groups(frame, columns, bool(by), name, notes),
        covariates={column: _numbers(frame[column], name) for column in adjust},
        notes=tuple(notes),
    )


def _with_predictions(
    frame: pd.DataFrame, image: str, predicted: Mapping[str, str | None], name: str, notes: list[str]
) -> pd.DataFrame:
    """The rows whose image has a prediction, with its source in an extra column."""
    sources = Sources(predicted)
    frame["__source"] = [sources.find(word, name) for word in frame[image]]
    known = frame["__source"].dropna()
    if twice := known[known.duplicated()].tolist():
        raise DataError(f"{name}: {twice[0]} has two rows; give each image one row")
    if known.empty:
        raise DataError(f"{name}: none of its images has a prediction, for example {frame[image].iloc[0]}")
    if count := len(frame) - len(known):
        first = frame[image][frame["__source"].isna()].iloc[0]
        notes.append(f"{count:,} of {len(frame):,} rows of {name} have no prediction and are left out: {first} …")
    if extra := len(predicted) - len(known):
        notes.append(f"{extra:,} predicted images are not in {name} and are left out")
    return frame.loc[known.index].reset_index(drop=True)


def _first(frame: pd.DataFrame, wanted: Sequence[str], name: str, what: str) -> str:
    found = next((column for column in wanted if column in frame), None)
    if found is None:
        hint = "" if what == "image" else f" (or give its name with --{what})"
        raise DataError(f"{name}: lacks a column {what}{hint}; it has {', '.join(frame.columns)}")
    return found


def _expression(word: str, name: str, column: str) -> str:
    found = "" if word.lower() in (*UNKNOWN, "none") else find_expression(word)
    if found is None:
        raise DataError(f"{name}: {word!r} in {column} is not an expression; choose from {', '.join(EXPRESSIONS)}")
    return found


def _people(frame: pd.DataFrame, name: str, notes: list[str]) -> NDArray[np.int64]:
    if "person" not in frame:
        notes.append(
            f"{name} has no column person, so every image counts as a different person; if people have several images, "
            "intervals are too narrow and too many differences are found"
        )
        return np.arange(len(frame))
    if frame["person"].str.lower().isin(UNKNOWN).any():
        raise DataError(f"{name}: an image has no person; fill in every cell, or leave the column out")
    codes: NDArray[np.int64] = pd.factorize(frame["person"])[0].astype(np.int64)
    return codes


def _groups(
    frame: pd.DataFrame, columns: Sequence[str], asked: bool, name: str, notes: list[str]
) -> dict[str, NDArray[np.str_]]:
    found = {}
    for column in columns:
        words = frame[column].where(~frame[column].str.lower().isin(UNKNOWN), "")
        known = words[words != ""]
        numbers = pd.to_numeric(known, errors="coerce")
        if known.nunique() > 2 * BANDS and numbers.notna().all():
            words = _bands(words, numbers)
            known = words[words != ""]
        if not 2 <= known.nunique() <= MAX_LEVELS:
            if asked:
                raise DataError(f"{name}: {column} has {known.nunique()} levels; two to {MAX_LEVELS} can be compared")
            notes.append(f"{column} has {known.nunique()} levels and is not compared (two to {MAX_LEVELS} can be)")
            continue
        if len(known) < len(words):
            unknown = len(words) - len(known)
            notes.append(f"{column} is unknown for {unknown:,} images, which are left out of its comparisons")
        found[column] = words.to_numpy(dtype=np.str_)
    if not found:
        raise DataError(f"{name}: has no column of groups; add one, such as gender or age")
    return found


def _bands(words: pd.Series, numbers: pd.Series) -> pd.Series:
    """Numbers cut into thirds, each named by its lowest and highest number; equal numbers are always together."""
    thirds = np.ceil(BANDS * numbers.rank(pct=True))
    ends = {band: dict.fromkeys((part.min(), part.max())) for band, part in numbers.groupby(thirds)}
    names = {band: " to ".join(f"{end:g}" for end in each) for band, each in ends.items()}
    banded = words.copy()
    banded.loc[numbers.index] = thirds.map(names)
    return banded


def _numbers(words: pd.Series, name: str) -> NDArray[np.float64]:
    """Numbers, or 0 and 1 for a column with two different words."""
    known = words[~words.str.lower().isin(UNKNOWN)]
    numbers = pd.to_numeric(known, errors="coerce")
    if numbers.isna().any() and known.nunique() == 2:
        numbers = (known == sorted(known.unique())[1]).astype(float)
    if numbers.isna().any():
        raise DataError(
            f"{name}: {words.name} contains {known[numbers.isna()].iloc[0]!r}; a column to adjust for needs numbers"
        )
    values: Any = np.full(len(words), np.nan)
    values[known.index] = numbers
    return values
