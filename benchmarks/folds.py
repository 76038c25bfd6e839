"""Do held-out training images and the validation split give the same accuracy? The folds of tools/cross_validate.sh.

    python benchmarks/folds.py OUT

Each fold's last weights (no epoch is selected) are evaluated on the images that the fold held out of the training
split, and on the validation images without a copy in its training data. Prints both accuracies of every fold, for both
protocols, and their difference over all folds with a 95 % interval over images: each held-out image is evaluated by one
network, each validation image by all of them.
"""

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mftn.data.dataset import FaceDataset
from mftn.data.records import Split
from mftn.evaluate.inference import predict_logits, preprocess_for
from mftn.models import load_model

SPLITS: tuple[Split, Split] = ("valid", "test")
"""A fold's splits: the held-out images, and the validation split of the data set."""


def difference(held_out: list[NDArray[Any]], validation: list[dict[str, bool]]) -> tuple[float, float]:
    """Held-out minus validation accuracy, and half the width of its 95 % interval.

    Args:
        held_out: For each fold, whether its predictions are correct, (n,).
        validation: For each fold, the same by image.
    """
    first = np.concatenate(held_out).astype(float)
    by_image = defaultdict(list)
    for right in validation:
        for path, value in right.items():
            by_image[path].append(value)
    second = np.array([np.mean(values) for values in by_image.values()])
    spread = np.sqrt(first.var(ddof=1) / len(first) + second.var(ddof=1) / len(second))
    return float(first.mean() - second.mean()), float(1.96 * spread)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    right: dict[str, dict[Split, list[dict[str, bool]]]] = defaultdict(lambda: defaultdict(list))
    finished = (out / "runs").glob("*/metrics.json")  # written when a run is finished
    folds = sorted(metrics.parent for metrics in finished)
    for run in folds:
        network = load_model(run / "last.safetensors")
        for split in SPLITS:
            faces = FaceDataset(out / "folds" / run.name / "aligned", split, without_copies_of="train")
            logits = predict_logits(network, faces, preprocess_for(network.described(), faces)).fused
            predicted = logits.numpy().argmax(axis=1)
            for protocol, labels in faces.protocols().items():
                rows = zip(faces.paths, labels.tolist(), predicted.tolist(), strict=True)
                right[protocol][split].append({path: label == found for path, label, found in rows if label >= 0})
    for protocol, by_split in right.items():
        print(f"\n{protocol} protocol")
        print("| fold | held out | images | validation | images |")
        print("|---|---|---|---|---|")
        for run, *each in zip(folds, *(by_split[split] for split in SPLITS), strict=True):
            cells = " | ".join(f"{np.mean(list(found.values())):.2%} | {len(found):,}" for found in each)
            print(f"| {run.name} | {cells} |")
        held_out = [np.array(list(found.values())) for found in by_split["valid"]]
        gain, half = (100 * value for value in difference(held_out, by_split["test"]))
        print(f"held out minus validation: {gain:+.2f} points ({gain - half:+.2f} to {gain + half:+.2f})")


if __name__ == "__main__":
    main()
