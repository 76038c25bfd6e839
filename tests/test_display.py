"""Results show themselves: annotated images, figures, files and notebooks."""

import base64
import io
import json
import pickle
import re
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient
from PIL import Image as PillowImage

import mftn
from mftn.drawing import annotate
from mftn.errors import ConfigError, ImageError, OutputError
from mftn.types import Face, Image, Prediction


@pytest.fixture(scope="module")
def prediction(photos: Path) -> Prediction:
    return mftn.predict(photos / "astronaut.jpg")


def crowd(count: int) -> Prediction:
    """A made prediction of an array that it keeps no longer."""
    probabilities = {"<b>joy</b>": 0.75, "neutral": 0.25}
    faces = [Face((20.0 * n, 10, 20.0 * n + 15, 30), 0.9, None, probabilities) for n in range(count)]
    return Prediction("<script>&.jpg", 600, 50, tuple(faces))


def test_a_prediction_is_a_sequence_of_its_faces(prediction: Prediction) -> None:
    assert len(prediction) == 1 and list(prediction) == [prediction[0]] and prediction[:5] == prediction.faces
    assert len(replace(prediction, faces=())) == 0
    with pytest.raises(IndexError):
        prediction[1]


def test_every_kind_of_source_is_annotated(photos: Path, astronaut: Image, prediction: Prediction) -> None:
    path = photos / "astronaut.jpg"
    expected = np.asarray(annotate(astronaut, prediction))
    with path.open("rb") as file:
        from_file = mftn.predict(file)
    given = (path, astronaut, PillowImage.open(path), path.read_bytes(), io.BytesIO(path.read_bytes()))
    for found in (*(mftn.predict(source) for source in given), from_file):
        np.testing.assert_array_equal(np.asarray(found.annotate()), expected)
        assert "kept" not in repr(found)
    np.testing.assert_array_equal(np.asarray(mftn.annotate(path, prediction.faces)), expected)
    assert (np.asarray(prediction.annotate(top=1)) != expected).any()


def test_pickles_and_copies_carry_no_image(astronaut: Image) -> None:
    found = mftn.predict(astronaut)
    content = pickle.dumps(found)
    again = pickle.loads(content)
    assert len(content) < 5000 and again.to_dict() == found.to_dict()
    with pytest.raises(ImageError, match=r"ndarray: no such file.*pass the image: prediction\.annotate\(image\)"):
        again.annotate()
    np.testing.assert_array_equal(np.asarray(again.annotate(astronaut)), np.asarray(found.annotate()))
    with pytest.raises(ImageError, match="the image has 400×512 pixels, not 512×512"):
        again.annotate(astronaut[:, :400])


def test_what_cannot_be_shown_says_why(tmp_path: Path, photos: Path) -> None:
    frame = Prediction("clip.mp4", 64, 48, (), None, 7, 0.28)
    with pytest.raises(ImageError, match=r"clip\.mp4: frame 7: its image is no longer in memory"):
        frame.annotate()
    failed = Prediction("bad.jpg", 0, 0, (), "bad.jpg: no such file; check the path")
    with pytest.raises(ImageError, match=r"bad\.jpg: no such file"):
        failed.annotate()
    assert "bad.jpg: no such file" in failed._repr_html_()


def test_a_prediction_is_saved_as_its_suffix_says(prediction: Prediction, tmp_path: Path) -> None:
    for suffix in (".jpg", ".PNG", ".webp", ".tif"):
        prediction.save(tmp_path / f"new/faces{suffix}")
        with PillowImage.open(tmp_path / f"new/faces{suffix}") as image:
            assert image.size == (512, 512)
    np.testing.assert_array_equal(np.asarray(PillowImage.open(tmp_path / "new/faces.PNG")), prediction.annotate())
    for suffix in (".json", ".jsonl", ".csv", ".parquet"):
        prediction.save(str(tmp_path / f"faces{suffix}"))
    assert json.loads((tmp_path / "faces.json").read_text()) == prediction.to_dict()
    assert json.loads((tmp_path / "faces.jsonl").read_text()) == json.loads(prediction.to_json())
    assert prediction.to_json() == (tmp_path / "faces.jsonl").read_text().strip()
    for table in (pd.read_csv(tmp_path / "faces.csv"), pd.read_parquet(tmp_path / "faces.parquet")):
        assert list(table["expression"]) == ["happiness"]
    assert len(list(tmp_path.iterdir())) >= 5 and not list(tmp_path.glob("**/*.partial*"))
    with pytest.raises(ConfigError, match=r"faces\.xyz: unknown suffix; use one of \.jpg"):
        prediction.save(tmp_path / "faces.xyz")


