"""docs/study.md is run as it is written, on made films."""

import os
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"(?:^<!-- (?P<what>file|not run): (?P<which>[^>]+) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


def make_film(path: Path, photos: Path, smiles: list[tuple[float, float]]) -> None:
    """Thirty seconds at two frames a second: a face that smiles in between."""
    neutral = Image.open(photos / "grace_hopper.jpg").convert("RGB").crop((110, 40, 426, 356)).resize((240, 240))
    smile = Image.open(photos / "astronaut.jpg").convert("RGB").crop((100, 0, 360, 260)).resize((240, 240))
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=Fraction(2))
        stream.width = stream.height = 240
        stream.pix_fmt = "yuv420p"
        for number in range(60):
            smiling = any(start <= number / 2 < end for start, end in smiles)
            frame = np.asarray(smile if smiling else neutral)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode(None))


@pytest.mark.slow
def test_the_page_runs_as_it_is_written(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "films").mkdir()
    for number in range(1, 7):
        longer = 6 + number / 2 if number % 2 else number / 2
        make_film(tmp_path / "films" / f"P{number:02d}.mp4", photos, [(7, 8 + number / 3), (16, 16 + longer)])
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "mftn"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mftn "$@"\n')
    command.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    environment["PYTHONPATH"] = str(ROOT / "src")
    ran = []
    for what, which, language, text in BLOCK.findall((ROOT / "docs" / "study.md").read_text(encoding="utf-8")):
        if what == "file":
            (tmp_path / which).write_text(text)
        if what:
            continue
        shell = ["bash", "-euc", text] if language == "sh" else [sys.executable, "-c", text]
        result = subprocess.run(shell, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        ran.append((language, result.stdout, result.stderr))
    assert [language for language, _, _ in ran] == ["sh", "sh", "python", "python"]
    assert "6 people" in ran[1][1]
    noted = ran[1][2].splitlines()  # the tables fit the films, but people are few
    assert noted and all("no p can be below" in note for note in noted)
    assert (tmp_path / "summary" / "summary.html").is_file()
    conditions = pd.read_csv(tmp_path / "summary" / "conditions.csv").set_index(["factor", "signal"])
    found = conditions.loc[("interviewer", "happiness")]
    assert found["contrast"] == "cool - warm" and found["difference"] < 0 and found["people"] == 6
    for film in range(1, 7):
        assert (tmp_path / "summary" / "elan" / f"P{film:02d}.eaf").is_file()


def test_the_page_names_every_table_and_links_nowhere_that_is_not() -> None:
    text = (ROOT / "docs" / "study.md").read_text(encoding="utf-8")
    for name in ("expressions", "persons", "windows", "events", "transitions", "conditions", "synchrony"):
        assert f"`{name}.csv`" in text
    for path in re.findall(r"`(benchmarks/\S+\.py)`", text):
        assert (ROOT / path).is_file()
