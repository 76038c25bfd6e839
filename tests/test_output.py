import csv
import errno
import io
import json
import os
import pickle
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image as PillowImage
from PIL import ImageCms

import mftn
from mftn.cli.sink import open_sink
from mftn.cli.tables import ImageTable, PersonsTable, PredictionTables
from mftn.errors import ImageError, OutputError
from mftn.files import file_identity
from mftn.images import read_image
from mftn.labels import EXPRESSIONS
from mftn.output import ImageFolder, Provenance, open_writer
from mftn.tags import is_own_copy
from mftn.types import ROW_TYPES, Face, Prediction


def face(box: tuple[float, float, float, float], expression: str = "fear") -> Face:
    probabilities = dict.fromkeys(EXPRESSIONS, 0.05) | {expression: 0.65}
    return Face(box, 0.9, np.arange(10, dtype=np.float32).reshape(5, 2), probabilities)


PREDICTIONS = [
    Prediction("a,b.jpg", 640, 480, (face((1.234, 2, 30, 40.5)), face((50, 60, 70, 80), "anger"))),
    Prediction("naïve.jpg", 10, 10, ()),
    Prediction("bad.jpg", 0, 0, (), "bad.jpg: damaged"),
]
PROVENANCE = Provenance("mftn_mobile_ferplus", "0" * 64, {"detector": "yunet", "min_score": None, "flip": True})


def test_jsonl_is_the_documented_contract(tmp_path: Path) -> None:
    with open_writer(tmp_path / "out.jsonl", "jsonl") as writer:
        for prediction in PREDICTIONS:
            writer.write(prediction)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines == [prediction.to_dict() for prediction in PREDICTIONS]
    assert lines[0]["faces"][0] == {
        "face": 1,
        "box": [1.23, 2.0, 30.0, 40.5],
        "score": 0.9,
        "landmarks": [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0], [8.0, 9.0]],
        "expression": "fear",
        "probability": 0.65,
        "probabilities": dict.fromkeys(EXPRESSIONS, 0.05) | {"fear": 0.65},
        "track": None,
        "crop": None,
    }
    assert {name: value for name, value in lines[0].items() if name != "faces"} == {
        "source": "a,b.jpg",
        "width": 640,
        "height": 480,
        "error": None,
        "frame": None,
        "time": None,
        "annotated": None,
        "model": None,
        "mftn_version": mftn.__version__,
    }


def test_csv_and_parquet_hold_the_same_rows(tmp_path: Path) -> None:
    for kind in ("csv", "parquet"):
        with open_writer(tmp_path / f"out.{kind}", kind) as writer:
            for prediction in PREDICTIONS:
                writer.write(prediction)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text(encoding="utf-8"))))
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert list(rows[0]) == list(table[0])
    assert [row["expression"] for row in rows] == ["fear", "anger", "", ""]
    assert [row["expression"] for row in table] == ["fear", "anger", None, None]
    assert float(rows[1]["p_anger"]) == pytest.approx(table[1]["p_anger"], abs=1e-6) == pytest.approx(0.65)
    assert rows[3]["error"] == "bad.jpg: damaged"


def test_a_large_table_is_written_in_groups(tmp_path: Path) -> None:
    with open_writer(tmp_path / "out.parquet", "parquet") as writer:
        for number in range(2500):
            writer.write(Prediction(f"{number}.jpg", 10, 10, ()))
    file = pq.ParquetFile(tmp_path / "out.parquet")
    assert file.num_row_groups == 3
    assert file.read(["source"]).column(0).to_pylist() == [f"{number}.jpg" for number in range(2500)]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_there_is_nothing_beside_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit((tmp_path / "pipe").read_text)
        with open_writer(tmp_path / "pipe", "jsonl", PROVENANCE) as writer:
            writer.write(PREDICTIONS[0])
    assert json.loads(read.result()) == PREDICTIONS[0].to_dict() and list(tmp_path.iterdir()) == [tmp_path / "pipe"]


