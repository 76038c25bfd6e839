import errno
from pathlib import Path

import pytest

from mftn.files import whole_file, write_csv, write_text


def test_a_file_keeps_what_it_had_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "before")
    with pytest.raises(RuntimeError, match="half way"), whole_file(path) as partial:
        partial.write_text("half")
        raise RuntimeError("half way")
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_a_disk_error_names_the_file_whatever_a_library_makes_of_it(tmp_path: Path) -> None:
    def library(partial: Path) -> None:
        partial.write_text("half")
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise RuntimeError("unexpected position")  # noqa: B904 (as libraries do)

    with (
        pytest.raises(OSError, match=r"No space left on device: '.*b\.bin'"),
        whole_file(tmp_path / "b.bin") as partial,
    ):
        library(partial)
    with pytest.raises(OSError, match=r"c\.txt"):
        write_text(tmp_path / "nowhere" / "c.txt", "")
    assert list(tmp_path.iterdir()) == []


def test_tables(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", [{"a": 1, "b": "x,y"}, {"a": 2, "b": ""}])
    assert (tmp_path / "t.csv").read_text().splitlines() == ["a,b", '1,"x,y"', "2,"]
