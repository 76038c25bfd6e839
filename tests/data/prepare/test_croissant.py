"""croissant.json, as the format's own library reads it."""

import json
import shutil
from pathlib import Path

import mlcroissant
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image as PillowImage

from mftn.cli import main
from mftn.data.prepare import ferplus_preparation, prepare
from mftn.data.prepare.croissant import COLUMNS
from mftn.data.readers import read_records


def test_the_description_is_valid_and_its_records_load(prepared: Path) -> None:
    data = mlcroissant.Dataset(str(prepared / "croissant.json"))
    issues = data.metadata.ctx.issues
    assert not issues.errors
    assert all("is recommended" in warning for warning in issues.warnings)  # what the folder does not know
    records = {record["faces/path"].decode(): record for record in data.records("faces")}
    rows = pq.read_table(prepared / "manifest.parquet").to_pylist()
    assert records.keys() == {row["path"] for row in rows}
    for row in rows:
        record = records[row["path"]]
        assert record["faces/split"].decode() == row["split"]
        assert record["faces/votes"] == row["votes"]
        assert record["faces/face_found"] == row["face_found"]
        crop = np.array(PillowImage.open(prepared / row["path"]))
        np.testing.assert_array_equal(np.array(record["faces/image"].convert("L")), crop)
    assert [record["splits/name"] for record in data.records("splits")] == ["train", "valid"]
    assert len(list(data.records("expressions"))) == 8


def test_every_column_of_the_manifest_is_described_but_the_binary_one(prepared: Path) -> None:
    names = set(pq.read_schema(prepared / "manifest.parquet").names)
    assert set(COLUMNS) | {"path", "phash"} == names


def test_what_it_says_of_the_data(prepared: Path) -> None:
    found = json.loads((prepared / "croissant.json").read_text())
    assert "32 aligned crops of faces with their expression (24 train, 8 valid)" in found["description"]
    assert "In 2 images no face was found" in found["rai:dataPreprocessingProtocol"]


def test_a_folder_of_an_older_version_gets_its_description(prepared: Path, ferplus_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ferplus"
    shutil.copytree(prepared, folder)
    written = (folder / "croissant.json").read_bytes()
    (folder / "croissant.json").unlink()
    about = {"name": "ferplus", "title": "a made FERPlus"}
    prepare(read_records("ferplus", ferplus_root), folder, ferplus_preparation(64), about=about, workers=1)
    assert (folder / "croissant.json").read_bytes() == written


def test_crops_that_no_detector_saw_are_not_called_aligned(
    ferplus_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "whole"
    words = ["prepare", "ferplus", "--root", str(ferplus_root), "--out", str(out), "--detector", "none"]
    assert main([*words, "--workers", "1"]) == 0
    assert "train: 24 faces\n" in capsys.readouterr().out
    found = json.loads((out / "croissant.json").read_text())
    assert found["rai:dataPreprocessingProtocol"].startswith("Not aligned: the annotated boxes or whole images")
    assert "32 crops of faces" in found["description"]