def test_a_table_of_photographs_has_the_types_of_one_of_videos(tmp_path: Path) -> None:
    crop = replace(PREDICTIONS[0].faces[0], track=3, crop="c/a_face1.jpg")
    films = [Prediction("a.mp4", 9, 9, (crop,), None, 7, 0.28, "a/a_faces.jpg", "mftn_mobile_ferplus")]
    for again in (Prediction.from_dict(films[0].to_dict()), pickle.loads(pickle.dumps(films[0]))):
        assert again.to_dict() == films[0].to_dict() and again.faces[0].landmarks.dtype == np.float32
    for name, predictions in {"photos": PREDICTIONS[1:], "films": films}.items():
        with open_writer(tmp_path / f"{name}.parquet", "parquet", PROVENANCE) as writer:
            for prediction in predictions:
                writer.write(prediction)
    photos, films = (pq.read_schema(tmp_path / f"{name}.parquet") for name in ("photos", "films"))
    assert photos.equals(films, check_metadata=True)
    assert {
        field.name: str(field.type).replace("double", "float64").replace("float32", "float") for field in films
    } == {name: kind.replace("float32", "float") for name, kind in ROW_TYPES.items()}
    assert json.loads(films.metadata[b"mftn"]) == json.loads(PROVENANCE.to_json())
    (row,) = pq.read_table(tmp_path / "films.parquet").to_pylist()
    assert [row[name] for name in ("face", "track", "frame", "annotated", "crop", "model", "mftn_version")] == [
        1, 3, 7, "a/a_faces.jpg", "c/a_face1.jpg", "mftn_mobile_ferplus", mftn.__version__
    ]  # fmt: skip


@pytest.mark.parametrize("library", ["pandas", "polars", "duckdb"])
def test_the_types_reach_every_reader(tmp_path: Path, library: str) -> None:
    module = import_module(library)
    path = tmp_path / "photos.parquet"
    with open_writer(path, "parquet") as writer:
        writer.write(PREDICTIONS[1])
    if library == "duckdb":
        types = {name: kind for name, kind, *_ in module.sql(f"DESCRIBE SELECT * FROM '{path}'").fetchall()}
        expected = {"frame": "BIGINT", "time": "DOUBLE", "track": "INTEGER", "crop": "VARCHAR", "left": "FLOAT"}
    elif library == "polars":
        types = module.read_parquet_schema(path)
        expected = {"frame": module.Int64, "time": module.Float64, "track": module.Int32, "crop": module.String}
    else:
        types = {name: str(kind) for name, kind in module.read_parquet(path).dtypes.items()}
        expected = {"frame": "Int64", "time": "float64", "track": "Int32", "width": "Int32", "left": "float32"}
        assert types["crop"] in ("str", "string", "object")
    assert {name: types[name] for name in expected} == expected


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_what_made_a_text_table_is_told_beside_it(tmp_path: Path, kind: str) -> None:
    with open_writer(tmp_path / f"o.{kind}", kind, PROVENANCE) as writer:
        writer.write(PREDICTIONS[0])
    told = json.loads((tmp_path / f"o.{kind}.meta.json").read_text(encoding="utf-8"))
    assert told == {
        "model": "mftn_mobile_ferplus",
        "model_sha256": "0" * 64,
        "settings": {"detector": "yunet", "min_score": None, "flip": True},
        "mftn_version": mftn.__version__,
    }


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_an_interruption_keeps_the_old_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"out.{kind}"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), open_writer(path, kind) as writer:
        writer.write(PREDICTIONS[0])
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OutputError, match=r"out\.csv.*cannot be written"),
        open_writer(tmp_path / "file" / "out.csv", "csv"),
    ):
        pass


def test_a_table_whose_file_cannot_be_written_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    rows = PredictionTables(ImageTable(3), PersonsTable(named=False))
    with pytest.raises(OutputError), open_sink(tmp_path / "file" / "t.txt", "table", rows, PROVENANCE) as to:
        to.write(PREDICTIONS[0])
    assert "anger" in capsys.readouterr().out


def test_saved_images_never_collide(tmp_path: Path) -> None:
    folder = ImageFolder(tmp_path / "new")
    image = PillowImage.new("RGB", (8, 8))
    sources = ("x/a.jpg", "y/A.png", "../a.jpg", "a-2.jpg", "y/A.png", "x" * 250 + ".jpg")
    names = [folder.save(image, source, ending).name for source in sources for ending in ("faces", "face1")]
    assert names[::2] == [
        "a_faces.jpg", "A-2_faces.jpg", "a-3_faces.jpg", "a-2-2_faces.jpg", "A-2_faces.jpg", f"{'x' * 200}_faces.jpg"
    ]  # fmt: skip
    assert names[1] == "a_face1.jpg" and names[3] == "A-2_face1.jpg"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(set(names))
    assert PillowImage.open(tmp_path / "new" / names[0]).size == (8, 8)


