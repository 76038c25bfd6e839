import dataclasses
from pathlib import Path

import torch

from mftn.data.dataset import FaceDataset
from mftn.models import load_model
from mftn.train.config import DataConfig, TrainConfig
from mftn.train.loop import train


def test_logit_adjustment_raises_frequent_classes_once(prepared: Path, tmp_path: Path) -> None:
    config = TrainConfig(out=tmp_path / "plain", data=DataConfig(folder=prepared), epochs=1, batch_size=12)
    adjusted = dataclasses.replace(config, out=tmp_path / "adjusted", logit_adjustment=0.5)
    before, after = (load_model(train(run)) for run in (config, adjusted))
    counts = FaceDataset(prepared, "train").labels.bincount(minlength=8)
    shift = 0.5 * before.spec.temperature * (counts.clamp(min=1) / counts.sum()).log()  # (K,)
    x = torch.randn(3, 1, 48, 48)
    torch.testing.assert_close(after(x).fused, before(x).fused + shift)
    torch.testing.assert_close(after(x).mstn, before(x).mstn + shift / 2)
    assert after.spec.logit_adjustment == 0.5
    again = load_model(train(adjusted, resume=True))  # which calibrates once more
    assert torch.equal(again(x).fused, after(x).fused)
