import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm

from mftn.data.dataset import FaceDataset
from mftn.data.manifest import SCHEMA, read_manifest
from mftn.data.records import Split
from mftn.evaluate.split import EvaluatedSplit
from mftn.models import load_model, save_model

ROOT = Path(__file__).parents[2]
SHORT = ["--epochs=1", "--batch-size=12", "--model.size=32", "--precision=fp32"]  # two steps


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_five_folds_are_trained_and_compared_with_the_validation_split(ferplus_root: Path, tmp_path: Path) -> None:
    first, out = tmp_path / "first.safetensors", tmp_path / "out"
    save_model(timm.create_model("mobilenetv1_100", in_chans=1, num_classes=0), first, None)
    subprocess.run(
        [ROOT / "tools" / "cross_validate.sh", ferplus_root, first, out, *SHORT],
        env=os.environ | {"PYTHON": sys.executable},
        check=True,
    )
    before = read_manifest(out / "data" / "ferplus").to_pylist()
    train, valid = ({row["path"] for row in before if row["split"] == split} for split in ("train", "valid"))
    held_out = Counter[str]()
    for fold in range(5):
        rows = read_manifest(out / "folds" / str(fold) / "aligned").to_pylist()
        split = {row["path"]: row["split"] for row in rows}
        assert split.keys() == train | valid and {path for path in split if split[path] == "test"} == valid
        held_out.update(path for path in split if split[path] == "valid")
        config = load_model(out / "runs" / str(fold) / "last.safetensors").spec.provenance["training"]
        assert Path(config["data"]["folder"]).name == "aligned" and config["model"]["architecture"] == "mftn_mobile"
    assert held_out == Counter(train), "every training image is held out once"
    data = out / "folds" / "0"
    faces = FaceDataset(data / "aligned", "train", unaligned=data / "whole")
    assert len(faces) and faces.read([0]).shape[0] == 1

    command = [sys.executable, ROOT / "benchmarks" / "folds.py", out]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for protocol in ("argmax", "majority"):
        table = printed.split(f"{protocol} protocol")[1].split("held out minus validation: ")[0]
        assert re.findall(r"^\| (\d) \| \d", table, re.M) == ["0", "1", "2", "3", "4"]


def test_near_duplicates_are_never_divided(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (200, 32), dtype=np.uint8)
    hashes[100:150] = hashes[50:100]
    hashes[100:150, 0] ^= 1  # one bit
    empty = dict.fromkeys(SCHEMA.names)
    rows = [
        empty | {"path": f"train/{number}.png", "split": "train", "phash": each.tobytes()}
        for number, each in enumerate(hashes)
    ]
    folders = [tmp_path / "aligned", tmp_path / "whole"]
    for folder in folders:
        folder.mkdir()
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), folder / "manifest.parquet")
    parts = load(ROOT / "tools" / "fold.py").part_of_each(folders, 5)
    assert len(parts) == 200 and all(parts[f"train/{n}.png"] == parts[f"train/{n + 50}.png"] for n in range(50, 100))
    sizes = Counter(parts.values())
    assert sizes.keys() == set(range(5)) and min(sizes.values()) >= 38 and max(sizes.values()) <= 42
    assert len({parts[f"train/{n}.png"] for n in range(10)}) > 1, "drawn at random, not in order"


def test_a_fold_is_a_prepared_data_set_that_can_be_evaluated(prepared: Path, tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "tools" / "fold.py", tmp_path, "--data", prepared, prepared, "--fold", "1"]
    subprocess.run(command, check=True)
    splits: tuple[Split, ...] = ("train", "valid", "test")
    sizes = [len(EvaluatedSplit(tmp_path / "whole", split, "argmax", [1]).labels) for split in splits]
    assert sizes[0] + sizes[1] == 24 and sizes[1] > 0 and sizes[2] == 8


def test_the_difference_counts_each_image_once() -> None:
    difference = load(ROOT / "benchmarks" / "folds.py").difference
    rng = np.random.default_rng(0)
    held_out = [rng.random(2000) < 0.80 for _ in range(5)]
    answers = rng.random(1000) < 0.85
    validation = [{str(image): bool(right) for image, right in enumerate(answers)} for _ in range(5)]
    gain, half = difference(held_out, validation)
    assert gain == pytest.approx(np.concatenate(held_out).mean() - answers.mean())
    # Five networks that answer alike say no more of an image than one.
    expected = 1.96 * np.sqrt(0.8 * 0.2 / 10_000 + answers.var(ddof=1) / 1000)
    assert half == pytest.approx(expected, rel=0.02)