def test_saved_images_repeat_the_tree_of_their_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = PillowImage.new("RGB", (8, 8))

    def saved(roots: list[str], *sources: str) -> list[str]:
        folder = ImageFolder(tmp_path / "out", overwrite=True, roots=roots)
        return [folder.save(image, source, "faces").relative_to(tmp_path / "out").as_posix() for source in sources]

    assert saved(["photos"], "photos/a/1.jpg", "photos/b/1.jpg", "photos/1.jpg", "photos/a/1.png", "else/1.jpg") == [
        "a/1_faces.jpg", "b/1_faces.jpg", "1_faces.jpg", "a/1-2_faces.jpg", "1-2_faces.jpg"
    ]  # fmt: skip
    assert saved(["."], "a/1.jpg", "1.jpg", "../a/1.jpg", "/1.jpg") == [
        "a/1_faces.jpg", "1_faces.jpg", "1-2_faces.jpg", "1-3_faces.jpg"
    ]  # fmt: skip
    assert saved(["."], "..jpg", "...jpg", "a/..jpg") == ["._faces.jpg", ".._faces.jpg", "a_faces.jpg"]
    assert saved(["x/photos", "y/photos", "z"], "x/photos/1.jpg", "y/photos/1.jpg", "z/a/1.jpg", "1.jpg") == [
        "photos/1_faces.jpg", "photos-2/1_faces.jpg", "z/a/1_faces.jpg", "1_faces.jpg"
    ]  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert saved([".", "z"], "a/1.jpg") == [f"{tmp_path.name}/a/1_faces.jpg"]


def test_copies_keep_time_author_and_colours_but_not_turn_or_place(tmp_path: Path) -> None:
    exif = PillowImage.Exif()
    exif.update(
        {
            0x0112: 6,
            0x010F: "Maker",
            0x0131: "Editor 5",
            0x013B: "Ann Ærø 写真".encode(),
            0x8298: "© Ann".encode("latin-1"),
            0x0132: "2024:05:06 07:08:09",
        }
    )
    exif.get_ifd(0x8769).update({0x9003: "2024:05:06 07:08:08", 0x9011: "+02:00", 0x927C: b"notes"})
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 1.0)})
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = tmp_path / "a.jpg"
    PillowImage.new("RGB", (8, 16)).save(source, exif=exif, icc_profile=profile)
    os.utime(source, ns=(10**18, 10**18))
    saved = ImageFolder(tmp_path / "out").save(PillowImage.fromarray(read_image(source)), str(source), "faces")
    assert saved.stat().st_mtime_ns == 10**18
    with PillowImage.open(saved) as copy:
        assert copy.size == (16, 8) and copy.info["icc_profile"] == profile
        tags = copy.getexif()
        assert tags.get(0x0112, 1) == 1 and not tags.get_ifd(0x8825)
        assert [tags[tag] for tag in (0x010F, 0x0131, 0x8298, 0x0132)] == [
            "Maker", f"mftn {mftn.__version__}", "© Ann", "2024:05:06 07:08:09"
        ]  # fmt: skip
        assert tags[0x013B].encode("latin-1").decode() == "Ann Ærø 写真"
        assert dict(tags.get_ifd(0x8769)) == {0x9003: "2024:05:06 07:08:08", 0x9011: "+02:00"}
    grey = tmp_path / "grey.png"
    PillowImage.new("L", (8, 8)).save(grey, icc_profile=profile.replace(b"RGB ", b"GRAY", 1))
    with PillowImage.open(
        ImageFolder(tmp_path / "out").save(PillowImage.new("RGB", (8, 8)), str(grey), "faces")
    ) as copy:
        assert "icc_profile" not in copy.info


def test_a_copy_is_saved_where_times_cannot_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    monkeypatch.setattr(os, "utime", refuse)
    image = PillowImage.new("RGB", (8, 8))
    image.save(tmp_path / "a.jpg")
    assert ImageFolder(tmp_path / "out").save(image, str(tmp_path / "a.jpg"), "faces").is_file()


