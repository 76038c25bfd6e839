import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import timm
import torch

import mftn.models
from mftn.engines import find_model
from mftn.errors import ModelError
from mftn.export import export_onnx
from mftn.export.recover import load_network, recover, unfold
from mftn.models import load_model, save_model
from mftn.spec import ModelSpec

SPEC = ModelSpec(
    "mftn_atto", tuple("abcde"), (64, 64), ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.4, 0.8), (0.6, 0.8)), channels=3,
    mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), temperature=1.2,
)  # fmt: skip


@pytest.mark.parametrize(("architecture", "side"), [("mftn_atto", 64), ("baseline_face", 32), ("baseline_facenet", 96)])
def test_an_exported_network_comes_back(tmp_path: Path, architecture: str, side: int) -> None:
    torch.manual_seed(0)
    arguments = {"num_classes": 5, "in_chans": 3, "img_size": side}
    model = timm.create_model(architecture, **arguments).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    spec = replace(SPEC, architecture=architecture, arguments=arguments, size=(side, side))
    save_model(model, tmp_path / "m.safetensors", spec)
    export_onnx(tmp_path / "m.safetensors", tmp_path / "m.onnx", "mine")
    back = load_network(tmp_path / "m.onnx")
    x = torch.rand(2, 3, side, side)
    torch.testing.assert_close(back(x).fused, model(x).fused, rtol=1e-4, atol=1e-4)
    assert back.spec == replace(spec, name="mine", precision="fp32")
    again = load_model(tmp_path / "m.safetensors")
    torch.testing.assert_close(load_network(tmp_path / "m.safetensors")(x).fused, again(x).fused)


@pytest.mark.parametrize("architecture", ["mftn_mobile", "mftn_face"])
def test_what_ships_comes_back(architecture: str) -> None:
    network = recover(find_model(f"{architecture}_ferplus"))
    assert network.spec.architecture == architecture


def test_an_export_of_an_earlier_version_comes_back_with_its_normalisation(tmp_path: Path) -> None:
    arguments = {"num_classes": 5, "in_chans": 3, "img_size": 32}
    spec = replace(SPEC, architecture="baseline_face", arguments=arguments, size=(32, 32))
    save_model(timm.create_model("baseline_face", **arguments), tmp_path / "m.safetensors", spec)
    export_onnx(tmp_path / "m.safetensors", tmp_path / "m.onnx", "mine")
    proto = onnx.load(tmp_path / "m.onnx")
    kept = ("name", "precision", "labels", "size", "channels", "template", "temperature", "architecture")
    older = {name: value for name, value in json.loads(proto.metadata_props[0].value).items() if name in kept}
    onnx.helper.set_model_props(proto, {"mftn": json.dumps(older)})
    onnx.save(proto, tmp_path / "old.onnx")
    back = load_network(tmp_path / "old.onnx")
    assert back.spec.mean == pytest.approx(SPEC.mean, abs=1e-4) and back.spec.std == pytest.approx(SPEC.std, abs=1e-4)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="not a file of `mftn export`"):
        load_network(tmp_path / "m.onnx")
    detector = Path(mftn.__file__).parent / "faces" / "weights" / "yunet.onnx"
    with pytest.raises(ModelError, match="not a file of `mftn export`"):
        load_network(detector)


def test_a_recovered_network_learns_on_only_when_its_norms_are_unfolded() -> None:
    network = recover(find_model("mftn_mobile_ferplus"))
    generator = torch.Generator().manual_seed(0)
    batches = torch.rand((3, 32, 1, *network.described().size), generator=generator) * 2 - 1
    with torch.no_grad():
        before = network.eval()(batches[0]).fused
        folded = network.train()(batches[0]).fused
        network = recover(find_model("mftn_mobile_ferplus"))
        unfold(network, batches)
        assert torch.allclose(network.eval()(batches[0]).fused, before, atol=1e-3)
        for module in network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        trained = network.train()(batches[0]).fused
    assert (trained - before).abs().mean() < 0.2 * (folded - before).abs().mean()
