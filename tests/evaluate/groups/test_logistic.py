"""Firth's logistic regression against closed forms and statsmodels."""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from mftn.evaluate.groups import logistic


def test_two_groups_have_half_an_image_added_to_each_cell() -> None:
    right = np.repeat([1.0, 0, 1, 0], [43, 6, 26, 27])
    group = np.repeat([1.0, 1, 0, 0], [43, 6, 26, 27])
    fitted = logistic.fit(np.column_stack([np.ones(102), group]), right)
    assert np.exp(fitted[1]) == pytest.approx((43.5 / 6.5) / (26.5 / 27.5))


def test_a_group_that_is_always_right_has_a_finite_answer() -> None:
    right = np.repeat([1.0, 1, 0], [40, 30, 10])
    group = np.repeat([1.0, 0], [40, 40])
    design = np.column_stack([np.ones(80), group])
    fitted = logistic.fit(design, right)
    assert np.exp(fitted[1]) == pytest.approx((40.5 / 0.5) / (30.5 / 10.5))
    p = logistic.score_test(group, design[:, :1], right, np.arange(80))
    table = [[40, 0], [30, 10]]
    assert p == pytest.approx(chi2_contingency(table, correction=False).pvalue, abs=0.002)
    low, high = logistic.score_interval(group, design[:, :1], right, np.arange(80), fitted[1])
    assert 0 < low < fitted[1] and high == np.inf


def test_many_images_of_each_person_agree_with_estimating_equations() -> None:
    rng = np.random.default_rng(3)
    people = np.repeat(np.arange(400), 5)
    group = (people % 2).astype(float)
    strength = rng.normal(0, 1, len(people))
    odds = 0.5 + strength + 0.5 * group + rng.normal(0, 1.5, 400)[people]
    right = (rng.random(len(people)) < 1 / (1 + np.exp(-odds))).astype(float)
    design = np.column_stack([np.ones(len(people)), strength, group])
    fitted = logistic.fit(design, right)
    model = sm.GEE(right, design, groups=people, family=sm.families.Binomial()).fit()
    np.testing.assert_allclose(fitted, model.params, atol=0.01)
    interval = logistic.score_interval(group, design[:, :2], right, people, fitted[2])
    np.testing.assert_allclose(interval, model.conf_int()[2], atol=0.02)
    p = logistic.score_test(group, design[:, :2], right, people)
    assert p == pytest.approx(model.pvalues[2], rel=0.3)
    alone = logistic.score_test(group, design[:, :2], right, np.arange(len(people)))
    assert alone < p  # as if every image were another person


@example(10, 33, 0.5, 0.984375, 5118)  # far above 0 the test rejects no more
@given(st.integers(3, 40), st.integers(3, 60), st.floats(0.3, 1), st.floats(0.3, 1), st.integers(0, 2**32 - 1))
def test_the_interval_holds_no_difference_just_where_the_test_finds_none(
    n: int, m: int, share: float, other: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    right = np.concatenate([rng.random(n) < share, rng.random(m) < other]).astype(float)
    assume(0 < right.mean() < 1)
    group, people = np.repeat([1.0, 0.0], [n, m]), np.arange(n + m) // 2
    null = np.ones((n + m, 1))
    fitted = logistic.fit(np.column_stack([null, group]), right)
    p = logistic.score_test(group, null, right, people)
    low, high = logistic.score_interval(group, null, right, people, fitted[1])
    assume(abs(p - 0.05) > 1e-4)
    assert (low <= 0 <= high) == (p > 0.05)
    assert low < high
