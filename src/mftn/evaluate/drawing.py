"""The figures of a report, from its results, predictions and networks."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mftn.evaluate import explain, figures, metrics, robustness
from mftn.evaluate.inference import preprocess_for
from mftn.evaluate.measure import DELETED_FRACTIONS, Options, Progress, is_right
from mftn.evaluate.predictions import FUSED, Predictions
from mftn.evaluate.results import Results
from mftn.evaluate.split import EvaluatedSplit
from mftn.figures import save_figure
from mftn.files import UniqueNames
from mftn.models import Network
from mftn.pages import data_uri

BATCH = 100


def draw(
    results: Results,
    split: EvaluatedSplit,
    predictions: Sequence[Predictions],
    networks: Mapping[str, Network],
    options: Options,
    on_progress: Progress,
) -> dict[str, Figure]:
    """All figures by name, as far as they were measured."""
    models = results.models
    matrices = {name: np.array(model.outputs[FUSED][results.main].confusion) for name, model in models.items()}
    curves = {
        found.name: metrics.reliability(found.probabilities(split.classes), split.labels) for found in predictions
    }
    drawn = {
        "confusion": figures.confusion_panel(matrices, split.classes),
        "reliability": figures.reliability_diagram(curves),
    }
    if agreement := {name: model.raters.agreement for name, model in models.items() if model.raters}:
        drawn["agreement"] = figures.agreement_plot(agreement)
    if robust := {name: model.robustness for name, model in models.items() if model.robustness}:
        lines = {
            name: {kind: [(0.0, found.clean), *points] for kind, points in found.curves.items()}
            for name, found in robust.items()
        }
        units = {corruption.name: corruption.unit for corruption in robustness.CORRUPTIONS}
        drawn["robustness"] = figures.robustness_curves(lines, units)
    if deletion := {name: model.deletion.curves for name, model in models.items() if model.deletion}:
        drawn["deletion"] = figures.deletion_plot(DELETED_FRACTIONS, deletion)
        if chosen := typical(split, predictions):
            drawn["explanations"] = draw_maps(split, networks, chosen)
    indices = split.sample(options.embedding_images, options.seed)
    if len(indices) >= 10:  # t-SNE needs that many
        names = file_names([found.name for found in predictions])
        for name, network in networks.items():
            drawn[f"embeddings_{names[name]}"] = draw_embeddings(
                split, name, network, indices, options.seed, on_progress
            )
    return drawn


def typical(split: EvaluatedSplit, predictions: Sequence[Predictions]) -> dict[str, int]:
    """One image per class: the one with the first model's median confidence among those that all models get right."""
    confidence = predictions[0].probabilities(split.classes).max(axis=1)
    right = np.all([is_right(split, found) for found in predictions], axis=0)
    chosen = {}
    for name in figures.PUBLISHED_ORDER:
        if name in split.classes:
            candidates = np.flatnonzero(right & (split.labels == split.classes.index(name)))
            if len(candidates):
                ordered = candidates[np.argsort(confidence[candidates], kind="stable")]
                chosen[name] = int(ordered[len(ordered) // 2])
    return chosen


def draw_maps(split: EvaluatedSplit, networks: Mapping[str, Network], chosen: Mapping[str, int]) -> Figure:
    """The published grid: faces, then the maps of every network, for one image per class."""
    indices = list(chosen.values())
    rows: dict[str, Sequence[NDArray[Any]]] = {}
    for model, network in networks.items():
        found = explain.explain(network, split.input_of(network, indices))
        before = f"{model}, " if len(networks) > 1 else ""
        for kind, maps in (("", found.maps), (" attention", found.attention)):
            for name, values in maps.items():
                if name == "fused" and len(maps) == 2:
                    continue  # a baseline has one head, which is its fused output
                rows[f"{before}{name}{kind}"] = list(values.numpy())
    return figures.explanation_grid(_faces(split, next(iter(networks.values())), indices), list(chosen), rows)


def _faces(split: EvaluatedSplit, network: Network, indices: list[int]) -> list[NDArray[np.uint8]]:
    """The part of the crops that the network sees."""
    view = preprocess_for(network.described(), split.dataset).view
    crops = split.dataset.read(indices)
    side = crops.shape[-1]
    margin = max(round((1 - view) / 2 * side), 0)
    inner = crops[..., margin : side - margin, margin : side - margin]
    return [face.permute(1, 2, 0).squeeze(2).numpy() for face in inner]


def draw_embeddings(
    split: EvaluatedSplit, name: str, network: Network, indices: list[int], seed: int, on_progress: Progress
) -> Figure:
    """PCA and t-SNE of the embeddings of heads and stages."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    parts = []
    for start in range(0, len(indices), BATCH):
        x = split.input_of(network, indices[start : start + BATCH])
        with torch.no_grad():
            parts.append(network.embeddings(x))
        on_progress(f"embeddings of {name}", len(x), len(indices))
    features = {part: torch.cat([batch[part] for batch in parts]).numpy() for part in parts[0]}
    near = min(30.0, (len(indices) - 1) / 3)
    methods = {
        "PCA": PCA(2, random_state=seed),
        "t-SNE": TSNE(2, perplexity=near, init="pca", random_state=seed),
    }
    points = {
        method: {part: maker.fit_transform(values) for part, values in features.items()}
        for method, maker in methods.items()
    }
    return figures.embedding_plot(points, split.labels[indices], split.classes)


def save(drawn: Mapping[str, Figure], folder: Path) -> dict[str, str]:
    """Write every figure as PNG and PDF, and return the PNGs as data URIs for the page, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    images = {}
    for name, figure in drawn.items():
        paths = [folder / f"{name}.{kind}" for kind in ("png", "pdf")]
        save_figure(figure, *paths)
        images[name] = data_uri(paths[0].read_bytes())
    return images


def file_names(models: Iterable[str]) -> dict[str, str]:
    """A part of a file name for each model's name, unique on any file system."""
    unique = UniqueNames(separator="_")
    return {name: unique.name(re.sub(r"[^\w.-]+", "_", name)) for name in models}