def test_what_a_copy_cannot_hold_is_an_error_of_its_image_or_left_out(tmp_path: Path) -> None:
    source, folder = tmp_path / "long.png", ImageFolder(tmp_path / "out")
    PillowImage.new("L", (1, 65_501)).save(source)
    with pytest.raises(ImageError, match=r"long\.png: its copy cannot be saved: 1×65501 pixels are too many for JPEG"):
        folder.save(PillowImage.new("RGB", (1, 65_501)), str(source), "faces")
    assert not list((tmp_path / "out").rglob("*.jpg"))

    exif = PillowImage.Exif()
    exif.update({0x010F: "MakerMaker", 0x013B: "Ann", 0x8298: "x" * 70_000})
    text, ratio = (struct.pack(">HHL", 0x010F, kind, count) for kind, count in ((2, 11), (5, 1)))
    content = exif.tobytes()
    assert content.count(text) == 1  # which becomes a number where a text should be
    PillowImage.new("RGB", (8, 8)).save(tmp_path / "odd.webp", exif=content.replace(text, ratio))
    with PillowImage.open(folder.save(PillowImage.new("RGB", (8, 8)), str(tmp_path / "odd.webp"), "faces")) as copy:
        assert {tag: text for tag, text in copy.getexif().items() if isinstance(text, str)} == {
            0x0131: f"mftn {mftn.__version__}",
            0x013B: "Ann",
        }


def test_a_copy_is_known_by_its_tag(tmp_path: Path) -> None:
    image = PillowImage.new("RGB", (8, 8))
    folder = ImageFolder(tmp_path)
    assert is_own_copy(folder.save(image, "a.jpg", "faces")) and is_own_copy(folder.save(image, "a.jpg", "face12"))
    image.save(tmp_path / "group_faces.jpg")
    (tmp_path / "text_faces.jpg").write_text("no image")
    for name in ("group_faces.jpg", "text_faces.jpg", "none_faces.jpg"):
        assert not is_own_copy(tmp_path / name)
    again = ImageFolder(tmp_path, resume=True)
    assert again.save(image, "a.jpg", "faces").name == "a_faces.jpg"
    with pytest.raises(FileExistsError, match="group_faces.jpg: already exists"):
        again.save(image, "group.jpg", "faces")


def test_saved_images_replace_nothing_from_before_unless_told_and_never_a_source(tmp_path: Path) -> None:
    image = PillowImage.new("RGB", (8, 8))
    existing = tmp_path / "a_faces.jpg"
    existing.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="a_faces.jpg: already exists; add --overwrite"):
        ImageFolder(tmp_path).save(image, "a.jpg", "faces")
    protected = {file_identity(existing)}
    with pytest.raises(FileExistsError, match="a_faces.jpg: is a source, which is never replaced"):
        ImageFolder(tmp_path, overwrite=True, protected=protected).save(image, "a.jpg", "faces")
    assert existing.read_bytes() == b"precious" and list(tmp_path.iterdir()) == [existing]
    ImageFolder(tmp_path, overwrite=True).save(image, "a.jpg", "faces")
    assert PillowImage.open(existing).size == (8, 8)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("日本 😀.jpg", "日本 😀.jpg"),
        (os.fsdecode(b"caf\xe9.jpg"), "caf\\xe9.jpg"),
        ("half\ud83d.jpg", "half\\ud83d.jpg"),
        ("one\rtwo.jpg", "one\rtwo.jpg"),
    ],
)
def test_every_name_is_written_so_that_every_reader_opens_it(tmp_path: Path, name: str, written: str) -> None:
    crops = (replace(face((1, 2, 3, 4)), crop=name),)
    prediction = Prediction(name, 0, 0, crops, f"{name}: damaged", annotated=name)
    for kind in ("jsonl", "csv", "parquet"):
        with open_writer(tmp_path / f"o.{kind}", kind) as writer:
            writer.write(prediction)
    line = json.loads((tmp_path / "o.jsonl").read_bytes().decode("utf-8", "strict"))
    with (tmp_path / "o.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    (parquet,) = pq.read_table(tmp_path / "o.parquet").to_pylist()
    for read in (line, row, parquet):
        assert (read["source"], read["error"], read["annotated"]) == (written, f"{written}: damaged", written)
    assert [read["crop"] for read in (*line["faces"], row, parquet)] == [written] * 3
    assert written in repr(prediction) and prediction.source == name
