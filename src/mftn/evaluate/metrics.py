"""Classification metrics from a confusion matrix or from probabilities, their intervals, and paired tests."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


def confusion_counts(labels: NDArray[Any], predictions: NDArray[Any], num_classes: int) -> Counts:
    """Confusion matrix (K, K) of counts: rows are true classes, columns predicted ones.

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
    """Mean recall over the classes that have samples; NaN without samples."""
    return _mean_of_known(recall_per_class(counts))


def precision_per_class(counts: Counts) -> NDArray[np.float64]:
    """(K,) precision; 0 for a class that is never predicted, NaN for one without samples."""
    predicted = counts.sum(axis=0)
    precision = np.diag(counts) / np.maximum(predicted, 1)
    return np.where(counts.sum(axis=1) > 0, precision, np.nan)


def f1_per_class(counts: Counts) -> NDArray[np.float64]:
    """(K,) harmonic mean of precision and recall; NaN for a class without samples."""
    total = counts.sum(axis=0) + counts.sum(axis=1)
    return np.where(counts.sum(axis=1) > 0, 2 * np.diag(counts) / np.maximum(total, 1), np.nan)


def macro_f1(counts: Counts) -> float:
    """Mean F1 over the classes that have samples; NaN without samples."""
    return _mean_of_known(f1_per_class(counts))


def _mean_of_known(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def cohen_kappa(counts: Counts) -> float:
    """Agreement beyond chance (Cohen, 1960); NaN where chance agreement is 1, and without samples."""
    if not counts.sum():
        return float("nan")
    shares = counts / counts.sum()
    expected = float(shares.sum(axis=0) @ shares.sum(axis=1))
    return (float(np.trace(shares)) - expected) / (1 - expected) if expected < 1 else float("nan")


def top_k_accuracy(scores: NDArray[np.floating[Any]], labels: NDArray[Any], k: int = 2) -> float:
    """Share of samples whose class is among the k highest of (n, K) scores; NaN without samples."""
    if not len(labels):
        return float("nan")
    highest = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((highest == labels[:, None]).any(axis=1).mean())


def bootstrap_interval(
    counts: Counts, metric: Callable[[Counts], float], samples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of a metric under resampling of the images; NaN without samples.

    Resampling n images with replacement is the same as drawing the confusion matrix from a multinomial distribution.
    """
    if not counts.sum():
        return float("nan"), float("nan")
    draws = np.random.default_rng(seed).multinomial(
        counts.sum(), counts.ravel() / counts.sum(), size=samples
    )  # (samples, K²)
    values = [metric(draw.reshape(counts.shape)) for draw in draws]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> dict[str, float]:
    """McNemar's exact test of two models on the same images.

    Args:
        first: (n,) whether the first model is right.
        second: The same for the second model.

    Returns:
        "only_first" and "only_second", the images that only one model gets right, and the two-sided "p".
    """
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    differing = only_first + only_second
    p = binomtest(only_first, differing).pvalue if differing else 1.0
    return {"only_first": only_first, "only_second": only_second, "p": float(p)}


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number (Holm, 1979), in their order."""
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method="holm")[1]] if p_values else []


def paired_difference(
    first: NDArray[np.bool_], second: NDArray[np.bool_], samples: int = 10000, seed: int = 0
) -> dict[str, float]:
    """Difference of two accuracies on the same images, second − first, with its 95 % bootstrap interval.

    Args:
        first: (n,) whether the first model is right; n is at least 1.
        second: The same for the second model.
        samples: Number of resamples.
        seed: Seed of the resamples.

    Returns:
        "difference", "low" and "high", −1 to 1.
    """
    cells = np.bincount(2 * first + second, minlength=4)  # neither, only second, only first, both
    draws = np.random.default_rng(seed).multinomial(len(first), cells / len(first), size=samples)
    low, high = np.percentile((draws[:, 1] - draws[:, 2]) / len(first), [2.5, 97.5])
    return {"difference": float(second.mean() - first.mean()), "low": float(low), "high": float(high)}


def wilson_interval(correct: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, 0 to 1; from 0 to 1 without samples."""
    if not total:
        return 0.0, 1.0
    share, spread = correct / total, z * z / total
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * float(np.sqrt(share * (1 - share) / total + spread / (4 * total)))
    # Rounding would put the ends of none and of all right beside 0 and 1.
    return (centre - half if correct else 0.0), (centre + half if correct < total else 1.0)


def reliability(
    probabilities: NDArray[np.floating[Any]], labels: NDArray[Any], bins: int = 15
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """What a reliability diagram shows, by equal-width bins of the confidence.

    Args:
        probabilities: (n, K).
        labels: (n,) class indices.
        bins: Number of bins.

    Returns:
        Count, mean confidence and accuracy of each bin, (bins,) each; the last two are NaN where it is empty.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    counts = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(bin_of, weights=confidence, minlength=bins) / counts
        right = np.bincount(bin_of, weights=correct, minlength=bins) / counts
    return counts, mean, right


def expected_calibration_error(probabilities: NDArray[np.floating[Any]], labels: NDArray[Any], bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over the bins, weighted by their counts (Guo et al., 2017).

    NaN without samples.
    """
    if not len(labels):
        return float("nan")
    counts, confidence, right = reliability(probabilities, labels, bins)
    return float(np.nansum(counts * np.abs(right - confidence)) / len(labels))


def agreement_curve(
    votes: NDArray[np.int64], labels: NDArray[Any], predictions: NDArray[Any], edges: tuple[float, ...]
) -> list[dict[str, float]]:
    """Accuracy by how many of the raters agree on the most voted expression.

    Args:
        votes: (n, ≥K) counts.
        labels: (n,) class indices.
        predictions: (n,) class indices.
        edges: Bounds of the bins of agreement, ascending from 0 to 1; the last bin includes its upper bound.
    """
    agreement = votes.max(axis=1) / votes.sum(axis=1)
    rows = []
    for low, high in pairwise(edges):
        inside = (agreement >= low) & ((agreement < high) | (high == edges[-1]))
        right, total = int((predictions[inside] == labels[inside]).sum()), int(inside.sum())
        bounds = wilson_interval(right, total)
        rows.append(
            {"from": low, "to": high, "images": total, "accuracy": right / total if total else float("nan")}
            | {"low": bounds[0], "high": bounds[1]}
        )
    return rows


def mean_divergence(targets: NDArray[np.floating[Any]], probabilities: NDArray[np.floating[Any]]) -> float:
    """Mean Kullback–Leibler divergence from the predicted to the raters' distributions, (n, K) each, in nats.

    Infinite if raters saw a class whose probability is 0, such as one that the model does not know.
    """
    from scipy.special import rel_entr

    return float(rel_entr(targets, probabilities).sum(axis=1).mean())
