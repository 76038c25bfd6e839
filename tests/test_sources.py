import io
import os
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image as PillowImage

from mftn.errors import ConfigError, ImageError
from mftn.output import ImageFolder
from mftn.sources import LIVE_PHOTO_BYTES, Kind, Source, classify, describe, find_images, find_sources, walk


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found(root: Path, *sources: object, **options: object) -> list[str]:
    return [Path(source.path).relative_to(root).as_posix() for source in find_sources(map(str, sources), **options)]


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.RawIOBase]:
    """The writing end of standard input."""
    reading, writing = os.pipe()
    with open(reading) as standard, open(writing, "wb", buffering=0) as end:  # noqa: PTH123 (descriptors)
        monkeypatch.setattr(sys, "stdin", standard)
        yield end


def listed(stdin: io.RawIOBase, content: bytes, **options: object) -> list[str]:
    stdin.write(content)
    stdin.close()
    return [source.path for source in find_sources(["-"], **options)]


def test_every_path_is_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path, "a.jpg", "noname", "clip.MP4", "2024/x.jpg", "7", "[b].jpg")
    os.mkfifo("pipe.jpg")
    Path("gone.jpg").symlink_to("nowhere")
    Path("loop.jpg").symlink_to("loop.jpg")
    Path("fine.jpg").symlink_to("a.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        expected = {
            "-": (Kind.LIST, None),
            "a.jpg": (Kind.IMAGE, None),
            "fine.jpg": (Kind.IMAGE, None),
            "noname": (Kind.IMAGE, None),
            "[b].jpg": (Kind.IMAGE, None),
            "clip.MP4": (Kind.VIDEO, None),
            "2024": (Kind.FOLDER, None),
            "7": (Kind.IMAGE, None),
            "0": (Kind.CAMERA, None),
            "*.jpg": (Kind.GLOB, None),
            "rtsp://host/a": (Kind.STREAM, None),
            "http://host/live": (Kind.STREAM, None),
            "HTTPS://host/clip.mp4?x=1": (Kind.VIDEO, None),
            "https://host/photo.jpg": (Kind.IMAGE, None),
            "https://host/PHOTO.JPG": (Kind.IMAGE, None),
            "ftp://host/a.mp4": (Kind.MISSING, "ftp addresses are not supported"),
            "http://[": (Kind.MISSING, "is not a valid address"),
            "pipe.jpg": (Kind.SPECIAL, "is a named pipe; give a regular file"),
            "socket.jpg": (Kind.SPECIAL, "is a socket"),
            "/dev/null": (Kind.SPECIAL, "is a device"),
            "none.jpg": (Kind.MISSING, "no such file or folder; check the path"),
            "": (Kind.MISSING, "(an empty name): no such file"),
            "²": (Kind.MISSING, "no such file or folder"),
            "a.jpg/b.jpg": (Kind.MISSING, "no such file or folder"),
            "gone.jpg": (Kind.MISSING, "is a link to a file that does not exist"),
            "loop.jpg": (Kind.MISSING, "symbolic links"),
            "x" * 300: (Kind.MISSING, "the name is too long"),
            "a\0b": (Kind.MISSING, "null"),
        }
        for path, (kind, error) in expected.items():
            source = classify(path)
            assert (source.path, source.kind) == (path, kind)
            assert (
                (source.error is None) if error is None else (source.error.startswith(path) and error in source.error)
            )
    assert classify(Path("a.jpg")) == Source("a.jpg", Kind.IMAGE)
    assert classify("clip.MP4").moves and not Source("clip.MP4", Kind.VIDEO, "clip.MP4: failed before").moves


def test_a_path_without_permission_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", locked)
    source = classify("a.jpg")
    assert source.kind is Kind.UNREADABLE and source.error == "a.jpg: cannot be read; check its permissions"


def test_folders_are_walked_sorted_and_without_what_systems_leave(tmp_path: Path) -> None:
    make(tmp_path, "b.JPG", "a.png", "sub/c.webp", "sub/deep/d.jpg", "another/e.jpg", "notes.txt")
    make(
        tmp_path, "._b.jpg", ".hidden/x.jpg", ".ipynb_checkpoints/a.png", "__MACOSX/a.png", "@eaDir/a.png", "Thumbs.db"
    )
    unread: Counter[str] = Counter()
    images = ["a.png", "b.JPG", "another/e.jpg", "sub/c.webp", "sub/deep/d.jpg"]
    assert found(tmp_path, tmp_path, unread=unread) == images
    assert not unread
    assert found(tmp_path, tmp_path, skip={(tmp_path / "sub").resolve()}) == images[:3]
    assert found(tmp_path, tmp_path / ".hidden", tmp_path / "._b.jpg") == [".hidden/x.jpg", "._b.jpg"]
    assert all(source.error is None and source.kind is Kind.IMAGE for source in walk(str(tmp_path)))


