"""`mftn predict --cluster` on the two nodes."""

import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mftn.cli.cluster import stored_or_local


def start(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "mftn", *arguments], stderr=subprocess.PIPE, text=True)


def test_an_interrupted_command_prints_the_one_that_goes_on(
    nodes: Any, faces: Path, expected: pa.Table, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    arguments = ["predict", str(faces), "--cluster", nodes.address, "--output", str(output), "--verbose"]
    with start(arguments) as program:
        while not list(output.glob("_mftn/attempts/*/*")):
            time.sleep(0.005)
        program.send_signal(signal.SIGINT)
        said = program.communicate()[1]
    assert program.returncode == 130, said
    assert f"continue with: {shlex.join(['mftn', *arguments])}" in said
    with start(arguments) as program:
        said = program.communicate()[1]
    assert program.returncode == 1 and "40 images" in said and "4 failures" in said, said  # four files are no images
    assert pq.read_table(output).equals(expected)
    with start(arguments) as program:
        said = program.communicate()[1]
    assert program.returncode == 1 and "with 4 failures)" in said, said  # nothing was left to do


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "out", "--save-images", "copies"], "--save-images has no effect"),
        (["--output", "out", "--save-timeline", "x.png"], "--save-timeline has no effect"),
        (["--output", "out", "--format", "csv"], "writes a folder of Parquet files"),
        ([], "add --output FOLDER"),
        (["--output", "out", "--cluster", "ray://host:10001"], "ray job submit"),
        (["--output", "out", "--cluster", "127.0.0.1:1"], "there is no Ray cluster"),
    ],
)
def test_what_has_no_effect_is_refused(
    arguments: list[str], message: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with start(["predict", str(photos), "--cluster", "auto", *arguments]) as program:
        said = program.communicate()[1]
    assert program.returncode == 2 and message in said, said


def test_an_address_survives_as_an_output() -> None:
    assert stored_or_local(Path("s3://bucket/out?region=x")) == "s3://bucket/out?region=x"
    nested = "s3://bucket/out?endpoint_override=http://localhost:9000"
    assert stored_or_local(Path(nested)) == nested
    assert stored_or_local(Path("file:///shared/faces")) == "/shared/faces"
    assert stored_or_local(Path("out/2026")) == "out/2026"


def test_a_store_that_cannot_be_written_is_named(nodes: Any, photos: Path, store: str, bucket: Any) -> None:
    output = f"s3://nowhere/faces{store}"
    with start(["predict", str(photos), "--cluster", nodes.address, "--output", output]) as program:
        said = program.communicate()[1]
    assert program.returncode == 1 and "NO_SUCH_BUCKET" in said, said
    assert "mftn: a store cannot be used: " in said and "run the same command again" in said, said
