"""Firth's logistic regression against closed forms and statsmodels."""

import numpy as np
import pytest
import statsmodels.api as sm
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
    error = np.sqrt(logistic.covariance(design, right, fitted, np.arange(80))[1, 1])
    assert np.exp(fitted[1]) == pytest.approx((40.5 / 0.5) / (30.5 / 10.5))
    assert 1 < error < 2  # not the sandwich's, which is next to nothing here
    p = logistic.score_test(group, design[:, :1], right, np.arange(80))
    table = [[40, 0], [30, 10]]
    assert p == pytest.approx(chi2_contingency(table, correction=False).pvalue, abs=0.002)


def test_many_images_of_each_person_agree_with_estimating_equations() -> None:
    rng = np.random.default_rng(3)
    people = np.repeat(np.arange(400), 5)
    group = (people % 2).astype(float)
    strength = rng.normal(0, 1, len(people))
    odds = 0.5 + strength + 0.5 * group + rng.normal(0, 1.5, 400)[people]
    right = (rng.random(len(people)) < 1 / (1 + np.exp(-odds))).astype(float)
    design = np.column_stack([np.ones(len(people)), strength, group])
    fitted = logistic.fit(design, right)
    error = np.sqrt(np.diag(logistic.covariance(design, right, fitted, people)))
    model = sm.GEE(right, design, groups=people, family=sm.families.Binomial()).fit()
    np.testing.assert_allclose(fitted, model.params, atol=0.01)
    np.testing.assert_allclose(error, model.bse, rtol=0.02)
    p = logistic.score_test(group, design[:, :2], right, people)
    assert p == pytest.approx(model.pvalues[2], rel=0.3)
    alone = logistic.score_test(group, design[:, :2], right, np.arange(len(people)))
    assert alone < p  # as if every image were another person
