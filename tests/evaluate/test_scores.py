import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
)

from mftn.evaluate.scores import Scores


def drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(4, 0.3), n), rng.integers(0, 4, n)


@given(st.integers(20, 200), st.integers(0, 1000))
def test_the_numbers_are_those_of_torchmetrics_and_statsmodels(n: int, seed: int) -> None:
    probabilities, labels = drawn(n, seed)
    assume(len(set(labels)) == 4)  # torchmetrics counts a class without images as missed
    scores = Scores.of(probabilities, labels)
    x, y = torch.from_numpy(probabilities), torch.from_numpy(labels)
    assert scores.accuracy == pytest.approx(multiclass_accuracy(x, y, 4, average="micro").item(), abs=1e-6)
    assert scores.macro_recall == pytest.approx(multiclass_accuracy(x, y, 4, average="macro").item(), abs=1e-6)
    assert scores.calibration_error == pytest.approx(multiclass_calibration_error(x, y, 4, n_bins=15).item(), abs=1e-4)
    assert np.array_equal(scores.confusion, multiclass_confusion_matrix(x, y, 4).numpy())
    right = round(scores.accuracy * n)
    assert scores.interval == pytest.approx(proportion_confint(right, n, method="wilson"), abs=1e-6)


def test_an_image_without_an_output_is_wrong_whatever_its_label() -> None:
    probabilities, labels = np.eye(3)[[0, 1, 2, 0]], np.array([0, 1, 2, 0])
    probabilities[3] = 0
    scores = Scores.of(probabilities, labels)
    assert (scores.missed, scores.accuracy, scores.calibration_error) == (1, 0.75, 0.0)
    assert scores.recall == (0.5, 1.0, 1.0) and scores.macro_recall == pytest.approx(2.5 / 3)
    assert str(scores).startswith("4 images, 1 without a face: accuracy 75.00% (95 % interval")


def test_a_class_without_images_does_not_count() -> None:
    scores = Scores.of(np.eye(3)[[0, 1]], np.array([0, 0]))
    assert scores.macro_recall == 0.5 and np.isnan(scores.recall[1])


def test_no_images_give_no_numbers_and_unequal_lengths_are_refused() -> None:
    none = Scores.of(np.zeros((0, 3)), np.zeros(0, int))
    assert np.isnan(none.accuracy) and str(none) == "0 images"
    with pytest.raises(ValueError, match="2 labels but 1 rows"):
        Scores.of(np.eye(3)[:1], np.array([0, 1]))
