import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch

import mftn.models  # noqa: F401 (registers the networks)
from mftn.data.dataset import FaceDataset
from mftn.labels import LABEL_SETS
from mftn.models import load_model, save_model
from mftn.spec import ModelSpec

TOOL = Path(__file__).parents[2] / "tools" / "average_weights.py"


def untrained(path: Path, prepared: Path, seed: int, size: int = 32, **changes: Any) -> Path:
    torch.manual_seed(seed)
    arguments = {"num_classes": 8, "in_chans": 1, "img_size": size}
    crop = FaceDataset(prepared, "valid", in_memory=False).template
    template = tuple(map(tuple, ((crop - 0.5) / 0.875 + 0.5).tolist()))
    spec = ModelSpec("baseline_face", LABEL_SETS[8], (size, size), template, arguments=arguments)
    save_model(timm.create_model("baseline_face", **arguments), path, replace(spec, **changes))
    return path


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, TOOL, *map(str, words)], capture_output=True, text=True, check=False)


def test_the_mean_of_weights_leaves_the_figures_of_a_run_beside_it(prepared: Path, tmp_path: Path) -> None:
    networks = [untrained(tmp_path / f"{seed}.safetensors", prepared, seed) for seed in (0, 1)]
    (tmp_path / "metrics.json").write_text("of a run")
    done = run(tmp_path / "mean.safetensors", prepared, *networks)
    assert done.returncode == 0, done.stderr
    assert "8 images" in done.stdout and (tmp_path / "metrics.json").read_text() == "of a run"
    mean, first, second = (
        load_model(path).get_classifier().weight.detach().numpy() for path in (tmp_path / "mean.safetensors", *networks)
    )
    np.testing.assert_allclose(mean, (first + second) / 2, atol=1e-6)
    assert len(list(tmp_path.iterdir())) == 4


def test_networks_that_differ_are_named(prepared: Path, tmp_path: Path) -> None:
    first = untrained(tmp_path / "first.safetensors", prepared, 0)
    other = untrained(tmp_path / "other.safetensors", prepared, 1, mean=(0.4,), std=(0.2,))
    done = run(tmp_path / "mean.safetensors", prepared, first, other)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"{other}: its mean and std differ from those of {first}" in done.stderr
    assert not (tmp_path / "mean.safetensors").exists()


def test_adjusted_weights_are_not_averaged_with_others_and_a_source_is_not_replaced(
    prepared: Path, tmp_path: Path
) -> None:
    first = untrained(tmp_path / "first.safetensors", prepared, 0)
    adjusted = untrained(tmp_path / "adjusted.safetensors", prepared, 1, logit_adjustment=0.15)
    done = run(tmp_path / "mean.safetensors", prepared, first, adjusted)
    assert done.returncode == 2 and f"{adjusted}: its logit_adjustment differs from that of {first}" in done.stderr
    before = first.read_bytes()
    done = run(first, prepared, first, untrained(tmp_path / "second.safetensors", prepared, 2))
    assert done.returncode == 2 and f"{first}: is one of the inputs" in done.stderr and first.read_bytes() == before
