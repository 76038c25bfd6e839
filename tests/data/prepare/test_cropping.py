"""One face from its image to its crop."""

import io
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
from PIL import Image as PillowImage

from mftn.data.prepare import arcface_preparation, ferplus_preparation
from mftn.data.prepare.cropping import Cropper, encode, is_grey, laplacian_variance, make_crop, perceptual_hash
from mftn.data.records import Record
from mftn.faces.align import ARCFACE
from mftn.types import Detection, Image

SIDE = 96


def ramp(height: int, width: int) -> Image:
    """Red is the column, green the row: a crop's colours say where it comes from."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([columns, rows, np.zeros_like(rows)], axis=2)


def middle(crop: Image) -> tuple[float, float]:
    """The location in the image that the crop's centre shows, (x, y)."""
    half = len(crop) // 2
    x, y, _ = crop[half - 1 : half + 1, half - 1 : half + 1].reshape(-1, 3).mean(axis=0)
    return float(x), float(y)


def pixels_per_side(crop: Image) -> float:
    """How many pixels of the image one side of the crop spans."""
    half = len(crop) // 2
    row = crop[half, half - 20 : half + 20, 0].astype(float)
    return float(np.polyfit(np.arange(40), row, 1)[0] * len(crop))


def test_landmarks_come_to_the_template() -> None:
    preparation = arcface_preparation(SIDE)
    landmarks = (np.array(ARCFACE) * 80 + (30, 50)).astype(np.float32)
    crop, cut_by, residual = make_crop(ramp(200, 200), Detection((30, 50, 110, 130), 0.9, landmarks), None, preparation)
    assert crop.shape == (SIDE, SIDE, 3) and cut_by == "landmarks" and residual == pytest.approx(0, abs=1e-5)
    assert middle(crop) == pytest.approx((70 - 0.5, 90 - 0.5), abs=0.7) and pixels_per_side(crop) == pytest.approx(
        80, rel=0.02
    )


def test_the_residual_is_the_distance_to_the_template_in_sides() -> None:
    preparation = arcface_preparation(SIDE)
    landmarks = np.array(ARCFACE) * 100
    landmarks[2] += (5, 0)  # one of five is 5 % off; the fit takes some of it away
    _, _, residual = make_crop(
        ramp(120, 120), Detection((0, 0, 100, 100), 0.9, landmarks.astype(np.float32)), None, preparation
    )
    assert residual is not None and 0.5 * 0.05 / np.sqrt(5) < residual < 0.05 / np.sqrt(5)


@pytest.mark.parametrize("landmarks", [True, False])
def test_without_landmarks_the_annotated_box_fills_the_view(landmarks: bool) -> None:
    preparation = ferplus_preparation(SIDE, view=0.8)
    face = None if landmarks else Detection((0, 0, 50, 50), 0.9, None)
    crop, cut_by, residual = make_crop(ramp(200, 250), face, (60, 40, 120, 110), preparation)
    assert (cut_by, residual) == ("box", None)
    assert middle(crop) == pytest.approx((90 - 0.5, 75 - 0.5), abs=0.7)
    assert pixels_per_side(crop) == pytest.approx(70 / 0.8, rel=0.02)  # the longer side of the box


@pytest.mark.parametrize(
    ("height", "width", "side"), [(100, 100, 100), (100, 140, 140), (140, 100, 140), (100, 150, 150), (100, 160, 100)]
)
def test_without_a_box_the_whole_image_is_taken_of_a_long_one_its_centre(height: int, width: int, side: int) -> None:
    crop, cut_by, _ = make_crop(ramp(height, width), None, None, arcface_preparation(SIDE))
    assert cut_by == "image"
    assert middle(crop) == pytest.approx((width / 2 - 0.5, height / 2 - 0.5), abs=0.8)
    assert pixels_per_side(crop) == pytest.approx(side, rel=0.02)


def test_grey_images_are_stored_with_one_channel_and_colour_with_three() -> None:
    grey = np.repeat(np.arange(SIDE, dtype=np.uint8)[None, :, None].repeat(SIDE, 0), 3, axis=2)
    colour = grey.copy()
    colour[5, 7, 2] += 1  # a single pixel that the coarse look misses
    assert is_grey(grey) and not is_grey(colour)
    for kind, mode in ((True, "L"), (False, "RGB")):
        for form in ("png", "jpg"):
            content = encode(grey, kind, arcface_preparation(SIDE, format=form))
            stored = PillowImage.open(io.BytesIO(content))
            assert (stored.mode, stored.format) == (mode, {"png": "PNG", "jpg": "JPEG"}[form])


