import errno
import io
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from mftn.errors import ImageError, OutputError
from mftn.files import (
    UniqueNames,
    atomic_write,
    file_identity,
    json_text,
    readable,
    without_secrets,
    write_csv,
    write_image,
    write_text,
)


def test_a_file_keeps_what_it_had_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "before")
    with pytest.raises(RuntimeError, match="half way"), atomic_write(path) as partial:
        partial.write_text("half")
        assert path.read_text() == "before"
        raise RuntimeError("half way")
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "private.csv"
    write_text(path, "before")
    for mode in (0o600, 0o640):
        path.chmod(mode)
        write_text(path, "after")
        assert path.read_text() == "after" and stat.S_IMODE(path.stat().st_mode) == mode


def test_json_is_valid_utf8_whatever_names_it_holds() -> None:
    names = {os.fsdecode(b"caf\xe9"): [os.fsdecode(b"a\xff\xfeb.jpg"), "half \ud83d", '\U0001f600 é \\ "']}
    for indent in (None, 2):
        text = json_text(names, indent)
        assert text.encode().decode() == text
        assert json.loads(text) == {readable(key): list(map(readable, each)) for key, each in names.items()}


def test_text_and_tables_are_valid_utf8_whatever_names_they_hold(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    write_text(tmp_path / "notes.txt", f"{name}: not read")
    write_csv(tmp_path / "table.csv", [{"what": name}])
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == r"caf\xe9.jpg: not read"
    assert (tmp_path / "table.csv").read_text(encoding="utf-8").splitlines() == ["what", r"caf\xe9.jpg"]


def test_an_interruption_keeps_what_was_written_only_where_it_is_asked_for(tmp_path: Path) -> None:
    for keep, kept in ((True, "half"), (False, "before")):
        path = tmp_path / f"{keep}.txt"
        write_text(path, "before")
        with pytest.raises(KeyboardInterrupt), atomic_write(path, keep=keep) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt
        assert path.read_text() == kept
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(KeyboardInterrupt), atomic_write(path, keep=True):
        raise KeyboardInterrupt  # before anything was written
    assert path.read_text() == "before"


def test_a_disk_error_names_the_file_whatever_a_library_makes_of_it(tmp_path: Path) -> None:
    def library(partial: Path) -> None:
        partial.write_text("half")
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise RuntimeError("unexpected position")  # noqa: B904 (as libraries do)

    for keep, name in ((False, r"b\.bin"), (True, r"b\.bin\.partial")):
        message = rf"{name}: cannot be written.*: No space left on device; free space or choose another location"
        with (
            pytest.raises(OutputError, match=message) as raised,
            atomic_write(tmp_path / "b.bin", keep=keep) as partial,
        ):
            library(partial)
        assert isinstance(raised.value, OSError)
        assert ("what was computed so far is in it" in str(raised.value)) == keep
        assert [path.name for path in tmp_path.iterdir()] == (["b.bin.partial"] if keep else [])
    (tmp_path / "b.bin.partial").unlink()
    with (
        pytest.raises(OutputError, match=r"b\.bin\.partial: cannot"),
        atomic_write(tmp_path / "b.bin", keep=True) as partial,
    ):
        partial.touch()
        raise OSError(errno.EDQUOT, "Disk quota exceeded")
    assert list(tmp_path.iterdir()) == []  # nothing was computed


def test_a_disk_error_is_known_by_the_absolute_path_of_a_relative_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(OutputError, match=r"^a\.partial\.mp4: cannot be written.*free space"),
        atomic_write("a.mp4", keep=True, real_suffix=True) as partial,
    ):
        raise OSError(errno.ENOSPC, "No space left on device", str(partial.absolute()))  # as FFmpeg names it


