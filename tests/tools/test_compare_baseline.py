import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm

from mftn.models import load_model, save_model
from mftn.train.config import load_config
from mftn.train.network import describe

ROOT = Path(__file__).parents[2]
SHORT = ["--epochs=1", "--batch-size=12", "--model.size=32", "--precision=fp32"]  # two steps
VARIANTS = {"baseline", "mftn", "lambda-0.3", "lambda-0.8", "lambda-0.95", "depths-0-0-1", "depths-2-2-2"}


@pytest.mark.slow
def test_one_command_compares_the_network_and_its_baseline(ferplus_root: Path, tmp_path: Path) -> None:
    first, out = tmp_path / "first.safetensors", tmp_path / "out"
    save_model(timm.create_model("mobilenetv1_100", in_chans=1, num_classes=0), first, None)
    environment = os.environ | {"PYTHON": sys.executable, "SEEDS": "3 4"}
    subprocess.run(
        [ROOT / "tools" / "compare_baseline.sh", ferplus_root, first, out, *SHORT], env=environment, check=True
    )
    runs = {path.name: load_model(path / "last.safetensors").spec for path in (out / "runs").iterdir()}
    assert runs.keys() == {f"{variant}-{seed}" for variant in VARIANTS for seed in (3, 4)}
    trained = {name: spec.provenance["training"] for name, spec in runs.items()}
    assert trained["mftn-3"]["seed"] == 3 and trained["mftn-4"]["seed"] == 4
    assert runs["baseline-3"].architecture == "baseline_mobile" and runs["mftn-3"].architecture == "mftn_mobile"
    assert trained["lambda-0.3-4"]["lambda_mstn"] == 0.3 and trained["mftn-4"]["lambda_mstn"] == 0.55
    assert tuple(runs["depths-0-0-1-3"].arguments["mstn_depths"]) == (0, 0, 1)
    command = [sys.executable, ROOT / "benchmarks" / "baseline.py", out / "data" / "ferplus", out / "runs"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for protocol in ("argmax", "majority"):
        table = printed.split(f"{protocol} protocol, ")[1].split("\n\n")[0]
        assert set(re.findall(r"^\| ([a-z][\w.-]+) \| \d", table, re.M)) == VARIANTS


def test_the_table_shows_what_there_is_before_the_reference_is_trained(prepared: Path, tmp_path: Path) -> None:
    run = tmp_path / "mftn-0"
    run.mkdir()
    (run / "metrics.json").write_text("{}")
    config = load_config("ferplus")
    config = replace(config, data=replace(config.data, folder=prepared))
    save_model(timm.create_model("mftn_face"), run / "last.safetensors", describe(config, 1))
    command = [sys.executable, ROOT / "benchmarks" / "baseline.py", prepared, tmp_path]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert len(re.findall(r"^\| mftn \| [\d.]+% \| [\d.]+% \|  \|  \|$", printed, re.M)) == 2, "one of each protocol"


def test_the_interval_covers_seeds_and_images() -> None:
    spec = importlib.util.spec_from_file_location("baseline", ROOT / "benchmarks" / "baseline.py")
    assert spec and spec.loader
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    rng = np.random.default_rng(0)
    first, second = rng.random((3, 3000)) < 0.80, rng.random((3, 3000)) < 0.84
    low, high = tool.paired_interval(first, second)
    assert low < second.mean() - first.mean() < high
    # Independent images: the spread of a mean of 9,000 differences, and somewhat more as seeds are drawn anew.
    expected = 2 * 1.96 * np.sqrt((0.8 * 0.2 + 0.84 * 0.16) / 9000)
    assert expected < high - low < 2.2 * expected
    assert tool.paired_interval(first, first) == (0.0, 0.0)
    apart = second.copy()
    apart[0] = False  # one seed failed: nothing can be said
    low, high = tool.paired_interval(first, apart)
    assert low < -0.5 and high > 0
