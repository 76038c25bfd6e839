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
        (("config.json", "state.pt", "metrics.json"), True, True),
        (("config.json", "state.pt", "metrics.json", "README.md"), False, False),
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


@pytest.mark.parametrize("script", sorted({*STAGES.parent.glob("*.sh")} - {STAGES}), ids=lambda path: path.stem)
def test_a_script_without_arguments_says_how_it_is_called(script: Path) -> None:
    done = subprocess.run(["bash", script], capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and f"#   tools/{script.name} " in done.stderr
    assert all(line.startswith("#") for line in lines) and lines[-1].endswith(".")