FULL_DISK = """
import resource
import sys
from pathlib import Path
from matplotlib.figure import Figure
from PIL import Image
import mftn
from mftn.errors import OutputError
from mftn.figures import save_figure
from mftn.output import ImageFolder

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
image, figure = Image.effect_noise((512, 512), 90).convert("RGB"), Figure()
figure.subplots().imshow(image)
prediction = mftn.Prediction("noise.jpg", 512, 512, ())
for write in (
    lambda: ImageFolder(Path("copies")).save(image, "noise.jpg", "faces"),
    lambda: prediction.save("saved.png", image=image),
    lambda: save_figure(figure, Path("figure.png")),
):
    try:
        write()
        print("written")
    except OutputError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on a file's size")
def test_an_image_that_the_disk_cuts_short_is_an_error_and_no_image(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL_DISK], cwd=tmp_path, capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert [line.split(": ")[0] for line in said] == [str(Path("copies", "noise_faces.jpg")), "saved.png", "figure.png"]
    assert all("cannot be written: File too large" in line for line in said)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_errors_of_other_files_stay_theirs(tmp_path: Path) -> None:
    for other in ("other.txt", "0.txt"):
        with pytest.raises(FileNotFoundError, match=other), atomic_write(tmp_path / "a.txt"):
            (tmp_path / other).read_text()
    with pytest.raises(ImageError, match=r"^x\.jpg: gone$"), atomic_write(tmp_path / "a.txt"):
        raise ImageError("x.jpg: gone") from OSError(errno.EIO, "Input/output error")
    with pytest.raises(OutputError, match=r"^inner"), atomic_write(tmp_path / "a.txt"):
        raise OutputError("inner")
    with pytest.raises(BrokenPipeError), atomic_write(tmp_path / "a.txt"):  # of whoever reads the output
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_an_image_that_a_format_cannot_hold_is_an_image_error() -> None:
    content = io.BytesIO()
    write_image(PillowImage.new("L", (65_500, 1)), content, "JPEG")
    assert PillowImage.open(content).size == (65_500, 1)
    with pytest.raises(ImageError, match="16384×1 pixels are too many for WEBP"):
        write_image(PillowImage.new("RGB", (16_384, 1)), io.BytesIO(), "WEBP")
    with pytest.raises(ImageError, match="cannot be written as JPEG"):
        write_image(PillowImage.new("RGBA", (8, 8)), io.BytesIO(), "JPEG")


def test_folders_are_made_and_what_stands_in_the_way_is_named(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "er" / "c.txt", "ü")
    assert (tmp_path / "new" / "er" / "c.txt").read_bytes() == "ü".encode()
    with pytest.raises(OutputError, match=r"d\.txt: cannot be written"):
        write_text(tmp_path / "new" / "er" / "c.txt" / "d.txt", "")
    with pytest.raises(OutputError, match=r"er: cannot be written: is a folder"):
        write_text(tmp_path / "new" / "er", "")


def test_a_link_stays_one_and_a_pipe_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link.txt").symlink_to("elsewhere/real.txt")
    write_text(tmp_path / "link.txt", "text")
    assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "elsewhere" / "real.txt").read_text() == "text"
    os.mkfifo(tmp_path / "pipe")
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_text(tmp_path / "pipe", "through")
    reader.join(10)
    assert heard == ["through"] and (tmp_path / "pipe").is_fifo()


def test_the_partial_file_lies_beside_the_file_and_ends_as_asked(tmp_path: Path) -> None:
    for keep, real_suffix, expected in (
        (True, False, "a.mp4.partial"),
        (True, True, "a.partial.mp4"),
        (False, False, f"a.mp4.{os.getpid()}.partial"),
        (False, True, f"a.{os.getpid()}.partial.mp4"),
    ):
        with atomic_write(tmp_path / "a.mp4", keep=keep, real_suffix=real_suffix) as partial:
            assert partial == tmp_path / expected
            partial.touch()


def test_writing_works_where_open_files_cannot_be_renamed_and_read_only_ones_not_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows: os.replace refuses files that are open, os.fsync refuses what is open for reading."""
    fcntl = pytest.importorskip("fcntl")
    if not Path("/proc/self/fd").exists():
        pytest.skip("open files are not listed here")
    replace, fsync, flushed = os.replace, os.fsync, []

    def as_windows_replaces(source: Path, target: Path) -> None:
        for handle in Path("/proc/self/fd").iterdir():
            if handle.exists() and handle.samefile(source):
                raise PermissionError(errno.EACCES, "used by another process", str(source))
        replace(source, target)

    def as_windows_flushes(number: int) -> None:
        if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        flushed.append(number)
        fsync(number)

    monkeypatch.setattr(os, "replace", as_windows_replaces)
    monkeypatch.setattr(os, "fsync", as_windows_flushes)
    write_text(tmp_path / "a.txt", "a")
    write_csv(tmp_path / "a.csv", [{"a": 1}])
    assert len(flushed) == 2 and sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.txt"]
    with pytest.raises(OutputError, match="close the programs that have it open"), atomic_write(tmp_path / "b") as part:
        file = part.open("w")  # left open: the simulation bites
    file.close()


