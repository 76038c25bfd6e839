"""Splits for data sets whose owners give none: seeded, stratified, with near duplicates and the faces of one image
kept together."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mftn.data.duplicates import connected, near_pairs
from mftn.data.records import SPLITS, Split


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares to split off where the owners give no split, stratified by expression.

    Attributes:
        valid: Share of the training faces (of all faces, without official splits) for validation.
        test: Share of all faces for testing, if there are no official splits.
        seed: Seed of the choice.
    """

    valid: float = 0.1
    test: float = 0.2
    seed: int = 0


def complete_splits(
    split: Sequence[Split | None],
    labels: Sequence[str | None],
    sources: Sequence[str],
    hashes: Sequence[bytes],
    shares: Shares,
) -> list[Split]:
    """Complete the owners' splits: all three if there are none, validation from train if it is missing.

    Near duplicates and the faces of one image stay together. If the owners give splits for some faces only, these
    splits gain only faces that belong together with one of those.

    Args:
        split: Split of every face, as its owners say.
        labels: The expressions.
        sources: The images they are cut from.
        hashes: Perceptual hashes of the crops.
        shares: Shares to split off.
    """
    known = [name for name in split if name is not None]
    if len(known) < len(split):
        chosen = list(range(len(split)))
        wanted: dict[Split, float] = {"valid": shares.valid, "test": shares.test}
        wanted = {name: share for name, share in wanted.items() if name not in known}
    elif "valid" not in split and "train" in split:
        chosen = [index for index, name in enumerate(split) if name == "train"]
        split = [None if name == "train" else name for name in split]
        wanted = {"valid": shares.valid}
    else:
        return known
    _, first, image = np.unique([sources[index] for index in chosen], return_index=True, return_inverse=True)
    same_image = np.column_stack([first[image], np.arange(len(chosen))])
    pairs = np.concatenate([near_pairs(hashes[index] for index in chosen)[:, :2], same_image])
    groups = dict(zip(chosen, connected(pairs, len(chosen)).tolist(), strict=True))
    given: dict[int, Split] = {}
    for name in SPLITS:  # the later ones win, so that no test face is in train
        given |= {groups[index]: name for index in chosen if split[index] == name}
    made = {index: given[group] for index, group in groups.items() if group in given}
    free = [index for index in chosen if index not in made]
    free_groups = np.array([groups[index] for index in free], np.int64)
    made |= zip(free, assign_splits([labels[i] or "none" for i in free], free_groups, wanted, shares.seed), strict=True)
    return [name or made[index] for index, name in enumerate(split)]


def assign_splits(
    labels: Sequence[str], groups: NDArray[np.int64], shares: dict[Split, float], seed: int
) -> list[Split]:
    """A split for every face.

    Groups are drawn in random order; each goes to the first split of `shares` that still lacks faces of the group's
    most frequent expression and has room for the whole group, or else to train.

    Args:
        labels: The expression of each of n faces.
        groups: (n,) Faces of one group stay together.
        shares: Share of every expression for each split; the rest goes to train.
        seed: Seed of the order.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups.tolist()):
        members[group].append(index)
    totals = dict(zip(*np.unique(np.asarray(labels, dtype=object).astype(str), return_counts=True), strict=True))
    room = {split: {label: round(share * count) for label, count in totals.items()} for split, share in shares.items()}
    chosen: list[Split] = ["train"] * len(labels)
    drawn = list(members.values())
    for position in np.random.default_rng(seed).permutation(len(drawn)):
        group = drawn[position]
        inside = [str(labels[index]) for index in group]
        label = max(sorted(set(inside)), key=inside.count)
        for split, left in room.items():
            if left[label] >= len(group):
                left[label] -= len(group)
                for index in group:
                    chosen[index] = split
                break
    return chosen