def test_paths_keep_the_form_in_which_they_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "p/a.jpg")
    monkeypatch.chdir(tmp_path)
    assert [source.path for source in find_sources(["p/", ".", "./p/a.jpg"])] == [
        os.path.join("p", "a.jpg"),  # noqa: PTH118
        os.path.join("p", "a.jpg"),  # noqa: PTH118
        "./p/a.jpg",
    ]


def test_what_a_folder_holds_and_is_not_read_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mftn.sources.find_spec", lambda name: None)  # without pillow-heif
    make(tmp_path, "a.jpg", "b.heic", "sub/c.HEIF", "d.nef", "e.mp4", "f.txt", "g.mov")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    unread: Counter[str] = Counter()
    assert found(tmp_path, tmp_path, unread=unread) == ["a.jpg"]
    assert unread == {"HEIC image": 2, "RAW image": 1, "video": 2, "linked folder": 1}
    assert describe(Counter({"HEIC image": 1200, "video": 1})) == "1,200 HEIC images, 1 video"
    (tmp_path / "a.jpg").unlink()
    (source,) = find_sources([tmp_path])
    assert source.error.startswith(f"{tmp_path}: the folder contains no image, but") and "2 HEIC images" in source.error
    (tmp_path / "empty").mkdir()
    (source,) = find_sources([tmp_path / "empty"])
    assert source.error == f"{tmp_path / 'empty'}: the folder contains no image"


def test_the_clip_of_a_live_photo_is_a_short_mov_of_the_same_name(tmp_path: Path) -> None:
    make(tmp_path, "a.JPG", "A.MOV", "b.jpg", "b.mov", "c.jpg", "c.mp4", "d.jpg", "e.mov")
    os.truncate(tmp_path / "b.mov", LIVE_PHOTO_BYTES + 1)
    (tmp_path / "d.mov").symlink_to("nowhere")
    unread: Counter[str] = Counter()
    expected = ["a.JPG", "b.jpg", "b.mov", "c.jpg", "c.mp4", "d.jpg", "d.mov", "e.mov"]
    assert found(tmp_path, tmp_path, videos=True, unread=unread) == expected
    assert unread == {"clip of a live photo": 1}


def test_only_copies_of_videos_that_are_not_complete_count_as_partial(tmp_path: Path) -> None:
    make(tmp_path, "eclipse.partial.jpg", "eclipse.partial.2.mp4", "a_faces.partial.mp4", "b.partial.MKV")
    assert found(tmp_path, tmp_path, videos=True) == ["eclipse.partial.2.mp4", "eclipse.partial.jpg"]


def test_one_bad_entry_does_not_end_a_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.jpg", "locked/x.jpg", "z/b.jpg")
    for name in ("c.jpg", "e_faces.jpg", "e_faces.mp4"):  # like copies, which are opened
        os.mkfifo(tmp_path / name)
    (tmp_path / "d.jpg").symlink_to(tmp_path / "d.jpg")
    scandir = os.scandir

    def locking(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locking)
    sources = list(find_sources([tmp_path], videos=True))
    names = [Path(source.path).name for source in sources]
    assert names == ["a.jpg", "c.jpg", "d.jpg", "e_faces.jpg", "e_faces.mp4", "locked", "b.jpg"]
    assert [source.error is None for source in sources] == [True, *[False] * 5, True]
    assert "locked: cannot be read; check its permissions" in sources[5].error
    assert list(find_sources([tmp_path / "locked"])) == sources[5:6]


def test_globs(tmp_path: Path) -> None:
    make(tmp_path, "b.png", "a.png", "sub/c.png", "clip.mp4", "@eaDir/d.png", ".e.png")
    assert found(tmp_path, f"{tmp_path}/*.png") == ["a.png", "b.png"]
    assert found(tmp_path, f"{tmp_path}/**/*.png") == ["a.png", "b.png", "sub/c.png"]
    assert found(tmp_path, f"{tmp_path}/@eaDir/*") == ["@eaDir/d.png"]
    assert found(tmp_path, f"{tmp_path}/.*.png") == [".e.png"]
    (video,) = find_sources([f"{tmp_path}/c*"])
    assert "clip.mp4: is a video, not an image; read it with mftn.track" in video.error
    for nothing in (f"{tmp_path}/*.tiff", f"{tmp_path}/su*", "x" * 300 + "*", "a\0*", "a\0/*", "[z-a]*"):
        (source,) = find_sources([nothing])
        assert source.error == f"{nothing}: no file matches; check the pattern"


