"""Accuracy of a shipped model over the whole pipeline: read, detect, align, classify.

    python benchmarks/accuracy.py ferplus FOLDER [--split valid] [--detector yunet|none] [--model NAME] [--no-flip]
                                         [--without-copies PREPARED]
    python benchmarks/accuracy.py photos FOLDER_WITH_labels.csv
    python benchmarks/accuracy.py portraits FOLDER_WITH_people.csv

`ferplus` reads the official folders and measures both protocols; if no face is found, the whole image is used. With a
prepared data set of the same images, it also prints both protocols without images that have exact or near duplicates in
the training split.
`photos` reads images under a folder with labels.csv (image, expression); the largest, most central face counts, and an
image without a face counts as wrong. `portraits` reads a neutral and a smiling portrait of each person, with people.csv
(image, person, pose). Unless `--calibration` is given, probabilities are calibrated for images like the training data
with `ferplus`, and for faces from anywhere with the others.
"""

import argparse
import csv
import json
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np
from numpy.typing import NDArray
from photographs import read_photographs

import mftn
from mftn.data.dataset import FaceDataset
from mftn.data.manifest import read_manifest
from mftn.data.readers import read_records
from mftn.data.records import SPLITS, Split
from mftn.data.votes import PROTOCOLS, hard_labels
from mftn.engines import Calibration
from mftn.evaluate.scores import Scores
from mftn.faces import DetectorName
from mftn.faces.boxes import choose_face
from mftn.images import read_image
from mftn.labels import EXPRESSIONS

MIN_IMAGES = 60
"""Smallest number of photographs for a class to be evaluated."""


class Classify(Protocol):
    """`probabilities` with a given model, detector and engine."""

    def __call__(self, paths: list[Path], *, whole: bool) -> tuple[NDArray[np.float64], int]:
        """Probabilities (n, 8) and the number of images with a face."""
        ...


def probabilities(
    paths: list[Path], whole: bool, detector: DetectorName, how: dict[str, Any]
) -> tuple[NDArray[np.float64], int]:
    """Probabilities (n, 8), zeros where there is no face, and the number of images in which a face was found.

    Args:
        paths: The images.
        whole: If no face is found, use the whole image as a face.
        detector: The face detector.
        how: Further arguments for `mftn.load`.
    """
    min_score = 0.3 if detector != "none" else None
    recognizer = mftn.load(detector=detector, min_score=min_score, **how)
    fallback = mftn.load(detector="none", **how)
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


def print_scores(name: str, labels: NDArray[np.int64], rows: NDArray[np.float64]) -> None:
    """Print the scores of probabilities (n, 8); a row of zeros is a missed face and counts as wrong."""
    scores = Scores.of(rows, labels)
    print(f"{name}: {scores}")
    print(f"  recall {json.dumps(dict(zip(EXPRESSIONS, np.round(scores.recall, 3).tolist(), strict=True)))}")
    print(f"  confusion {json.dumps(scores.confusion)}")
    predicted = rows.argmax(axis=1)
    shares, counted = (np.bincount(each, minlength=len(EXPRESSIONS)) / len(each) for each in (labels, predicted))
    averaged, counting = (50 * np.abs(shares - found).sum() for found in (rows.mean(axis=0), counted))
    print(f"  shares of the expressions: off by {averaged:.1f} points by mean probability, {counting:.1f} by counting")


def measure_ferplus(arguments: argparse.Namespace, classify: Classify) -> None:
    """Measure both protocols on a split of the official folders; if no face is found, the whole image is used."""
    records = [record for record in read_records("ferplus", arguments.folder) if record.split == arguments.split]
    kept = hard_labels(np.array([record.votes for record in records]), "argmax") >= 0
    records = [record for record, keep in zip(records, kept, strict=True) if keep]
    votes, sources = np.array([record.votes for record in records]), [record.source for record in records]
    rows, found = classify(sources, whole=True)
    print(f"FERPlus {arguments.split}, detector {arguments.detector}: face found in {found:,} of {len(rows):,}")
    images = {"": np.ones(len(rows), bool)}
    if arguments.without_copies:
        distinct = names_without_copies(arguments.without_copies, arguments.split)
        images[" without copies"] = np.array([source.name in distinct for source in sources])
    for words, chosen in images.items():
        for protocol in PROTOCOLS:
            labels = np.where(chosen, hard_labels(votes, protocol), -1)
            print_scores(f"{protocol} protocol{words}", labels[labels >= 0], rows[labels >= 0])


