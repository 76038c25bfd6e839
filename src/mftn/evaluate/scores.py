"""Scores of a network's output on labelled images: the few numbers that are quoted, defined in one place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mftn.evaluate import metrics


@dataclass(frozen=True, slots=True)
class Scores:
    """Accuracy and related scores.

    Attributes:
        images: Number of labelled images.
        missed: Number of images without an output, because no face was found; they count as wrong.
        accuracy: Share of images whose most probable class is their label, 0 to 1.
        interval: Its 95 % interval (Wilson).
        macro_recall: Mean recall over the classes that have images.
        calibration_error: Expected calibration error of the images with an output, 0 to 1; NaN without any.
        recall: Recall of each class, 0 to 1; NaN for a class without images.
        confusion: K×K counts of the images with an output: rows are labels, columns predictions.
    """

    images: int
    missed: int
    accuracy: float
    interval: tuple[float, float]
    macro_recall: float
    calibration_error: float
    recall: tuple[float, ...]
    confusion: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, probabilities: NDArray[np.floating[Any]], labels: NDArray[Any]) -> Scores:
        """Compute the scores.

        Args:
            probabilities: (n, K); a row of zeros is an image without an output.
            labels: (n,) class indices.

        Raises:
            ValueError: The lengths differ, or an index is outside 0 to K−1.
        """
        classes, found = probabilities.shape[1], probabilities.any(axis=1)
        if len(labels) != len(probabilities):
            raise ValueError(f"{len(labels)} labels but {len(probabilities)} rows of probabilities")
        confusion = metrics.confusion_counts(labels[found], probabilities[found].argmax(axis=1), classes)
        support = np.bincount(labels, minlength=classes)  # (K,)
        right = np.diag(confusion)
        recall = np.where(support > 0, right / np.maximum(support, 1), np.nan)
        return cls(
            images=len(labels),
            missed=int((~found).sum()),
            accuracy=float(right.sum() / len(labels)) if len(labels) else float("nan"),
            interval=metrics.wilson_interval(int(right.sum()), len(labels)),
            macro_recall=float(np.nanmean(recall)) if len(labels) else float("nan"),
            calibration_error=(
                metrics.expected_calibration_error(probabilities[found], labels[found]) if found.any() else float("nan")
            ),
            recall=tuple(recall.tolist()),
            confusion=tuple(tuple(row) for row in confusion.tolist()),
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Scores:
        """Scores from metrics.json, where null means NaN."""

        def known(value: Any) -> Any:
            if isinstance(value, list):
                return tuple(map(known, value))
            return float("nan") if value is None else value

        return cls(**{name: known(value) for name, value in values.items()})

    def __str__(self) -> str:
        if not self.images:
            return "0 images"
        low, high = self.interval
        missed = f", {self.missed:,} without a face" if self.missed else ""
        error = "" if math.isnan(self.calibration_error) else f", calibration error {self.calibration_error:.3f}"
        return (
            f"{self.images:,} images{missed}: accuracy {self.accuracy:.2%} (95 % interval {low:.1%} to {high:.1%}), "
            f"macro recall {self.macro_recall:.1%}{error}"
        )
