import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_recall,
)

from mftn.evaluate import metrics
from mftn.evaluate.calibration import MAX_TEMPERATURE, MIN_TEMPERATURE, fit_general_temperature, fit_temperature


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_counts_and_shares_agree_with_torchmetrics(pairs: list[tuple[int, int]]) -> None:
    labels, predictions = np.array(pairs).T
    counts = metrics.confusion_counts(labels, predictions, 5)
    target, preds = torch.from_numpy(labels), torch.from_numpy(predictions)
    assert (counts == multiclass_confusion_matrix(preds, target, 5).numpy()).all()
    assert metrics.accuracy(counts) == pytest.approx(multiclass_accuracy(preds, target, 5, average="micro").item())
    seen = np.unique(labels)
    recall = multiclass_recall(preds, target, 5, average="none").numpy()
    np.testing.assert_allclose(metrics.recall_per_class(counts)[seen], recall[seen], rtol=1e-6)
    assert metrics.macro_recall(counts) == pytest.approx(recall[seen].mean())


@given(st.integers(0, 500), st.integers(1, 500))
def test_wilson_interval_agrees_with_scipy(correct: int, total: int) -> None:
    correct = min(correct, total)
    expected = binomtest(correct, total).proportion_ci(method="wilson")
    assert metrics.wilson_interval(correct, total) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_the_interval_of_none_and_of_all_right_ends_at_0_and_1() -> None:
    for total in range(1, 200):
        assert metrics.wilson_interval(0, total)[0] == 0
        assert metrics.wilson_interval(total, total)[1] == 1


def test_calibration_error_agrees_with_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), 500).astype(np.float32)
    labels = rng.integers(0, 4, 500)
    expected = multiclass_calibration_error(torch.from_numpy(probabilities), torch.from_numpy(labels), 4, n_bins=15)
    assert metrics.expected_calibration_error(probabilities, labels) == pytest.approx(expected.item(), abs=1e-5)


def test_without_samples_nothing_is_known() -> None:
    none, no_labels = np.zeros((3, 3), dtype=np.int64), np.zeros(0, dtype=np.int64)
    for metric in (metrics.accuracy, metrics.macro_recall, metrics.macro_f1, metrics.cohen_kappa):
        assert np.isnan(metric(none)) and np.isnan(metrics.bootstrap_interval(none, metric)).all()
    assert np.isnan(metrics.top_k_accuracy(np.zeros((0, 3)), no_labels))
    assert np.isnan(metrics.expected_calibration_error(np.zeros((0, 3)), no_labels))
    assert metrics.wilson_interval(0, 0) == (0.0, 1.0)


def test_a_temperature_stays_finite_where_none_is_best() -> None:
    logits = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    best = logits.argmax(dim=1)
    assert fit_temperature(logits, best) == MIN_TEMPERATURE
    assert fit_temperature(logits, (best + 1) % 5) == MAX_TEMPERATURE


def test_impossible_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="0 to 2"):
        metrics.confusion_counts(np.array([0, 3]), np.array([0, 0]), 3)
    with pytest.raises(ValueError, match="2 labels but 1"):
        metrics.confusion_counts(np.array([0, 1]), np.array([0]), 3)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(20_000, 5, generator=generator)
    labels = torch.multinomial((logits / temperature).softmax(1), 1, generator=generator)[:, 0]
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


def test_temperature_of_averaged_views_minimises_their_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    views = 3 * torch.randn(2, 500, 5, generator=generator)
    labels = views.mean(dim=0).argmax(dim=1)
    labels[::3] = 0
    grid = torch.linspace(0.5, 4, 701)
    means = torch.stack([(views / temperature).softmax(dim=2).mean(dim=0) for temperature in grid])  # (701, 500, 5)
    losses = -means.log()[:, torch.arange(500), labels].mean(dim=1)
    assert fit_temperature(views, labels) == pytest.approx(float(grid[losses.argmin()]), abs=0.01)


def test_in_the_general_temperature_every_class_counts_the_same() -> None:
    """Each class's samples repeated until all classes are as large give the same temperature without weights."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0] * 60 + [1] * 20 + [2] * 4)
    logits = torch.randn(84, 3, generator=generator)
    logits[torch.arange(84), labels] += torch.tensor([3.0, 1.0, 0.5])[labels]  # rare classes are harder
    probabilities = logits.softmax(dim=1)
    repeats = torch.tensor([1, 3, 15])[labels]
    balanced = fit_temperature(logits.repeat_interleave(repeats, dim=0), labels.repeat_interleave(repeats))
    general = fit_general_temperature(probabilities, labels)
    assert general == pytest.approx(balanced, rel=1e-4)
    assert general > 1.1 * fit_temperature(logits, labels), "otherwise this test sees nothing"
    assert (
        MIN_TEMPERATURE <= fit_general_temperature(probabilities[labels == 0], labels[labels == 0]) <= MAX_TEMPERATURE
    )
