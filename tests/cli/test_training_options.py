"""The options of prepare, audit, train and evaluate: help without the training packages, numbers refused by name."""

import subprocess
import sys
from pathlib import Path

import pytest

from mftn.cli import main

HEAVY = ("torch", "torchvision", "timm", "yaml", "pyarrow", "matplotlib", "scipy", "sklearn", "jinja2",
         "onnx", "imagehash", "safetensors",
         "lightning_fabric", "pytorch_optimizer", "tensorboard", "huggingface_hub")  # fmt: skip
LIGHT = f"""
import sys
class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, NotInstalled())
from mftn.cli import main
for name in ("prepare", "audit", "train", "evaluate", "export"):
    try:
        status = main([name, "--help"])
    except SystemExit as stop:
        status = stop.code
    assert not status, name
for command in (["train"], ["prepare", "folder", "--root", ".", "--out", "out"], ["audit", "."]):
    assert main(command) == 1, command
"""


def test_help_needs_no_training_packages_and_the_rest_says_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    for words in ("--skip-damaged", "--near", "--optimizer.lr", "--robustness-images", "--precision"):
        assert words in done.stdout
    assert done.stderr.count("pip install 'mftn[train]'") == 3


PREPARE = ("prepare", "folder", "--root", "nowhere", "--out", "out")
EVALUATE = ("evaluate", "--model", "nothing.onnx", "--data", "nowhere")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ((*PREPARE, "--size", "0"), "--size is 0; it must be at least 16"),
        ((*PREPARE, "--min-score", "1.5"), "--min-score is 1.5; it must be at least 0 and at most 1"),
        ((*PREPARE, "--min-score", "nan"), "--min-score is nan"),
        ((*PREPARE, "--quality", "101"), "--quality is 101"),
        ((*PREPARE, "--valid-share", "-0.1"), "--valid-share is -0.1"),
        ((*PREPARE, "--test-share", "2"), "--test-share is 2"),
        (
            (*PREPARE, "--valid-share", "0.5", "--test-share", "0.5"),
            "--valid-share 0.5 and --test-share 0.5 leave nothing",
        ),
        ((*PREPARE, "--seed", "-1"), "--seed is -1"),
        ((*PREPARE, "--workers", "0"), "--workers is 0; it must be at least 1"),
        (("audit", "nowhere", "--near", "257"), "--near is 257; it must be at least 0 and at most 256"),
        ((*EVALUATE, "--robustness-images", "-1"), "--robustness-images is -1; it must be at least 0"),
        ((*EVALUATE, "--deletion-images", "-1"), "--deletion-images is -1"),
        ((*EVALUATE, "--embedding-images", "-1"), "--embedding-images is -1"),
        ((*EVALUATE, "--embedding-images", "5"), "--embedding-images is 5; give 10 or more, or 0"),
        ((*EVALUATE, "--fewest", "5"), "--fewest has no effect without --groups"),
        ((*EVALUATE, "--seed", "-1"), "--seed is -1"),
        ((*EVALUATE, "--seed", "4294967296"), "--seed is 4294967296; it must be at least 0 and at most 4294967295"),
        (("train", "--out", "{tmp}/run", "--optimizer.lr", "inf"), "--optimizer.lr is inf"),
        (("train", "--out", "{tmp}/run", "--data.view", "0"), "--data.view is 0; it must be above 0"),
    ],
)
def test_a_number_out_of_range_names_its_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...], message: str
) -> None:
    assert main([part.format(tmp=tmp_path) for part in command]) in (1, 2)
    lines = [line for line in capsys.readouterr().err.strip().splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1 and message in lines[0]


def test_a_report_does_not_replace_the_figures_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("best.safetensors", "config.json", "metrics.json"):
        (tmp_path / name).write_text("of a run")
    assert main([*EVALUATE, "--out", str(tmp_path)]) == 2
    assert f"--out {tmp_path}: contains a training run" in capsys.readouterr().err


def test_export_takes_files_and_writes_onnx(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    assert main(["export", str(run)]) == 2
    assert f"{run}: is a folder; name a file in it" in capsys.readouterr().err
    weights = run / "best.safetensors"
    weights.write_bytes(b"no weights")
    assert main(["export", str(run)]) == 2
    assert f"{run}: is a folder; name the checkpoint {weights}" in capsys.readouterr().err
    assert main(["export", str(weights), "--out", str(tmp_path / "mine.safetensors")]) == 2
    assert "mine.safetensors: is written as an ONNX file; name it NAME.onnx" in capsys.readouterr().err
