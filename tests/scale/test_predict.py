"""Prediction as a step of somebody's own pipeline."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import mftn
from mftn.errors import ConfigError
from mftn.images import read_image
from mftn.scale import Settings, predict
from mftn.scale.dataset import DatasetWorker


def sorted_rows(table: pa.Table, by: str = "source") -> list[dict[str, Any]]:
    return sorted(table.to_pylist(), key=lambda row: (row[by], row["face"] or 0))


def collected(dataset: Any) -> pa.Table:
    import ray

    return pa.concat_tables(ray.get(dataset.to_arrow_refs())).combine_chunks()


def test_paths_and_datasets_of_paths_give_the_rows_of_one_machine(nodes: Any, faces: Path, expected: pa.Table) -> None:
    import ray

    known = sorted_rows(expected)
    assert sorted_rows(collected(predict(faces, batch_images=12))) == known
    paths = sorted({row["source"] for row in known})
    dataset = ray.data.from_arrow(pa.table({"id": range(len(paths)), "path": paths}))
    found = collected(predict(dataset, keep=["id"], batch_images=12))
    assert {row["id"]: row["source"] for row in found.to_pylist()} == dict(enumerate(paths))
    assert sorted_rows(found.drop_columns("id")) == known


def test_contents_and_arrays_give_the_same_faces(nodes: Any, photos: Path) -> None:
    import ray

    paths = sorted(photos.glob("*.jpg"))
    known = {path.name: mftn.load(threads=1).predict(path).to_rows()[0] for path in paths}
    items = [{"name": path.name, "bytes": path.read_bytes()} for path in paths]
    found = collected(predict(ray.data.from_items(items), keep=["name"], workers=1)).to_pylist()
    batch = {"name": np.array([path.name for path in paths]), "image": np.empty(len(paths), object)}
    batch["image"][:] = [read_image(path) for path in paths]  # as Ray Data gives images of several sizes
    tables = DatasetWorker(Settings(), None, ".")(batch, "image", ("name",))
    for row in [*found, *pa.concat_tables(tables).to_pylist()]:
        assert row["p_happiness"] == np.float32(known[row["name"]]["p_happiness"])
        assert row["width"] == known[row["name"]]["width"]


def test_every_row_of_paths_gives_its_own(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mftn.scale.dataset.TABLE_ROWS", 1)
    folder, photo = tmp_path / "folder", photos / "astronaut.jpg"
    folder.mkdir()
    for name in ("1.jpg", "2.jpg"):
        (folder / name).write_bytes(photo.read_bytes())
    paths = [str(photo), str(folder), None, f"{folder}/*.jpg", "-", str(folder / "1.jpg")]
    batch = {"path": np.array(paths, object), "person": np.arange(6)}
    tables = DatasetWorker(Settings(engine="onnxruntime"), None, ".")(batch, "path", ("person",))
    rows = pa.concat_tables(tables).to_pylist()
    assert [(row["person"], row["source"]) for row in rows] == [(k, path or "") for k, path in enumerate(paths)]
    said = [None, "is a folder, not an image", "an empty name", "is a glob, not an image", "no such file", None]
    for row, expected in zip(rows, said, strict=True):
        assert expected in (row["error"] or "") if expected else row["error"] is None


def test_what_is_wrong_is_said_before_anything_runs(nodes: Any) -> None:
    import ray

    with pytest.raises(ConfigError, match="it has a, b"):
        predict(ray.data.from_items([{"a": 1, "b": 2}]))
    with pytest.raises(ConfigError, match="rows already have expression"):  # two columns of one name, or the wrong one
        predict(ray.data.from_items([{"path": "a.jpg", "expression": "fear"}]), keep=["expression"])
    with pytest.raises(ConfigError, match="apply only to datasets"):
        predict(["photo.jpg"], keep=["id"])
