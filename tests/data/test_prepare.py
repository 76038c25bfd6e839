import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image as PillowImage

from mftn.data.dataset import CropIndex, FaceDataset
from mftn.data.prepare import ferplus_preparation, prepare
from mftn.data.readers import read_records
from mftn.data.splits import assign_splits
from mftn.errors import ConfigError, DataError, ImageError
from mftn.faces import load_detector
from mftn.faces.boxes import choose_face


def test_no_picture_vanishes_and_a_missing_face_is_flagged(prepared: Path) -> None:
    rows = pq.read_table(prepared / "manifest.parquet").to_pylist()
    assert len(rows) == 32
    lost = [row["path"] for row in rows if not row["face_found"]]
    assert lost == ["train/fer0000005.png", "valid/fer0000005.png"]
    description = json.loads((prepared / "dataset.json").read_text())
    assert description["images"] == {"train": 24, "valid": 8}
    assert description["without_face"] == {"train": 1, "valid": 1}


def test_grey_images_give_crops_of_one_channel(prepared: Path) -> None:
    assert {PillowImage.open(path).mode for path in prepared.rglob("*.png")} == {"L"}


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


def test_a_prepared_folder_is_kept_as_it_is_and_refuses_other_settings(prepared: Path, ferplus_root: Path) -> None:
    before = (prepared / "manifest.parquet").stat().st_mtime_ns
    prepare(read_records("ferplus", ferplus_root), prepared, ferplus_preparation(64), workers=1)
    assert (prepared / "manifest.parquet").stat().st_mtime_ns == before
    with pytest.raises(DataError, match="was prepared with a different preparation"):
        prepare(read_records("ferplus", ferplus_root), prepared, ferplus_preparation(48), workers=1)


@pytest.mark.parametrize(("channels", "protocol", "count"), [(1, "argmax", 24), (3, "argmax", 24), (1, "majority", 24)])
def test_the_dataset_reads_what_was_prepared(prepared: Path, channels: int, protocol: str, count: int) -> None:
    data = FaceDataset(prepared, "train", channels, protocol)
    crop, target, label = data[1]
    assert len(data) == count and crop.shape == (channels, 64, 64) and label == 0
    assert target.sum().item() == pytest.approx(1)
    batch = data.__getitems__([CropIndex(0), CropIndex(1)])
    assert batch.crops.shape == (2, channels, 64, 64) and batch.labels.tolist() == [1, 0]
    assert batch.paths == data.paths[:2] and not batch.unreadable


