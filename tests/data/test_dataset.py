"""What a prepared split gives to training, beyond what the loop's tests see."""

import json
import shutil
import struct
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mftn.data.dataset import CropIndex, FaceDataset
from mftn.data.manifest import read_description, read_manifest
from mftn.errors import DataError


def test_images_that_are_also_in_the_other_split_are_omitted(prepared: Path) -> None:
    table = read_manifest(prepared)
    rows = table.to_pylist()
    train = [row for row in rows if row["split"] == "train"]
    valid = [row for row in rows if row["split"] == "valid"]
    far = bytes(range(32))  # 128 bits from any copy made here would be chance
    for number, row in enumerate(rows):
        row["phash"] = bytes((b * (2 * number + 3)) % 256 for b in far)
    train[3]["phash"] = valid[1]["phash"]  # an exact copy
    near = bytearray(valid[2]["phash"])
    near[0] ^= 0xFF
    train[7]["phash"] = bytes(near)  # 8 bits away
    train[9]["phash"] = train[10]["phash"]  # twins inside the split stay
    train[12] |= {"split": "test", "phash": train[11]["phash"]}  # so do those with a twin in a third split
    folder = prepared.parent / "with-copies"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows, table.schema), folder / "manifest.parquet")
    for name in ("dataset.json", "train", "valid"):
        (folder / name).symlink_to(prepared / name)
    whole = FaceDataset(folder, "train")
    without = FaceDataset(folder, "train", without_copies_of="valid")
    assert set(whole.paths) - set(without.paths) == {train[3]["path"], train[7]["path"]}
    assert without.copies == 2 and whole.copies == 0
    assert len(FaceDataset(folder, "valid", without_copies_of="train")) == len(valid) - 2


def test_the_unaligned_copy_must_show_the_same_faces_at_the_same_size(prepared: Path, tmp_path: Path) -> None:
    def copy(name: str, description: str, sources: list[str]) -> Path:
        folder = tmp_path / name
        shutil.copytree(prepared, folder)
        (folder / "dataset.json").write_text(description)
        table = read_manifest(prepared)
        column = table.schema.get_field_index("source")
        table = table.set_column(column, table.schema.field(column), pa.array(sources))
        pq.write_table(table, folder / "manifest.parquet")
        return folder

    description, sources = (prepared / "dataset.json").read_text(), read_manifest(prepared)["source"].to_pylist()
    moved = json.loads(description)
    moved["preparation"]["template"][0][0] += 0.1
    small = json.loads(description)
    small["preparation"]["size"] -= 1
    assert len(FaceDataset(prepared, "train", unaligned=copy("same", description, sources))) == 24
    for name, folder in {
        "the template": copy("moved", json.dumps(moved), sources),
        "the size": copy("small", json.dumps(small), sources),
        "24 of 24 images": copy("other", description, [*sources[1:], sources[0]]),
    }.items():
        with pytest.raises(DataError, match=f"{folder}: not a copy of {prepared}: {name}"):
            FaceDataset(prepared, "train", unaligned=folder)


def test_images_that_only_the_majority_keeps_say_nothing_about_argmax(prepared: Path) -> None:
    by_argmax, by_majority = (FaceDataset(prepared, "valid", protocol=name) for name in ("argmax", "majority"))
    assert set(by_argmax.protocols()) == {"argmax", "majority"} and list(by_majority.protocols()) == ["majority"]
    kept = by_argmax.protocols()["majority"]
    assert kept[kept >= 0].tolist() == by_majority.protocols()["majority"].tolist()


@pytest.mark.parametrize("size", [(40, 48), (60_000, 60_000)])
def test_a_crop_whose_damaged_header_names_another_size_is_unreadable(
    prepared: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(prepared, folder)
    whole = FaceDataset(folder, "train")
    content = bytearray((folder / whole.paths[2]).read_bytes())
    content[16:24] = struct.pack(">II", *size)  # of a PNG's first chunk, whose checksum follows its 13 bytes
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (folder / whole.paths[2]).write_bytes(content)
    with pytest.raises(DataError, match=f"{whole.paths[2]}: cannot be read .*prepare the data set again"):
        FaceDataset(folder, "train")
    left = FaceDataset(folder, "train", skip_unreadable=True)
    assert left.unreadable == [whole.paths[2]] and len(left) == len(whole) - 1
    read = FaceDataset(folder, "train", skip_unreadable=True, in_memory=False)
    batch = read.__getitems__([CropIndex(0), CropIndex(5), CropIndex(2)])
    assert batch.unreadable == [whole.paths[2]] and batch.paths == [whole.paths[n] for n in (0, 5, 5)]
    assert batch.crops.equal(read.read([0, 5, 5])) and batch.crops.dtype == torch.uint8
    assert batch.labels.equal(read.labels[[0, 5, 5]]) and batch.targets.equal(read.targets[[0, 5, 5]])


def test_votes_in_another_order_teach_no_other_class(prepared: Path, tmp_path: Path) -> None:
    """Ten numbers do not say which class they are for: their columns' names do, or else the labels."""
    table, about = read_manifest(prepared), json.loads((prepared / "dataset.json").read_text())
    columns = about.pop("votes")
    order = [3, 1, 0, 2, 9, 8, 7, 6, 5, 4]
    votes = [[row[index] for index in order] for row in table["votes"].to_pylist()]
    column = table.schema.get_field_index("votes")
    moved = table.set_column(column, table.schema.field(column), pa.array(votes, pa.list_(pa.int32())))
    pq.write_table(moved, tmp_path / "manifest.parquet")
    for name in ("train", "valid"):
        (tmp_path / name).symlink_to(prepared / name)

    def read(**changed: object) -> FaceDataset:
        (tmp_path / "dataset.json").write_text(json.dumps(about | changed))
        return FaceDataset(tmp_path, "train")

    expected, named = FaceDataset(prepared, "train"), read(votes=[columns[index] for index in order])
    assert named.labels.tolist() == expected.labels.tolist() and named.targets.equal(expected.targets)
    with pytest.raises(DataError, match=r"has the label .*, but another expression has more votes: the votes are in a"):
        read()
    with pytest.raises(DataError, match="its votes are not one number for each of neutral"):
        read(votes=columns[:8])
    with pytest.raises(DataError, match=r"classes is \['anger', 'neutral'\], not 7 or 8"):
        read(classes=["anger", "neutral"])


def test_a_split_that_is_not_there_says_which_are_and_how_to_get_it(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"split test, only in train and valid; .* from a source that has a split test"):
        FaceDataset(prepared, "test")
    rows = [row | {"split": "train"} for row in read_manifest(prepared).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, read_manifest(prepared).schema), tmp_path / "manifest.parquet")
    with pytest.raises(DataError, match=r"split valid, only in train; prepare it again with a larger --valid-share"):
        FaceDataset(tmp_path, "valid")


def test_the_crops_of_the_unaligned_copy_count_as_memory(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mftn.data.dataset.IN_MEMORY", 24 * 64 * 64)
    assert FaceDataset(prepared, "train").crops is not None
    both = FaceDataset(prepared, "train", unaligned=prepared)
    assert both.crops is None and both.unaligned_crops is None
    assert both.read([3], aligned=False).equal(both.read([3]))


def test_descriptions_of_earlier_versions_are_read(prepared: Path, tmp_path: Path) -> None:
    description = json.loads((prepared / "dataset.json").read_text())
    description["pictures"] = description.pop("images")
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    assert read_description(tmp_path)["images"] == {"train": 24, "valid": 8}
