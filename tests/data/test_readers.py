"""Every data set from its raw form to two steps of training; and each error message names file and line."""

import os
import sys
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as PillowImage

sys.path.insert(0, str(Path(__file__).parents[1]))
import lookalikes

from mftn.cli import main
from mftn.data.dataset import FaceDataset
from mftn.data.manifest import read_description
from mftn.data.prepare import Shares, arcface_preparation, ferplus_preparation, prepare
from mftn.data.readers import ReadOptions, find_data_set, read_records, survey
from mftn.data.votes import hard_labels
from mftn.errors import ConfigError, DataError
from mftn.labels import LABEL_SETS
from mftn.models import load_model
from mftn.train.config import DataConfig, ModelConfig, TrainConfig
from mftn.train.loop import train

LOOKALIKES: dict[str, tuple[str, Callable[[Path], Path], dict[str, int], str]] = {
    # kind, maker, faces by split once prepared, a crop's name
    "raf-db": ("raf-db", lookalikes.raf_db, {"train": 35, "valid": 7, "test": 14}, "valid/test_0001_aligned.png"),
    "affectnet csv": ("affectnet", lookalikes.affectnet_tables, {"train": 32, "test": 8}, "train/0_0.png"),
    "affectnet folders": ("affectnet", lookalikes.affectnet_folders, {"train": 32, "test": 8}, "valid/3.png"),
    "expw": ("expw", lookalikes.expw, {"all": 80}, "all/photo 0_face1.png"),
    "fer2013": ("fer2013", lookalikes.fer2013, {"train": 21, "valid": 7, "test": 7}, "train/00000.png"),
    "ferplus csv": ("ferplus", lookalikes.ferplus_tables, {"train": 23, "valid": 7, "test": 7}, "train/fer0000000.png"),
    "folder": ("folder", lookalikes.class_folders, {"all": 30}, "all/happiness_0.png"),
    "table": ("table", lookalikes.table, {"train": 18, "valid": 6}, "train/images_0.png"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOKALIKES)
def test_from_the_raw_form_to_two_steps_of_training(name: str, tmp_path: Path) -> None:
    kind, make, counts, crop = LOOKALIKES[name]
    root, out = make(tmp_path / "raw"), tmp_path / "prepared"
    assert survey(kind, root).total == sum(counts.values())
    make_preparation = ferplus_preparation if "fer" in name else arcface_preparation
    prepare(read_records(kind, root), out, make_preparation(48), root=root, shares=Shares(0.25, 0.25), workers=1)
    rows = pq.read_table(out / "manifest.parquet").to_pylist()
    found = Counter(row["split"] for row in rows)
    assert found.total() == sum(counts.values()) and found["valid"] > 0
    if "test" in counts:
        assert found["test"] == counts["test"]
    assert (out / crop).is_file() and {row["path"] for row in rows} >= {crop}
    assert np.mean([row["face_found"] for row in rows]) > 0.8
    classes = 8 if name.startswith(("affect", "ferplus")) else 7
    best = train(
        TrainConfig(
            out=tmp_path / "run",
            data=DataConfig(folder=out, view=1.0),
            model=ModelConfig(size=32, num_classes=classes),
            small_size=32,
            epochs=1,
            batch_size=max(found["train"] // 2, 2),
        )
    )
    spec = load_model(best).spec
    figures = spec.provenance["validation"]
    assert len(spec.labels) == classes and figures["images"] == found["valid"]


def labels(kind: str, root: Path, **options: int) -> list[str | None]:
    return [record.label for record in read_records(kind, root, ReadOptions(**options))]


def test_numbers_become_the_expressions_that_their_owners_mean(tmp_path: Path) -> None:
    raf = labels("raf-db", lookalikes.raf_db(tmp_path / "raf", 7, 0))
    assert raf == ["fear", "disgust", "happiness", "sadness", "anger", "neutral", "surprise"]
    affect = labels("affectnet", lookalikes.affectnet_folders(tmp_path / "affect", 11, 11))
    assert affect[:8] == ["neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt"]
    assert labels("affectnet", tmp_path / "affect", classes=7)[:8] == [*affect[:7], "neutral"]
    expw = labels("expw", lookalikes.expw(tmp_path / "expw", 4))
    assert expw[:7] == ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
    fer = labels("fer2013", lookalikes.fer2013(tmp_path / "fer", 7, 0))
    assert fer == expw[:7]


def test_seven_classes_leave_contempt_out_of_votes_too(ferplus_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "seven"
    main(["prepare", "ferplus", "--root", str(ferplus_root), "--out", str(out), "--classes", "7", "--size", "48"])
    faces = FaceDataset(out, "train")
    assert faces.votes is not None and faces.votes[:, 7].any() and faces.classes == LABEL_SETS[7]
    assert faces.targets.shape == (len(faces), 7) and int(faces.labels.max()) < 7
    for targets, votes in zip(faces.targets.tolist(), faces.votes.tolist(), strict=True):
        trusted = [vote if vote > 1 else 0 for vote in votes[:7]]
        assert targets == pytest.approx([vote / sum(trusted) for vote in trusted])


def test_the_annotated_face_is_cut_although_a_larger_one_is_in_the_picture(tmp_path: Path) -> None:
    root = lookalikes.affectnet_tables(tmp_path / "raw", 11, 0)
    prepare(read_records("affectnet", root), tmp_path / "out", arcface_preparation(64), workers=1)
    for row in pq.read_table(tmp_path / "out" / "manifest.parquet").to_pylist():
        left, _, right, _ = row["box"]
        assert (left + right) / 2 < 150, row["path"]


def test_published_counts_are_compared_class_by_class(tmp_path: Path) -> None:
    warnings = survey("raf-db", lookalikes.raf_db(tmp_path / "raw")).warnings
    assert "train: 6 surprise, 1,290 published (-1,284)" in warnings and len(warnings) == 14
    data_set = find_data_set("raf-db")
    assert sum(data_set.counts["train"].values()) == 12_271 and sum(data_set.counts["test"].values()) == 3_068
    assert sum(find_data_set("expw").counts[None].values()) == 91_793
    assert sum(find_data_set("fer2013").counts["train"].values()) == 28_709
    assert sum(find_data_set("affectnet").counts["train"].values()) == 287_651


def test_a_label_table_without_boxes_reads_as_the_one_with_them(tmp_path: Path) -> None:
    """Microsoft's generate_training_data.py writes label.csv without the box."""
    votes = "1,2,3,4,0,0,0,0,0,0"
    found = []
    for name, box in (("with", '"(0, 0, 48, 48)",'), ("without", "")):
        folder = tmp_path / name / "FER2013Train"
        folder.mkdir(parents=True)
        (folder / "label.csv").write_text(f"fer0000000.png,{box}{votes}\n")
        found.append([(record.name, record.votes, record.label) for record in read_records("ferplus", tmp_path / name)])
    assert found[0] == found[1] == [("train/fer0000000", (1, 2, 3, 4, 0, 0, 0, 0, 0, 0), "sadness")]


def test_a_half_extracted_archive_extra_and_double_files(tmp_path: Path) -> None:
    root = lookalikes.raf_db(tmp_path / "raw")
    (root / "Image" / "aligned" / "stray.jpg").write_bytes(b"")
    table = root / "EmoLabel" / "list_patition_label.txt"
    table.write_text(table.read_text() + "train_00001.jpg 2\n")
    warnings = survey("raf-db", root).warnings
    assert any("1 other images are not used" in line and "stray.jpg" in line for line in warnings)
    assert any("1 faces are listed more than once" in line for line in warnings)
    names = [record.name for record in read_records("raf-db", root)]
    assert len(set(names)) == len(names) == 57
    (root / "Image" / "aligned" / "train_00003_aligned.jpg").unlink()
    with pytest.raises(
        DataError, match=r"1 of 57 images are missing.*train_00003_aligned.jpg.*label.txt:3.*that are missing$"
    ):
        survey("raf-db", root)


def test_images_in_a_folder_of_the_archives_own_are_found_for_the_message(tmp_path: Path) -> None:
    root = lookalikes.raf_db(tmp_path / "raw")
    (root / "Image" / "aligned").rename(root / "inside")
    (root / "Image" / "aligned").mkdir()
    (root / "inside").rename(root / "Image" / "aligned" / "aligned")
    with pytest.raises(DataError, match=r"56 of 56 images are missing.*if all are in .*Image/aligned/aligned, which"):
        survey("raf-db", root)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.jpg").touch()
    (tmp_path / "t.csv").write_text("path,label\nsub\\a.jpg,happy\n")  # as Windows writes paths
    with pytest.raises(DataError, match=r"if all are in .*sub, which holds one of that name"):
        survey("table", tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("kind", "file", "content", "message"),
    [
        ("raf-db", "EmoLabel/list_patition_label.txt", "train_00001.jpg 8", r"label.txt:1: expected an image and"),
        ("raf-db", "EmoLabel/list_patition_label.txt", "valid_1.jpg 2", r"label.txt:1: valid_1.jpg is neither"),
        ("raf-db", "other.txt", "", r"list_patition_label.txt: missing"),
        ("affectnet", "training.csv", "a/b.jpg,1,2,3,4,5,11,0,0", r"training.csv:1: expression 11"),
        ("affectnet", "training.csv", "a/b.jpg,1,2,3", r"training.csv:1: not the columns"),
        ("affectnet", "training.csv", "a/b.jpg,1,2,3,4,5,1,0,0", r"training.csv:1: a/b.jpg is neither in"),
        ("affectnet", "train_set/images/0.jpg", "", r"annotations: holds no"),
        ("affectnet", "other.csv", "", r"other.csv: its name starts neither"),
        ("affectnet", "train_set/annotations/0_exp.npy", "no", r"0_exp.npy: not an expression number"),
        ("expw", "label/label.lst", "a.jpg 0 1 2", r"image: missing"),
        ("ferplus", "FER2013Train/label.csv", 'a.png,"(0, 0, 48, 48)",1,2,3', r"label.csv:1: expected 10 vote counts"),
        ("ferplus", "FER2013Train/label.csv", 'a.png,"(0)",1,2,3,4,5,6,7,8,9,x', r"label.csv:1: expected a file name"),
        ("ferplus", "other.csv", "", "neither the folders FER2013Train"),
        ("fer2013", "fer2013.csv", "emotion,pixels,Usage\n3,1 2 3,Training", r"fer2013.csv:2: 3 grey values, not 2304"),
        ("fer2013", "fer2013.csv", "emotion,pixels,Usage\n9,1 2 3,Training", r"fer2013.csv:2: expected an emotion"),
        ("folder", "blue/a.jpg", "", r"blue: its name is not an expression"),
        ("folder", "a.jpg", "", "holds no folders"),
    ],
)
def test_error_messages_name_file_and_line(tmp_path: Path, kind: str, file: str, content: str, message: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    if kind == "raf-db":
        (tmp_path / "Image" / "aligned").mkdir(parents=True)
    with pytest.raises(DataError, match=message):
        list(read_records(kind, tmp_path))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("path,label\na.jpg,blue", r"t.csv:2: 'blue' is not an expression"),
        ("path,label,split\na.jpg,happy,dev", r"t.csv:2: 'dev' is not a split"),
        ("file,label\na.jpg,happy", r"t.csv:2: needs a path and a label; its columns are file, label"),
        ("path,label\na.jpg,,9", r"t.csv:2: needs a path and a label"),
        ("path,label,left,top,right,bottom\na.jpg,happy,9,0,3,4", r"t.csv:2: the box .* is empty"),
        ("path,label,left,top,right,bottom\na.jpg,happy,9,,3,4", r"t.csv:2: the box needs numbers"),
        ("path,label,left,top,right,bottom\na.jpg,happy,nan,nan,nan,nan", r"t.csv:2: the box .* is empty"),
        ("path,label,left,top,right,bottom\na.jpg,happy,0,0,inf,inf", r"t.csv:2: the box .* is empty"),
    ],
)
def test_error_messages_of_a_table(tmp_path: Path, row: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(row)
    with pytest.raises(DataError, match=message):
        list(read_records("table", tmp_path / "t.csv"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.parquet", b"path,label", "t.parquet: not a Parquet file"),
        ("t.csv", "path,label\ncafé.png,happy".encode("cp1252"), "t.csv: is not UTF-8 .*; save it as CSV UTF-8"),
        ("t.csv", b'path,label,note\na.png,happy,"12 inch\nb.png,sad,\n', "t.csv: is not a CSV table .*quotation mark"),
    ],
)
def test_a_table_of_another_kind_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_records("table", tmp_path / name))


@pytest.mark.parametrize("name", LOOKALIKES)
def test_hidden_files_are_neither_data_nor_errors(name: str, tmp_path: Path) -> None:
    kind, make, _, _ = LOOKALIKES[name]
    root = make(tmp_path / "raw")
    expected, folder = list(read_records(kind, root)), tmp_path / "raw"
    warnings = survey(kind, root).warnings
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X        ")
    for directory in [path for path in folder.rglob("*") if path.is_dir()] + [folder]:
        for hidden in (".ipynb_checkpoints", "__MACOSX", "@eaDir"):
            (directory / hidden).mkdir()
            for path in [path for path in directory.iterdir() if path.is_file()][:2]:
                (directory / hidden / path.name).write_bytes(path.read_bytes())
    assert list(read_records(kind, root)) == expected
    assert survey(kind, root).warnings == warnings


TABLES = {
    "raf-db": "EmoLabel/list_patition_label.txt",
    "affectnet csv": "training.csv",
    "expw": "label/label.lst",
    "fer2013": "fer2013.csv",
    "ferplus csv": "fer2013new.csv",
    "table": "",
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_reads_the_same_however_it_was_saved(name: str, tmp_path: Path) -> None:
    kind, make, _, _ = LOOKALIKES[name]
    root = make(tmp_path / "raw")
    table, expected = root / TABLES[name], list(read_records(kind, root))
    content = table.read_bytes()
    for saved in (b"\xef\xbb\xbf" + content, content.replace(b"\n", b"\r\n"), content + b"\r\n\n"):
        table.write_bytes(saved)
        assert list(read_records(kind, root)) == expected
    table.write_bytes(content + "café,1".encode("cp1252"))
    with pytest.raises(DataError, match=rf"{table.name}: is not UTF-8"):
        list(read_records(kind, root))


def test_label_tables_of_ferplus_are_read_with_a_byte_order_mark_and_blank_lines(tmp_path: Path) -> None:
    folder = tmp_path / "FER2013Train"
    folder.mkdir()
    (folder / "label.csv").write_text('\ufefffer0.png,"(0, 0, 48, 48)",9,1,0,0,0,0,0,0,0,0\n\n', encoding="utf-8")
    assert [record.source.name for record in read_records("ferplus", tmp_path)] == ["fer0.png"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Usage,", "Use,", r"fer2013new.csv:2: expected a usage, an image name"),
        ("Image name", "Name", r"fer2013new.csv:2: expected a usage, an image name"),
        (",0,0,0\n", "\n", r"fer2013new.csv:2: expected a file name"),
        (",0,0,0\n", ",0,0,0,0\n", r"fer2013new.csv:2: expected 10 vote counts"),
    ],
)
def test_vote_tables_with_other_columns_are_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    table = lookalikes.ferplus_tables(tmp_path, 3, 1) / "fer2013new.csv"
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        list(read_records("ferplus", tmp_path))


def test_votes_follow_the_names_of_their_columns(tmp_path: Path) -> None:
    root = lookalikes.ferplus_tables(tmp_path, 5, 2)
    expected = list(read_records("ferplus", root))
    table = root / "fer2013new.csv"
    header, *rows = (line.split(",") for line in table.read_text().splitlines())
    order = [1, 0, 11, 5, 4, 3, 2, 10, 9, 8, 7, 6]
    saved = [",".join(header[i] for i in order)]
    saved += [",".join(row[i] if i < 2 else f"{row[i]}.0" for i in order) for row in rows]  # as pandas writes gaps
    table.write_text("\n".join(saved))
    assert list(read_records("ferplus", root)) == expected
    for old, new, message in (("10.0", "9.5", "expected 10 vote counts"), ("NF", "no face", "lacks the columns NF")):
        table.write_text("\n".join(saved).replace(old, new))
        with pytest.raises(DataError, match=message):
            list(read_records("ferplus", root))


def test_annotations_of_affectnet_are_one_number_each(tmp_path: Path) -> None:
    folder = tmp_path / "train_set" / "annotations"
    folder.mkdir(parents=True)
    np.save(folder / "0_exp.npy", np.array(["3"]))
    assert labels("affectnet", tmp_path) == ["surprise"]
    np.save(folder / "1_exp.npy", np.array([1, 2]))
    with pytest.raises(DataError, match=r"1_exp\.npy: not an expression number"):
        labels("affectnet", tmp_path)


@pytest.mark.parametrize("size", ["0,0", "nan,nan"])
def test_an_annotated_box_without_an_area_is_named(size: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "training.csv").write_text(f"a.jpg,1,2,{size},5,8,0,0\na.jpg,1,2,{size},5,1,0,0\n")
    with pytest.raises(DataError, match=r"training.csv:2: the box .* is empty"):
        list(read_records("affectnet", tmp_path))


def test_what_affectnet_calls_no_expression_needs_no_box(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "training.csv").write_text("a.jpg,NULL,NULL,NULL,NULL,NULL,10,-2,-2\na.jpg,1,2,5,5,8,1,0,0\n")
    assert labels("affectnet", tmp_path) == ["happiness"]


def test_class_folders_without_readable_images_and_links_are_said(tmp_path: Path) -> None:
    for folder in ("happy", "sad", "fear", "elsewhere"):
        (tmp_path / "raw" / folder).mkdir(parents=True)
    for name in ("happy/a.jpg", "sad/unnamed", "elsewhere/b.jpg"):
        (tmp_path / "raw" / name).touch()
    (tmp_path / "raw" / "elsewhere").rename(tmp_path / "elsewhere")
    (tmp_path / "raw" / "happy" / "more").symlink_to(tmp_path / "elsewhere")
    warnings = survey("folder", tmp_path / "raw").warnings
    assert [line.partition("raw/")[2].partition(";")[0] for line in warnings] == [
        "fear: the folder contains no image",
        "happy: not read: 1 linked folder",
        "sad: the folder contains no image",
    ]


def test_names_that_are_no_text_are_written_as_text(tmp_path: Path) -> None:
    folder = tmp_path / "raw" / "sad"
    folder.mkdir(parents=True)
    try:
        PillowImage.new("L", (40, 40), 60).save(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png"))
    except OSError:
        pytest.skip("this disk takes names in UTF-8 alone")
    (folder / os.fsdecode(b"bad\xe9.png")).write_bytes(b"no image")
    plain = arcface_preparation(32, detector="none")
    for _ in range(2):
        made = prepare(
            read_records("folder", tmp_path / "raw"),
            tmp_path / "out",
            plain,
            root=tmp_path / "raw",
            workers=1,
            skip_damaged=True,
        )
    (row,) = pq.read_table(made).to_pylist()
    assert row["source"] == r"sad/caf\xe9.png" and row["path"] == r"all/sadness_caf\xe9.png"
    assert (tmp_path / "out" / row["path"]).is_file()
    assert r"bad\xe9.png" in read_description(tmp_path / "out")["damaged"][0]


@pytest.mark.parametrize(("kind", "out"), [("folder", "raw"), ("folder", "raw/sad/out"), ("raf-db", "raw")])
def test_crops_never_go_among_the_images(
    kind: str, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lookalikes.class_folders(tmp_path / "raw", 3)
    before = sorted(tmp_path.rglob("*"))
    assert main(["prepare", kind, "--root", "raw/", "--out", out]) == 2
    assert "is inside --root" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_images_that_are_not_read_are_counted_and_not_called_unlabelled(tmp_path: Path) -> None:
    root = lookalikes.affectnet_folders(tmp_path / "raw", 11, 11)
    (warning,) = (line for line in survey("affectnet", root, ReadOptions(classes=7)).warnings if "not used" in line)
    assert warning.startswith("8 other images are not used")  # contempt, and what is no expression
    (tmp_path / "t.csv").write_text("path, label, split\na.jpg, happy, train\n")
    for name in ("a.jpg", "b.heic"):
        (tmp_path / name).touch()
    assert "1 other images are not used, the first is" in survey("table", tmp_path / "t.csv").warnings[0]
    (record,) = read_records("table", tmp_path / "t.csv")
    assert record.split == "train"
    (tmp_path / "t.csv").write_text("path,label\n.,happy\n")
    assert len(list(read_records("table", tmp_path / "t.csv"))) == 1  # a folder; it is named when it is read


def test_names_that_meet_are_numbered_apart(tmp_path: Path) -> None:
    colours = {"x.jpg": 10, "x.png": 60, "x_2.jpg": 110, "X.jpeg": 160, "deep/x.jpg": 210, "deep_x.png": 250}
    for path, grey in colours.items():
        (tmp_path / "raw" / "sad" / path).parent.mkdir(parents=True, exist_ok=True)
        PillowImage.new("L", (40, 40), grey).save(tmp_path / "raw" / "sad" / path)
    plain = arcface_preparation(32, detector="none")
    made = prepare(read_records("folder", tmp_path / "raw"), tmp_path / "out", plain, root=tmp_path / "raw", workers=1)
    rows = pq.read_table(made).to_pylist()
    assert len({row["path"].casefold() for row in rows}) == len(rows) == 6
    for row in rows:
        crop = PillowImage.open(tmp_path / "out" / row["path"])
        assert abs(crop.getpixel((16, 16)) - colours[row["source"].removeprefix("sad/")]) <= 1


def test_a_broken_link_among_the_images_is_named(tmp_path: Path) -> None:
    (tmp_path / "sad").mkdir()
    PillowImage.new("L", (40, 40)).save(tmp_path / "sad" / "a.png")
    (tmp_path / "sad" / "b.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"b\.png: is a link to a file that does not exist"):
        list(read_records("folder", tmp_path))


def test_a_table_as_spreadsheets_write_it_with_two_faces_in_one_photograph(tmp_path: Path) -> None:
    rows = "Path;Label;Left;Top;Right;Bottom\na.jpg;happy;1,5;2;9;9\na.jpg;sad;20;2;29;9\na.jpg;happy;1,5;2;9;9\n"
    (tmp_path / "t.csv").write_text("\ufeff" + rows)
    (tmp_path / "a.jpg").touch()
    records = list(read_records("table", tmp_path / "t.csv"))
    assert [(record.face, record.label) for record in records] == [(0, "happiness"), (1, "sadness"), (0, "happiness")]
    assert records[0].box == (1.5, 2, 9, 9)
    assert "1 faces are listed more than once" in survey("table", tmp_path / "t.csv").warnings[0]


def test_a_parquet_table_reads_as_the_csv_does(tmp_path: Path) -> None:
    rows = [{"path": "a/b.jpg", "label": "joy", "left": 1.0, "top": 2.0, "right": 3.0, "bottom": 4.0}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    (record,) = read_records("table", tmp_path / "t.parquet")
    assert (record.label, record.box, record.name) == ("happiness", (1, 2, 3, 4), "all/a_b")


def test_a_missing_root_and_an_unknown_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder; give what RAF-DB was extracted to"):
        list(read_records("raf-db", tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="did you mean raf-db"):
        find_data_set("rafdb")


@pytest.mark.shared
def test_the_official_ferplus_splits_keep_the_published_counts(shared: Path, tmp_path: Path) -> None:
    with tarfile.open(shared / "ferplus_train_valid.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    assert survey("ferplus", tmp_path).warnings == ["test: missing"]
    records = list(read_records("ferplus", tmp_path))
    for split, counts in {"train": (28_558, 25_045, 28_385), "valid": (3_579, 3_191, 3_555)}.items():
        votes = np.array([record.votes for record in records if record.split == split])
        kept = [int((hard_labels(votes, protocol) >= 0).sum()) for protocol in ("majority", "argmax")]
        assert (len(votes), *kept) == counts


def test_totals_published_for_eight_classes_say_nothing_about_seven(tmp_path: Path) -> None:
    root = lookalikes.ferplus_tables(tmp_path, 9, 9)
    eight, seven = (survey("ferplus", root, ReadOptions(classes=classes)) for classes in (8, 7))
    assert eight.total - seven.total == 3 and len(eight.warnings) == 3
    assert seven.warnings == []


def test_the_other_images_of_raf_db_are_offered(tmp_path: Path) -> None:
    root = lookalikes.raf_db(tmp_path / "raw", 7, 7)
    for kind, aligned, advice in (("aligned", True, "or add --original"), ("original", False, "or omit --original")):
        (root / "Image" / kind).rename(root / kind)
        with pytest.raises(DataError, match=f"Image/{kind}: missing; extract {kind}.zip, {advice}"):
            survey("raf-db", root, ReadOptions(aligned=aligned))
        (root / kind).rename(root / "Image" / kind)


def test_an_affectnet_archive_in_a_folder_of_its_own_name_is_not_called_incomplete(tmp_path: Path) -> None:
    lookalikes.affectnet_folders(tmp_path / "train_set", 2, 2)
    with pytest.raises(DataError, match="if train_set holds another train_set, move its content up"):
        list(read_records("affectnet", tmp_path))


def test_original_images_are_refused_where_there_is_one_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = lookalikes.expw(tmp_path / "raw", 1)
    assert main(["prepare", "expw", "--root", str(root), "--out", str(tmp_path / "out"), "--original"]) == 2
    assert "--original: only raf-db has two kinds of images, expw has one; omit it" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
