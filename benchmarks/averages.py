"""The gain from averaging outputs: of both heads, horizontal flips, aligned and whole crops, and several networks.

    python benchmarks/averages.py DATA DATA_WHOLE MODEL... [--split valid] [--without-copies]

DATA is FERPlus prepared as usual, DATA_WHOLE the same prepared with `--detector none`; a MODEL is a checkpoint or an
exported file. Probabilities are calibrated with each model's temperature before averaging. Prints a table of accuracy
and macro recall for both protocols; with --without-copies, only for images without a copy in the training split.
"""

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mftn.data.dataset import FaceDataset
from mftn.data.records import SPLITS, Split
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


def reader(path: str, faces: FaceDataset) -> Callable[[bool, bool], tuple[Logits, Tensor]]:
    """A function for a model's logits and calibrated probabilities (n, K) of aligned or whole crops, flipped or not."""
    network = load_network(path)
    preprocess = preprocess_for(network.described(), faces)

    def read(flipped: bool, aligned: bool) -> tuple[Logits, Tensor]:
        logits = predict_logits(network, faces, preprocess, flip=flipped, aligned=aligned)
        return logits, (logits.fused / network.described().temperature).softmax(dim=1)

    return read


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("data_whole")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--split", default="valid", choices=SPLITS)
    parser.add_argument("--without-copies", action="store_true")
    arguments = parser.parse_args()
    other: Split | None = "train" if arguments.without_copies else None
    faces = FaceDataset(arguments.data, arguments.split, unaligned=arguments.data_whole, without_copies_of=other)
    print(
        "| prediction | " + " | ".join(f"{protocol}: accuracy, macro recall" for protocol in faces.protocols()) + " |"
    )
    print("|---|---|---|")
    all_once, all_flipped = [], []
    for path in arguments.models:
        read = reader(path, faces)
        logits, once = read(False, True)
        flipped = (once + read(True, True)[1]) / 2
        whole_once = read(False, False)[1]
        whole_flipped = (whole_once + read(True, False)[1]) / 2
        report(f"{path}: sum of the heads", faces, once.numpy())
        report("backbone's head only", faces, logits.backbone.numpy())
        if logits.mstn is not None:
            report("MsTN's head only", faces, logits.mstn.numpy())
        report("mean with the horizontal flip", faces, flipped.numpy())
        report("whole crops", faces, whole_once.numpy())
        report("mean of aligned and whole", faces, (once + whole_once).numpy())
        report("mean of aligned, whole and their flips", faces, (flipped + whole_flipped).numpy())
        all_once.append(once)
        all_flipped.append(flipped)
    if len(arguments.models) > 1:
        report("mean of all models", faces, sum(all_once[1:], all_once[0]).numpy())
        report("the same with flips", faces, sum(all_flipped[1:], all_flipped[0]).numpy())


if __name__ == "__main__":
    main()
