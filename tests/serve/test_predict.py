import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image as PillowImage

import mftn
from mftn.engines import find_model
from mftn.serve.app import create_app
from mftn.serve.recognizers import Recognizers
from mftn.serve.schema import PredictionsAnswer
from mftn.serve.settings import Settings


def test_the_answer_is_what_the_command_prints(client: TestClient, photos: Path) -> None:
    paths = sorted(photos.glob("*.jpg"))
    files = [("file", (path.name, path.read_bytes())) for path in paths]
    answer = client.post("/v1/predict", files=files).json()
    command = [sys.executable, "-m", "mftn", "predict", *map(str, paths), "--engine", "onnxruntime"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    expected = [json.loads(line) for line in printed]
    for line, path in zip(expected, paths, strict=True):
        line["source"] = path.name
    assert answer == {"predictions": expected}
    PredictionsAnswer.model_validate(answer, strict=False, extra="forbid")


@pytest.mark.parametrize(
    "options",
    [{"flip": False}, {"detect_size": 128}, {"min_score": 0.93}, {"detector": "none"}, {"detector": "mtcnn"}],
)
def test_options_are_those_of_load(client: TestClient, astronaut_jpeg: bytes, options: dict[str, Any]) -> None:
    expected = mftn.load(engine="onnxruntime", **options).predict(astronaut_jpeg).to_dict()
    (got,) = client.post("/v1/predict", params=options, content=astronaut_jpeg).json()["predictions"]
    assert got == expected | {"source": "upload"}


def test_another_model_is_chosen_by_its_name(client: TestClient, astronaut_jpeg: bytes) -> None:
    names = [model["name"] for model in client.get("/v1/models").json()["models"]]
    assert names == [card.name for card in mftn.list_models()]
    answers = [client.post("/v1/predict", params={"model": name}, content=astronaut_jpeg).json() for name in names[:2]]
    assert answers[0] != answers[1]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "nothing", "https://example.org/model.onnx"])
def test_a_model_is_never_a_path(client: TestClient, astronaut_jpeg: bytes, name: str) -> None:
    answer = client.post("/v1/predict", params={"model": name}, content=astronaut_jpeg)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "unknown_model"


def test_clients_see_the_name_of_the_servers_own_file_and_not_its_folder(astronaut_jpeg: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(find_model().read_bytes())
    settings = Settings(model=str(path), engine="onnxruntime")
    with TestClient(create_app(settings, Recognizers(settings))) as client:
        models = client.get("/v1/models")
        assert models.json()["default"] == "mine.onnx" and str(tmp_path) not in models.text
        for options, status in (({}, 200), ({"model": "mine.onnx"}, 200), ({"model": str(path)}, 422)):
            answer = client.post("/v1/predict", params=options, content=astronaut_jpeg)
            assert answer.status_code == status
            assert status == 422 or str(tmp_path) not in answer.text


def test_an_unreadable_file_among_others_is_named_and_the_others_are_answered(
    client: TestClient, astronaut_jpeg: bytes
) -> None:
    files = [("file", ("a.jpg", astronaut_jpeg)), ("file", ("b.txt", b"text")), ("file", ("c.jpg", b"\xff\xd8\xff"))]
    first, text, damaged = client.post("/v1/predict", files=files).json()["predictions"]
    assert len(first["faces"]) == 1 and first["error"] is None
    assert text["error"].startswith("b.txt: not an image") and text["faces"] == []
    assert damaged["error"].startswith("c.jpg: a damaged JPEG")


def test_csv_and_jsonl_are_those_of_the_command(client: TestClient, astronaut_jpeg: bytes) -> None:
    lines = client.post("/v1/predict", params={"format": "jsonl"}, content=astronaut_jpeg)
    assert lines.headers["content-type"] == "application/jsonl"
    (prediction,) = map(json.loads, lines.text.splitlines())
    table = client.post("/v1/predict", params={"format": "csv"}, content=astronaut_jpeg)
    (row,) = csv.DictReader(io.StringIO(table.text))
    assert row["expression"] == prediction["faces"][0]["expression"]
    assert list(row) == client.get("/v1/about").json()["columns"]


def test_an_image_that_no_jpeg_holds_is_refused_as_one(client: TestClient) -> None:
    file = io.BytesIO()
    PillowImage.new("L", (8, 65_501)).save(file, "PNG")
    answer = client.post("/v1/annotate", params={"format": "jpeg"}, content=file.getvalue())
    assert answer.status_code == 422 and "too many for JPEG" in answer.text and "format=png" in answer.text


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_the_annotated_image_has_the_size_of_the_upload(client: TestClient, astronaut_jpeg: bytes, kind: str) -> None:
    answer = client.post("/v1/annotate", params={"format": kind}, content=astronaut_jpeg)
    assert answer.headers["content-type"] == f"image/{kind}"
    with PillowImage.open(io.BytesIO(answer.content)) as image:
        assert image.format == kind.upper() and image.size == (512, 512)


def test_many_requests_at_once_get_their_own_answers(
    client: TestClient, recognizers: Recognizers, photos: Path
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    sizes = [(512 - 8 * number, 512 - 8 * number) for number in range(16)]
    with PillowImage.open(photos / "astronaut.jpg") as photo:
        uploads = []
        for size in sizes:
            out = io.BytesIO()
            photo.resize(size).save(out, "JPEG", quality=95)
            uploads.append(out.getvalue())

    def ask(content: bytes) -> tuple[int, int]:
        (prediction,) = client.post("/v1/predict", content=content).json()["predictions"]
        (face,) = prediction["faces"]
        assert face["box"][2] <= prediction["width"]
        return prediction["width"], prediction["height"]

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, uploads)) == sizes
    text = client.get("/metrics").text
    assert "mftn_batch_faces_count" in text and 'route="/v1/predict"' in text
