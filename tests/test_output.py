import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image as PillowImage

import mftn
from mftn.errors import OutputError
from mftn.labels import EXPRESSIONS
from mftn.output import PictureFolder, annotate, open_writer
from mftn.types import Face, Prediction


def face(box: tuple[float, float, float, float], expression: str = "fear") -> Face:
    probabilities = dict.fromkeys(EXPRESSIONS, 0.05) | {expression: 0.65}
    return Face(box, 0.9, np.arange(10, dtype=np.float32).reshape(5, 2), probabilities)


PREDICTIONS = [
    Prediction("a,b.jpg", 640, 480, (face((1, 2, 30, 40)), face((50, 60, 70, 80), "anger"))),
    Prediction("naïve.jpg", 10, 10, ()),
    Prediction("bad.jpg", 0, 0, (), "bad.jpg: damaged"),
]


def test_jsonl_is_the_documented_contract(tmp_path: Path) -> None:
    with open_writer(tmp_path / "out.jsonl", "jsonl") as writer:
        for prediction in PREDICTIONS:
            writer.write(prediction)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines == [prediction.to_dict() for prediction in PREDICTIONS]
    assert lines[0]["faces"][0] == {
        "box": [1.0, 2.0, 30.0, 40.0],
        "score": 0.9,
        "landmarks": [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0], [8.0, 9.0]],
        "expression": "fear",
        "probability": 0.65,
        "probabilities": dict.fromkeys(EXPRESSIONS, 0.05) | {"fear": 0.65},
        "track": None,
    }


def test_csv_and_parquet_hold_the_same_rows(tmp_path: Path) -> None:
    for kind in ("csv", "parquet"):
        with open_writer(tmp_path / f"out.{kind}", kind) as writer:
            for prediction in PREDICTIONS:
                writer.write(prediction)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text(encoding="utf-8"))))
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert list(rows[0]) == list(table[0])
    assert [row["expression"] for row in rows] == ["fear", "anger", "", ""]
    assert [row["expression"] for row in table] == ["fear", "anger", None, None]
    assert float(rows[1]["p_anger"]) == pytest.approx(table[1]["p_anger"], abs=1e-6) == pytest.approx(0.65)
    assert rows[3]["error"] == "bad.jpg: damaged"


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_an_interruption_keeps_what_was_written(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"out.{kind}"
    with pytest.raises(KeyboardInterrupt), open_writer(path, kind) as writer:
        writer.write(PREDICTIONS[0])
        raise KeyboardInterrupt
    rows = pq.read_table(path).num_rows if kind == "parquet" else len(path.read_text().splitlines())
    assert rows == {"jsonl": 1, "csv": 3, "parquet": 2}[kind]
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OutputError, match=r"out\.csv.*cannot be written"),
        open_writer(tmp_path / "file" / "out.csv", "csv"),
    ):
        pass


def test_a_full_disk_is_reported_and_keeps_the_old_file(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "out.jsonl").write_text("old\n")
    (tmp_path / "out.jsonl.partial").symlink_to("/dev/full")
    with (
        pytest.raises(OutputError, match=r"No space left.*free space"),
        open_writer(tmp_path / "out.jsonl", "jsonl") as writer,
    ):
        writer.write(PREDICTIONS[0])
    assert (tmp_path / "out.jsonl").read_text() == "old\n"


def test_saved_pictures_never_collide_nor_replace_their_source(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path)
    picture = PillowImage.new("RGB", (8, 8))
    names = [folder.save(picture, source, "faces").name for source in ("x/a.jpg", "y/a.png", "../a.jpg")]
    assert names == ["a_faces.jpg", "a_faces-2.jpg", "a_faces-3.jpg"]
    source = tmp_path / "b_faces.jpg"
    source.write_bytes(b"precious")
    (tmp_path / "b_faces_faces.jpg").write_bytes(b"old result")
    folder.save(picture, str(source), "faces")
    assert source.read_bytes() == b"precious"
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".jpg"] * 5


@pytest.mark.parametrize("brightness", [0, 128, 255])
@pytest.mark.parametrize(
    "box", [(100, 100, 200, 220), (0, 0, 300, 300), (-20, -30, 40, 40), (250, 260, 330, 340), (5, 5, 9, 9)]
)
def test_labels_are_legible_on_any_picture_and_inside_it(brightness: int, box: tuple[float, ...]) -> None:
    image = np.full((300, 300, 3), brightness, np.uint8)
    drawn = np.asarray(annotate(image, [face(box)]))
    assert drawn.shape == image.shape
    plate = (drawn == (0xCC, 0x79, 0xA7)).all(axis=2)  # fear's colour
    assert plate.sum() > 300
    assert (image == brightness).all(), "the picture itself is not changed"


def test_the_astronaut_is_annotated_beside_the_face(photos: Path) -> None:
    prediction = mftn.predict(photos / "astronaut.jpg")
    image = np.array(PillowImage.open(photos / "astronaut.jpg"))
    drawn = np.asarray(annotate(image, prediction.faces))
    left, top, right, bottom = (round(edge) for edge in prediction.faces[0].box)
    inner = (slice(top + 8, bottom - 8), slice(left + 8, right - 8))
    assert (drawn[inner] == image[inner]).all()
    assert (drawn != image).any()
