import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import timm
import torch
from PIL import Image as PillowImage

from mftn.data.dataset import FaceDataset
from mftn.data.manifest import read_manifest
from mftn.data.prepare import ferplus_preparation, prepare
from mftn.data.readers import read_records
from mftn.data.votes import distributions
from mftn.evaluate.inference import preprocess_for
from mftn.evaluate.split import EvaluatedSplit
from mftn.export.onnx import export_onnx
from mftn.models import load_model, save_model
from mftn.train.config import load_config
from mftn.train.network import describe

TOOL = Path(__file__).parents[2] / "tools" / "soft_labels.py"


def test_students_learn_from_raters_and_teachers_and_from_faces_nobody_labelled(
    prepared: Path, ferplus_root: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    about = {"name": "ferplus", "title": "a made FERPlus"}
    prepare(
        read_records("ferplus", ferplus_root), whole, ferplus_preparation(64, detector="none"), about=about, workers=1
    )
    loose = tmp_path / "loose" / "train" / "neutral"
    loose.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (8, 170, 170), dtype=np.uint8)
    for number, pixels in enumerate(noise):  # nothing alike, so that some go to a validation split
        PillowImage.fromarray(pixels).save(loose / f"{number}.png")
    faces = []
    for detector in ("yunet", "none"):
        faces.append(tmp_path / f"faces-{detector}")
        records = read_records("folder", tmp_path / "loose")
        prepare(records, faces[-1], ferplus_preparation(64, detector=detector), about={"name": "faces"}, workers=1)
    config = load_config("ferplus")
    config = replace(config, data=replace(config.data, folder=prepared))
    teachers = []
    for seed in range(2):
        torch.manual_seed(seed)
        teachers.append(tmp_path / f"teacher{seed}.safetensors")
        model = timm.create_model("mftn_face")
        save_model(model, teachers[-1], replace(describe(config, 1), temperature=0.5))
        export_onnx(teachers[-1], teachers[-1].with_suffix(".onnx"), f"teacher{seed}")
    exported = [path.with_suffix(".onnx") for path in teachers]
    command = [sys.executable, TOOL, tmp_path / "out", "--share", "0.25", "--teachers", *exported]
    command += ["--data", prepared, whole, "--faces", *faces]
    subprocess.run(command, check=True)

    taught = FaceDataset(tmp_path / "out" / "aligned", "train", unaligned=tmp_path / "out" / "whole")
    original = FaceDataset(prepared, "train", unaligned=whole, without_copies_of="valid")
    unlabelled = read_manifest(faces[0])["split"].to_pylist()
    assert unlabelled.count("valid") > 0 and len(taught) == len(original) + unlabelled.count("train")
    assert taught.paths[0] == f"labelled/{original.paths[0]}" and taught.paths[-1].startswith("unlabelled/")
    torch.testing.assert_close(taught.read([0])[0], original.read([0])[0])
    torch.testing.assert_close(taught.read([0], aligned=False)[0], original.read([0], aligned=False)[0])

    expected = torch.zeros(8)
    for path in teachers:
        model = load_model(path)
        preprocess = preprocess_for(model.spec, original)
        for aligned in (True, False):
            x = preprocess(original.read([0], aligned))
            for seen in (x, x.flip(3)):
                expected += (model.eval()(seen).fused[0].detach() / 0.5).softmax(dim=0) / 8
    assert original.votes is not None and taught.votes is not None
    blend = 0.75 * distributions(original.votes)[0] + 0.25 * expected.numpy()
    np.testing.assert_allclose(taught.votes[0, :8] / 1000, blend, atol=5e-3)  # bfloat16
    assert (np.abs(taught.votes.sum(axis=1) - 1000) <= 4).all()

    table = read_manifest(tmp_path / "out" / "aligned")
    valid = [row for row in table.to_pylist() if row["split"] == "valid"]
    before = [row for row in read_manifest(prepared).to_pylist() if row["split"] == "valid"]
    assert [row["votes"] for row in valid] == [row["votes"] for row in before]
    assert (
        isinstance(table, pa.Table) and pq.read_schema(tmp_path / "out" / "whole" / "manifest.parquet") == table.schema
    )

    for part in ("aligned", "whole"):
        assert len(EvaluatedSplit(tmp_path / "out" / part, "train", "argmax", [1]).labels) == len(taught)

    command[2] = tmp_path / "few"
    subprocess.run([*command, "--most-per-class", "1"], check=True)
    few = FaceDataset(tmp_path / "few" / "aligned", "train")
    n = len(original)
    assert few.paths[:n] == taught.paths[:n] and set(few.paths) < set(taught.paths)
    assert sorted(few.labels[n:].tolist()) == taught.labels[n:].unique().tolist(), "one face of each class"


def test_faces_that_are_validated_on_are_not_trained_on(prepared: Path, ferplus_root: Path, tmp_path: Path) -> None:
    loose = tmp_path / "loose" / "train" / "neutral"
    loose.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (8, 48, 48), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        PillowImage.fromarray(pixels).save(loose / f"{number}.png")
    for path in (ferplus_root / "FER2013Valid").glob("*.png"):
        with PillowImage.open(path) as image:
            image.convert("L").save(loose / f"{path.stem}.png")
    faces, about = tmp_path / "faces", {"name": "faces"}
    prepare(read_records("folder", tmp_path / "loose"), faces, ferplus_preparation(64), about=about, workers=1)
    command = [sys.executable, TOOL, tmp_path / "out", "--share", "0", "--teachers", "mftn_face_ferplus"]
    command += ["--data", prepared, prepared, "--faces", faces, faces]
    done = subprocess.run(command, check=True, capture_output=True, text=True)

    rows = read_manifest(tmp_path / "out" / "aligned").to_pylist()
    unlabelled = {row["path"] for row in rows if row["path"].startswith("unlabelled/")}
    trained_on = [row for row in read_manifest(faces).to_pylist() if row["split"] == "train"]
    copies = {f"unlabelled/{row['path']}" for row in trained_on if "fer" in Path(row["source"]).name}
    assert copies and unlabelled and not copies & unlabelled
    assert len(unlabelled) == len(trained_on) - len(copies)
    assert f"{len(copies)} images of --faces omitted" in done.stdout
