from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_an_epoch_shows_every_picture_once_and_each_epoch_another_order() -> None:
    sampler = BatchSampler(LABELS, 8, 0)
    first = list(chain(*sampler))
    assert sorted(first) == list(range(48))
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
    assert LABELS[drawn].mean() == pytest.approx(share, abs=0.03)


def test_the_unaligned_share_comes_from_the_twin() -> None:
    sampler = BatchSampler(LABELS, 8, 0, unaligned_share=0.25)
    drawn = []
    for epoch in range(50):
        sampler.enter(epoch)
        drawn += list(chain(*sampler))
    assert (np.array(drawn) >= 48).mean() == pytest.approx(0.25, abs=0.03)
