"""What a prepared split gives to training, beyond what the loop's tests see."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mftn.data.dataset import FaceDataset
from mftn.data.manifest import read_manifest


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


def test_images_that_only_the_majority_keeps_say_nothing_about_argmax(prepared: Path) -> None:
    by_argmax, by_majority = (FaceDataset(prepared, "valid", protocol=name) for name in ("argmax", "majority"))
    assert set(by_argmax.protocols()) == {"argmax", "majority"} and list(by_majority.protocols()) == ["majority"]
    kept = by_argmax.protocols()["majority"]
    assert kept[kept >= 0].tolist() == by_majority.protocols()["majority"].tolist()
