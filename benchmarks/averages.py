"""The gain from averaging outputs: of both heads, horizontal flips, aligned and whole crops, and several networks.

    python benchmarks/averages.py DATA DATA_WHOLE MODEL... [--split valid]

DATA is FERPlus prepared as usual, DATA_WHOLE the same prepared with `--detector none`; a MODEL is a checkpoint or an
exported file. Probabilities are calibrated with each model's temperature before averaging. Prints a table of accuracy
and macro recall for both protocols.
"""

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mftn.data.dataset import FaceDataset
from mftn.data.records import SPLITS
from mftn.evaluate import metrics
from mftn.evaluate.inference import predict_logits, preprocess_for
from mftn.export.recover import load_network
from mftn.models import Logits

Probabilities = NDArray[np.float32]


def report(name: str, faces: FaceDataset, probabilities: Probabilities) -> None:
    """Print a row of the table."""
    cells = [name]
    for labels in faces.protocols().values():
        kept = labels >= 0
        counts = metrics.confusion_counts(labels[kept], probabilities[kept].argmax(axis=1), len(faces.classes))
        cells.append(f"{metrics.accuracy(counts):.2%}, {metrics.macro_recall(counts):.1%} of {kept.sum():,}")
    print("| " + " | ".join(cells) + " |", flush=True)


def reader(path: str, framed_as: FaceDataset) -> Callable[[FaceDataset, bool], tuple[Logits, Tensor]]:
    """A function for a model's logits and calibrated probabilities (n, K) of faces, or of their horizontal flips."""
    network = load_network(path)
    preprocess = preprocess_for(network.described(), framed_as)

    def read(faces: FaceDataset, flipped: bool) -> tuple[Logits, Tensor]:
        logits = predict_logits(network, faces, preprocess, flip=flipped)
        return logits, (logits.fused / network.described().temperature).softmax(dim=1)

    return read


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("data_whole")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--split", default="valid", choices=SPLITS)
    arguments = parser.parse_args()
    aligned, whole = (FaceDataset(folder, arguments.split) for folder in (arguments.data, arguments.data_whole))
    print(
        "| prediction | " + " | ".join(f"{protocol}: accuracy, macro recall" for protocol in aligned.protocols()) + " |"
    )
    print("|---|---|---|")
    all_once, all_flipped = [], []
    for path in arguments.models:
        read = reader(path, aligned)
        logits, once = read(aligned, False)
        flipped = (once + read(aligned, True)[1]) / 2
        whole_once = read(whole, False)[1]
        whole_flipped = (whole_once + read(whole, True)[1]) / 2
        report(f"{path}: sum of the heads", aligned, once.numpy())
        report("backbone's head only", aligned, logits.backbone.numpy())
        if logits.mstn is not None:
            report("MsTN's head only", aligned, logits.mstn.numpy())
        report("mean with the horizontal flip", aligned, flipped.numpy())
        report("whole crops", aligned, whole_once.numpy())
        report("mean of aligned and whole", aligned, (once + whole_once).numpy())
        report("mean of aligned, whole and their flips", aligned, (flipped + whole_flipped).numpy())
        all_once.append(once)
        all_flipped.append(flipped)
    if len(arguments.models) > 1:
        report("mean of all models", aligned, sum(all_once[1:], all_once[0]).numpy())
        report("the same with flips", aligned, sum(all_flipped[1:], all_flipped[0]).numpy())


if __name__ == "__main__":
    main()
