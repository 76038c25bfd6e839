"""Make one fold of a prepared data set for cross-validation: part of its training images becomes the validation split.

    python tools/fold.py OUT --data ALIGNED WHOLE --fold K [--folds 5]

ALIGNED is a data set prepared as usual, WHOLE the same data set prepared with `--detector none`. OUT gets `aligned` and
`whole`. Their validation split is the K-th of `--folds` random parts of the training images, counted from 0; their test
split is the validation split of `--data`. Near duplicates are always in the same part. Images are linked, not copied.
"""

import argparse
import os
from pathlib import Path

import numpy as np

from mftn.data.duplicates import connected, near_pairs
from mftn.data.manifest import read_description, read_manifest
from mftn.data.prepare.assembly import write_data_set


def part_of_each(folders: list[Path], folds: int) -> dict[str, int]:
    """The part of every training image, by its path; near duplicates in either folder stay together."""
    hashes = [
        {row["path"]: row["phash"] for row in read_manifest(folder).to_pylist() if row["split"] == "train"}
        for folder in folders
    ]
    paths = [path for path in hashes[0] if all(path in other for other in hashes)]
    pairs = np.concatenate([near_pairs(each[path] for path in paths) for each in hashes])
    _, group, sizes = np.unique(connected(pairs, len(paths)), return_inverse=True, return_counts=True)
    order = np.random.default_rng(0).permutation(len(sizes))
    part_of_group = np.empty(len(order), np.int64)
    part_of_group[order] = (np.cumsum(sizes[order]) - 1) * folds // len(paths)
    return dict(zip(paths, part_of_group[group].tolist(), strict=True))


def main() -> None:
    """Write both data sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", nargs=2, type=Path, required=True)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--folds", type=int, default=5)
    options = parser.parse_args()
    if not 0 <= options.fold < options.folds:
        parser.error(f"--fold {options.fold}: the folds are 0 to {options.folds - 1}")
    parts = part_of_each(options.data, options.folds)
    for name, folder in zip(("aligned", "whole"), options.data, strict=True):
        out = options.out / name
        out.mkdir(parents=True, exist_ok=True)
        rows = []
        for row in read_manifest(folder).to_pylist():
            if row["split"] == "valid":
                rows.append(row | {"split": "test"})
            elif row["path"] in parts:
                rows.append(row | {"split": "valid" if parts[row["path"]] == options.fold else "train"})
        for top in {Path(row["path"]).parts[0] for row in rows}:
            (out / top).unlink(missing_ok=True)
            (out / top).symlink_to(os.path.relpath(folder / top, out))
        write_data_set(out, rows, read_description(folder))
        held_out = sum(row["split"] == "valid" for row in rows)
        print(f"{out}: {held_out:,} of {len(parts):,} training images held out")


if __name__ == "__main__":
    main()
