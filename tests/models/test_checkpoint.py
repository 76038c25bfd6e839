import json
import os
import pickle
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
import timm
import torch
from safetensors.torch import save_file

from mftn.errors import ModelError
from mftn.models import MFTN, Baseline, load_checkpoint, load_model, save_model
from mftn.models.checkpoint import load_timm, read_spec
from mftn.spec import ModelSpec

TEMPLATE = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.4, 0.8), (0.6, 0.8))
SPEC = ModelSpec("mftn_face", tuple("abcde"), (48, 48), TEMPLATE, arguments={"num_classes": 5})
X = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def network(seed: int = 0, num_classes: int = 5) -> MFTN:
    torch.manual_seed(seed)
    return MFTN("convnext_atto", num_classes=num_classes, backbone_args={"ls_init_value": 0.1}).eval()


def test_what_is_saved_is_built_and_loaded_again(tmp_path: Path) -> None:
    model = timm.create_model("mftn_face", num_classes=5).eval()
    save_model(model, tmp_path / "m.safetensors", SPEC)
    again = load_model(tmp_path / "m.safetensors")
    assert again.spec == SPEC
    x = torch.randn(2, 1, 48, 48)
    torch.testing.assert_close(again(x).fused, model(x).fused, rtol=0, atol=0)


def test_half_precision_halves_the_file_and_loads(tmp_path: Path) -> None:
    model = timm.create_model("mftn_face", num_classes=5).eval()
    save_model(model, tmp_path / "full.safetensors", SPEC)
    save_model(model, tmp_path / "half.safetensors", SPEC, torch.float16)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.52 * (tmp_path / "full.safetensors").stat().st_size
    again = load_model(tmp_path / "half.safetensors")
    x = torch.randn(2, 1, 48, 48)
    torch.testing.assert_close(again(x).fused, model(x).fused, rtol=0, atol=0.02)


@pytest.mark.parametrize("prefix", ["", "net.", "module.", "backbone."])
def test_backbones_of_other_code_load(tmp_path: Path, prefix: str) -> None:
    source = network(1)
    save_file({prefix + key: value for key, value in source.backbone.state_dict().items()}, tmp_path / "b.safetensors")
    model = network(2)
    before = model.mstn.head.weight.clone()
    load_checkpoint(model, tmp_path / "b.safetensors", part="backbone")
    torch.testing.assert_close(model(X).backbone, source(X).backbone)
    torch.testing.assert_close(model.mstn.head.weight, before)


def test_the_trunk_loads_whatever_the_class_count(tmp_path: Path) -> None:
    source = network(1, num_classes=9)
    torch.save(source.backbone.state_dict(), tmp_path / "b.pth")
    model = network(2)
    with pytest.raises(
        ModelError, match=r"different shape: backbone.head.fc.weight is \(9, 320\), the network has \(5, 320\)"
    ):
        load_checkpoint(model, tmp_path / "b.pth", part="backbone")
    load_checkpoint(model, tmp_path / "b.pth", part="trunk")
    torch.testing.assert_close(model.backbone.stem[0].weight, source.backbone.stem[0].weight)


def test_a_mismatch_names_tensors_and_changes_nothing(tmp_path: Path) -> None:
    source = network(1).state_dict()
    del source["mstn.head.bias"]
    source["stranger"] = torch.zeros(3)
    source["mstn.head.weight"] = torch.zeros(2, 2)
    save_file(source, tmp_path / "m.safetensors")
    model = network(2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ModelError) as error:
        load_checkpoint(model, tmp_path / "m.safetensors")
    message = str(error.value)
    assert "missing: mstn.head.bias (5,)" in message
    assert "unexpected: stranger (3,)" in message
    assert "different shape: mstn.head.weight is (2, 2)" in message
    assert message.endswith("or load only their trunk (--init-part trunk in training)")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_weights_of_another_network_give_a_message_that_fits_on_a_screen(tmp_path: Path) -> None:
    save_file(timm.create_model("mftn_face").state_dict(), tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match=r"; and \d+ more; choose weights of the same architecture") as error:
        load_checkpoint(network(), tmp_path / "m.safetensors")
    assert len(str(error.value)) < 1500


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch hostile_was_here",)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str) -> None:
    monkeypatch.chdir(tmp_path)
    if writer == "torch":
        torch.save({"state_dict": Hostile()}, "evil.pth")
    else:
        Path("evil.pth").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(ModelError, match="refused"):
        load_checkpoint(Baseline("resnet10t"), "evil.pth")
    assert not Path("hostile_was_here").exists()


