import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch
import torchmetrics
from hypothesis import given
from hypothesis import strategies as st

from mftn.evaluate import metrics

RNG = np.random.default_rng(0)
LABELS = RNG.choice(5, 300, p=[0.5, 0.3, 0.1, 0.06, 0.04])
SCORES = RNG.dirichlet(np.ones(5), 300) + np.eye(5)[LABELS] * 0.4
PREDICTIONS = SCORES.argmax(axis=1)
COUNTS = metrics.confusion_counts(LABELS, PREDICTIONS, 5)


def test_class_metrics_agree_with_scikit_learn_and_torchmetrics() -> None:
    precision, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(LABELS, PREDICTIONS, zero_division=0)
    np.testing.assert_allclose(metrics.precision_per_class(COUNTS), precision)
    np.testing.assert_allclose(metrics.recall_per_class(COUNTS), recall)
    np.testing.assert_allclose(metrics.f1_per_class(COUNTS), f1)
    assert metrics.macro_f1(COUNTS) == pytest.approx(f1.mean())
    assert metrics.cohen_kappa(COUNTS) == pytest.approx(sklearn.metrics.cohen_kappa_score(LABELS, PREDICTIONS))
    pair = torch.from_numpy(PREDICTIONS), torch.from_numpy(LABELS)
    kappa = torchmetrics.functional.cohen_kappa(*pair, task="multiclass", num_classes=5)
    assert metrics.cohen_kappa(COUNTS) == pytest.approx(kappa.item(), abs=1e-6)
    f1_macro = torchmetrics.functional.f1_score(*pair, task="multiclass", num_classes=5, average="macro")
    assert metrics.macro_f1(COUNTS) == pytest.approx(f1_macro.item(), abs=1e-6)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k_agrees_with_scikit_learn(k: int) -> None:
    expected = sklearn.metrics.top_k_accuracy_score(LABELS, SCORES, k=k)
    assert metrics.top_k_accuracy(SCORES, LABELS, k) == pytest.approx(expected)


def test_the_bootstrap_interval_holds_95_percent() -> None:
    # Resampled accuracies are binomial, so their percentiles are known; those of 90 and 99 % are 0.007 and 0.014 away.
    share = metrics.accuracy(COUNTS)
    exact = scipy.stats.binom.ppf([0.025, 0.975], len(LABELS), share) / len(LABELS)
    assert metrics.bootstrap_interval(COUNTS, metrics.accuracy, samples=20_000) == pytest.approx(
        tuple(exact), abs=0.0034
    )
    resampled = metrics.bootstrap_interval(COUNTS, metrics.macro_recall, samples=4000)
    expected = scipy.stats.bootstrap(
        (LABELS, PREDICTIONS),
        lambda labels, predictions: metrics.macro_recall(metrics.confusion_counts(labels, predictions, 5)),
        method="percentile", paired=True, vectorized=False, rng=1, n_resamples=4000,
    ).confidence_interval  # fmt: skip
    assert resampled == pytest.approx(tuple(expected), abs=0.15 * (expected.high - expected.low) / 2)
    assert metrics.bootstrap_interval(COUNTS, metrics.macro_recall) == metrics.bootstrap_interval(
        COUNTS, metrics.macro_recall
    )


def test_mcnemar_and_the_paired_interval() -> None:
    first, second = np.zeros(100, dtype=bool), np.zeros(100, dtype=bool)
    first[:60], second[5:80] = True, True
    found = metrics.mcnemar(first, second)
    assert (found["only_first"], found["only_second"]) == (5, 20)
    assert found["p"] == pytest.approx(2 * scipy.stats.binom.cdf(5, 25, 0.5))
    difference = metrics.paired_difference(first, second)
    assert difference["difference"] == pytest.approx(0.15)
    many = metrics.paired_difference(np.tile(first, 100), np.tile(second, 100), samples=20_000)
    spread = np.sqrt((25 / 100 - 0.15**2) / 10_000)
    assert (many["low"] - 0.15) / spread == pytest.approx(-1.96, abs=0.1)  # 90 % are 1.64 and 99 % are 2.58 spreads
    assert (many["high"] - 0.15) / spread == pytest.approx(1.96, abs=0.1)
    assert difference["low"] < many["low"] < 0.15 < many["high"] < difference["high"]
    assert metrics.mcnemar(first, first)["p"] == 1


def test_classes_without_images_and_agreement_by_chance_alone_have_no_number() -> None:
    np.testing.assert_array_equal(metrics.precision_per_class(np.array([[3, 1], [0, 0]])), [1, np.nan])
    np.testing.assert_array_equal(metrics.f1_per_class(np.array([[3, 1], [0, 0]])), [6 / 7, np.nan])
    assert np.isnan(metrics.cohen_kappa(np.array([[5, 0], [0, 0]])))


def test_holms_correction_keeps_the_order_and_never_falls() -> None:
    np.testing.assert_allclose(metrics.holm([0.04, 0.01, 0.03]), [0.06, 0.03, 0.06])
    assert metrics.holm([0.6, 0.7]) == [1.0, 1.0] and metrics.holm([]) == []


@given(st.integers(1, 40), st.integers(2, 6))
def test_metrics_stay_in_their_ranges(n: int, k: int) -> None:
    rng = np.random.default_rng(n * k)
    counts = metrics.confusion_counts(rng.integers(0, k, n), rng.integers(0, k, n), k)
    assert 0 <= metrics.macro_f1(counts) <= 1
    kappa = metrics.cohen_kappa(counts)
    assert np.isnan(kappa) or -1 <= kappa <= 1


def test_agreement_and_divergence() -> None:
    votes = np.array([[5, 0, 0], [6, 4, 0], [4, 3, 3], [0, 9, 1]])  # not everybody was seen by ten raters
    rows = metrics.agreement_curve(votes, np.array([0, 0, 0, 1]), np.array([0, 1, 0, 1]), (0.0, 0.5, 0.8, 1.0))
    assert [(row["images"], row["accuracy"]) for row in rows] == [(1, 1.0), (1, 0.0), (2, 1.0)]
    for row, (right, total) in zip(rows, ((1, 1), (0, 1), (2, 2)), strict=True):
        interval = scipy.stats.binomtest(right, total).proportion_ci(0.95, method="wilson")
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high), abs=1e-6)
    targets, probabilities = votes / votes.sum(axis=1, keepdims=True), np.full((4, 3), 1 / 3)
    expected = scipy.stats.entropy(targets, probabilities, axis=1).mean()
    assert metrics.mean_divergence(targets, probabilities) == pytest.approx(expected)
    assert metrics.mean_divergence(targets, targets) == pytest.approx(0)
    assert metrics.mean_divergence(targets, np.tile([0.5, 0.5, 0.0], (4, 1))) == np.inf
    two = np.tile([0.5, 0.5, 0.0], (2, 1))  # the raters of these two saw no third class either
    assert metrics.mean_divergence(targets[:2], two) == pytest.approx(
        scipy.stats.entropy(targets[:2], two, axis=1).mean()
    )
