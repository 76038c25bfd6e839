"""Splits, description and manifest of a complete folder."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image as PillowImage

from mftn.data.manifest import SCHEMA
from mftn.data.prepare import Shares, ferplus_preparation, prepare
from mftn.data.records import Record, Split
from mftn.data.splits import assign_splits, complete_splits
from mftn.errors import DataError
from mftn.labels import EXPRESSIONS

PLAIN = ferplus_preparation(32, detector="none")
RNG = np.random.default_rng(0)
FACES = [RNG.integers(20, 230, (8, 8), dtype=np.uint8).repeat(6, axis=0).repeat(6, axis=1) for _ in range(40)]


def record(number: int, pixels: np.ndarray, split: Split | None = None, **others: object) -> Record:
    fields: dict[str, object] = {"label": EXPRESSIONS[number % 3], "name": f"all/{number}"} | others
    return Record(Path("t.csv"), f"t.csv:{number}", split=split, pixels=pixels.astype(np.uint8).tobytes(), **fields)  # type: ignore[arg-type]


def rows(records: list[Record], out: Path, **options: object) -> list[dict[str, object]]:
    return pq.read_table(prepare(records, out, PLAIN, workers=1, part_size=16, **options)).to_pylist()  # type: ignore[arg-type]


@pytest.mark.parametrize("split", [None, "train"])
def test_near_duplicates_stay_in_one_split(tmp_path: Path, split: Split | None) -> None:
    copies = [record(number + 100, face + 3, split) for number, face in enumerate(FACES)]
    originals = [record(number, face, split) for number, face in enumerate(FACES)]
    found = rows(originals + copies, tmp_path / "out", shares=Shares(0.3, 0.3))
    splits = {row["path"]: row["split"] for row in found}
    for number in range(len(FACES)):
        assert splits[f"all/{number}.png"] == splits[f"all/{number + 100}.png"]
    counts = [list(splits.values()).count(name) for name in ("train", "valid", "test")]
    assert counts[1] > 10 and (counts[2] > 10) == (split is None) and sum(counts) == 80


def test_faces_of_one_image_stay_in_one_split(tmp_path: Path) -> None:
    records = []
    for number in range(20):
        image = np.concatenate(FACES[2 * number : 2 * number + 2], axis=1)
        PillowImage.fromarray(image).save(tmp_path / f"{number}.png")
        for face, box in enumerate(((0.0, 0.0, 48.0, 48.0), (48.0, 0.0, 96.0, 48.0))):
            label = EXPRESSIONS[number % 3]
            records.append(
                Record(tmp_path / f"{number}.png", "t:1", f"all/{number}_face{face}", None, label, box=box, face=face)
            )
    found = rows(records, tmp_path / "out", root=tmp_path, shares=Shares(0.3, 0.3))
    assert {row["source"] for row in found} == {f"{number}.png" for number in range(20)}
    by_source: dict[object, set[object]] = {}
    for row in found:
        by_source.setdefault(row["source"], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in by_source.values())
    assert {row["face"] for row in found} == {0, 1} and {row["split"] for row in found} == {"train", "valid", "test"}


def test_splits_that_the_owners_give_are_kept() -> None:
    hashes = [bytes([number]) * 32 for number in range(4)]
    given: list[Split | None] = ["train", "valid", "test", "train"]
    assert complete_splits(given, ["fear"] * 4, list("abcd"), hashes, Shares()) == given
    tests: list[Split | None] = ["test"] * 4
    assert complete_splits(tests, ["fear"] * 4, list("abcd"), hashes, Shares()) == tests
    rng = np.random.default_rng(0)
    many = [rng.bytes(32) for _ in range(100)]
    halves: list[Split | None] = [*["train"] * 80, *["test"] * 20]  # type: ignore[list-item]
    made = complete_splits(halves, [None] * 100, [str(n) for n in range(100)], many, Shares(0.25, 0.5, 3))
    assert made[80:] == ["test"] * 20 and made.count("valid") == 20
    other = complete_splits(halves, [None] * 100, [str(n) for n in range(100)], many, Shares(0.25, 0.5, 4))
    assert made != other


def test_faces_of_a_photograph_follow_the_ones_whose_split_is_given() -> None:
    rng = np.random.default_rng(1)
    hashes = [rng.bytes(32) for _ in range(150)]
    hashes[100:110] = hashes[90:100]  # copies of training photographs
    given: list[Split | None] = [*["test"] * 50, *[None] * 40, *["train"] * 10, *[None] * 50]  # type: ignore[list-item]
    sources = [str(n % 50) for n in range(60)] + [f"own {n}" for n in range(90)]
    made = complete_splits(given, ["fear"] * 150, sources, hashes, Shares(0.25, 0.5))
    assert made[:50] == ["test"] * 50 and made[90:100] == ["train"] * 10
    assert made[50:60] == ["test"] * 10, "of the photographs of tested faces"
    assert made[100:110] == ["train"] * 10, "copies of faces that are trained on"
    assert made[60:90].count("test") == made[110:].count("test") == 0, "the owners' test split is as they made it"
    assert (made[60:90] + made[110:]).count("valid") == round(0.25 * 70)


def test_the_description_counts_what_the_manifest_holds(tmp_path: Path) -> None:
    records = [
        record(0, FACES[0], "train", label="fear"),
        record(1, FACES[1], "train", label="fear"),
        record(2, FACES[2], "train", label="anger"),
        record(3, FACES[3], "test", label="fear"),
        record(4, FACES[4], "valid", label=None),
    ]
    found = rows(records, tmp_path / "out", about={"name": "mine"}, warnings=["odd"], skip_damaged=True)
    description = json.loads((tmp_path / "out" / "dataset.json").read_text())
    preparation = description.pop("preparation")
    assert description == {
        "name": "mine",
        "shares": {"valid": 0.1, "test": 0.2, "seed": 0},
        "skip_damaged": True,
        "warnings": ["odd"],
        "classes": 7,
        "images": {"train": 3, "valid": 1, "test": 1},
        "expressions": {"train": {"anger": 1, "fear": 2}, "valid": {"none": 1}, "test": {"fear": 1}},
        "without_face": {"train": 3, "valid": 1, "test": 1},
        "damaged": [],
    }
    assert (preparation["size"], preparation["detector"], preparation["format"]) == (32, "none", "png")
    assert pq.read_schema(tmp_path / "out" / "manifest.parquet") == SCHEMA
    assert [(row["path"], row["split"], row["label"], row["source"]) for row in found][3:] == [
        ("all/3.png", "test", "fear", "t.csv:3"), ("all/4.png", "valid", None, "t.csv:4")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "votes", "classes"), [("contempt", None, 8), ("fear", (5,) * 10, 8), ("fear", None, 7)]
)
def test_contempt_or_votes_make_eight_classes(
    tmp_path: Path, labels: str, votes: tuple[int, ...] | None, classes: int
) -> None:
    rows([record(n, FACES[n], "train", label=labels, votes=votes) for n in range(3)], tmp_path / "out")
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["classes"] == classes


@pytest.mark.parametrize("names", [("all/x", "all/x"), ("all/x", "all/X"), ("all/é", "all/e\u0301")])
def test_two_faces_never_share_a_crop(tmp_path: Path, names: tuple[str, str]) -> None:
    records = [record(number, FACES[number], "train", name=name) for number, name in enumerate(names)]
    with pytest.raises(DataError, match=r"t.csv:0 and t.csv:1 would share the crop all/"):
        rows(records, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.parquet").exists()


def test_two_processes_write_what_one_writes(tmp_path: Path) -> None:
    records = [record(number, FACES[number], "train") for number in range(10)]
    for workers in (1, 2):
        done: list[int] = []
        prepare(records, tmp_path / str(workers), PLAIN, workers=workers, part_size=4, on_part=done.append)
        assert done == [4, 4, 2]
    made = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "1", tmp_path / "2")
    ]
    assert made[0] == made[1] and len(made[0]) == 14


def test_a_group_counts_for_its_most_frequent_expression() -> None:
    labels, groups = ["fear", "anger", "anger"] * 10 + ["fear"] * 70, np.repeat(np.arange(10), 3)
    groups = np.concatenate([groups, np.arange(100, 170)])
    found = assign_splits(labels, groups, {"valid": 0.3}, seed=0)
    # 30 % of 20 angers are 6 faces: two whole groups. Counted as fear they would take the room of single faces.
    assert sum(found[3 * group] == "valid" for group in range(10)) == 2
    assert found[30:].count("valid") == round(0.3 * 80)


def test_nothing_to_prepare_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="out: there is no face to prepare"):
        rows([], tmp_path / "out")