def test_truncated_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    model = network()
    save_model(model, tmp_path / "m.safetensors", None)
    whole = (tmp_path / "m.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"cut.safetensors: not a complete"):
        load_checkpoint(model, tmp_path / "cut.safetensors")
    with pytest.raises(ModelError, match=r"none.pth: no such file"):
        load_checkpoint(model, tmp_path / "none.pth")
    save_file({"a": torch.zeros(1)}, tmp_path / "bare.safetensors")
    with pytest.raises(ModelError, match="no description"):
        load_model(tmp_path / "bare.safetensors")
    save_model(model, tmp_path / "unknown.safetensors", replace(SPEC, architecture="mftn_of_tomorrow"))
    with pytest.raises(ModelError, match="mftn_of_tomorrow: cannot be built"):
        load_model(tmp_path / "unknown.safetensors")


def test_a_network_saved_for_the_hub_comes_back_with_its_description(tmp_path: Path) -> None:
    model = timm.create_model("mftn_atto", num_classes=7, img_size=64, mstn_depths=(1, 0, 1))
    model.spec = replace(SPEC, architecture="mftn_atto", channels=3, labels=tuple("abcdefg"))
    model.save_pretrained(tmp_path / "shared")
    back = MFTN.from_pretrained(tmp_path / "shared")
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(model.eval()(x).fused, back(x).fused)
    assert back.spec == model.spec == read_spec(tmp_path / "shared" / "model.safetensors")


def test_timm_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    source = timm.create_model("convnext_femto", num_classes=5)
    timm.models.save_for_hf(source, tmp_path / "timm", model_config={"num_classes": 5})
    with pytest.raises(ModelError, match="does not match the backbone"):
        load_timm(timm.create_model("mftn_atto"), f"local-dir:{tmp_path / 'timm'}")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_timm(timm.create_model("mftn_atto"), f"local-dir:{tmp_path / 'nothing'}")


FETCHED = {"url": "http://127.0.0.1:9/weights.pth"}


@pytest.mark.parametrize(
    ("architecture", "arguments", "named"),
    [
        ("mftn_face", {"backbone_args": {"pretrained": True, "pretrained_cfg_overlay": FETCHED}}, "pretrained"),
        ("mftn_face", {"backbone_args": {"pretrained_cfg": FETCHED}}, "pretrained_cfg"),
        ("mftn_face", {"backbone_args": {"checkpoint_path": "other.pth"}}, "checkpoint_path"),
        ("mftn_face", {"checkpoint_path": "other.pth"}, "checkpoint_path"),
        ("mftn_face", {"cache_dir": "elsewhere"}, "cache_dir"),
        ("mftn_face", {"backbone": "hf-hub:somebody/network"}, "hf-hub:somebody/network"),
        ("local-dir:/somewhere", {}, "local-dir:/somewhere"),
        ("resnet10t", {}, "resnet10t: is not a network of this package"),
    ],
)
def test_a_description_names_no_other_weights(
    tmp_path: Path, architecture: str, arguments: dict[str, object], named: str
) -> None:
    spec = replace(SPEC, architecture=architecture, arguments={**SPEC.arguments, **arguments})
    save_model(timm.create_model("mftn_face", num_classes=5), tmp_path / "m.safetensors", spec)
    with pytest.raises(ModelError, match=named) as error:
        load_model(tmp_path / "m.safetensors")
    assert "cannot be built" not in str(error.value)


def test_arguments_from_the_hub_name_no_other_weights(tmp_path: Path) -> None:
    timm.create_model("mftn_face", num_classes=5).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "backbone_args": {"checkpoint_path": "other.pth"}}))
    with pytest.raises(ModelError, match=r"config\.json has the argument checkpoint_path"):
        MFTN.from_pretrained(tmp_path)


def test_a_network_that_began_with_pretrained_weights_comes_back_without_fetching_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = timm.create_model("mftn_atto", num_classes=5, img_size=64, mstn_depths=(1, 0, 1))
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "backbone_args": {"pretrained": True}}))
    monkeypatch.setattr("timm.models._builder.load_pretrained", Mock(side_effect=AssertionError("fetched")))
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(model.eval()(x).fused, MFTN.from_pretrained(tmp_path)(x).fused)
