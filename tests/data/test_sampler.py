from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mftn.data.dataset import CropIndex
from mftn.data.sampler import BatchSampler

LABELS = np.array([0] * 42 + [1] * 6)


@given(
    processes=st.sampled_from([1, 2, 4]),
    balance=st.sampled_from([0.0, 0.5, 1.0]),
    unaligned=st.sampled_from([0.0, 0.4]),
    epoch=st.integers(0, 3),
    start=st.integers(0, 5),
)
def test_processes_share_the_batches_of_one_and_an_epoch_can_be_entered_anywhere(
    processes: int, balance: float, unaligned: float, epoch: int, start: int
) -> None:
    alone = BatchSampler(LABELS, 8, 3, balance, unaligned)
    alone.enter(epoch)
    whole = list(alone)
    assert len(whole) == len(alone) == 6
    shares = []
    for rank in range(processes):
        sampler = BatchSampler(LABELS, 8, 3, balance, unaligned, rank, processes)
        sampler.enter(epoch, start)
        shares.append(list(sampler))
    together = [sorted(chain(*parts)) for parts in zip(*shares, strict=True)]
    assert together == [sorted(batch) for batch in whole[start:]]


def test_an_epoch_shows_every_image_once_and_each_epoch_another_order() -> None:
    sampler = BatchSampler(LABELS, 8, 0)
    first = list(chain(*sampler))
    assert sorted(first) == [CropIndex(image) for image in range(48)]
    sampler.enter(1)
    assert list(chain(*sampler)) != first
    assert list(chain(*BatchSampler(LABELS, 8, 1))) != first


@pytest.mark.parametrize(("balance", "share"), [(0.0, 0.125), (1.0, 0.5)])
def test_balance_shows_rare_classes_more_often(balance: float, share: float) -> None:
    sampler = BatchSampler(LABELS, 8, 0, balance)
    drawn = []
    for epoch in range(100):
        sampler.enter(epoch)
        drawn += list(chain(*sampler))
    assert LABELS[[index.image for index in drawn]].mean() == pytest.approx(share, abs=0.03)


def test_the_unaligned_share_comes_from_the_unaligned_copy() -> None:
    sampler = BatchSampler(LABELS, 8, 0, unaligned_share=0.25)
    drawn = []
    for epoch in range(50):
        sampler.enter(epoch)
        drawn += list(chain(*sampler))
    assert np.mean([not index.aligned for index in drawn]) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(
    ("options", "images", "unaligned"),
    [
        ({}, [[7, 4, 1, 8], [6, 0, 2, 9]], set()),
        (
            {"balance": 0.5, "unaligned_share": 0.4},
            [[0, 8, 9, 1], [0, 0, 5, 4]],
            {(0, 0), (0, 2), (1, 1), (1, 2), (1, 3)},
        ),
        ({"unaligned_share": 0.5, "rank": 1, "processes": 2}, [[4, 8], [0, 9]], {(0, 0), (1, 1)}),
    ],
)
def test_the_draws_of_a_seed_never_change_so_that_runs_stay_resumable(
    options: dict[str, Any], images: list[list[int]], unaligned: set[tuple[int, int]]
) -> None:
    sampler = BatchSampler(np.array([0] * 6 + [1] * 3 + [2]), 4, seed=3, **options)
    sampler.enter(2)
    expected = [
        [CropIndex(image, (step, position) not in unaligned) for position, image in enumerate(batch)]
        for step, batch in enumerate(images)
    ]
    assert list(sampler) == expected
