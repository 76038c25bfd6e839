import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

import mftn
from mftn.data.manifest import read_manifest
from mftn.data.votes import VOTE_COLUMNS
from mftn.models import load_model

SCRIPT = Path(__file__).parents[2] / "tools" / "train_student.sh"
SHORT = ["--epochs=1", "--small-epochs=0", "--batch-size=16", "--model.size=48", "--precision=fp32"]  # two steps


@pytest.mark.slow
def test_one_command_goes_from_faces_without_labels_to_a_file_that_predicts(
    ferplus_root: Path, photos: Path, tmp_path: Path
) -> None:
    faces = tmp_path / "faces"
    faces.mkdir()
    face = PillowImage.open(photos / "astronaut.jpg").convert("L").crop((150, 40, 300, 210))
    for number in range(10):
        face.rotate(number - 5).save(faces / f"{number}.png")
    out, environment = tmp_path / "out", os.environ | {"PYTHON": sys.executable, "TEACHERS": "mftn_mobile_ferplus"}
    subprocess.run([SCRIPT, ferplus_root, faces, out, *SHORT], env=environment, check=True)

    taught = read_manifest(out / "data" / "student" / "aligned").to_pylist()
    unlabelled = [row["votes"] for row in taught if not row["path"].startswith("labelled/")]
    happiness = VOTE_COLUMNS.index("happiness")
    assert len(unlabelled) == 10 and all(votes[happiness] > 500 for votes in unlabelled), "the astronaut smiles"
    provenance = load_model(out / "ferplus_mobile_student" / "best.safetensors").spec.provenance["training"]
    assert provenance["init_from"] == "initial.safetensors" and provenance["init_part"] == "all"
    spec = load_model(out / "ferplus_mobile_robust" / "best.safetensors").spec
    assert spec.provenance["training"]["init_from"] == "best.safetensors"
    recognizer = mftn.load(out / "mftn_mobile_robust.onnx")
    probabilities = recognizer.predict(photos / "astronaut.jpg").faces[0].probabilities
    assert np.isclose(sum(probabilities.values()), 1, atol=1e-3)

    finished = (out / "mftn_mobile_robust.onnx").stat().st_mtime_ns
    again = subprocess.run([SCRIPT, ferplus_root, faces, out, *SHORT], env=environment, check=True, capture_output=True)
    assert b"epoch" not in again.stderr, "what is finished is not trained again"
    assert (out / "mftn_mobile_robust.onnx").stat().st_mtime_ns > finished