def test_a_file_that_cannot_hold_the_image_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = np.zeros((1, 70_000, 3), np.uint8)
    with pytest.raises(ImageError, match=r"wide\.jpg: 70000×1 pixels are too many for JPEG.*; choose another format"):
        Prediction("wide.png", 70_000, 1, ()).save(tmp_path / "wide.jpg", wide)
    PillowImage.init()
    monkeypatch.delitem(PillowImage.EXTENSION, ".avif", raising=False)
    with pytest.raises(ImageError, match=r"small\.avif: cannot be written as \.avif"):
        Prediction("small.png", 5, 1, ()).save(tmp_path / "small.avif", wide[:, :5])
    assert not list(tmp_path.iterdir())


def test_the_source_is_never_replaced(photos: Path, tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes((photos / "astronaut.jpg").read_bytes())
    (tmp_path / "link.jpg").symlink_to(source)
    found = mftn.predict(source)
    for name in ("a.jpg", "link.jpg"):
        with pytest.raises(OutputError, match="is the source, which is never replaced"):
            found.save(tmp_path / name)
    with pytest.raises(OutputError, match="is the source, which is never replaced"):
        mftn.predict(source.read_bytes()).save(tmp_path / "link.jpg", image=source)
    assert source.read_bytes() == (photos / "astronaut.jpg").read_bytes()


@pytest.mark.parametrize("count", [0, 1, 2, 5, 15])
def test_a_figure_shows_every_probability(count: int) -> None:
    found = crowd(count)
    figure = found.plot(np.zeros((50, 600, 3), np.uint8))
    image, *bars = figure.axes
    assert "<script>&.jpg" in image.get_title() and len(bars) == min(count, 12)
    for axes in bars:
        assert [round(bar.get_width(), 2) for bar in axes.patches] == [0.75, 0.25]
        assert {text.get_text() for text in axes.texts} == {"75%", "25%"}
    figure.savefig(io.BytesIO())


@pytest.mark.parametrize("shape", [(1000, 1, 3), (1, 1000, 3), (1, 1, 3)])
def test_a_figure_of_a_line_of_pixels_can_be_drawn(shape: tuple[int, ...]) -> None:
    image = np.zeros(shape, np.uint8)
    content = Prediction("line.png", shape[1], shape[0], ()).plot(image)._repr_png_()
    assert min(PillowImage.open(io.BytesIO(content)).size) >= 100


def test_html_is_escaped_and_shows_bars_also_without_the_image() -> None:
    text = crowd(15)._repr_html_()
    assert "<script" not in text and "<b>joy" not in text and "&lt;script&gt;&amp;.jpg" in text
    assert text.count("&lt;b&gt;joy&lt;/b&gt; 75%</b>") == 12 and "and 3 more faces" in text and "width:75.0%" in text
    assert "<img" not in text and "no such file" in text


def test_a_large_image_is_scaled_down_for_a_notebook(astronaut: Image) -> None:
    large = PillowImage.fromarray(astronaut).resize((2048, 2048))
    text = mftn.predict(large)._repr_html_()
    (address,) = re.findall(r"data:image/jpeg;base64,([^']+)", text)
    with PillowImage.open(io.BytesIO(base64.b64decode(address))) as shown:
        assert shown.size == (640, 640)
    assert len(text) < 200_000


def test_a_notebook_shows_predictions(photos: Path) -> None:
    cells = [
        f"import mftn; prediction = mftn.predict({str(photos / 'astronaut.jpg')!r}); prediction",
        "prediction.plot()",
        "prediction.show()",
        "prediction.annotate()",
        "print(repr(prediction))",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = [[output.get("data", {}) for output in cell.outputs] for cell in notebook.cells]
    for outputs in (shown[0], shown[2]):
        (output,) = outputs
        assert "data:image/jpeg;base64," in output["text/html"] and "happiness" in output["text/html"]
    assert ["image/png" in output for output in shown[1]] == [True]
    assert "image/png" in shown[3][0]
    assert "happiness" in notebook.cells[4].outputs[0].text
