"""What `mftn` says to wrong usage, in one line and before any work."""

import json
import os
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image as PillowImage

from mftn.cli import SUBCOMMANDS, main
from mftn.cli.doctor import find_extras

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an image, a clip that is none, and a list."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(PHOTOS / "astronaut.jpg", "a.jpg")
    for name in ("clip.mp4", "b.partial.mp4", "b.jsonl.partial"):
        Path(name).write_bytes(b"no clip")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("predict", "name an image"),
        ("predict a.jpg --output faces.xlsx", "--output faces.xlsx: unknown suffix; use .jsonl, .csv or .parquet"),
        ("predict a.jpg --format parquet", "add --output"),
        ("predict a.jpg --model nope", "mftn_face_ferplus"),
        ("predict a.jpg --top -3", "--top is -3; it must be at least 1"),
        ("predict a.jpg --top 0", "--top is 0"),
        ("predict a.jpg --threads -1", "--threads is -1"),
        ("predict a.jpg --threads 100000", "--threads is 100000; it must be at least 0 and at most 1024"),
        ("predict a.jpg --min-score 1.5", "--min-score is 1.5; it must be at least 0 and at most 1"),
        ("predict a.jpg --min-score nan", "--min-score is nan"),
        ("predict a.jpg --detector none --min-score 0.5", "--min-score has no effect with --detector none"),
        ("predict a.jpg --smooth 0.5", "--smooth applies to videos only"),
        ("predict a.jpg --start 1", "--start applies to videos only"),
        ("predict a.jpg --end 1", "--end applies to videos only"),
        ("predict a.jpg --every 2", "--every applies to videos only"),
        ("predict a.jpg --detect-every 2", "--detect-every applies to videos only"),
        ("predict a.jpg --save-video b.mp4", "--save-video applies to videos only"),
        ("predict a.jpg --save-timeline b.png", "--save-timeline applies to videos only"),
        ("predict clip.mp4 --save-images out", "--save-images applies to images only"),
        ("predict clip.mp4 --save-crops out", "--save-crops applies to images only"),
        ("predict clip.mp4 --save-timeline t.xyz", "--save-timeline t.xyz: unknown suffix; use .png"),
        ("predict clip.mp4 --save-timeline clip.mp4", "unknown suffix"),
        ("predict clip.mp4 --save-video clip.mp4", "--save-video clip.mp4: is a source"),
        ("predict clip.mp4 --output clip.mp4 --format csv", "--output clip.mp4: is a source"),
        (
            "predict clip.mp4 --output t.png --format csv --save-timeline ./t.png",
            "--save-timeline t.png: is the same file as --output",
        ),
        ("predict b.partial.mp4 --save-video b.mp4", "--save-video b.mp4: is a source, or its partial file would be"),
        ("predict b.jsonl.partial --output b.jsonl", "--output b.jsonl: is a source, or its partial file would be"),
        ("predict clip.mp4 b.partial.mp4 --save-video b.mp4", "is one file, and there may be several videos"),
        ("predict . --save-timeline b.png", "is one file, and there may be several videos"),
        ("predict clip.mp4 clip.mp4 --save-video clip.mp4", "is one file"),
        ("predict 0 a.jpg", "0: has no end, so nothing after it would be read; give it last, or add --end"),
        ("predict rtsp://me:secret@host/door a.jpg", "rtsp://host/door: has no end"),
        ("predict a.jpg --null", "--null applies to paths on standard input"),
        ("predict a.jpg --resume", "--resume needs a file to continue: add --output"),
        ("predict a.jpg --resume --output o.txt --format table", "--resume needs a file to continue"),
        ("predict a.jpg --resume --output o.csv --overwrite", "omit one"),
        ("predict 0 --resume --output o.csv", "0: is live and cannot be resumed"),
        ("predict b.jsonl.partial --output b.jsonl --resume", "--output b.jsonl: is a source, or its partial file"),
        ("predict - -", "- is given twice"),
        ("predict a.jpg --output a.jpg --format csv", "--output a.jpg: is a source"),
        ("predict a.jpg --output . --format csv", "--output .: is a folder; name a file"),
        ("predict a.jpg --output a.jpg/o.csv", "a.jpg is not a folder"),
        ("predict . --save-images .", "--save-images .: is a source itself; choose another folder, such as annotated"),
        ("predict . --save-crops .", "--save-crops .: is a source itself"),
        ("predict a.jpg --save-images a.jpg", "--save-images a.jpg: is a source itself; choose another folder\n"),
        ("benchmark --seconds 0", "--seconds is 0; it must be above 0"),
        ("benchmark --photo a.jpg --output a.jpg", "--output a.jpg: is a source"),
        ("benchmark --model nope", "nope: neither a model file"),
        ("explain", "name the images to explain"),
        ("explain a.jpg --model nope", "nope: neither a model file"),
        ("explain a.jpg --out a.jpg", "--out a.jpg: is a source itself"),
        ("export a.jpg --out a.jpg", "--out a.jpg: is a source"),
        ("train --config nope", "nor a recipe; there are affectnet_7"),
        ("predcit", "did you mean predict"),
        ("xyz", "there are predict"),
        ("a.jpg", "no subcommand a.jpg; to recognise it: mftn predict a.jpg"),
        ("predict a.jpg --model=", "(an empty name): neither a model file"),
    ],
)
def test_wrong_usage_exits_with_2(here: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str) -> None:
    before = sorted(here.iterdir())
    assert main(arguments.split()) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("mftn: ") and printed.err.count("\n") == 1 and message in printed.err
    assert printed.out == "" and sorted(here.iterdir()) == before


