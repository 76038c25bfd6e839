"""A model's logits on a split, stored in Parquet so that a report can be drawn again without the model."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from mftn.data.dataset import FaceDataset
from mftn.data.manifest import MANIFEST
from mftn.errors import DataError, ModelError, OutputError
from mftn.evaluate.inference import predict_logits, preprocess_for
from mftn.files import atomic_write, sha256_of
from mftn.models import Logits, Network

FUSED, FLIPPED = "fused", "fused, flip averaged"


@dataclass(frozen=True, slots=True)
class NetworkSummary:
    """What a report says about a network.

    Attributes:
        architecture: Name of the architecture.
        parameters: Number of parameters.
        size: Height and width of its input in pixels.
    """

    architecture: str
    parameters: int
    size: list[int]


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a model predicts for every image of a split.

    Attributes:
        name: The model's name in tables and figures.
        labels: The model's classes, in the order of the columns.
        temperature: Temperature by which the logits are divided for calibrated probabilities.
        network: The network that made them.
        logits: Logits (n, K) by output: the sum of the heads; the mean of its calibrated probabilities over the image
            and its horizontal flip; and each head.
    """

    name: str
    labels: tuple[str, ...]
    temperature: float
    network: NetworkSummary
    logits: dict[str, NDArray[np.float32]]

    def scores(self, classes: Sequence[str], output: str = FUSED) -> NDArray[np.float64]:
        """Calibrated logits (n, K) over the classes of the data.

        A class that only the model has is omitted, which renormalises the others; a class that only the data has gets
        −∞, so its images count as wrong.
        """
        return over_classes(self.logits[output], self.labels, classes) / self.temperature

    def probabilities(self, classes: Sequence[str], output: str = FUSED) -> NDArray[np.float64]:
        """Softmax of `scores`, (n, K)."""
        probabilities: NDArray[np.float64] = softmax(self.scores(classes, output), axis=1)
        return probabilities


def over_classes(
    logits: NDArray[np.floating[Any]], labels: Sequence[str], classes: Sequence[str]
) -> NDArray[np.float64]:
    """Logits (n, K) of a model's labels as logits of the data's classes; −∞ for a class the model does not know."""
    missing = np.full(len(logits), -np.inf)
    columns = [logits[:, labels.index(name)].astype(np.float64) if name in labels else missing for name in classes]
    return np.stack(columns, axis=1)


def predict_split(
    name: str,
    model: Network,
    dataset: FaceDataset,
    cache: Path,
    key: Mapping[str, str],
    on_batch: Callable[[int], None] | None = None,
) -> Predictions:
    """The model's predictions, from the cache if it has those of the same weights and data.

    Args:
        name: The model's name.
        model: A model from `load_model`, with its description.
        dataset: The split.
        cache: The Parquet file.
        key: Identifies weights and data; see `cache_key`.
        on_batch: Called with the number of images done since its last call; two passes are made.

    Raises:
        DataError: A crop is missing or unreadable.
        ModelError: Logits are NaN or infinite.
        OutputError: The cache is a file that holds no predictions.
    """
    kept = _read(name, cache)
    if kept is None and cache.exists():
        raise OutputError(f"{cache}: would be replaced, but holds no predictions of `mftn evaluate`; move it elsewhere")
    if kept is not None and kept[1] == key:
        return kept[0]
    spec = model.described()
    preprocess = preprocess_for(spec, dataset)
    plain = predict_logits(model, dataset, preprocess, on_batch=on_batch)
    flipped = predict_logits(model, dataset, preprocess, flip=True, on_batch=on_batch)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    network = NetworkSummary(spec.architecture, parameters, list(spec.size))
    made = Predictions(name, spec.labels, spec.temperature, network, _outputs(plain, flipped, spec.temperature))
    if any(len(logits) != len(dataset) for logits in made.logits.values()):
        raise DataError(f"{dataset.folder}: {len(dataset)} images, but a different number of predictions")
    if lost := int((~np.isfinite(made.logits[FUSED])).any(axis=1).sum()):
        raise ModelError(f"{name}: gives no finite logits for {lost:,} of {len(dataset):,} images; train it again")
    _write(cache, key, dataset, made)
    return made


def read_predictions(name: str, path: Path, key: Mapping[str, str]) -> Predictions:
    """Read the predictions that a report stored, without the model.

    Raises:
        DataError: The file holds no predictions, or those of other data.
    """
    kept = _read(name, path)
    if kept is None:
        raise DataError(f"{path}: holds no predictions of `mftn evaluate`")
    if others := [part for part in key if part != "weights" and kept[1].get(part) != key[part]]:
        raise DataError(f"{path}: predictions of another {' and '.join(others)}")
    return kept[0]


def cache_key(weights: Path, dataset: FaceDataset, split: str, protocol: str) -> dict[str, str]:
    """Identifies the checkpoint, the manifest, the split, the protocol, and what is averaged over flips."""
    kept = {"split": split, "protocol": protocol, "average": "probabilities"}  # earlier reports averaged logits
    return {"weights": sha256_of(weights), "manifest": sha256_of(dataset.folder / MANIFEST), **kept}


def _outputs(plain: Logits, flipped: Logits, temperature: float) -> dict[str, NDArray[np.float32]]:
    # As `mftn predict` does it: the mean of the probabilities, for which the temperature was fitted, not of the logits.
    views = [(logits.fused / temperature).log_softmax(dim=1) for logits in (plain, flipped)]
    outputs = {FUSED: plain.fused, FLIPPED: temperature * (torch.logaddexp(*views) - math.log(2))}
    if plain.mstn is not None:
        outputs |= {"backbone head": plain.backbone, "MsTN head": plain.mstn}
    return {name: logits.numpy() for name, logits in outputs.items()}


def _write(path: Path, key: Mapping[str, str], dataset: FaceDataset, made: Predictions) -> None:
    columns: dict[str, Any] = {"path": dataset.paths, "label": [dataset.classes[int(i)] for i in dataset.labels]}
    for name, logits in made.logits.items():
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel()), logits.shape[1])
    about = {"labels": made.labels, "temperature": made.temperature, "about": asdict(made.network)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        table = pa.table(columns).replace_schema_metadata({"mftn": json.dumps({"key": key, **about})})
        pq.write_table(table, partial)


def _read(name: str, path: Path) -> tuple[Predictions, dict[str, str]] | None:
    """Predictions and their cache key; None if the file holds none."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid):
        return None
    metadata = json.loads((table.schema.metadata or {}).get(b"mftn", b"{}"))
    if "key" not in metadata:
        return None
    labels = tuple(metadata["labels"])
    logits = {
        column: table[column].combine_chunks().flatten().to_numpy().reshape(-1, len(labels)).astype(np.float32)
        for column in table.column_names
        if column not in ("path", "label")
    }
    network = NetworkSummary(**metadata["about"])
    return Predictions(name, labels, metadata["temperature"], network, logits), metadata["key"]
