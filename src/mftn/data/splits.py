"""Splits that the owners of a data set do not give: seeded, stratified, with near duplicates and the faces of one
picture kept together."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mftn.data.duplicates import connected, near_pairs
from mftn.data.records import Split


@dataclass(frozen=True, slots=True)
class Shares:
    """What is split off where the owners give no split, stratified by expression.

    Attributes:
        valid: Share of the training faces (of all, without official splits) that validate.
        test: Share of all faces that test, without official splits.
        seed: Of the choice.
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
    """The owners' splits, completed: all three where there is none, validation out of train where it is missing.

    Near duplicates, and the faces of one image, stay together.

    Args:
        split: Of every face, as its owners say.
        labels: The expressions.
        sources: The images they are cut from.
        hashes: Perceptual hashes of the crops.
        shares: What is split off.
    """
    known = [name for name in split if name is not None]
    wanted: dict[Split, float] = {"valid": shares.valid}
    if len(known) < len(split):
        open_split, wanted["test"] = None, shares.test
    elif "valid" not in split and "train" in split:
        open_split = "train"
    else:
        return known
    chosen = [index for index, name in enumerate(split) if name == open_split]
    _, first, image = np.unique([sources[index] for index in chosen], return_index=True, return_inverse=True)
    same_image = np.column_stack([first[image], np.arange(len(chosen))])
    pairs = np.concatenate([near_pairs(hashes[index] for index in chosen)[:, :2], same_image])
    groups = connected(pairs, len(chosen))
    made = assign_splits([labels[index] or "none" for index in chosen], groups, wanted, shares.seed)
    made_of = dict(zip(chosen, made, strict=True))
    return [made_of.get(index, name or "train") for index, name in enumerate(split)]


def assign_splits(
    labels: Sequence[str], groups: NDArray[np.int64], shares: dict[Split, float], seed: int
) -> list[Split]:
    """A split for every face.

    Groups are drawn in random order; each goes to the first split of `shares` that still lacks faces of the group's
    most frequent expression and has room for the whole group, or else to train.

    Args:
        labels: The expression of each of n faces.
        groups: (n,) Faces of one group stay together.
        shares: How much of every expression goes where; what is left goes to train.
        seed: Of the order.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups.tolist()):
        members[group].append(index)
    totals = dict(zip(*np.unique(np.asarray(labels, dtype=object).astype(str), return_counts=True), strict=True))
    room = {split: {label: round(share * count) for label, count in totals.items()} for split, share in shares.items()}
    chosen: list[Split] = ["train"] * len(labels)
    drawn = list(members.values())
    for place in np.random.default_rng(seed).permutation(len(drawn)):
        group = drawn[place]
        inside = [str(labels[index]) for index in group]
        label = max(sorted(set(inside)), key=inside.count)
        for split, left in room.items():
            if left[label] >= len(group):
                left[label] -= len(group)
                for index in group:
                    chosen[index] = split
                break
    return chosen
