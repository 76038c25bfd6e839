"""Splits that the owners of a data set do not give: seeded, stratified, with near duplicates and the faces of one
picture kept together."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mftn.data.records import Split


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