def test_a_glob_of_any_depth_follows_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "in/a.png", "in/sub/b.png", "in/sub/sub/c.png", "in/.hidden/d.png", "in/x**.png", "in/[s]/e.png")
    (tmp_path / "in/up").symlink_to(tmp_path / "in")
    (tmp_path / "in/again").symlink_to(tmp_path / "in")
    (tmp_path / "link").symlink_to(tmp_path / "in/sub")
    every = ["[s]/e.png", "a.png", "sub/b.png", "sub/sub/c.png", "x**.png"]
    for pattern in ("in/**/*.png", "in/**", "in/**/**/*.png", "i*/**/*"):
        assert found(tmp_path, f"{tmp_path}/{pattern}") == [f"in/{name}" for name in every]
    monkeypatch.chdir(tmp_path / "in")
    assert [source.path for source in find_sources(["**/*.png"])] == every
    assert [source.path for source in find_sources(["./**/sub/*.png"])] == ["./sub/b.png", "./sub/sub/c.png"]
    assert found(tmp_path, f"{tmp_path}/link/**/*.png") == ["link/b.png", "link/sub/c.png"]
    assert found(tmp_path, f"{tmp_path}/in/x**.png") == ["in/x**.png"]


def test_a_list_of_paths(stdin: io.RawIOBase, tmp_path: Path) -> None:
    make(tmp_path, "folder/a.jpg")
    content = f"\ufeffx.jpg\nGIF89a.jpg\n\ufeff\n\n  \n y z.jpg \r\n{tmp_path}/folder\n-\n".encode() + b"caf\xe9.jpg"
    assert listed(stdin, content) == [
        "x.jpg",
        "GIF89a.jpg",
        "\ufeff",
        " y z.jpg ",
        f"{tmp_path}/folder/a.jpg",
        "-",
        os.fsdecode(b"caf\xe9.jpg"),
    ]


def test_a_list_with_nul_bytes(stdin: io.RawIOBase) -> None:
    assert listed(stdin, b"a\nb.jpg\0 c.jpg\0", null=True) == ["a\nb.jpg", " c.jpg"]


def test_a_list_is_read_where_standard_input_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x.jpg\ny.jpg")))
    assert [source.path for source in find_sources(["-"])] == ["x.jpg", "y.jpg"]


@pytest.mark.parametrize(
    ("content", "null", "message"),
    [
        (b"\xff\xd8\xff\xe0\0\x10JFIF", False, "is an image, not a list of paths"),
        (b"\x89PNG\r\n\x1a\n", False, "is an image"),
        (b"a.jpg\0b.jpg\0", False, "add --null"),
    ],
)
def test_what_is_no_list_is_refused(stdin: io.RawIOBase, content: bytes, null: bool, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        listed(stdin, content, null=null)


def test_paths_of_a_list_come_one_by_one(stdin: io.RawIOBase) -> None:
    sources = find_sources(["-"])
    for name in ("a.jpg", "b.jpg"):
        stdin.write(f"{name}\n".encode())
        assert next(sources).path == name  # while the list is still open


def test_find_images_raises_where_find_sources_goes_on(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    sources = [str(tmp_path), str(tmp_path / "b.jpg"), str(tmp_path / "a.jpg")]
    assert [source.error is None for source in find_sources(sources)] == [True, False, True]
    assert list(find_sources(find_sources(sources))) == list(find_sources(sources))
    paths = find_images(sources)
    assert next(paths) == sources[2]
    with pytest.raises(ImageError, match=r"b\.jpg: no such file"):
        next(paths)


def test_what_this_package_saved_is_passed_over_unless_there_is_nothing_else(tmp_path: Path) -> None:
    image = PillowImage.new("RGB", (8, 8))
    image.save(tmp_path / "a.jpg")
    image.save(tmp_path / "group_faces.jpg")
    folder = ImageFolder(tmp_path / "out")
    made = [str(folder.save(image, "a.jpg", ending)) for ending in ("face1", "faces")]
    names = [Path(source.path).name for source in walk(str(tmp_path))]
    assert names == ["a.jpg", "group_faces.jpg"]
    assert [source.path for source in find_sources([str(tmp_path / "**" / "a*.jpg")])] == [str(tmp_path / "a.jpg")]
    assert [source.path for source in walk(str(tmp_path / "out"))] == made
    assert [source.path for source in find_sources([str(tmp_path / "out" / "*.jpg")])] == made
    assert [source.path for source in find_sources(made)] == made
