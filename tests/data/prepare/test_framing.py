"""Where crops have the landmarks."""

import numpy as np
import pytest

from mftn.data.prepare import arcface_preparation, ferplus_preparation

PUBLISHED = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
"""ArcFace's five landmarks in a crop of 112×112 pixels."""


def test_arcface_crops_have_the_published_landmarks() -> None:
    made = arcface_preparation(112)
    np.testing.assert_allclose(np.array(made.template) * 112, PUBLISHED, atol=1e-3)
    assert made.whole == (0, 0, 1, 1) and (made.size, made.detector, made.format) == (112, "yunet", "png")


@pytest.mark.parametrize("view", [1.0, 0.875, 0.5])
def test_a_margin_brings_the_landmarks_nearer_to_the_centre(view: float) -> None:
    full, seen = (np.array(arcface_preparation(112, v).template) for v in (1.0, view))
    np.testing.assert_allclose(seen, 0.5 + view * (full - 0.5), atol=2e-6)
    margin = (1 - view) / 2
    assert arcface_preparation(112, view).whole == pytest.approx((margin, margin, 1 - margin, 1 - margin))


def test_ferplus_crops_are_framed_as_fer2013_frames_faces() -> None:
    made = ferplus_preparation(view=1.0, detector="none")
    expected = PUBLISHED / 112 * 1.068 + (-0.034, -0.121)
    np.testing.assert_allclose(made.template, expected, atol=1e-5)
    assert made.size == 96 and made.detector == "none"
    eyes, mouth = np.array(made.template)[:2, 1].mean(), np.array(made.template)[3:, 1].mean()
    assert (eyes, mouth) == pytest.approx((0.37, 0.76), abs=0.01)
    assert ferplus_preparation().whole == pytest.approx((0.0625, 0.0625, 0.9375, 0.9375))
    assert all(round(number, 6) == number for point in ferplus_preparation().template for number in point)
