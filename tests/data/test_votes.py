import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mftn.data.votes import distributions, hard_labels

votes = arrays(np.int64, st.tuples(st.integers(1, 20), st.just(10)), elements=st.integers(0, 10))


def row(*counts: int) -> np.ndarray:
    return np.array([counts])


@pytest.mark.parametrize(
    ("counts", "majority", "argmax"),
    [
        ((10, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0, 0),
        ((5, 5, 0, 0, 0, 0, 0, 0, 0, 0), -1, 0),  # a tie: the first, and no majority
        ((4, 1, 1, 1, 1, 1, 1, 0, 0, 0), 0, 0),  # single votes are dropped before the majority is asked
        ((0, 0, 0, 0, 0, 0, 0, 0, 10, 0), -1, -1),
        ((0, 3, 0, 0, 0, 0, 0, 0, 0, 7), -1, -1),
        ((1, 1, 1, 1, 1, 1, 1, 1, 1, 1), -1, 0),
    ],
)
def test_protocols(counts: tuple[int, ...], majority: int, argmax: int) -> None:
    assert hard_labels(row(*counts), "majority").tolist() == [majority]
    assert hard_labels(row(*counts), "argmax").tolist() == [argmax]


@given(votes)
def test_the_majority_protocol_keeps_a_part_of_the_argmax_protocol_with_the_same_labels(votes: np.ndarray) -> None:
    majority, argmax = hard_labels(votes, "majority"), hard_labels(votes, "argmax")
    kept = majority >= 0
    assert (majority[kept] == argmax[kept]).all()


@given(votes)
def test_distributions_sum_to_one_where_an_expression_was_seen(votes: np.ndarray) -> None:
    target = distributions(votes)
    seen = votes[:, :8].any(axis=1)
    np.testing.assert_allclose(target.sum(axis=1), seen.astype(float), atol=1e-6)
    assert (target >= 0).all()


def test_seven_classes_exclude_contempt() -> None:
    votes = np.concatenate([row(1, 0, 0, 0, 0, 0, 0, 8, 0, 0), row(6, 0, 0, 0, 0, 0, 2, 2, 0, 0)])
    assert hard_labels(votes, "argmax").tolist() == [7, 0] and hard_labels(votes, "argmax", 7).tolist() == [-1, 0]
    np.testing.assert_allclose(distributions(votes, 7)[1], [6 / 8, 0, 0, 0, 0, 0, 2 / 8])


def test_single_votes_are_dropped_from_distributions_unless_nothing_is_left() -> None:
    np.testing.assert_allclose(distributions(row(6, 3, 1, 0, 0, 0, 0, 0, 0, 0))[0, :3], [2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(distributions(row(1, 1, 0, 0, 0, 0, 0, 0, 5, 0))[0, :2], [0.5, 0.5])
