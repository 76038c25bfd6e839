"""From predictions and networks to typed results."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from importlib.resources import files
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mftn.evaluate import explain, metrics, robustness
from mftn.evaluate.predictions import FLIPPED, FUSED, Predictions, over_classes
from mftn.evaluate.results import Deletion, DetailedScores, ModelResults, Pair, Published, Raters, Results, Robustness
from mftn.evaluate.scores import Scores
from mftn.evaluate.split import EvaluatedSplit
from mftn.models import Network

AGREEMENT_EDGES = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
DELETED_FRACTIONS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9, 1.0)
"""Fractions of the locations removed in the deletion curves."""
BATCH = 50
"""Images at a time."""

Progress = Callable[[str, int, int], None]
"""Called with the name of the task, the images or steps done since the last call, and their total."""


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured besides the metrics of the whole split.

    Attributes:
        robustness_images: Number of images that are corrupted, drawn with the seed; 0 omits robustness.
        deletion_images: Number of images for the deletion curves; 0 omits them and the maps.
        embedding_images: Number of images for the embedding plots; 0 omits them.
        seed: Seed of the draws and the corruptions.
    """

    robustness_images: int = 500
    deletion_images: int = 200
    embedding_images: int = 1000
    seed: int = 0


def measure(
    split: EvaluatedSplit,
    predictions: Sequence[Predictions],
    networks: Mapping[str, Network],
    options: Options,
    on_progress: Progress,
) -> Results:
    """Measure all models.

    Args:
        split: The images.
        predictions: The predictions of each model.
        networks: Networks by the models' names, except for models of which only predictions are kept.
        options: How much is measured.
        on_progress: Called with the progress.
    """
    models = {
        found.name: measure_model(split, found, networks.get(found.name), options, on_progress) for found in predictions
    }
    pairs = compare(split, predictions, options.seed)
    return Results(split.summary(), models, pairs, published(split), split.main)


def measure_model(
    split: EvaluatedSplit, found: Predictions, network: Network | None, options: Options, on_progress: Progress
) -> ModelResults:
    """Measure one model; without its network, from its predictions alone."""
    outputs: dict[str, dict[str, DetailedScores]] = {}
    for output in found.logits:
        calibrated = output in (FUSED, FLIPPED)  # the temperature was fitted to the sum
        probabilities = found.probabilities(split.classes, output)
        outputs[output] = {
            protocol: score(probabilities[labels >= 0], labels[labels >= 0], options.seed, calibrated)
            for protocol, labels in split.dataset.protocols().items()
        }
    robust = deletion = None
    if network is not None and options.robustness_images:
        robust = measure_robustness(split, found.name, network, options, on_progress)
    if network is not None and options.deletion_images:
        deletion = measure_deletion(split, found.name, network, options, on_progress)
    return ModelResults(
        **asdict(found.network),
        temperature=found.temperature,
        classes_omitted=[name for name in found.labels if name not in split.classes],
        classes_missing=[name for name in split.classes if name not in found.labels],
        outputs=outputs,
        raters=compare_with_raters(split, found),
        robustness=robust,
        deletion=deletion,
    )


def score(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], seed: int = 0, calibrated: bool = True
) -> DetailedScores:
    """All metrics of probabilities (n, K) against class indices (n,)."""
    scores = Scores.of(probabilities, labels)
    if not calibrated:
        scores = replace(scores, calibration_error=float("nan"))
    counts = np.array(scores.confusion)
    return DetailedScores(
        **{field.name: getattr(scores, field.name) for field in fields(scores)},
        bootstrap=metrics.bootstrap_interval(counts, metrics.accuracy, seed=seed),
        macro_recall_interval=metrics.bootstrap_interval(counts, metrics.macro_recall, seed=seed),
        macro_f1=metrics.macro_f1(counts),
        kappa=metrics.cohen_kappa(counts),
        top2=metrics.top_k_accuracy(probabilities, labels, 2),
        precision=metrics.precision_per_class(counts),
        f1=metrics.f1_per_class(counts),
    )


