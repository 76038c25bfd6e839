import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mftn.data.ferplus import distributions, hard_labels, read_ferplus
from mftn.errors import DataError

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


def test_single_votes_are_dropped_from_distributions_unless_nothing_is_left() -> None:
    np.testing.assert_allclose(distributions(row(6, 3, 1, 0, 0, 0, 0, 0, 0, 0))[0, :3], [2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(distributions(row(1, 1, 0, 0, 0, 0, 0, 0, 5, 0))[0, :2], [0.5, 0.5])


def test_reads_every_split_in_order(ferplus_root: Path) -> None:
    records = list(read_ferplus(ferplus_root))
    assert [record.split for record in records] == ["train"] * 24 + ["valid"] * 8
    assert records[3].path.name == "fer0000003.png" and records[3].votes == (8, 0, 0, 2, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('a.png,"(0, 0, 48, 48)",1,2,3', r"label.csv:1: expected 10 vote counts"),
        ('a.png,"(0, 0, 48, 48)",1,2,3,4,5,6,7,8,9,x', r"label.csv:1: not a file name"),
        ('a.png,"(0, 0, 48, 48)",1,2,3,4,5,6,7,8,9,10', r"a.png: missing, but named in .*label.csv:1"),
    ],
)
def test_complaints_name_file_and_line(tmp_path: Path, lines: str, message: str) -> None:
    (tmp_path / "FER2013Train").mkdir()
    (tmp_path / "FER2013Train" / "label.csv").write_text(lines)
    with pytest.raises(DataError, match=message):
        list(read_ferplus(tmp_path))


def test_a_wrong_root_names_the_folders_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="FER2013Train"):
        list(read_ferplus(tmp_path))


@pytest.mark.shared
def test_the_official_splits_keep_the_published_counts(shared: Path, tmp_path: Path) -> None:
    with tarfile.open(shared / "ferplus_train_valid.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    records = list(read_ferplus(tmp_path))
    for split, counts in {"train": (28_558, 25_045, 28_385), "valid": (3_579, 3_191, 3_555)}.items():
        votes = np.array([record.votes for record in records if record.split == split])
        kept = [int((hard_labels(votes, protocol) >= 0).sum()) for protocol in ("majority", "argmax")]
        assert (len(votes), *kept) == counts
