import dataclasses
from pathlib import Path

import pytest
import torch

from mftn.data.dataset import FaceDataset
from mftn.evaluate import metrics
from mftn.evaluate.calibration import fit_general_temperature, fit_temperature
from mftn.evaluate.inference import predict_logits, preprocess_for
from mftn.models import load_model, save_model
from mftn.train.calibrate import calibrate
from mftn.train.config import DataConfig, ModelConfig, TrainConfig
from mftn.train.loop import train
from mftn.train.network import build_model, describe


def test_the_temperature_is_that_of_the_mean_with_the_flip(prepared: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    data, path = FaceDataset(prepared, "train"), tmp_path / "best.safetensors"
    model = build_model(config := TrainConfig(data=DataConfig(folder=prepared), model=ModelConfig("baseline_face")))
    torch.nn.init.normal_(model.get_classifier().weight, std=2.0)  # so that a flip changes much
    save_model(model, path, describe(config, 1))
    preprocess = preprocess_for(describe(config, 1), data)
    views = torch.stack([predict_logits(model, data, preprocess, flip=flip).fused for flip in (False, True)])
    data.labels = views.mean(dim=0).argmax(dim=1)  # mostly what the network says, so that a temperature fits best
    data.labels[::5] = views.mean(dim=0)[::5].topk(2).indices[:, 1]
    expected = fit_temperature(views, data.labels)
    for others in (views[0], views[1], views.mean(dim=0)):
        assert abs(fit_temperature(others, data.labels) / expected - 1) > 0.02, "otherwise this test sees nothing"
    data.votes[::3] = [5, 5, *[0] * 8]  # no majority
    validation = calibrate(path, data)
    spec = load_model(path).spec
    assert validation.temperature == spec.temperature == pytest.approx(expected, rel=1e-4)
    mean = (views / spec.temperature).softmax(dim=2).mean(dim=0)
    assert spec.general_temperature == pytest.approx(fit_general_temperature(mean, data.labels), rel=1e-4)
    counts = metrics.confusion_counts(data.protocols()["argmax"], views[0].argmax(dim=1).numpy(), 8)
    assert validation.scores["argmax"].confusion == tuple(map(tuple, counts.tolist()))
    majority = data.protocols()["majority"]
    kept = majority >= 0
    counts = metrics.confusion_counts(majority[kept], views[0].argmax(dim=1).numpy()[kept], 8)
    assert 0 < kept.sum() < len(data)
    assert validation.scores["majority"].confusion == tuple(map(tuple, counts.tolist()))


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
    data = FaceDataset(prepared, "valid")
    logits = predict_logits(after, data, preprocess_for(after.spec, data)).fused
    counts = metrics.confusion_counts(data.labels.numpy(), logits.argmax(dim=1).numpy(), 8)
    assert after.spec.provenance["validation"]["argmax"]["confusion"] == counts.tolist()
    again = load_model(train(adjusted, resume=True))  # which calibrates once more
    assert torch.equal(again(x).fused, after(x).fused)
