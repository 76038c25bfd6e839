"""What averaging answers is worth: the heads alone, mirror images, whole crops beside aligned ones, several networks.

    python benchmarks/averages.py DATA DATA_WHOLE MODEL... [--split valid]

DATA is a FERPlus prepared as usual, DATA_WHOLE the same prepared with `--detector none`; a MODEL is a weights file or
an exported one. Probabilities are calibrated with each model's temperature before they are averaged. Prints a table of
accuracy and macro recall under both protocols.
"""

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mftn.data.dataset import FaceDataset
from mftn.data.records import SPLITS
from mftn.evaluate import metrics
from mftn.evaluate.predict import predict_logits, preprocess_for
from mftn.export.recover import load_network
from mftn.models import Logits

Probabilities = NDArray[np.float32]


def report(name: str, pictures: FaceDataset, probabilities: Probabilities) -> None:
    """Print a row of the table."""
    cells = [name]
    for labels in pictures.protocols().values():
        kept = labels >= 0
        counts = metrics.confusion_counts(labels[kept], probabilities[kept].argmax(axis=1), len(pictures.classes))
        cells.append(f"{metrics.accuracy(counts):.2%}, {metrics.macro_recall(counts):.1%} of {kept.sum():,}")
    print("| " + " | ".join(cells) + " |", flush=True)


def reader(path: str, framed_as: FaceDataset) -> Callable[[FaceDataset, bool], tuple[Logits, Tensor]]:
    """A model's logits and calibrated probabilities (n, K) of pictures, or of their mirror images."""
    network = load_network(path)
    preprocess = preprocess_for(network.described(), framed_as)

    def read(pictures: FaceDataset, mirrored: bool) -> tuple[Logits, Tensor]:
        logits = predict_logits(network, pictures, preprocess, mirrored=mirrored)
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
    print("| answer | " + " | ".join(f"{protocol}: accuracy, macro recall" for protocol in aligned.protocols()) + " |")
    print("|---|---|---|")
    all_once, all_mirrored = [], []
    for path in arguments.models:
        read = reader(path, aligned)
        logits, once = read(aligned, False)
        mirrored = (once + read(aligned, True)[1]) / 2
        whole_once = read(whole, False)[1]
        whole_mirrored = (whole_once + read(whole, True)[1]) / 2
        report(f"{path}: sum of the heads", aligned, once.numpy())
        report("backbone's head alone", aligned, logits.backbone.numpy())
        if logits.mstn is not None:
            report("MsTN's head alone", aligned, logits.mstn.numpy())
        report("mean with the mirror image", aligned, mirrored.numpy())
        report("whole crops", aligned, whole_once.numpy())
        report("mean of aligned and whole", aligned, (once + whole_once).numpy())
        report("mean of aligned, whole and their mirror images", aligned, (mirrored + whole_mirrored).numpy())
        all_once.append(once)
        all_mirrored.append(mirrored)
    if len(arguments.models) > 1:
        report("mean of all models", aligned, sum(all_once[1:], all_once[0]).numpy())
        report("the same with mirror images", aligned, sum(all_mirrored[1:], all_mirrored[0]).numpy())


if __name__ == "__main__":
    main()
