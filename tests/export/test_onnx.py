import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import mftn
from mftn.engines import load_engine
from mftn.export import export_onnx
from mftn.models import load_model
from mftn.train.config import DataConfig, TrainConfig
from mftn.train.loop import train


@pytest.fixture(scope="module")
def weights(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network trained for one epoch on the made data set."""
    out = tmp_path_factory.mktemp("export") / "run"
    return train(TrainConfig(out=out, data=DataConfig(folder=prepared), epochs=1, batch_size=8))


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp16", 2e-3)])
def test_the_exported_file_answers_as_the_network(
    weights: Path, tmp_path: Path, precision: str, tolerance: float
) -> None:
    result = export_onnx(weights, tmp_path / "m.onnx", "mine", precision)
    assert result["parity"] < tolerance
    engine = load_engine(tmp_path / "m.onnx", threads=1)
    assert engine.info.name == "mine" and engine.info.labels[1] == "happiness" and engine.info.size == (48, 48)

    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (5, 48, 48, 3), dtype=np.uint8)  # another batch than the exporter's
    model, config = load_model(weights)
    grey = torch.from_numpy(crops @ np.array([0.299, 0.587, 0.114])).float()[:, None] / 255
    logits = model((grey - config["mean"][0]) / config["std"][0]).fused
    expected = (logits / config["temperature"]).softmax(1).detach().numpy()
    np.testing.assert_allclose(engine.probabilities(crops), expected, atol=tolerance)


def test_the_file_describes_itself(weights: Path, tmp_path: Path) -> None:
    export_onnx(weights, tmp_path / "m.onnx", "mine", "fp16")
    properties = {item.key: item.value for item in onnx.load(tmp_path / "m.onnx").metadata_props}
    description = json.loads(properties["mftn"])
    assert description["size"] == [48, 48] and len(description["template"]) == 5
    assert description["temperature"] == load_model(weights)[1]["temperature"]
    assert (tmp_path / "m.onnx").stat().st_size < 17e6


def test_the_file_holds_no_path_of_this_machine(weights: Path, tmp_path: Path) -> None:
    export_onnx(weights, tmp_path / "m.onnx", "mine")
    content = (tmp_path / "m.onnx").read_bytes()
    assert b"site-packages" not in content
    assert str(Path(mftn.__file__).parent).encode() not in content