@pytest.mark.parametrize("subcommand", ["predict", "models", "doctor", "benchmark", "explain", "export"])
def test_an_unknown_option_exits_with_2(subcommand: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main([subcommand, "--no-such-option"])
    assert stop.value.code == 2


@pytest.mark.parametrize("option", ["--output=", "--save-images=", "--save-crops=", "--save-video=", "--log="])
def test_an_empty_path_is_not_the_working_folder(here: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["predict", "a.jpg", option])
    assert stop.value.code == 2 and "a path may not be empty" in capsys.readouterr().err


def test_a_folder_that_may_not_be_entered_is_named_with_advice(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", locked)
    monkeypatch.setattr(Path, "is_file", locked)
    assert main(["predict", "a.jpg", "--output", "locked/o.csv"]) == 1
    assert re.search(r"^mftn: locked.*: Permission denied; check its permissions", capsys.readouterr().err)


@pytest.mark.parametrize(
    "options",
    ["--output o.csv", "--save-images out", "--save-crops out", "--output o.txt --format table"],
)
def test_what_exists_is_replaced_only_when_told(here: Path, capsys: pytest.CaptureFixture[str], options: str) -> None:
    command = ["predict", "a.jpg", "--engine", "onnxruntime", *options.split()]
    assert main(command) == 0
    given = {"a.jpg", "clip.mp4", "b.partial.mp4", "b.jsonl.partial", "o.csv.meta.json"}
    (written,) = (path for path in here.rglob("*") if path.is_file() and path.name not in given)
    made = written.read_bytes()
    assert made
    written.write_bytes(b"precious")
    capsys.readouterr()
    assert main(command) == 2
    assert written.read_bytes() == b"precious"
    assert "already exists; add --overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    assert written.read_bytes() == made
    assert sorted(path.name for path in here.rglob("*.partial*")) == ["b.jsonl.partial", "b.partial.mp4"]


@pytest.mark.parametrize("link", ["hard", "symbolic", "relative"])
@pytest.mark.parametrize(("option", "name"), [("--save-images", "a_faces.jpg"), ("--save-crops", "a_face1.jpg")])
def test_no_name_of_a_source_is_ever_written_to(here: Path, link: str, option: str, name: str) -> None:
    source, out = here / "sub" / "b.jpg", here / "out"
    source.parent.mkdir()
    out.mkdir()
    shutil.copy(PHOTOS / "grace_hopper.jpg", source)
    before = source.read_bytes()
    if link == "hard":
        os.link(source, out / name)
    elif link == "symbolic":
        (out / name).symlink_to(source)
    else:
        source = source.rename(out / name)
    given = str(source if link != "relative" else Path("sub", "..", "out", name))
    assert main(["predict", "a.jpg", given, option, "out", "--overwrite", "--engine", "onnxruntime"]) == 2
    assert source.read_bytes() == before == (out / name).read_bytes()
    for command in (["predict", "a.jpg", given, "--format", "csv", "--output", f"out/{name}", "--overwrite"],):
        assert main(command) == 2
    assert source.read_bytes() == before == (out / name).read_bytes()


def test_a_crop_that_nobody_planned_for_replaces_no_source_either(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = PillowImage.new("RGB", (1024, 512))
    for left in (0, 512):
        two.paste(PillowImage.open("a.jpg"), (left, 0))
    two.save("two.png")
    shutil.copy("a.jpg", "two_face2.jpg")
    before = Path("two_face2.jpg").read_bytes()
    command = ["predict", "two.png", "two_face2.jpg", "--save-crops", "../" + here.name, "--overwrite"]
    assert main([*command, "--engine", "onnxruntime"]) == 1
    assert "two_face2.jpg: is a source, which is never replaced" in capsys.readouterr().err
    assert Path("two_face2.jpg").read_bytes() == before and Path("two_face1.jpg").exists()


def test_the_outputs_of_a_run_are_no_sources_of_it(here: Path) -> None:
    Path("p").mkdir()
    shutil.move("a.jpg", "p/a.jpg")
    command = ["predict", "p", "--save-images", "p/faces", "--format", "csv", "--engine", "onnxruntime"]
    for run in ("1", "2"):
        assert main([*command, "--overwrite", "--output", f"{run}.csv"]) == 0
    assert len(Path("2.csv").read_text().splitlines()) == 2
    assert [path.name for path in Path("p/faces").iterdir()] == ["a_faces.jpg"]


def test_a_table_goes_to_its_file_and_what_folders_hold_besides_is_counted(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a.nef").touch()
    Path("._a.jpg").touch()
    Path("clip.mp4").rename("a.mov")
    assert main(["predict", ".", "--format", "table", "--output", "t.txt", "--engine", "onnxruntime"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "" and "not read: 1 clip of a live photo, 1 RAW image beside its JPEG;" in printed.err
    text = Path("t.txt").read_text(encoding="utf-8")
    assert "happiness" in text and "a.jpg" in text and "._a" not in text


@pytest.mark.parametrize("subcommand", SUBCOMMANDS)
def test_help_shows_no_empty_default(subcommand: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([subcommand, "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "show this help message" in shown and not re.findall(r"\S+ \(default: (?:''|None)? ?\)", shown)


def test_a_doctor_names_what_is_missing() -> None:
    extras = find_extras(
        [
            "pip>=1",
            "no-such-package[x]>=2,<3",
            "neither==1 ; extra == 'video'",
            'pip; extra == "train"',
            "pytest>=8; python_version>'3'",
        ]
    )
    always, video, train = extras
    assert always.missing == ("no-such-package>=2,<3",) and [name.split()[0] for name in always.found] == [
        "pip",
        "pytest",
    ]
    assert str(always).startswith("always: missing no-such-package>=2,<3\n  pip ") and "pip install 'mftn'" in str(
        always
    )
    assert (video.name, video.found, video.missing) == ("video", (), ("neither==1",))
    assert str(video) == "video: missing neither==1\n  install: pip install 'mftn[video]'"
    assert str(train).startswith("train: complete\n  pip ") and "get it" not in str(train)


def test_a_terminal_is_told_what_was_done(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["predict", "a.jpg", "a.jpg", "--engine", "onnxruntime", "--overwrite", "-o", "faces.csv"]
    assert main(command) == 0 and "per second" not in capsys.readouterr().err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert main(command) == 0
    assert re.search(r"2 images, 2 faces in \d+\.\d s, \d+ images per second", capsys.readouterr().err)


@pytest.mark.parametrize(
    "command", ["predict", "summarize", "benchmark", "prepare", "audit", "evaluate", "explain", "export"]
)
def test_the_output_has_a_short_name_everywhere(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, *(["ferplus"] if command == "prepare" else []), "--help"])
    assert "-o" in capsys.readouterr().out.split()


@pytest.mark.parametrize("options", [[], ["--resume"]])
def test_a_users_file_is_not_taken_for_a_journal(here: Path, options: list[str]) -> None:
    mine = Path("faces.csv.resume")
    mine.write_text("my notes")
    command = ["predict", "a.jpg", "--engine", "onnxruntime", "-o", "faces.csv"]
    assert main([*command, *options]) == 2 and mine.read_text() == "my notes"
    assert main([*command, "--overwrite"]) == 0 and not mine.exists()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_folder_whose_name_is_no_text_is_written_to(here: Path, kind: str) -> None:
    folder = os.fsdecode(b"caf\xe9")
    command = ["predict", "a.jpg", "--engine", "onnxruntime", "--save-images", folder, "-o", f"faces.{kind}"]
    assert main([*command, "--resume"]) == 0 and main([*command, "--resume"]) == 0
    assert [path.name for path in Path(folder).iterdir()] == ["a_faces.jpg"]
    if kind == "parquet":
        made_by = json.loads(pq.read_schema("faces.parquet").metadata[b"mftn"])
    else:
        made_by = json.loads(Path("faces.csv.meta.json").read_text(encoding="utf-8"))
    assert made_by["settings"]["save_images"] == r"caf\xe9"
