"""Accuracy of a shipped model through the whole pipeline: read, detect, align, classify.

    python benchmarks/accuracy.py ferplus FOLDER [--split valid] [--detector yunet|none] [--model NAME] [--no-mirror]
    python benchmarks/accuracy.py photos FOLDER_WITH_labels.csv

`ferplus` takes the official folders and measures both protocols; a picture in which no face is found is taken
whole. `photos` takes pictures under a folder with labels.csv (image, expression); the largest, most central face
counts, and a picture without a face is wrong.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import mftn
from mftn.data.readers import read_records
from mftn.data.records import SPLITS
from mftn.data.votes import PROTOCOLS, hard_labels
from mftn.engines import EngineName
from mftn.evaluate import metrics
from mftn.faces.boxes import choose_face
from mftn.images import read_image
from mftn.labels import EXPRESSIONS


def probabilities(
    paths: list[Path], model: str | None, detector: str, engine: EngineName, whole: bool, mirror: bool
) -> tuple[NDArray[np.float64], int]:
    """(n, 8) probabilities, zeros where no face is found, and the faces found; `whole` then takes the picture."""
    min_score = 0.3 if detector != "none" else None
    recognizer = mftn.load(model, detector=detector, min_score=min_score, engine=engine, mirror=mirror)
    fallback = mftn.load(model, detector="none", engine=engine, mirror=mirror)
    rows, found = np.zeros((len(paths), len(EXPRESSIONS))), 0
    for row, path in zip(rows, paths, strict=True):
        prediction = recognizer.predict(path)
        found += bool(prediction.faces)
        if not prediction.faces and whole:
            prediction = fallback.predict(path)
        face = choose_face(list(prediction.faces), read_image(path))
        if face is not None:
            row[:] = [face.probabilities.get(name, 0.0) for name in EXPRESSIONS]  # type: ignore[attr-defined]
    return rows, found


def report(name: str, labels: NDArray[np.int64], rows: NDArray[np.float64]) -> None:
    """Print accuracy with its interval, macro recall and calibration error; a row of zeros is wrong."""
    predicted = np.where(rows.any(axis=1), rows.argmax(axis=1), (labels + 1) % len(EXPRESSIONS))
    counts = metrics.confusion_counts(labels, predicted, len(EXPRESSIONS))
    low, high = metrics.wilson_interval(int(np.trace(counts)), len(labels))
    recall = dict(zip(EXPRESSIONS, np.round(metrics.recall_per_class(counts), 3).tolist(), strict=True))
    print(
        f"{name}: {len(labels):,} images, accuracy {metrics.accuracy(counts):.2%} "
        f"(95 % interval {low:.1%} to {high:.1%}), macro recall {metrics.macro_recall(counts):.1%}, "
        f"ECE {metrics.expected_calibration_error(rows, labels):.3f}"
    )
    print(f"  recall {json.dumps(recall)}")
    print(f"  confusion {json.dumps(counts.tolist())}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("ferplus", "photos"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", default="valid", choices=SPLITS)
    parser.add_argument("--detector", default="yunet", choices=("yunet", "mtcnn", "none"))
    parser.add_argument("--model")
    parser.add_argument("--engine", default="onnxruntime", choices=("onnxruntime", "openvino"))
    parser.add_argument("--mirror", default=True, action=argparse.BooleanOptionalAction)
    arguments = parser.parse_args()
    how = (arguments.model, arguments.detector, arguments.engine)
    if arguments.kind == "ferplus":
        records = [record for record in read_records("ferplus", arguments.folder) if record.split == arguments.split]
        votes = np.array([record.votes for record in records])
        kept = hard_labels(votes, "argmax") >= 0
        paths = [record.source for record, keep in zip(records, kept, strict=True) if keep]
        rows, found = probabilities(paths, *how, whole=True, mirror=arguments.mirror)
        print(f"FERPlus {arguments.split}, detector {arguments.detector}: face found in {found:,} of {len(paths):,}")
        for protocol in PROTOCOLS:
            labels = hard_labels(votes[kept], protocol)
            report(f"{protocol} protocol", labels[labels >= 0], rows[labels >= 0])
        return
    (table,) = arguments.folder.rglob("labels.csv")
    entries = list(csv.DictReader(table.open(newline="")))
    where = {path.name: path for path in table.parent.rglob("*") if path.is_file()}
    if missing := [entry["image"] for entry in entries if entry["image"] not in where]:
        sys.exit(f"{table}: names pictures that are not there: {missing[:5]}")
    paths = [where[entry["image"]] for entry in entries]
    rows, found = probabilities(paths, *how, whole=False, mirror=arguments.mirror)
    print(f"photographs, detector {arguments.detector}: face found in {found:,} of {len(entries):,}")
    report("end to end", np.array([EXPRESSIONS.index(entry["expression"]) for entry in entries]), rows)


if __name__ == "__main__":
    main()