def names_without_copies(prepared: Path, split: Split) -> set[str]:
    """Names of a split's images that have no exact or near duplicate in the training split."""
    paths = set(FaceDataset(prepared, split, without_copies_of="train", in_memory=False).paths)
    rows = read_manifest(prepared, ["path", "source"]).to_pylist()
    return {Path(row["source"]).name for row in rows if row["path"] in paths}


def measure_photos(arguments: argparse.Namespace, classify: Classify) -> None:
    """Measure photographs under a folder with labels.csv: all classes, and those with enough images."""
    paths, expressions = read_photographs(arguments.folder)
    rows, found = classify(paths, whole=False)
    labels = np.array([EXPRESSIONS.index(expression) for expression in expressions])
    print(f"photographs, detector {arguments.detector}: face found in {found:,} of {len(paths):,}")
    print_scores("end to end", labels, rows)
    judged = np.isin(labels, np.flatnonzero(np.bincount(labels) >= MIN_IMAGES))
    print_scores(f"classes with at least {MIN_IMAGES} images", labels[judged], rows[judged])


def measure_portraits(arguments: argparse.Namespace, classify: Classify) -> None:
    """Measure portraits with people.csv, neutral and smiling: are smiles recognised, and does happiness rise?"""
    (table,) = arguments.folder.rglob("people.csv")
    entries = list(csv.DictReader(table.open(newline="")))
    rows, found = classify([table.parent / entry["image"] for entry in entries], whole=False)
    print(f"portraits, detector {arguments.detector}: face found in {found:,} of {len(entries):,}")
    happiness: dict[str, dict[str, float]] = defaultdict(dict)
    named: dict[str, Counter[str]] = defaultdict(Counter)
    for entry, row in zip(entries, rows, strict=True):
        happiness[entry["person"]][entry["pose"]] = row[EXPRESSIONS.index("happiness")]
        named[entry["pose"]][EXPRESSIONS[row.argmax()] if row.any() else "no face"] += 1
    rises = sum(person["smile"] > person["neutral"] for person in happiness.values())
    happy, neutral = EXPRESSIONS.index("happiness"), EXPRESSIONS.index("neutral")
    print_scores("all", np.array([happy if entry["pose"] == "smile" else neutral for entry in entries]), rows)
    print(f"happiness rises above the person's own neutral image in {rises} of {len(happiness)}")
    for pose, counts in named.items():
        print(f"  {pose}: {', '.join(f'{name} {count}' for name, count in counts.most_common())}")


MEASURES = {"ferplus": measure_ferplus, "photos": measure_photos, "portraits": measure_portraits}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=MEASURES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", default="valid", choices=SPLITS)
    parser.add_argument("--without-copies", type=Path)
    parser.add_argument("--detector", default="yunet", choices=("yunet", "mtcnn", "none"))
    parser.add_argument("--model")
    parser.add_argument("--engine", default="onnxruntime", choices=("onnxruntime", "openvino"))
    parser.add_argument("--flip", default=True, action=argparse.BooleanOptionalAction)
    parser.add_argument("--calibration", choices=get_args(Calibration))
    arguments = parser.parse_args()
    calibration = arguments.calibration or ("training" if arguments.kind == "ferplus" else "general")
    how = {"calibration": calibration} | {name: getattr(arguments, name) for name in ("model", "engine", "flip")}
    print(f"probabilities calibrated for: {calibration}")
    MEASURES[arguments.kind](arguments, partial(probabilities, detector=arguments.detector, how=how))


if __name__ == "__main__":
    main()
