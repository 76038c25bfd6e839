"""Make a student's training data: raters' distributions blended with teachers' outputs, and unlabelled faces.

    python tools/soft_labels.py OUT --teachers MODEL... --data ALIGNED WHOLE [--share 0.5]
                                [--faces ALIGNED WHOLE [--most-per-class N]]

ALIGNED is a data set prepared as usual, WHOLE the same data set prepared with `--detector none`. Teachers are installed
models or exported files. Their output is the mean of their calibrated probabilities over aligned and whole crops and
their horizontal flips, without augmentation, in bfloat16 if OpenVINO and the CPU support it. With a share of 0, targets
of labelled images come only from the raters. Of the faces that the teachers assign to one class, at most N are kept,
drawn at random, because most unselected faces are neutral or happy.

OUT gets `aligned` and `whole`, two prepared data sets with the same rows: the training images of `--data` with targets
(1 − share) · raters + share · teachers, the images of `--faces` with the teachers' outputs as targets, and the
unchanged validation split. Training images that are also in the validation split are omitted, and so are images of
`--faces` with exact or near duplicates in the validation or test split of `--data`. Targets are stored as votes in
thousandths.

Source: Hinton et al., Distilling the knowledge in a neural network, 2015; Xie et al., Self-training with noisy student,
2020.
"""

import argparse
import os
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mftn.data.dataset import FaceDataset
from mftn.data.duplicates import near_pairs
from mftn.data.manifest import read_description, read_manifest
from mftn.data.prepare.assembly import write_data_set
from mftn.data.records import Split
from mftn.data.votes import VOTE_COLUMNS, distributions
from mftn.engines import Engine, Flipped, Precision, installed_engines, load_engine
from mftn.export.onnx import crop_batches
from mftn.labels import EXPRESSIONS

SCALE = 1000
"""Number of votes for a probability of 1."""


def teach(teachers: list[Engine], faces: FaceDataset) -> NDArray[np.float64]:
    """The teachers' mean probabilities (n, 8) for a split with its unaligned copy."""
    total = np.zeros((len(faces), len(EXPRESSIONS)))
    for teacher, aligned in product(teachers, (True, False)):
        parts = [teacher.probabilities(crops) for crops in crop_batches(teacher.spec, faces, aligned=aligned)]
        total += np.concatenate(parts)
    return total / (2 * len(teachers))


def targets_by_path(
    teachers: list[Engine], folders: tuple[Path, Path], share: float, without_copies_of: Split | None
) -> dict[str, list[int]]:
    """Votes in thousandths for each training image, by its path in the data set."""
    aligned, whole = folders
    channels = max(teacher.spec.channels for teacher in teachers)
    faces = FaceDataset(aligned, "train", unaligned=whole, without_copies_of=without_copies_of, channels=channels)
    taught = teach(teachers, faces) if share else np.zeros((len(faces), len(EXPRESSIONS)))
    if share < 1:
        assert faces.votes is not None
        taught = (1 - share) * distributions(faces.votes).astype(np.float64) + share * taught
    counts = np.rint(SCALE * taught).astype(int)  # (n, 8)
    padding = [0] * (len(VOTE_COLUMNS) - len(EXPRESSIONS))
    return {path: [*row, *padding] for path, row in zip(faces.paths, counts.tolist(), strict=True)}


def at_most(most: int, targets: dict[str, list[int]]) -> dict[str, list[int]]:
    """At most `most` targets of each class, drawn at random, in their original order."""
    paths, classes = np.array(list(targets)), np.array([int(np.argmax(votes)) for votes in targets.values()])
    rng, kept = np.random.default_rng(0), set[str]()
    for members in (paths[classes == label] for label in np.unique(classes)):
        kept.update(rng.permutation(members)[:most].tolist())
    return {path: votes for path, votes in targets.items() if path in kept}


def without_copies(
    targets: dict[str, list[int]], faces: Sequence[Path], labelled: Sequence[Path]
) -> dict[str, list[int]]:
    """The targets without images that have exact or near duplicates in the labelled data's validation or test split.

    Both kinds of crops are compared, because a face may be found in one copy of a photograph but not in the other.
    """
    copies = set[str]()
    for folder, other in zip(faces, labelled, strict=True):
        held_out = [row["phash"] for row in read_manifest(other).to_pylist() if row["split"] in ("valid", "test")]
        ours = [row for row in read_manifest(folder).to_pylist() if row["path"] in targets]
        pairs = near_pairs([*held_out, *(row["phash"] for row in ours)])[:, :2].tolist()
        first = len(held_out)
        copies.update(ours[later - first]["path"] for earlier, later in pairs if earlier < first <= later)
    print(f"{len(copies):,} images of --faces omitted: they are in the validation or test split of --data")
    return {path: votes for path, votes in targets.items() if path not in copies}


def rows_of(
    folder: Path, name: str, out: Path, targets: dict[str, list[int]], validation: bool
) -> list[dict[str, Any]]:
    """A data set's rows for the manifest in `out`, whose folder `name` becomes a link to the data set.

    Only images with targets are used for training; the validation split is kept if `validation` is true.
    """
    (out / name).unlink(missing_ok=True)
    (out / name).symlink_to(os.path.relpath(folder, out), target_is_directory=True)
    rows = []
    for row in read_manifest(folder).to_pylist():
        if votes := targets.get(row["path"]):  # in the aligned crops' training split; the split here may differ
            label = EXPRESSIONS[int(np.argmax(votes[: len(EXPRESSIONS)]))]
            row |= {"votes": votes, "label": label, "split": "train"}
        elif row["split"] == "train" or not validation:
            continue
        rows.append(row | {"path": f"{name}/{row['path']}"})
    return rows


def main() -> None:
    """Write both data sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--teachers", nargs="+", required=True)
    parser.add_argument("--data", nargs=2, type=Path, required=True)
    parser.add_argument("--faces", nargs=2, type=Path)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--most-per-class", type=int)
    arguments = parser.parse_args()
    precision: Precision = "fast" if "openvino" in installed_engines() else "exact"
    teachers: list[Engine] = [Flipped(load_engine(path, precision=precision)) for path in arguments.teachers]
    parts = {"labelled": (arguments.data, targets_by_path(teachers, arguments.data, arguments.share, "valid"))}
    if arguments.faces:
        targets = targets_by_path(teachers, arguments.faces, 1.0, None)
        targets = without_copies(targets, arguments.faces, arguments.data)
        parts["unlabelled"] = (arguments.faces, at_most(arguments.most_per_class or len(targets), targets))
    for place, kind in enumerate(("aligned", "whole")):
        out = arguments.out / kind
        out.mkdir(parents=True, exist_ok=True)
        rows: list[dict[str, Any]] = []
        for name, (folders, targets) in parts.items():
            rows += rows_of(folders[place], name, out, targets, validation=name == "labelled")
        write_data_set(out, rows, read_description(arguments.data[place]))
        print(f"{out}: {sum(row['split'] == 'train' for row in rows):,} training images")


if __name__ == "__main__":
    main()
