import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm

import mftn
from mftn.engines import load_engine
from mftn.models import load_model, save_model

SCRIPT = Path(__file__).parents[2] / "tools" / "train_accurate.sh"
SHORT = ["--epochs=1", "--small-epochs=0", "--batch-size=12", "--model.size=96", "--precision=fp32"]  # two steps


@pytest.mark.slow
def test_one_command_goes_from_facenet_to_a_file_that_predicts(
    ferplus_root: Path, photos: Path, tmp_path: Path
) -> None:
    initial = tmp_path / "initial.safetensors"
    save_model(timm.create_model("inception_resnet_v1", in_chans=1, num_classes=0), initial, None)
    faces = tmp_path / "faces"
    faces.mkdir()
    shutil.copy(photos / "astronaut.jpg", faces)
    out, environment = tmp_path / "out", os.environ | {"PYTHON": sys.executable}
    subprocess.run([SCRIPT, ferplus_root, initial, faces, out, *SHORT], env=environment, check=True)
    face = mftn.load(out / "mftn_facenet_ferplus.onnx").predict(photos / "astronaut.jpg").faces[0]
    assert abs(sum(face.probabilities.values()) - 1) < 1e-3
    trained = load_model(out / "ferplus_facenet_stage3" / "best.safetensors").spec.provenance["training"]
    assert trained["optimizer"]["sam_rho"] > 0 and trained["init_part"] == "all"
    spec = load_model(out / "ferplus_facenet_student" / "best.safetensors").spec
    assert spec.provenance["training"]["data"]["folder"] == "aligned", "targets are the raters' and the teachers'"
    assert load_engine(out / "mftn_facenet_ferplus.onnx").spec.temperature == spec.temperature

    # The checkpoint of a finished second stage takes the place of the first two.
    checkpoint, again = out / "ferplus_facenet_stage2" / "best.safetensors", tmp_path / "again"
    subprocess.run([SCRIPT, ferplus_root, checkpoint, faces, again, *SHORT], env=environment, check=True)
    trained = load_model(again / "ferplus_facenet_stage3" / "best.safetensors").spec.provenance["training"]
    assert trained["init_from"] == checkpoint.name
    assert not list(again.glob("ferplus_facenet")) + list(again.glob("ferplus_facenet_stage2"))
