import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image as PillowImage
from skimage.transform import SimilarityTransform

from mftn.faces.align import ARCFACE, align, similarity_transform
from mftn.types import Image

LANDMARKS = np.array([[202.4, 106.1], [243.3, 105.2], [219.9, 125.1], [202.5, 143.7], [239.0, 144.1]])
points = arrays(np.float64, (5, 2), elements=st.floats(-100, 100))


@given(points, points)
def test_the_transform_agrees_with_scikit_image(source: np.ndarray, target: np.ndarray) -> None:
    spread = np.linalg.svd(source - source.mean(0), compute_uv=False)
    assume(spread[1] > 1 and np.linalg.svd(target - target.mean(0), compute_uv=False)[1] > 1)
    ours = similarity_transform(source, target)
    expected = SimilarityTransform.from_estimate(source, target)
    assume(expected and np.hypot(ours[0, 0], ours[1, 0]) > 1e-3)
    error = [np.square(source @ m[:2, :2].T + m[:2, 2] - target).sum() for m in (ours, expected.params)]
    assert error[0] <= error[1] * (1 + 1e-6) + 1e-6  # least squares: no other estimate is nearer


@given(st.floats(-180, 180), st.floats(0.2, 5), st.floats(-50, 50), st.floats(-50, 50))
def test_an_exact_similarity_is_recovered(angle: float, scale: float, dx: float, dy: float) -> None:
    expected = SimilarityTransform(scale=scale, rotation=np.deg2rad(angle), translation=(dx, dy))
    found = similarity_transform(LANDMARKS, expected(LANDMARKS))
    np.testing.assert_allclose(found, expected.params[:2], atol=1e-6)


@given(points)
def test_it_never_flips(target: np.ndarray) -> None:
    matrix = similarity_transform(LANDMARKS, target)
    assert np.linalg.det(matrix[:, :2]) >= 0


def test_degenerate_points_are_refused() -> None:
    with pytest.raises(ValueError, match="all the same"):
        similarity_transform(np.ones((5, 2)), LANDMARKS)
    with pytest.raises(ValueError, match="same length"):
        similarity_transform(np.ones((5, 2)), np.ones((4, 2)))


@pytest.mark.parametrize("angle", [30, 90, 135, 180, -90])
def test_turned_faces_come_out_upright_and_not_flipped(astronaut: Image, angle: float) -> None:
    upright = align(astronaut, LANDMARKS, 112)
    turn = cv2.getRotationMatrix2D((256, 256), angle, 1.0)
    turned = cv2.warpAffine(astronaut, turn, (512, 512), flags=cv2.INTER_CUBIC)
    landmarks = (LANDMARKS - 0.5) @ turn[:, :2].T + turn[:, 2] + 0.5
    crop = align(turned, landmarks, 112)
    difference = np.abs(crop.astype(int) - upright).mean()
    flipped = np.abs(crop.astype(int)[:, ::-1] - upright).mean()
    assert difference < 5 < flipped


def test_the_warp_agrees_with_opencv(astronaut: Image) -> None:
    crop = align(astronaut, LANDMARKS, 112)  # the face is smaller than the crop: no shrinking before
    matrix = similarity_transform(LANDMARKS - 0.5, ARCFACE * 112 - 0.5)  # OpenCV's first pixel is centred on 0
    expected = cv2.warpAffine(astronaut, matrix, (112, 112))
    assert np.abs(crop.astype(int) - expected).mean() < 0.7
    assert np.percentile(np.abs(crop.astype(int) - expected), 99) <= 6


def test_large_faces_do_not_alias() -> None:
    stripes = np.zeros((1200, 1200, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = align(stripes, ARCFACE * 1200, 48)
    assert abs(int(crop[8:-8, 8:-8].mean()) - 127) <= 3
    assert crop[8:-8, 8:-8].std() < 12


@pytest.mark.parametrize("size", [112, 48, (64, 96), (96, 64)])
def test_landmarks_land_on_the_template(astronaut: Image, size: int | tuple[int, int]) -> None:
    marked = astronaut.copy()
    for x, y in LANDMARKS.astype(int):
        marked[y - 1 : y + 2, x - 1 : x + 2] = (0, 255, 0)
    crop = align(marked, LANDMARKS, size).astype(int)
    height, width = (size, size) if isinstance(size, int) else size
    assert crop.shape == (height, width, 3)
    side = min(height, width)
    for x, y in ARCFACE * side + ((width - side) / 2, (height - side) / 2):
        patch = crop[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3]
        assert (patch[..., 1] - patch[..., [0, 2]].mean(axis=-1)).max() > 60


def test_outside_the_image_is_black() -> None:
    white = np.full((20, 20, 3), 255, np.uint8)
    crop = align(white, ARCFACE * 40 - 10, 112)
    assert crop[0, 0].tolist() == [0, 0, 0] and crop[56, 56].tolist() == [255, 255, 255]


@pytest.mark.parametrize("side", [40, 400])  # a large face is shrunk first
@pytest.mark.parametrize("corner", [(500, 0), (0, 500), (-500, 0), (0, -500)])
def test_a_face_wholly_outside_gives_a_black_crop(side: int, corner: tuple[int, int]) -> None:
    assert align(np.full((20, 20, 3), 255, np.uint8), ARCFACE * side + corner, 48).max() == 0


def test_small_crops_of_photographs_look_like_pillows_own_reduction(photos: object, astronaut: Image) -> None:
    landmarks = ARCFACE * 512
    expected = np.asarray(PillowImage.fromarray(astronaut).resize((64, 64), PillowImage.Resampling.BOX)).astype(int)
    assert np.abs(align(astronaut, landmarks, 64) - expected).mean() < 1
