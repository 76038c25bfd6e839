"""Classification metrics from a count matrix or from probabilities; numpy only."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


def confusion_counts(labels: NDArray[Any], predictions: NDArray[Any], num_classes: int) -> Counts:
    """Count matrix (K, K): rows are true classes, columns predicted ones.

    Raises:
        ValueError: The lengths differ, or an index is outside 0 to K−1.
    """
    if len(labels) != len(predictions):
        raise ValueError(f"{len(labels)} labels but {len(predictions)} predictions")
    indices = np.concatenate([labels, predictions]).astype(np.int64)
    if len(indices) and not 0 <= indices.min() <= indices.max() < num_classes:
        raise ValueError(f"class indices must be 0 to {num_classes - 1}, got {indices.min()} to {indices.max()}")
    pairs = labels.astype(np.int64) * num_classes + predictions.astype(np.int64)
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def accuracy(counts: Counts) -> float:
    """Share of the diagonal; NaN without samples."""
    return float(np.trace(counts) / counts.sum()) if counts.sum() else float("nan")


def recall_per_class(counts: Counts) -> NDArray[np.float64]:
    """(K,) recall; NaN for a class without samples."""
    support = counts.sum(axis=1)
    return np.where(support > 0, np.diag(counts) / np.maximum(support, 1), np.nan)


def macro_recall(counts: Counts) -> float:
    """Mean recall over the classes that have samples."""
    return float(np.nanmean(recall_per_class(counts)))


def wilson_interval(correct: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    if not total:
        return 0.0, 1.0
    share, spread = correct / total, z * z / total
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * float(np.sqrt(share * (1 - share) / total + spread / (4 * total)))
    return centre - half, centre + half


def expected_calibration_error(probabilities: NDArray[np.floating[Any]], labels: NDArray[Any], bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equal-width bins, weighted by their counts (Guo et al., 2017).

    Args:
        probabilities: (n, K).
        labels: (n,) class indices.
        bins: Number of bins of the confidence.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_of, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))
