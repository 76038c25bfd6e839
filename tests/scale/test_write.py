"""Runs on a cluster of two nodes: the rows of `mftn predict`, in parts, once."""

import json
import os
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mftn.cli import main
from mftn.errors import ConfigError
from mftn.scale import Settings, write
from mftn.scale.worker import Outcome

sys.path.insert(0, str(Path(__file__).parents[1]))
from clips import make_clip


def rows(output: Path) -> pa.Table:
    """The parts of an output, as any reader of Parquet folders sees them."""
    return pq.read_table(output)


def test_the_rows_are_those_of_one_machine_and_are_written_once(
    nodes: Any, faces: Path, expected: pa.Table, tmp_path: Path
) -> None:
    seen = list[Outcome]()
    output = tmp_path / "out"
    summary = write(faces, output, shard_images=6, on_shard=lambda outcome, left: seen.append(outcome))
    assert rows(output).equals(expected)  # to the last bit, in the order of the sources
    assert (summary.images, summary.failures, summary.shards, summary.complete) == (40, 4, 7, True)
    assert summary.faces == sum(face is not None for face in expected["face"].to_pylist())
    assert sum(share.images for share in summary.nodes.values()) == 40 and {o.node for o in seen} == set(summary.nodes)
    manifest = json.loads((output / "_manifest.json").read_text())
    assert [part["file"] for part in manifest["parts"]] == sorted(path.name for path in output.glob("*.parquet"))
    assert sum(part["images"] for part in manifest["parts"]) == 40 and manifest["model"] == "mftn_mobile_ferplus"
    made_by = json.loads(pq.read_schema(next(output.glob("*.parquet"))).metadata[b"mftn"])
    assert made_by["settings"]["detector"] == "yunet" and made_by["model_sha256"] == manifest["model_sha256"]

    times = {path: path.stat().st_mtime_ns for path in output.glob("*.parquet")}
    lost = sorted(times)[2]
    lost.unlink()
    again = write(faces, output, shard_images=6)
    assert again.failures + again.failures_before == 4
    assert (again.shards, again.before) == (1, 6) and rows(output).equals(expected)
    assert all(path.stat().st_mtime_ns == time for path, time in times.items() if path != lost)
    with pytest.raises(ConfigError, match=r"detector was yunet and is mtcnn"):
        write(faces, output, Settings(detector="mtcnn"))
    with pytest.raises(ConfigError, match="sources was"):
        write(faces / "a", output)


def test_videos_lists_tar_files_and_tables_are_shards_too(
    nodes: Any, faces: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image as PillowImage

    monkeypatch.chdir(tmp_path)  # relative names count from here on every worker
    shutil.copytree(faces / "a", "a")
    face = PillowImage.open(photos / "astronaut.jpg").resize((160, 160))
    make_clip(Path("clip.mp4"), [face.rotate(angle) for angle in range(12)])
    Path("cut.mp4").write_bytes(Path("clip.mp4").read_bytes()[:3000])
    images = sorted(Path("a").glob("*.jpg"))
    with tarfile.open("shard-000.tar", "w") as archive:
        for path in images[:5]:
            archive.add(path, path.name)
            archive.add(path, path.with_suffix(".json").name)  # what is no image is passed over
    contents = [path.read_bytes() for path in images[:7]]
    table = pa.table({"__key__": [f"key-{k}" for k in range(7)], "jpg": pa.array(contents, pa.binary())})
    pq.write_table(table, "bytes.parquet", row_group_size=3)
    pq.write_table(pa.table({"path": [str(path) for path in images[:3]]}), "paths.parquet")
    local = ["a/00.jpg", "clip.mp4", "cut.mp4", "missing.jpg"]
    summary = write([*local, "shard-000.tar", "bytes.parquet", "paths.parquet"], "out", shard_images=4)
    main(["predict", *local, "--threads", "1", "--output", "rows.parquet"])
    expected, found = pq.read_table("rows.parquet"), rows(Path("out"))
    assert found.slice(0, len(expected)).equals(expected)
    rest = found.slice(len(expected)).to_pylist()
    by_source = {name: [row for row in rest if row["source"].endswith(name)] for name in ("00.jpg", "key-0", "key-6")}
    assert [row["source"] for row in by_source["00.jpg"]] == ["shard-000.tar/00.jpg", "a/00.jpg"]
    alone = expected.to_pylist()[0]
    for row in [*by_source["00.jpg"], *by_source["key-0"]]:
        assert row | {"source": alone["source"]} == alone
    assert len(by_source["key-6"]) == 1
    assert summary.failures == 2 and any("cut.mp4" in note for note in summary.notes)


def test_a_folder_whose_name_is_no_text_is_read(nodes: Any, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    shutil.copy(photos / "astronaut.jpg", folder / "a.jpg")
    (folder / "cut.mp4").write_bytes(b"no video")
    summary = write(folder, tmp_path / "out", Settings(engine="onnxruntime"))
    assert summary.complete and (summary.images, summary.failures) == (2, 1)
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text(encoding="utf-8"))
    assert manifest["sources"] == [str(tmp_path / r"caf\xe9")]
    assert r"caf\xe9/cut.mp4: cannot be opened" in summary.notes[0]


def test_a_store_is_read_and_written(nodes: Any, faces: Path, expected: pa.Table, store: str, bucket: Any) -> None:
    for path in sorted(faces.rglob("*")):
        if path.is_file():
            bucket.upload_file(str(path), f"faces/{path.relative_to(faces)}")
    summary = write(f"s3://photos/faces{store}", f"s3://photos/out{store}", shard_images=20)
    assert (summary.images, summary.failures, summary.complete) == (39, 3, True)  # a store holds no broken link
    found = pa.concat_tables(
        pq.read_table(pa.BufferReader(each.get()["Body"].read())) for each in bucket.objects.filter(Prefix="out/0")
    )
    named = expected.to_pylist()
    for row in named:
        row["source"] = row["source"].replace(str(faces), "s3://photos/faces")
        row["error"] = row["error"] and row["error"].replace(str(faces), "s3://photos/faces")
    assert found.to_pylist() == [row for row in named if "nowhere" not in row["source"]]
    again = write(f"s3://photos/faces{store}", f"s3://photos/out{store}", shard_images=20)
    assert (again.shards, again.before) == (0, 2)


def test_a_model_of_ones_own_reaches_every_worker(
    nodes: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mftn.engines import find_model

    monkeypatch.chdir(tmp_path)
    shutil.copy(find_model(), "mine.onnx")
    write(photos, "out", Settings(model="mine.onnx", flip=False, calibration="training"), workers=1)
    same = ["--model", "mine.onnx", "--no-flip", "--calibration", "training"]
    main(["predict", str(photos), *same, "--threads", "1", "--output", "rows.parquet"])
    assert rows(Path("out")).equals(pq.read_table("rows.parquet"))
