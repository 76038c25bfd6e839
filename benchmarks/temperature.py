"""Can a temperature fitted without the photographs' labels calibrate a model's probabilities on them?

    python benchmarks/temperature.py PREPARED_FERPLUS PHOTOS UNLABELLED [--model NAME] [--second NAME]

Fits an additional temperature in three ways, and prints the expected calibration error (15 bins) of each on FERPlus
validation and on the photographs (a folder with labels.csv):

- rare classes count as much as frequent ones: on validation, with the same weight for every class;
- corrupted images: on validation images with the nine corruptions of `mftn evaluate`, at all strengths;
- agreement: so that the mean confidence on unlabelled faces equals the share of them on which a second, independent
  model agrees (Jiang et al., Assessing generalization of SGD via disagreement, 2022).
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from photographs import read_photographs
from scipy.optimize import brentq, minimize_scalar

import mftn
from mftn.data.dataset import FaceDataset
from mftn.engines import find_model, tempered
from mftn.evaluate import robustness
from mftn.evaluate.inference import preprocess_for
from mftn.evaluate.scores import Scores
from mftn.export.recover import load_network
from mftn.faces.boxes import choose_face
from mftn.images import read_image
from mftn.labels import EXPRESSIONS
from mftn.types import Face

Probabilities = NDArray[np.floating[Any]]
CORRUPTED_IMAGES, UNLABELLED_IMAGES = 300, 1500


def fitted(probabilities: Probabilities, labels: NDArray[Any], weights: NDArray[Any]) -> float:
    """The temperature with the lowest weighted cross-entropy."""

    def loss(log_temperature: float) -> float:
        rows = tempered(probabilities, np.exp(log_temperature))
        return float(-(weights * np.log(rows[np.arange(len(labels)), labels] + 1e-12)).sum())

    return float(np.exp(minimize_scalar(loss, bounds=(-2, 2), method="bounded").x))


def recognised(model: str | None, paths: Iterable[Path]) -> Probabilities:
    """Probabilities (n, 8) of the most central face, zeros where none is found."""
    rows = []
    for prediction in mftn.load(model, calibration="training").stream(paths):
        face = choose_face(list(prediction.faces), read_image(prediction.source)) if prediction.faces else None
        assert face is None or isinstance(face, Face)
        rows.append([face.probabilities.get(name, 0.0) if face else 0.0 for name in EXPRESSIONS])
    return np.array(rows)


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ferplus", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("unlabelled", type=Path)
    parser.add_argument("--model", default="mftn_mobile_ferplus")
    parser.add_argument("--second", default="mftn_facenet_ferplus")
    options = parser.parse_args()
    network = load_network(find_model(options.model))
    faces = FaceDataset(options.ferplus, "valid")
    labels, temperature = faces.labels.numpy(), network.described().temperature

    def softmax(logits: NDArray[np.float32]) -> Probabilities:
        return torch.from_numpy(logits / temperature).softmax(dim=1).numpy()

    preprocess = preprocess_for(network.described(), faces)
    with torch.no_grad():
        clean = softmax(np.concatenate([network(preprocess(part)).fused.numpy() for part in faces.batches(64)]))
    chosen = np.random.default_rng(0).permutation(len(faces))[:CORRUPTED_IMAGES].tolist()
    corrupted = [softmax(logits) for _, _, logits in robustness.measure(network, faces, chosen)]
    paths, expressions = read_photographs(options.photos)
    photos = recognised(options.model, paths)
    truth = np.array([EXPRESSIONS.index(expression) for expression in expressions])
    loose = sorted(path for path in options.unlabelled.iterdir() if path.is_file())
    drawn = [loose[k] for k in np.random.default_rng(0).permutation(len(loose))[:UNLABELLED_IMAGES]]
    ours, theirs = recognised(options.model, drawn), recognised(options.second, drawn)
    both = ours.any(axis=1) & theirs.any(axis=1)
    ours, theirs = ours[both], theirs[both]
    agreement = float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean())
    confidence = float(ours.max(axis=1).mean())
    print(f"{len(ours):,} unlabelled faces: both models agree on {agreement:.1%}, mean confidence {confidence:.1%}")
    balanced = 1 / np.bincount(labels, minlength=len(EXPRESSIONS))[labels]
    ones = np.ones(len(corrupted) * len(chosen))
    temperatures = {
        "as it ships": 1.0,
        "rare classes count as much": fitted(clean, labels, balanced),
        "corrupted images": fitted(np.concatenate(corrupted), np.tile(labels[chosen], len(corrupted)), ones),
        "agreement": brentq(lambda t: float(tempered(ours, t).max(axis=1).mean()) - agreement, 0.05, 20),
        "fitted on the photographs themselves (not allowed)": fitted(photos, truth, np.asarray(photos.any(axis=1))),
    }
    print("temperature | on top | ECE FERPlus validation | ECE photographs")
    for name, value in temperatures.items():
        scores = [Scores.of(tempered(rows, value), wanted) for rows, wanted in ((clean, labels), (photos, truth))]
        print(f"{name} | {value:.2f} | {scores[0].calibration_error:.3f} | {scores[1].calibration_error:.3f}")


if __name__ == "__main__":
    main()
