"""What tools/stages.sh asks `mftn train` for."""

import subprocess
from pathlib import Path

import pytest

STAGES = Path(__file__).parents[2] / "tools" / "stages.sh"


@pytest.mark.parametrize(
    ("files", "begins", "resumes"),
    [
        ((), True, False),
        (("config.json",), True, True),
        (("config.json", "state.pt"), True, True),
        (("config.json", "metrics.json"), False, False),
    ],
)
def test_a_stage_goes_on_from_whatever_an_earlier_run_left(
    tmp_path: Path, files: tuple[str, ...], begins: bool, resumes: bool
) -> None:
    (tmp_path / "run").mkdir()
    for name in files:
        (tmp_path / "run" / name).write_text("")
    script = f"set -eu; out={tmp_path}; PYTHON=echo; . {STAGES}; stage_named run ferplus start.safetensors"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert ("mftn train" in done.stdout) == begins and ("--resume" in done.stdout) == resumes
