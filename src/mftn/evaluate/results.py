"""What a report measures, as typed results; `to_json` gives what metrics.json holds."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mftn.evaluate.scores import Scores

Interval = tuple[float, float]
Points = list[tuple[float, float]]
"""Strength of a corruption and accuracy."""


@dataclass(frozen=True, slots=True)
class DataSummary:
    """The evaluated split.

    Attributes:
        folder: The data set's folder.
        title: Its name.
        split: Which split.
        protocol: Which images count; "labels" where nobody voted.
        images: How many are evaluated.
        excluded: How many the protocol excludes.
        in_manifest: Both together.
        classes: The expressions.
        per_class: Evaluated images of each.
    """

    folder: str
    title: str
    split: str
    protocol: str
    images: int
    excluded: int
    in_manifest: int
    classes: tuple[str, ...]
    per_class: list[int]


@dataclass(frozen=True, slots=True)
class DetailedScores(Scores):
    """What a report adds to the scores of one output under one protocol; NaN where it keeps no image.

    Wilson's interval is from 0 to 1 there: nothing is known.

    The calibration error of a head alone is NaN too: only the fused output is calibrated.

    Attributes:
        bootstrap: 95 % interval of the accuracy by resampling.
        macro_recall_interval: 95 % interval by resampling.
        macro_f1: Mean F1 of the classes.
        kappa: Cohen's.
        top2: Share whose class is among the two most probable.
        precision: (K,).
        f1: (K,).
    """

    bootstrap: Interval
    macro_recall_interval: Interval
    macro_f1: float
    kappa: float
    top2: float
    precision: NDArray[np.float64]
    f1: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Raters:
    """A model beside the raters.

    Attributes:
        agreement: Accuracy by the share of raters who agree; see `metrics.agreement_curve`.
        divergence: Mean Kullback–Leibler divergence to their distribution, in nats.
        median: Votes per image.
    """

    agreement: list[dict[str, float]]
    divergence: float
    median: float


@dataclass(frozen=True, slots=True)
class Robustness:
    """Accuracy on corrupted images.

    Attributes:
        images: How many.
        clean: Accuracy without corruption.
        mean: Over all corruptions and strengths.
        by_corruption: Mean over the strengths.
        curves: By corruption.
    """

    images: int
    clean: float
    mean: float
    by_corruption: dict[str, float]
    curves: dict[str, Points]


@dataclass(frozen=True, slots=True)
class Deletion:
    """How the explained class's probability falls as locations are removed.

    Attributes:
        images: How many.
        fractions: Shares of the locations removed.
        curves: Mean probability by the order of removal.
        area: Under each curve.
    """

    images: int
    fractions: tuple[float, ...]
    curves: dict[str, NDArray[np.float64]]
    area: dict[str, float]


@dataclass(frozen=True, slots=True)
class ModelResults:
    """All that is measured of a model.

    Attributes:
        architecture: The network's name.
        parameters: How many.
        size: Height and width of its input in pixels.
        temperature: That calibrates its probabilities.
        classes_omitted: Classes of the model that the data lacks.
        classes_missing: Classes of the data that it does not know.
        outputs: Scores by output (the fused one, heads, flip average) and protocol.
        raters: Where raters voted.
        robustness: Where it is measured.
        deletion: Where it is measured.
    """

    architecture: str
    parameters: int
    size: list[int]
    temperature: float
    classes_omitted: list[str]
    classes_missing: list[str]
    outputs: dict[str, dict[str, DetailedScores]]
    raters: Raters | None
    robustness: Robustness | None
    deletion: Deletion | None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two models on the same images; differences are those of the second over the first.

    Attributes:
        first: The earlier model.
        second: The later one.
        difference: Of the accuracies.
        low: Lower end of its 95 % interval.
        high: Upper end.
        only_first: Images that the first alone gets right.
        only_second: Images that the second alone gets right.
        p: Of McNemar's exact test.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    only_first: int
    only_second: int
    p: float


@dataclass(frozen=True, slots=True)
class Published:
    """Figures from the literature on this data set's test split.

    Attributes:
        source: Where they are from.
        rows: Accuracy in percent by model.
        half_width: Half of the 95 % interval that the split's size gives, in points.
        recall: By model, of each class in the data's order.
    """

    source: str
    rows: dict[str, float]
    half_width: float | None
    recall: dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Results:
    """All that a report holds.

    Attributes:
        data: The evaluated split.
        models: By name.
        pairs: Every two models.
        published: Where figures are known.
        main: The protocol of tables and figures.
    """

    data: DataSummary
    models: dict[str, ModelResults]
    pairs: list[Pair]
    published: Published | None
    main: str


def to_json(value: Any) -> Any:
    """JSON's own types; a number that is none becomes null."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return to_json(value.tolist())
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