def compare_with_raters(split: EvaluatedSplit, found: Predictions) -> Raters | None:
    """Agreement and divergence; None where nobody voted."""
    votes = split.dataset.votes
    if votes is None:
        return None
    probabilities = found.probabilities(split.classes)
    return Raters(
        metrics.agreement_curve(votes, split.labels, probabilities.argmax(axis=1), AGREEMENT_EDGES),
        metrics.mean_divergence(split.dataset.targets.double().numpy(), probabilities),
        float(np.median(votes[:, : len(split.classes)].sum(axis=1))),
    )


def is_right(split: EvaluatedSplit, found: Predictions) -> NDArray[np.bool_]:
    """(n,) whether the model's most probable class is the label."""
    right: NDArray[np.bool_] = found.scores(split.classes).argmax(axis=1) == split.labels
    return right


def compare(split: EvaluatedSplit, predictions: Sequence[Predictions], seed: int) -> list[Pair]:
    """Compare every two models on the same images."""
    right = {found.name: is_right(split, found) for found in predictions}
    tests = {
        (first, second): metrics.paired_difference(right[first], right[second], seed=seed)
        | metrics.mcnemar(right[first], right[second])
        for first, second in combinations(right, 2)
    }
    corrected = metrics.holm([test["p"] for test in tests.values()])
    return [
        Pair(*pair, **test, p_holm=p)  # type: ignore[arg-type]  # counts are whole numbers
        for (pair, test), p in zip(tests.items(), corrected, strict=True)
    ]


def measure_robustness(
    split: EvaluatedSplit, name: str, network: Network, options: Options, on_progress: Progress
) -> Robustness:
    """Accuracy on corrupted images."""
    indices = split.sample(options.robustness_images, options.seed)
    labels, curves = split.labels[indices], dict[str, list[tuple[float, float]]]()
    on_step = partial(on_progress, f"robustness of {name}", 1, robustness.steps())
    steps = robustness.measure(network, split.dataset_of(network), indices, options.seed, on_step)
    for corruption, strength, logits in steps:
        predicted = over_classes(logits, network.described().labels, split.classes).argmax(axis=1)
        right = float((predicted == labels).mean())
        curves.setdefault(corruption, []).append((strength, right))
    ((_, clean),) = curves.pop(robustness.CLEAN.name)
    return Robustness(
        images=len(indices),
        clean=clean,
        mean=float(np.mean([right for points in curves.values() for _, right in points])),
        by_corruption={kind: float(np.mean([right for _, right in points])) for kind, points in curves.items()},
        curves=curves,
    )


def measure_deletion(
    split: EvaluatedSplit, name: str, network: Network, options: Options, on_progress: Progress
) -> Deletion:
    """Mean deletion curves."""
    indices, parts = split.sample(options.deletion_images, options.seed), []
    for start in range(0, len(indices), BATCH):
        x = split.input_of(network, indices[start : start + BATCH])
        found = explain.explain(network, x)
        parts.append(explain.deletion_curves(network, x, found, DELETED_FRACTIONS, network.described().temperature))
        on_progress(f"deletion curves of {name}", len(x), len(indices))
    curves = {order: np.concatenate([part[order] for part in parts]).mean(axis=0) for order in parts[0]}
    area = {order: float(np.trapezoid(values, DELETED_FRACTIONS)) for order, values in curves.items()}
    return Deletion(len(indices), DELETED_FRACTIONS, curves, area)


def published(split: EvaluatedSplit) -> Published | None:
    """Figures from the literature for the same classes; None if there are none."""
    known = json.loads((files("mftn.evaluate") / "published.json").read_text(encoding="utf-8"))
    key = f"{split.about.get('name', '')}-{len(split.classes)}"
    if key not in known["accuracy"]:
        return None
    recall = {
        row: [values[known["diagonal_order"].index(label)] for label in split.classes]
        for row, values in known["diagonal"].get(key, {}).items()
    }
    accuracy = known["accuracy"][key]
    return Published(known["source"], accuracy["rows"], accuracy.get("half_width"), recall)