def test_quality_and_full_colour_resolution_of_jpg(astronaut: Image) -> None:
    small, large = (encode(astronaut, False, arcface_preparation(SIDE, format="jpg", quality=q)) for q in (30, 95))
    assert len(small) < len(large) / 2
    stored = PillowImage.open(io.BytesIO(large))
    assert {layer[1:3] for layer in stored.layer} == {(1, 1)}  # type: ignore[attr-defined]  # no chroma subsampling


def test_blur_and_brightness_and_hash(astronaut: Image) -> None:
    grey = np.asarray(PillowImage.fromarray(astronaut).convert("L"))
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float32)
    expected = scipy.ndimage.convolve(grey.astype(np.float32), kernel)[1:-1, 1:-1].var()
    assert laplacian_variance(grey) == pytest.approx(expected, rel=1e-4)
    lighter = np.clip(grey.astype(int) + 4, 0, 255).astype(np.uint8)
    bits = np.unpackbits(np.frombuffer(perceptual_hash(grey) + perceptual_hash(lighter), np.uint8)).reshape(2, 256)
    assert 100 < bits[0].sum() < 156 and (bits[0] != bits[1]).sum() <= 16


def test_a_row_holds_what_is_found_and_measured(photos: Path, tmp_path: Path) -> None:
    record = Record(photos / "astronaut.jpg", "here", "a", "train", "happiness")
    row = Cropper(tmp_path, arcface_preparation(SIDE))(record, "a.png")
    crop = np.asarray(PillowImage.open(tmp_path / "a.png").convert("L"))
    assert row["face_found"] and row["cut_by"] == "landmarks" and row["detector"] == "yunet"
    assert row["score"] > 0.8 and row["residual"] < 0.05 and len(row["landmarks"]) == 10
    left, top, right, bottom = row["box"]
    assert 150 < left < right < 300 and 50 < top < bottom < 200
    assert row["brightness"] == pytest.approx(crop.mean(), abs=0.5)
    assert row["blur"] == pytest.approx(laplacian_variance(crop), rel=1e-3)


def test_the_face_of_the_annotated_box_is_taken_and_not_the_larger_one(photos: Path, tmp_path: Path) -> None:
    large = PillowImage.open(photos / "astronaut.jpg").convert("RGB")
    both = PillowImage.new("RGB", (900, 512))
    both.paste(large, (0, 0))
    both.paste(large.crop((125, 25, 325, 225)).resize((140, 140)), (700, 300))
    both.save(tmp_path / "both.png")
    cropper = Cropper(tmp_path, arcface_preparation(SIDE))
    box = (730.0, 325.0, 805.0, 405.0)
    row = cropper(Record(tmp_path / "both.png", "here", "a", "train", "fear", box=box), "a.png")
    assert row["face_found"] and row["box"][0] > 700 and row["box"][1] > 300
    assert cropper(Record(tmp_path / "both.png", "here", "a", "train", "fear"), "b.png")["box"][0] < 400
    nowhere = cropper(
        Record(tmp_path / "both.png", "here", "a", "train", "fear", box=(560.0, 20.0, 600.0, 60.0)), "c.png"
    )
    assert (nowhere["face_found"], nowhere["cut_by"], nowhere["score"]) == (False, "box", None)
    assert nowhere["box"] == (560.0, 20.0, 600.0, 60.0) and nowhere["landmarks"] is None


def test_pixels_of_a_table_are_a_square_row_by_row(tmp_path: Path) -> None:
    pixels = np.tile(np.arange(48, dtype=np.uint8), (48, 1))
    record = Record(tmp_path / "t.csv", "t.csv:2", "a", "train", "fear", pixels=pixels.tobytes())
    row = Cropper(tmp_path, arcface_preparation(48, detector="none"))(record, "a.png")
    stored = PillowImage.open(tmp_path / "a.png")
    assert stored.mode == "L" and np.abs(np.asarray(stored).astype(int) - pixels).max() <= 1
    assert (row["cut_by"], row["face_found"], row["detector"]) == ("image", False, "none")


def test_the_threshold_decides_what_counts_as_found(photos: Path, tmp_path: Path) -> None:
    record = Record(photos / "astronaut.jpg", "here", "a", "train", "happiness")
    assert not Cropper(tmp_path, arcface_preparation(SIDE, min_score=0.999))(record, "a.png")["face_found"]
