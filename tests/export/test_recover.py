from pathlib import Path

import pytest
import timm
import torch

import mftn.models
from mftn.engines import find_model
from mftn.errors import ModelError
from mftn.export import export_onnx
from mftn.export.recover import load_network, recover
from mftn.models import load_model, save_model

DESCRIPTION = {
    "labels": list("abcde"), "channels": 3, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
    "template": [[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.4, 0.8], [0.6, 0.8]], "temperature": 1.2,
}  # fmt: skip


@pytest.mark.parametrize(("architecture", "side"), [("mftn_atto", 64), ("baseline_face", 32), ("baseline_facenet", 96)])
def test_an_exported_network_comes_back(tmp_path: Path, architecture: str, side: int) -> None:
    torch.manual_seed(0)
    arguments = {"num_classes": 5, "in_chans": 3, "img_size": side}
    model = timm.create_model(architecture, **arguments).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    description = DESCRIPTION | {"architecture": architecture, "arguments": arguments, "size": [side, side]}
    save_model(model, tmp_path / "m.safetensors", description)
    export_onnx(tmp_path / "m.safetensors", tmp_path / "m.onnx", "mine")
    back = load_network(tmp_path / "m.onnx")
    x = torch.rand(2, 3, side, side)
    torch.testing.assert_close(back(x).fused, model(x).fused, rtol=1e-4, atol=1e-4)
    assert back.description["labels"] == DESCRIPTION["labels"]
    assert back.description["mean"] == pytest.approx(DESCRIPTION["mean"], abs=1e-4)
    again, _ = load_model(tmp_path / "m.safetensors")
    torch.testing.assert_close(load_network(tmp_path / "m.safetensors")(x).fused, again(x).fused)


@pytest.mark.parametrize("architecture", ["mftn_mobile", "mftn_face"])
def test_what_ships_comes_back(architecture: str) -> None:
    network = recover(find_model(f"{architecture}_ferplus"))
    assert network.description["architecture"] == architecture and not network.fused_only


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="not a file of `mftn export`"):
        load_network(tmp_path / "m.onnx")
    detector = Path(mftn.__file__).parent / "faces" / "weights" / "yunet.onnx"
    with pytest.raises(ModelError, match="not a file of `mftn export`"):
        load_network(detector)
