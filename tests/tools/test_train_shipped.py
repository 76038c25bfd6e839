import os
import subprocess
import sys
from pathlib import Path

import timm

import mftn
from mftn.models import save_model

SCRIPT = Path(__file__).parents[2] / "tools" / "train_shipped.sh"
SHORT = ["--epochs=1", "--small-epochs=0", "--batch-size=12", "--model.size=32", "--precision=fp32"]  # two steps


def test_one_command_goes_from_an_archive_to_a_file_that_predicts(
    ferplus_root: Path, photos: Path, tmp_path: Path
) -> None:
    save_model(timm.create_model("mobilenetv1_100", in_chans=1, num_classes=0), tmp_path / "first.safetensors", None)
    source = tmp_path / "ferplus.tar.xz"
    subprocess.run(["tar", "cJf", source, "-C", ferplus_root, "."], check=True)
    command = [SCRIPT, source, tmp_path / "first.safetensors", tmp_path / "out", *SHORT]
    environment = os.environ | {"PYTHON": sys.executable}
    subprocess.run(command, env=environment, check=True)
    exported = tmp_path / "out" / "mftn_mobile_ferplus.onnx"
    face = mftn.load(exported).predict(photos / "astronaut.jpg").faces[0]
    assert abs(sum(face.probabilities.values()) - 1) < 1e-3
    weights = tmp_path / "out" / "ferplus_mobile" / "best.safetensors"
    before = weights.stat().st_mtime_ns
    exported.unlink()
    subprocess.run(command, env=environment, check=True)  # what is done is kept
    assert exported.is_file() and weights.stat().st_mtime_ns == before
