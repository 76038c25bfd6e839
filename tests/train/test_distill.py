import csv
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file

import mftn.models  # noqa: F401 (registers the networks)
from mftn.errors import ConfigError
from mftn.faces.align import ARCFACE
from mftn.labels import LABEL_SETS
from mftn.models import load_model, save_model
from mftn.spec import ModelSpec
from mftn.train.config import DataConfig, ModelConfig, TrainConfig
from mftn.train.distill import Teachers
from mftn.train.loop import train

STUDENT = ModelSpec("mftn_face", LABEL_SETS[8], (32, 32), tuple(map(tuple, ARCFACE.tolist())))


def teacher(path: Path, seed: int, **changes: object) -> str:
    torch.manual_seed(seed)
    arguments = {"num_classes": 8, "in_chans": 1, "img_size": 32}
    save_model(timm.create_model("mftn_face", **arguments), path, replace(STUDENT, arguments=arguments, **changes))
    return str(path)


def test_teachers_answer_with_the_mean_of_what_each_sees_its_own_way(tmp_path: Path) -> None:
    first = teacher(tmp_path / "a.safetensors", 0)
    second = teacher(tmp_path / "b.safetensors", 1, mean=(0.4,), std=(0.2,), size=(48, 48), temperature=2.0)
    config = TrainConfig(teachers=(first, second), model=ModelConfig(size=32))
    x = torch.randn(3, 1, 32, 32)
    answer = Teachers(Fabric(accelerator="cpu", devices=1), config, STUDENT)(x)

    larger = torch.nn.functional.interpolate((x * 0.25 + 0.5 - 0.4) / 0.2, (48, 48), mode="bilinear", antialias=True)
    with torch.no_grad():
        ours = load_model(first).eval()(x).fused.softmax(1)
        theirs = (load_model(second).eval()(larger).fused / 2).softmax(1)
    torch.testing.assert_close(answer, (ours + theirs) / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": LABEL_SETS[8][::-1]}, "the student"),
        ({"template": tuple(map(tuple, (0.9 * ARCFACE).tolist()))}, "frames faces differently"),
    ],
)
def test_a_teacher_of_another_kind_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    config = TrainConfig(teachers=(teacher(tmp_path / "a.safetensors", 0, **changes),))
    with pytest.raises(ConfigError, match=message):
        Teachers(Fabric(accelerator="cpu", devices=1), config, STUDENT)


def test_the_share_says_how_much_of_a_teacher_is_learnt(prepared: Path, tmp_path: Path) -> None:
    def run(name: str, **changes: object) -> tuple[torch.Tensor, float]:
        config = TrainConfig(out=tmp_path / name, data=DataConfig(folder=prepared), epochs=1, batch_size=8, **changes)
        train(config)
        with (tmp_path / name / "log.csv").open() as file:
            (row,) = csv.DictReader(file)
        return load_file(tmp_path / name / "last.safetensors")["mstn.head.weight"], float(row["train_loss"])

    alone, loss = run("teacher")
    taught = (str(tmp_path / "teacher" / "best.safetensors"),)
    ignored, same = run("ignored", teachers=taught, distillation=0.0)
    learnt, other = run("learnt", teachers=taught, distillation=1.0)
    assert torch.equal(alone, ignored) and loss == same
    assert not torch.equal(alone, learnt) and other != loss


def test_a_missing_teacher_is_named_before_the_run_folder_is_made(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--teachers nobody.safetensors: no such file"):
        train(TrainConfig(out=tmp_path / "run", data=DataConfig(folder=prepared), teachers=("nobody.safetensors",)))
    assert not (tmp_path / "run").exists()