def test_all_names_of_a_file_have_one_identity(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.touch()
    (tmp_path / "link").symlink_to(file)
    os.link(file, tmp_path / "hard")
    identities = {file_identity(tmp_path / name) for name in ("a", "link", "hard", "../" + tmp_path.name + "/a")}
    assert len(identities) == 1 and None not in identities and file_identity(str(file)) in identities
    for nothing in (tmp_path / "b", "x" * 300, "a\0b", str(file) + "/b"):
        assert file_identity(nothing) is None


def test_tables(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", [{"a": 1, "b": "x,y"}, {"b": "", "a": 2}])
    assert (tmp_path / "t.csv").read_text().splitlines() == ["a,b", '1,"x,y"', "2,"]


def test_names_that_meet_are_numbered() -> None:
    names = UniqueNames()
    assert [names.name(stem) for stem in ("x", "x", "x-2", "X", "x", "y")] == ["x", "x-2", "x-2-2", "X-3", "x-4", "y"]
    names = UniqueNames(["a_2"], separator="_")
    assert [names.name(stem) for stem in ("a", "A", "caf\u00e9", "cafe\u0301")] == [
        "a",
        "A_3",
        "caf\u00e9",
        "cafe\u0301_2",
    ]
    latin = os.fsdecode(b"caf\xe9")
    assert UniqueNames().name(latin) == latin and UniqueNames().name("ü" * 100) == "ü" * 100
    long = UniqueNames().name("folder/" + "ü" * 300)
    assert long == "folder/" + "ü" * 100
    assert UniqueNames().name("x" + "ü" * 150) == "x" + "ü" * 99  # no half letter


@given(st.lists(st.text("aA-2éE\u0301ß", min_size=1, max_size=4)))
def test_names_never_meet_on_a_disk_without_case(stems: list[str]) -> None:
    first, second = UniqueNames(), UniqueNames()
    made = [first.name(stem) for stem in stems]
    assert len({name.casefold() for name in made}) == len(made)
    assert made == [second.name(stem) for stem in stems]
    assert all(name.startswith(stem) for name, stem in zip(made, stems, strict=True))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://me:word@host/a.jpg", "https://host/a.jpg"),
        ("S3://KEY:a/b+c@bucket/a.jpg", "S3://bucket/a.jpg"),
        ("s3://bucket?endpoint_override=http://me:w@h:9", "s3://bucket?endpoint_override=http://h:9"),
        ("simplecache::s3://KEY:word@bucket/a", "simplecache::s3://bucket/a"),
        *[(address, address) for address in ("https://h:8080/@a/x.jpg", "https://h/@a", "http://[::1]:80/@x")],
        *[(address, address) for address in ("abfss://c@account.net/x", "folder/http://a:b@c", "a@b.jpg")],
    ],
)
def test_addresses_are_shown_without_passwords(address: str, shown: str) -> None:
    assert without_secrets(address) == shown