def test_what_is_missing_is_named(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images in the split test"):
        FaceDataset(prepared, "test")
    with pytest.raises(DataError, match="mftn prepare"):
        FaceDataset(tmp_path, "train")


RUN = """
import sys
from mftn.data.prepare import ferplus_preparation, prepare
from mftn.data.readers import read_records
prepare(read_records("ferplus", sys.argv[1]), sys.argv[2], ferplus_preparation(64), workers=2, part_size=2)
"""


def test_killed_again_and_again_it_ends_with_the_same_bytes(prepared: Path, ferplus_root: Path, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(
        f"if __name__ == '__main__':\n    {RUN.strip().replace(chr(10), chr(10) + '    ')}"
    )
    command = [sys.executable, str(tmp_path / "run.py"), str(ferplus_root)]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    subprocess.run([*command, str(whole)], check=True, timeout=120)
    rng, kills = np.random.default_rng(0), 0
    for _ in range(40):
        process = subprocess.Popen([*command, str(stopped)])
        try:
            process.wait(float(rng.uniform(0.8, 2.2)) if kills < 10 else 120)
            break
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
    assert process.returncode == 0
    for name in ("manifest.parquet", "dataset.json", "sources.parquet"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes(), f"after {kills} kills"
    crops = {path.relative_to(whole): path.read_bytes() for path in whole.rglob("*.png")}
    assert crops == {path.relative_to(stopped): path.read_bytes() for path in stopped.rglob("*.png")}
    assert not (stopped / ".parts").exists() and len(crops) == 32
    rows = pq.read_table(stopped / "manifest.parquet").to_pylist()
    one_process = pq.read_table(prepared / "manifest.parquet").to_pylist()
    assert rows == one_process


def test_stopped_at_every_part_it_goes_on(ferplus_root: Path, tmp_path: Path) -> None:
    arguments = (tmp_path / "out", ferplus_preparation(64))

    def stop(done: int) -> None:
        raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            prepare(read_records("ferplus", ferplus_root), *arguments, workers=1, part_size=8, on_part=stop)
    done = sorted((tmp_path / "out").rglob("*.png"))
    stamps = {path: path.stat().st_mtime_ns for path in done}
    prepare(read_records("ferplus", ferplus_root), *arguments, workers=1, part_size=8)
    assert done and all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


def test_a_damaged_image_stops_with_its_name_or_is_omitted_and_named(ferplus_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "raw"
    shutil.copytree(ferplus_root, root)
    image = root / "FER2013Train" / "fer0000001.png"
    image.write_bytes(image.read_bytes()[:300])
    with pytest.raises(ImageError, match=r"fer0000001.png: damaged.*label.csv:2"):
        prepare(read_records("ferplus", root), tmp_path / "a", ferplus_preparation(64), workers=1)
    prepare(read_records("ferplus", root), tmp_path / "b", ferplus_preparation(64), workers=1, skip_damaged=True)
    description = json.loads((tmp_path / "b" / "dataset.json").read_text())
    assert description["images"]["train"] == 23 and "fer0000001.png: damaged" in description["damaged"][0]


def test_images_of_which_none_can_be_read_make_no_data_set(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / "raw" / "sad").mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / "sad" / name).write_bytes(b"no image")
    with pytest.raises(DataError, match=r"out: none of 2 images can be read; the first: .*a\.png"):
        prepare(
            read_records("folder", tmp_path / "raw"),
            tmp_path / "out",
            ferplus_preparation(64, detector="none"),
            workers=1,
            skip_damaged=True,
        )
    assert not (tmp_path / "out" / "manifest.parquet").exists()


def test_a_full_disk_is_explained_and_the_work_goes_on(
    ferplus_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        if self.suffix != ".png":
            return whole(self, content)
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match=r"\.png: No space left on device; fix this and run the same command"):
        prepare(read_records("ferplus", ferplus_root), tmp_path / "out", ferplus_preparation(64), workers=1)
    monkeypatch.setattr(Path, "write_bytes", whole)
    prepare(read_records("ferplus", ferplus_root), tmp_path / "out", ferplus_preparation(64), workers=1)


def test_an_output_that_cannot_be_a_folder_is_named(ferplus_root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file"):
        prepare(read_records("ferplus", ferplus_root), tmp_path / "file", ferplus_preparation(64), workers=1)


def test_two_runs_never_write_to_one_folder(ferplus_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    records, plain = list(read_records("ferplus", ferplus_root)), ferplus_preparation(64, detector="none")

    def in_the_middle(_: int) -> None:
        with pytest.raises(ConfigError, match="out: another run is writing to it"):
            prepare(records, tmp_path / "out", plain, workers=1)

    made = prepare(records, tmp_path / "out", plain, workers=1, part_size=16, on_part=in_the_middle)
    assert pq.read_metadata(made).num_rows == len(records)


@pytest.mark.parametrize("name", ["train/a.png", "sources.parquet", "manifest.parquet", "croissant.json"])
def test_a_folder_with_files_of_others_is_refused(name: str, tmp_path: Path) -> None:
    """Crops are named after their sources: this one's would be the image itself."""
    source = tmp_path / name
    source.parent.mkdir(exist_ok=True)
    PillowImage.new("L", (48, 48)).save(source, "png")
    table = source.with_name("t.csv")
    table.write_text(f"path,label,split\n{source.name},happy,train\n")
    before = source.read_bytes()
    with pytest.raises(DataError, match=rf"holds {name.partition('/')[0]} but no dataset.json; choose another folder"):
        prepare(read_records("table", table), tmp_path, ferplus_preparation(64, detector="none"), workers=1)
    assert source.read_bytes() == before


@pytest.mark.parametrize("content", ["[]", "{", "\xe9"])
def test_a_description_of_others_is_refused(content: str, ferplus_root: Path, tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(content, encoding="latin-1")
    with pytest.raises(DataError, match=r"dataset.json: was not written by `mftn prepare`; choose another folder"):
        prepare(read_records("ferplus", ferplus_root), tmp_path, ferplus_preparation(64), workers=1)


def test_crops_of_removed_faces_go_although_removing_one_fails(
    ferplus_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preparation = ferplus_preparation(64, detector="none")
    records = list(read_records("ferplus", ferplus_root))[:4]
    prepare(records, tmp_path, preparation, workers=1)
    whole = Path.unlink

    def busy(self: Path, missing_ok: bool = False) -> None:
        if self.suffix == ".png":
            raise PermissionError(13, "Permission denied", str(self))
        whole(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", busy)
    with pytest.raises(DataError, match=r"Permission denied; fix this and run the same command"):
        prepare(records[:3], tmp_path, preparation, workers=1)
    monkeypatch.setattr(Path, "unlink", whole)
    prepare(records[:3], tmp_path, preparation, workers=1)
    assert len(list(tmp_path.rglob("*.png"))) == 3


def test_a_damaged_list_of_sources_is_named(prepared: Path, ferplus_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(prepared, out)
    (out / "sources.parquet").write_bytes(b"no table")
    with pytest.raises(DataError, match=r"sources.parquet: cannot be read"):
        prepare(read_records("ferplus", ferplus_root), out, ferplus_preparation(64), workers=1)


def test_a_worker_that_is_killed_is_explained_and_the_work_goes_on(ferplus_root: Path, tmp_path: Path) -> None:
    def kill(done: int) -> None:
        for child in multiprocessing.active_children():
            os.kill(child.pid or 0, signal.SIGKILL)

    preparation = ferplus_preparation(64)
    with pytest.raises(DataError, match=r"a worker process died.*run the same command again"):
        prepare(read_records("ferplus", ferplus_root), tmp_path, preparation, workers=2, part_size=1, on_part=kill)
    assert prepare(read_records("ferplus", ferplus_root), tmp_path, preparation, workers=1, part_size=1).is_file()


def test_splits_are_stratified_seeded_and_keep_groups_together() -> None:
    labels = ["happiness"] * 200 + ["fear"] * 40
    groups = np.arange(240)
    groups[1:20:2] = groups[0:20:2]  # ten pairs
    splits = assign_splits(labels, groups, {"valid": 0.1, "test": 0.2}, seed=3)
    assert Counter(zip(labels, splits, strict=True)) == {
        ("happiness", "train"): 140,
        ("happiness", "valid"): 20,
        ("happiness", "test"): 40,
        ("fear", "train"): 28,
        ("fear", "valid"): 4,
        ("fear", "test"): 8,
    }
    assert all(splits[index] == splits[index + 1] for index in range(0, 20, 2))
    assert splits == assign_splits(labels, groups, {"valid": 0.1, "test": 0.2}, seed=3)
    assert splits != assign_splits(labels, groups, {"valid": 0.1, "test": 0.2}, seed=4)


def test_a_large_split_is_read_from_disk_with_the_same_values(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = FaceDataset(prepared, "train")
    monkeypatch.setattr("mftn.data.dataset.IN_MEMORY", 1000)
    read = FaceDataset(prepared, "train")
    assert read.crops is None and kept.crops is not None
    assert all((a == b).all() for a, b in zip(read.batches(5), kept.crops.split(5), strict=True))
