"""What a report measures, as typed results; `to_json` makes the content of metrics.json."""

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
"""Pairs of a corruption's strength and the accuracy."""


@dataclass(frozen=True, slots=True)
class DataSummary:
    """The evaluated split.

    Attributes:
        folder: The data set's folder.
        title: The data set's name.
        split: The split.
        protocol: Which images count; "labels" where nobody voted.
        images: Number of images evaluated.
        excluded: Number of images that the protocol excludes.
        in_manifest: Sum of both.
        classes: The expressions.
        per_class: Number of evaluated images of each class.
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
    """The scores of one output under one protocol with what a report adds; NaN where the protocol keeps no image.

    Wilson's interval is then 0 to 1.

    The calibration error of a single head is also NaN: only the fused output is calibrated.

    Attributes:
        bootstrap: 95 % interval of the accuracy by resampling.
        macro_recall_interval: 95 % interval of the macro recall by resampling.
        macro_f1: Mean F1 of the classes.
        kappa: Cohen's kappa.
        top2: Share of images whose class is among the two most probable.
        precision: (K,) precision of each class.
        f1: (K,) F1 of each class.
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
    """A model compared with the raters.

    Attributes:
        agreement: Accuracy by the share of raters who agree; see `metrics.agreement_curve`.
        divergence: Mean Kullback–Leibler divergence to their distribution, in nats; infinite if they saw a class that
            the model does not know.
        median: Median number of votes per image.
    """

    agreement: list[dict[str, float]]
    divergence: float
    median: float


@dataclass(frozen=True, slots=True)
class Robustness:
    """Accuracy on corrupted images.

    Attributes:
        images: Number of images.
        clean: Accuracy without corruption.
        mean: Mean accuracy over all corruptions and strengths.
        by_corruption: Mean accuracy over the strengths of each corruption.
        curves: Accuracy by strength for each corruption.
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
        images: Number of images.
        fractions: Fractions of the locations removed.
        curves: Mean probability by the order of removal.
        area: Area under each curve.
    """

    images: int
    fractions: tuple[float, ...]
    curves: dict[str, NDArray[np.float64]]
    area: dict[str, float]


@dataclass(frozen=True, slots=True)
class ModelResults:
    """Everything that is measured for a model.

    Attributes:
        architecture: Name of the architecture.
        parameters: Number of parameters.
        size: Height and width of its input in pixels.
        temperature: Temperature that calibrates its probabilities.
        classes_omitted: Classes of the model that the data lacks.
        classes_missing: Classes of the data that the model does not know.
        outputs: Scores by output (fused, heads, flip average) and protocol.
        raters: Comparison with the raters; None where nobody voted.
        robustness: None if it is not measured.
        deletion: None if it is not measured.
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
    """Two models on the same images; differences are the second minus the first.

    Attributes:
        first: Name of the first model.
        second: Name of the second.
        difference: Difference of the accuracies.
        low: Lower bound of its 95 % interval.
        high: Upper bound.
        only_first: Number of images that only the first gets right.
        only_second: Number of images that only the second gets right.
        p: p of McNemar's exact test.
        p_holm: The same, corrected for the number of pairs (Holm).
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    only_first: int
    only_second: int
    p: float
    p_holm: float


@dataclass(frozen=True, slots=True)
class Published:
    """Figures from the literature on this data set's test split.

    Attributes:
        source: Where the figures are from.
        rows: Accuracy in percent by model.
        half_width: Half the width of the 95 % interval that follows from the split's size, in points.
        recall: Recall of each class by model, in the data's order.
    """

    source: str
    rows: dict[str, float]
    half_width: float | None
    recall: dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Results:
    """All results of a report.

    Attributes:
        data: The evaluated split.
        models: Results by the model's name.
        pairs: Comparisons of every two models.
        published: Published figures; None if there are none.
        main: The protocol of tables and figures.
    """

    data: DataSummary
    models: dict[str, ModelResults]
    pairs: list[Pair]
    published: Published | None
    main: str


def to_json(value: Any) -> Any:
    """Convert to JSON's own types; NaN and infinity become null."""
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
