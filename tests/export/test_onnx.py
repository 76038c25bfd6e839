from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import timm
import torch

import mftn
from mftn.data.dataset import FaceDataset
from mftn.engines import load_engine
from mftn.errors import ConfigError, ModelError
from mftn.export import export_onnx
from mftn.export.deployed import Deployed
from mftn.export.onnx import MAX_DIFFERENCE, compare, dataset_crops
from mftn.labels import LABEL_SETS
from mftn.models import load_model, save_model
from mftn.spec import ModelSpec, Precision
from mftn.train.config import DataConfig, TrainConfig
from mftn.train.loop import train


@pytest.fixture(scope="module")
def weights(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network trained for one epoch on the made data set."""
    out = tmp_path_factory.mktemp("export") / "run"
    return train(TrainConfig(out=out, data=DataConfig(folder=prepared), epochs=1, batch_size=8))


def save_untrained(path: Path, bias: float = 0.0) -> None:
    """A small network whose last layer has a bias of this value."""
    arguments = {"num_classes": 8, "in_chans": 1, "img_size": 32}
    model = timm.create_model("mftn_face", **arguments)
    torch.nn.init.constant_(model.get_classifier().bias, bias)
    template = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.4, 0.8), (0.6, 0.8))
    save_model(model, path, ModelSpec("mftn_face", LABEL_SETS[8], (32, 32), template, arguments=arguments))


@pytest.mark.parametrize("runs_on", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp16", 2e-3), ("int8-weights", 2e-2)])
def test_the_exported_file_answers_as_the_network(
    weights: Path, tmp_path: Path, precision: str, tolerance: float, runs_on: str
) -> None:
    result = export_onnx(weights, tmp_path / "m.onnx", "mine", precision)
    assert result.parity < tolerance and result.faces == 0
    engine = load_engine(tmp_path / "m.onnx", threads=1, engine=runs_on)
    assert engine.spec.name == "mine" and engine.spec.labels[1] == "happiness" and engine.spec.size == (48, 48)

    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (5, 48, 48, 3), dtype=np.uint8)  # another batch than the exporter's
    model = load_model(weights)
    grey = torch.from_numpy(crops @ np.array([0.299, 0.587, 0.114])).float()[:, None] / 255
    logits = model((grey - model.spec.mean[0]) / model.spec.std[0]).fused
    expected = (logits / model.spec.temperature).softmax(1).detach().numpy()
    np.testing.assert_allclose(engine.probabilities(crops), expected, atol=tolerance)


def test_the_file_describes_itself(weights: Path, tmp_path: Path) -> None:
    export_onnx(weights, tmp_path / "m.onnx", "mine", "fp16")
    properties = {item.key: item.value for item in onnx.load(tmp_path / "m.onnx").metadata_props}
    spec = ModelSpec.from_json(properties["mftn"], "m.onnx")
    assert spec == replace(load_model(weights).spec, name="mine", precision="fp16")
    assert (tmp_path / "m.onnx").stat().st_size < 17e6


def test_the_file_holds_no_path_of_this_machine(weights: Path, tmp_path: Path) -> None:
    export_onnx(weights, tmp_path / "m.onnx", "mine")
    content = (tmp_path / "m.onnx").read_bytes()
    assert b"site-packages" not in content
    assert str(Path(mftn.__file__).parent).encode() not in content


def test_int8_is_calibrated_small_and_compared_on_faces(weights: Path, prepared: Path, tmp_path: Path) -> None:
    export_onnx(weights, tmp_path / "fp16.onnx", "mine", "fp16")
    result = export_onnx(weights, tmp_path / "int8.onnx", "mine", "int8", prepared)
    assert result.faces == len(FaceDataset(prepared, "valid")) and result.agreement > 0.9
    assert result.megabytes < 0.6 * (tmp_path / "fp16.onnx").stat().st_size / 1e6
    kinds = {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    crops = dataset_crops(load_model(weights).spec, FaceDataset(prepared, "valid"), 8)
    exact = load_engine(tmp_path / "fp16.onnx", engine="onnxruntime").probabilities(crops)
    for runs_on in ("onnxruntime", "openvino"):
        assert np.abs(load_engine(tmp_path / "int8.onnx", engine=runs_on).probabilities(crops) - exact).max() < 0.1


def test_int8_that_loses_too_much_is_refused(
    weights: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mftn.export.onnx.MAX_ACCURACY_LOSS", -1.0)  # even a gain is then too little
    with pytest.raises(ModelError, match="int8 loses .* nothing was written"):
        export_onnx(weights, tmp_path / "int8.onnx", "mine", "int8", prepared)
    assert not (tmp_path / "int8.onnx").exists()
    with pytest.raises(ConfigError, match="give a prepared data set with --data"):
        export_onnx(weights, tmp_path / "int8.onnx", "mine", "int8")


def test_classes_are_compared_by_name_whatever_their_order(prepared: Path, tmp_path: Path) -> None:
    save_untrained(tmp_path / "any.safetensors")
    labels, spec = LABEL_SETS[8][::-1], load_model(tmp_path / "any.safetensors").described()
    template = tuple(map(tuple, FaceDataset(prepared, "valid", in_memory=False).template.tolist()))
    spec = replace(spec, labels=labels, template=template)
    for name in ("neutral", "anger"):
        model = load_model(tmp_path / "any.safetensors")
        model.get_classifier().bias.data[labels.index(name)] += 100
        save_model(model, tmp_path / f"{name}.safetensors", spec)
    export_onnx(tmp_path / "anger.safetensors", tmp_path / "anger.onnx", "anger")
    network = Deployed(load_model(tmp_path / "neutral.safetensors")).eval()
    crops = np.zeros((2, 32, 32, 3), np.uint8)
    found = compare(network, spec, (tmp_path / "anger.onnx").read_bytes(), crops, prepared)
    share = (FaceDataset(prepared, "valid").labels == LABEL_SETS[8].index("neutral")).float().mean().item()
    assert found.agreement == 0 and found.lost == pytest.approx(share) and share > 0


@pytest.mark.parametrize("precision", ["fp32", "int8-weights"])
def test_a_network_without_finite_outputs_is_refused(tmp_path: Path, precision: Precision) -> None:
    save_untrained(tmp_path / "bad.safetensors", float("nan"))
    with pytest.raises(ModelError, match=r"bad\.safetensors: .* not finite numbers; nothing was written"):
        export_onnx(tmp_path / "bad.safetensors", tmp_path / "bad.onnx", "bad", precision)
    assert not (tmp_path / "bad.onnx").exists()


def test_a_file_that_answers_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_untrained(tmp_path / "m.safetensors")
    monkeypatch.setitem(MAX_DIFFERENCE, "fp16", -1.0)  # even no difference is then too large
    with pytest.raises(ModelError, match="fp16 changes a probability by .* Export it as fp32"):
        export_onnx(tmp_path / "m.safetensors", tmp_path / "m.onnx", "m", "fp16")
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("precision", ["fp32", "int8-weights"])
def test_an_exported_file_can_be_exported_again(weights: Path, tmp_path: Path, precision: str) -> None:
    export_onnx(weights, tmp_path / "first.onnx", "first", precision)
    again = export_onnx(tmp_path / "first.onnx", tmp_path / "second.onnx", "second", "fp16")
    assert again.parity < 2e-3
    assert load_engine(tmp_path / "second.onnx").spec.name == "second"
