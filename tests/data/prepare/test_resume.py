"""A second run over a folder: labels follow the source, and crops stay where their source is the same."""

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image as PillowImage

from mftn.cli import main
from mftn.data.prepare import Shares, ferplus_preparation, prepare
from mftn.data.readers import read_records
from mftn.data.records import Record
from mftn.errors import DataError, ImageError

PLAIN = ferplus_preparation(32, detector="none")
COUNT = 12


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 40), dtype=np.uint8)).save(path)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Twelve images and a table with their labels."""
    for number in range(COUNT):
        draw(tmp_path / "raw" / f"n{number}.png", number)
    write_table(tmp_path / "raw" / "t.csv", {})
    return tmp_path / "raw" / "t.csv"


def write_table(table: Path, changes: dict[int, str], order: Iterable[int] = range(COUNT), extra: str = "") -> None:
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for number in order:
            split = ("train", "valid", "test")[number % 3]
            writer.writerow([f"n{number}.png", changes.get(number, ("neutral", "sadness")[number % 2]), split])
        file.write(extra)


def run(table: Path, out: Path, **options: object) -> list[dict[str, object]]:
    settings: dict[str, object] = {"root": table.parent, "workers": 1, "part_size": 5}
    prepare(read_records("table", table), out, PLAIN, **(settings | options))  # type: ignore[arg-type]
    return pq.read_table(out / "manifest.parquet").to_pylist()


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stop(_done: int) -> None:
    raise KeyboardInterrupt


@pytest.fixture(params=["finished", "interrupted", "almost finished"])
def before(request: pytest.FixtureRequest, table: Path, tmp_path: Path) -> Path:
    """A folder that an earlier run left behind."""
    out = tmp_path / "out"
    if request.param == "finished":
        run(table, out)
        return out
    with pytest.raises(KeyboardInterrupt):
        seen: list[int] = []
        last = 1 if request.param == "interrupted" else 3
        run(table, out, on_part=lambda done: stop(done) if seen.append(done) or len(seen) == last else None)
    return out


CHANGES: dict[str, Callable[[Path], None]] = {
    "a label": lambda table: write_table(table, {0: "anger"}),
    "labels in every part": lambda table: write_table(table, dict.fromkeys(range(0, COUNT, 4), "fear")),
    "an image": lambda table: draw(table.with_name("n1.png"), 100),
    "a row less": lambda table: write_table(table, {}, order=[n for n in range(COUNT) if n != 2]),
    "a row more": lambda table: write_table(table, {}, extra="n3.png,happiness,train\r\n"),
    "the order": lambda table: write_table(table, {}, order=reversed(range(COUNT))),
    "a split": lambda table: table.write_text(table.read_text().replace("neutral,valid", "neutral,train", 1)),
    "a box": lambda table: table.write_text(
        table.read_text().replace("split", "split,left,top,right,bottom").replace("valid", "valid,3,4,30,31")
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_source_gives_what_a_fresh_run_gives(before: Path, table: Path, tmp_path: Path, change: str) -> None:
    CHANGES[change](table)
    run(table, before)
    run(table, tmp_path / "fresh")
    found, expected = content(before), content(tmp_path / "fresh")
    gone = found.keys() - expected.keys()
    assert {path: found[path] for path in expected} == expected
    assert all(path.endswith(".png") for path in gone)
    if (before / "manifest.parquet").stat().st_size:
        named = set(pq.read_table(before / "manifest.parquet")["path"].to_pylist())
        assert not gone & named


def stamps(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in out.rglob("*.png")}


def test_only_what_changed_is_cut_again(table: Path, tmp_path: Path) -> None:
    out, notes = tmp_path / "out", []
    run(table, out)
    first = stamps(out)
    write_table(table, {0: "anger", 7: "fear"})
    rows = run(table, out, on_note=notes.append)
    assert stamps(out) == first, "labels alone cut no crop again"
    assert [row["label"] for row in rows][:2] == ["anger", "sadness"] and rows[7]["label"] == "fear"
    assert notes == ["faces that have changed in the source: 2, the first is train/n0.png"]
    draw(table.with_name("n1.png"), 100)
    run(table, out, on_note=notes.append)
    assert {name for name, stamp in stamps(out).items() if stamp != first[name]} == {"n1.png"}
    assert notes[1:] == ["faces that have changed in the source: 1, the first is valid/n1.png"]
    write_table(table, {0: "anger", 7: "fear"}, order=range(1, COUNT))
    run(table, out, on_note=notes.append)
    assert notes[2:] == ["faces that have changed in the source: 1, the first is train/n0.png"]
    assert not (out / "train" / "n0.png").exists() and (out / "train" / "n3.png").exists()


def test_a_source_with_the_same_size_and_another_time_counts_as_changed(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(table, out)
    other = table.with_name("n1.png")
    size, state = other.stat().st_size, other.stat()
    pixels = bytearray(other.read_bytes())
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert other.stat().st_size == size == len(pixels)
    first = stamps(out)
    run(table, out)
    assert {name for name, stamp in stamps(out).items() if stamp != first[name]} == {"n1.png"}


def test_an_unchanged_source_is_left_alone_and_leftovers_of_a_finished_run_go(table: Path, tmp_path: Path) -> None:
    out, done = tmp_path / "out", []
    run(table, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    (out / ".parts").mkdir()
    run(table, out, on_part=done.append, on_note=done.append)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before
    assert not done and not (out / ".parts").exists()


def test_a_moved_data_set_is_the_same_where_times_are_kept(table: Path, tmp_path: Path) -> None:
    run(table, tmp_path / "out")
    shutil.copytree(table.parent, tmp_path / "moved")
    notes: list[str] = []
    run(tmp_path / "moved" / "t.csv", tmp_path / "out", on_note=notes.append)
    assert not notes


def test_a_crop_that_is_not_what_its_row_says_is_cut_again(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(table, out, on_part=stop)
    (out / "train" / "n0.png").write_bytes(b"cut off")
    (out / "valid" / "n1.png").unlink()
    for row in run(table, out):
        assert hashlib.sha256((out / str(row["path"])).read_bytes()).hexdigest() == row["sha256"]


@pytest.mark.parametrize("kept", [b"", b"cut off", None])
def test_a_complete_folder_that_lost_a_crop_gets_it_again(table: Path, tmp_path: Path, kept: bytes | None) -> None:
    out, notes = tmp_path / "out", list[str]()
    run(table, out)
    before = content(out)
    (out / "valid" / "n1.png").unlink()
    if kept is not None:
        (out / "valid" / "n1.png").write_bytes(kept)
    run(table, out, on_note=notes.append)
    assert content(out) == before
    assert notes == ["crops that are missing or damaged: 1, the first is valid/n1.png"]


def test_pixels_in_a_table_are_compared_too(tmp_path: Path) -> None:
    def records(values: list[int]) -> list[Record]:
        return [
            Record(tmp_path / "t.csv", f"t.csv:{line}", f"train/{line}", "train", "fear", pixels=bytes([value] * 2304))
            for line, value in enumerate(values)
        ] + [Record(tmp_path / "t.csv", "t.csv:9", "valid/9", "valid", "fear", pixels=bytes(2304))]

    def centres(values: list[int]) -> list[int]:
        path = prepare(records(values), tmp_path / "out", PLAIN, root=tmp_path, workers=1)
        rows = pq.read_table(path).to_pylist()
        assert rows[0]["source"] == "t.csv:0"
        return [PillowImage.open(tmp_path / "out" / row["path"]).getpixel((16, 16)) for row in rows[:-1]]

    assert centres([10, 200]) == [10, 200]
    assert centres([10, 100]) == [10, 100]


@pytest.mark.parametrize("state", ["finished", "begun"])
def test_other_settings_are_refused_by_name(table: Path, tmp_path: Path, state: str) -> None:
    out = tmp_path / "out"
    if state == "begun":
        with pytest.raises(KeyboardInterrupt):
            run(table, out, on_part=stop, about={"name": "a"})
    else:
        run(table, out, about={"name": "a"})
    with pytest.raises(DataError, match="out: was prepared with a different name and shares; choose another folder"):
        run(table, out, about={"name": "b"}, shares=Shares(0.3))
    run(table, out, about={"name": "a"}, warnings=["counts differ"])


@pytest.mark.parametrize("lost", ["dataset.json", "sources.parquet"])
def test_a_folder_that_lost_a_file_is_refused(table: Path, tmp_path: Path, lost: str) -> None:
    run(table, tmp_path / "out")
    (tmp_path / "out" / lost).unlink()
    with pytest.raises(DataError, match=f"out: holds manifest.parquet but no {lost}; choose another folder"):
        run(table, tmp_path / "out")


def test_a_damaged_image_may_be_omitted_later_and_comes_back_once_it_is_whole(table: Path, tmp_path: Path) -> None:
    out, image = tmp_path / "out", table.with_name("n1.png")
    whole = image.read_bytes()
    image.write_bytes(whole[:60])
    with pytest.raises(ImageError, match=r"n1\.png: damaged.*\(named in .*t.csv:3\), or omit it with --skip-damaged"):
        run(table, out)
    assert len(run(table, out, skip_damaged=True)) == COUNT - 1
    assert "n1.png" in json.loads((out / "dataset.json").read_text())["damaged"][0]
    notes: list[str] = []
    assert len(run(table, out, skip_damaged=True, on_note=notes.append)) == COUNT - 1 and not notes
    write_table(table, {0: "anger"})
    assert len(run(table, out, skip_damaged=True)) == COUNT - 1
    image.write_bytes(whole)
    assert len(run(table, out)) == COUNT
    assert json.loads((out / "dataset.json").read_text())["damaged"] == []


def test_the_command_says_what_it_prepares_again(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["prepare", "table", "--root", str(table), "--out", str(tmp_path / "out"), "--workers", "1"]
    command += ["--detector", "none", "--size", "32"]
    assert main(command) == 0
    assert "changed" not in capsys.readouterr().err
    write_table(table, {0: "anger"})
    (table.parent / "stray.png").write_bytes(table.with_name("n1.png").read_bytes())  # a new warning, no new setting
    assert main(command) == 0
    said = capsys.readouterr().err
    assert "note: faces that have changed in the source: 1, the first is train/n0.jpg" in said
    assert "stray.png" in said and "stray.png" in (tmp_path / "out" / "dataset.json").read_text()
