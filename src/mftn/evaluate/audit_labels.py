"""What a network finds in a data set: doubtful labels, and how much copies in train raise its accuracy."""

from dataclasses import replace
from pathlib import Path

from scipy.special import softmax

from mftn.data.audit import Audit, doubtful_labels
from mftn.data.dataset import FaceDataset
from mftn.data.records import Split
from mftn.evaluate.inference import predict_logits, preprocess_for
from mftn.evaluate.predictions import over_classes
from mftn.models import Network


def add_model_findings(found: Audit, folder: Path, split: Split, model: Network) -> Audit:
    """Complete the findings with a network's predictions on one split.

    Args:
        found: An audit of the folder.
        folder: The data set.
        split: A split that the network was not trained on.
        model: The network, with its description.

    Raises:
        DataError: A crop cannot be read.
        MissingExtraError: cleanlab is not installed.
    """
    spec = model.described()
    dataset = FaceDataset(folder, split, spec.channels)
    logits = predict_logits(model, dataset, preprocess_for(spec, dataset)).fused.numpy()
    scores = over_classes(logits, spec.labels, dataset.classes)
    probabilities = softmax(scores / spec.temperature, axis=1)
    row_of = {path: row for row, path in enumerate(found.paths)}
    doubtful = [row_of[dataset.paths[i]] for i in doubtful_labels(dataset.labels.numpy(), probabilities)]
    leaked = set(found.leaked(found.exact + found.near))
    right = (scores.argmax(axis=1) == dataset.labels.numpy()).tolist()
    by_copy: dict[str, list[bool]] = {"with a copy in train": [], "without a copy in train": []}
    for path, correct in zip(dataset.paths, right, strict=True):
        by_copy["with a copy in train" if row_of[path] in leaked else "without a copy in train"].append(correct)
    accuracy = {name: sum(values) / len(values) for name, values in by_copy.items() if values}
    return replace(found, doubtful=doubtful, accuracy=accuracy)
