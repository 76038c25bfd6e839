"""Problems in a prepared data set: duplicates, leaks between splits, doubtful labels, undetected and poor faces.

This module only computes the findings; `mftn audit` prints them and writes JSON and HTML.
"""

import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mftn.data.duplicates import NEAR, near_pairs
from mftn.data.manifest import crop_digest, read_manifest
from mftn.data.records import SPLITS
from mftn.errors import MissingExtraError

BLURRED, DARK, BRIGHT = 50.0, 20.0, 235.0
"""A crop counts as poor below this variance of the Laplacian, below this mean grey, or above this one."""

Pair = tuple[int, int, int]
"""Two rows of the manifest, and the number of bits in which their hashes differ."""


@dataclass(frozen=True, slots=True)
class Audit:
    """Findings; indices are rows of the manifest.

    Attributes:
        paths: The crop of every row.
        split: Its split.
        label: Its expression, or "none".
        balance: Faces by split and expression.
        without_face: Rows where no face was found.
        blurred: Rows below `BLURRED`, the worst first.
        dark: Rows below `DARK`, the darkest first.
        bright: Rows above `BRIGHT`, the brightest first.
        exact: Pairs of identical files.
        near: Other pairs within `NEAR` bits.
        doubtful: Rows whose label a model doubts, the most doubtful first; None without a model.
        accuracy: A model's accuracy on faces with and without a copy in train; None without a model.
        changed: Rows whose crop is missing or differs from the manifest.
    """

    paths: list[str]
    split: list[str]
    label: list[str]
    balance: dict[str, dict[str, int]]
    without_face: list[int]
    blurred: list[int]
    dark: list[int]
    bright: list[int]
    exact: list[Pair]
    near: list[Pair]
    doubtful: list[int] | None = None
    accuracy: dict[str, float] | None = None
    changed: list[int] = field(default_factory=list)

    def across(self, pairs: list[Pair]) -> list[Pair]:
        """The pairs whose splits differ: leaks."""
        return [pair for pair in pairs if self.split[pair[0]] != self.split[pair[1]]]

    def disagreeing(self, pairs: list[Pair]) -> list[Pair]:
        """The pairs whose labels differ."""
        return [pair for pair in pairs if self.label[pair[0]] != self.label[pair[1]]]

    def by_split(self, rows: list[int]) -> dict[str, int]:
        """Number of rows in each split."""
        return dict(Counter(self.split[row] for row in rows))

    def summary(self) -> dict[str, Any]:
        """The counts, for JSON."""
        found: dict[str, Any] = {"faces": len(self.paths), "balance": self.balance}
        for name in ("without_face", "blurred", "dark", "bright", "changed"):
            found[name] = self.by_split(getattr(self, name))
        for name in ("exact", "near"):
            pairs = getattr(self, name)
            leaks = self.across(pairs)
            found[f"{name}_duplicates"] = {
                "pairs": len(pairs),
                "across_splits": len(leaks),
                "labels_differ": len(self.disagreeing(pairs)),
                "faces_outside_train_that_train_holds_too": len(self.leaked(leaks)),
            }
        found["faces_outside_train_that_train_holds_too"] = len(self.leaked(self.exact + self.near))
        if self.accuracy is not None:
            found["accuracy"] = self.accuracy
        if self.doubtful is not None:
            found["doubtful_labels"] = self.by_split(self.doubtful)
        return found

    def findings(self) -> dict[str, Any]:
        """Every finding by the paths of its crops, for JSON."""

        def names(rows: list[int]) -> list[str]:
            return [self.paths[row] for row in rows]

        def pairs(found: list[Pair]) -> list[list[str | int]]:
            return [[self.paths[first], self.paths[second], bits] for first, second, bits in found]

        rows = {key: names(getattr(self, key)) for key in ("without_face", "blurred", "dark", "bright", "changed")}
        return rows | {
            "doubtful_labels": None if self.doubtful is None else names(self.doubtful),
            "exact_duplicates": pairs(self.exact),
            "near_duplicates": pairs(self.near),
        }

    def leaked(self, pairs: list[Pair]) -> list[int]:
        """Validation and test rows that have a duplicate in train."""
        rows = {row for a, b, _ in pairs for row, other in ((a, b), (b, a))
                if self.split[row] != "train" and self.split[other] == "train"}  # fmt: skip
        return sorted(rows)


def audit(folder: str | Path, near: int = NEAR, verify: bool = True) -> Audit:
    """Audit a prepared data set.

    Args:
        folder: The data set.
        near: Hashes that differ in at most this many bits are near duplicates.
        verify: Read every crop and compare it with the manifest.

    Raises:
        DataError: There is no manifest.
    """
    folder = Path(folder)
    columns = ["path", "split", "label", "face_found", "blur", "brightness", "sha256", "phash"]
    rows = read_manifest(folder, columns).to_pydict()
    labels = [label or "none" for label in rows["label"]]
    pairs = [(int(a), int(b), int(bits)) for a, b, bits in near_pairs(rows["phash"], near)]
    same = [rows["sha256"][a] == rows["sha256"][b] for a, b, _ in pairs]
    blur, brightness = np.array(rows["blur"]), np.array(rows["brightness"])
    counts = Counter(zip(rows["split"], labels, strict=True))
    changed = [i for i, path in enumerate(rows["path"]) if verify and crop_digest(folder / path) != rows["sha256"][i]]
    return Audit(
        paths=rows["path"],
        split=rows["split"],
        label=labels,
        balance={s: {k: n for (own, k), n in sorted(counts.items()) if own == s} for s in SPLITS if s in rows["split"]},
        without_face=[index for index, found in enumerate(rows["face_found"]) if not found],
        blurred=_ranked(blur, blur < BLURRED),
        dark=_ranked(brightness, brightness < DARK),
        bright=_ranked(-brightness, brightness > BRIGHT),
        exact=[pair for pair, equal in zip(pairs, same, strict=True) if equal],
        near=[pair for pair, equal in zip(pairs, same, strict=True) if not equal],
        changed=changed,
    )


def _ranked(values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> list[int]:
    order = np.argsort(values, kind="stable")
    return [int(index) for index in order if chosen[index]]


def doubtful_labels(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> list[int]:
    """Rows whose label is probably wrong, the most doubtful first (confident learning, Northcutt et al., 2021).

    Args:
        labels: (n,) class indices.
        probabilities: (n, K), of a model that has not seen these rows.

    Raises:
        MissingExtraError: cleanlab is not installed.
    """
    try:
        from cleanlab.filter import find_label_issues
    except ImportError as error:
        raise MissingExtraError("finding doubtful labels", "audit") from error
    # One process: workers would be forks of one that has threads, and there is little to compute.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about classes with few examples, by their numbers
        issues = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    return [int(row) for row in issues]
