"""What a command says, by its message options: -q, -v and --log."""

import re
import shutil
from pathlib import Path

import pytest

from mftn.cli import main
from mftn.cli.messages import command_line
from mftn.errors import OutputError

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (INFO|WARNING|ERROR|DEBUG) +\S")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an image, a text named like one, and a document."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(PHOTOS / "astronaut.jpg", "a.jpg")
    for name in ("bad.jpg", "notes.txt"):
        Path(name).write_text("no image")
    return tmp_path


def predict(*options: str) -> int:
    return main(["predict", ".", "--engine", "onnxruntime", "-o", "faces.csv", "--overwrite", *options])


def test_quiet_leaves_errors_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict() == 1
    usual = capsys.readouterr().err
    assert "bad.jpg" in usual and "1 of 2 images failed" in usual
    assert predict("-q") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mftn: ") and "bad.jpg" in line


def test_verbose_says_which_model_and_names_every_image(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict("-v")
    said = capsys.readouterr().err
    assert "mftn_mobile_ferplus" in said and "onnxruntime" in said and "a.jpg: 1 face" in said
    assert re.search(r"2 images, 1 face in [\d.]+ s", said)


def test_a_log_gathers_the_messages_of_every_run_with_their_times(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict("-q", "--log", "logs/mftn.log")
    predict("--log", "logs/mftn.log")
    lines = Path("logs/mftn.log").read_text().splitlines()
    assert all(LINE.match(line) for line in lines)
    assert sum("mftn predict . --engine" in line for line in lines) == 2
    assert sum("bad.jpg" in line and "ERROR" in line for line in lines) == 2
    assert sum("1 of 2 images failed" in line for line in lines) == 2, "the log keeps what --quiet does not show"
    assert len(capsys.readouterr().err.splitlines()) == 1 + 3


def test_passwords_in_addresses_are_in_no_log(here: Path) -> None:
    address = "https://me:secret@localhost:1/a.jpg"
    assert main(["predict", address, "--log", "mftn.log"]) == 1
    log = Path("mftn.log").read_text()
    assert "secret" not in log and "mftn predict https://localhost:1/a.jpg --log" in log
    assert command_line(["--output=s3://KEY:a/b@bucket/x y", "a=b"]) == "'--output=s3://bucket/x y' a=b"


def test_an_error_that_ends_a_command_is_in_the_log(here: Path) -> None:
    assert main(["predict", "a.jpg", "--top", "0", "--log", "mftn.log"]) == 2
    assert "ERROR   --top is 0" in Path("mftn.log").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--log", "notes.txt"], "--log notes.txt: already exists and is not an mftn log"),
        (["--log", "a.jpg"], "--log a.jpg: already exists"),
        (["--log", "."], "--log .: Is a directory"),
        (["--log", "a.jpg/mftn.log"], "--log a.jpg/mftn.log: "),
        (["-q", "-v"], "omit one"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    before = {path: path.read_bytes() for path in here.iterdir()}
    assert predict(*options) == 2
    assert message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in here.iterdir()} == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_under_the_log_ends_the_command(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("--log", "/dev/full") == 1
    assert "No space left" in capsys.readouterr().err


def test_a_failure_is_one_line_whatever_its_file_is_called(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy("bad.jpg", "two\nlines.jpg")
    assert predict("--format", "table", "--log", "p.log") == 1
    said = capsys.readouterr().err.splitlines()
    assert all(line.startswith("mftn: ") for line in said)
    assert any(r"two\x0alines.jpg: not an image" in line for line in said)
    assert all(LINE.match(line) for line in Path("p.log").read_text().splitlines())
    assert r"two\x0alines.jpg" in Path("faces.csv").read_text()


def test_a_full_disk_under_a_copy_says_how_to_go_on(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OutputError("out/a_faces.jpg: cannot be written: No space left on device; free space")

    with monkeypatch.context() as patched:
        patched.setattr("mftn.output.ImageFolder.save", full)
        assert main(["predict", "bad.jpg", "a.jpg", "-o", "faces.csv", "--save-images", "out"]) == 1
    assert "free space; the results so far are kept, continue with --resume" in capsys.readouterr().err
    assert main(["predict", "bad.jpg", "a.jpg", "-o", "faces.csv", "--save-images", "out", "--resume"]) == 1
    assert Path("out/a_faces.jpg").exists()
