import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image as PillowImage

from mftn.data.dataset import FaceDataset
from mftn.data.ferplus import read_ferplus
from mftn.data.prepare import choose_face, ferplus_preparation, prepare
from mftn.errors import DataError
from mftn.faces import load_detector
from mftn.types import Detection


def test_no_picture_vanishes_and_a_missing_face_is_flagged(prepared: Path) -> None:
    rows = pq.read_table(prepared / "manifest.parquet").to_pylist()
    assert len(rows) == 32
    lost = [row["path"] for row in rows if not row["face_found"]]
    assert lost == ["train/fer0000005.png", "valid/fer0000005.png"]
    description = json.loads((prepared / "dataset.json").read_text())
    assert description["pictures"] == {"train": 24, "valid": 8}
    assert description["without_face"] == {"train": 1, "valid": 1}


def test_crops_bring_every_face_to_the_template(prepared: Path) -> None:
    template = np.array(json.loads((prepared / "dataset.json").read_text())["preparation"]["template"])
    detector = load_detector(min_score=0.3)
    distances = []
    for path in sorted((prepared / "train").iterdir()):
        crop = np.array(PillowImage.open(path).convert("RGB"))
        found = choose_face(detector.detect(crop), crop)
        if found is not None and found.landmarks is not None:
            distances.append(np.linalg.norm(found.landmarks / 64 - template, axis=1).mean())
    assert len(distances) >= 20
    assert np.median(distances) < 0.03


def test_a_prepared_folder_is_not_overwritten(prepared: Path, ferplus_root: Path) -> None:
    with pytest.raises(DataError, match=r"manifest\.parquet: is there already"):
        prepare(read_ferplus(ferplus_root), prepared, ferplus_preparation(64), workers=1)


def test_the_large_central_face_is_chosen() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    faces = [Detection(box, 0.9, None) for box in ((0, 0, 20, 20), (30, 30, 70, 70), (80, 80, 99, 99))]
    assert choose_face(faces, image) is faces[1]
    assert choose_face([], image) is None


@pytest.mark.parametrize(("channels", "protocol", "count"), [(1, "argmax", 24), (3, "argmax", 24), (1, "majority", 24)])
def test_the_dataset_reads_what_was_prepared(prepared: Path, channels: int, protocol: str, count: int) -> None:
    data = FaceDataset(prepared, "train", channels, protocol)
    crop, target, label = data[1]
    assert len(data) == count and crop.shape == (channels, 64, 64) and label == 0
    assert target.sum().item() == pytest.approx(1)
    crops, _, labels = data.__getitems__([0, 1])
    assert crops.shape == (2, channels, 64, 64) and labels.tolist() == [1, 0]


def test_what_is_missing_is_named(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures in the split test"):
        FaceDataset(prepared, "test")
    with pytest.raises(DataError, match="mftn prepare"):
        FaceDataset(tmp_path, "train")
