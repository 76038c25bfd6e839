import pytest
import timm
import torch
from timm.layers import DropPath
from timm.models import register_model
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from torch import nn

import mftn.models
from mftn.models import CONVNEXT_SIZES, MFTN, Baseline, Logits, Network

TINY = {"backbone": "resnet10t", "num_classes": 5}


@pytest.mark.parametrize("size", CONVNEXT_SIZES)
def test_every_size_is_registered_with_timm(size: str) -> None:
    with torch.device("meta"):
        network, baseline = timm.create_model(f"mftn_{size}"), timm.create_model(f"baseline_{size}")
    assert isinstance(network, MFTN) and not isinstance(baseline, MFTN)
    assert len(network.mstn.branches) == 3 and all(len(branch) == 2 for branch in network.mstn.branches)


@pytest.mark.parametrize(
    ("backbone", "size"),
    [
        ("convnext_atto", (64, 96)),
        ("resnet10t", (32, 64)),
        ("resnet14_face", (48, 64)),
        ("mobilenetv3_small_050", (64, 64)),
    ],
)
def test_any_three_stage_backbone_and_rectangular_sizes(backbone: str, size: tuple[int, int]) -> None:
    model = MFTN(backbone, num_classes=5).eval()
    logits = model(torch.randn(2, 3, *size))
    assert logits.fused.shape == logits.backbone.shape == logits.mstn.shape == (2, 5)
    tokens = model.forward_features(torch.randn(2, 3, *size))
    assert [x.shape[1] for x in tokens] == [-(-size[0] // s) * -(-size[1] // s) for s in model.strides]


def test_a_backbone_without_three_maps_is_refused() -> None:
    @register_model
    def two_stage(pretrained: bool = False, **kwargs: object) -> ByobNet:
        stage = ByoBlockCfg(type="basic", d=1, c=8, s=2, gs=0, br=1.0)
        network = ByobNet(ByoModelCfg(blocks=(stage, stage), stem_chs=8, stem_pool=""), num_classes=5)
        network.feature_info = network.feature_info[:2]
        network.default_cfg = {}
        return network

    with pytest.raises(ValueError, match="two_stage gives 2 stage maps; MFTN needs three"):
        MFTN("two_stage")


def test_heads_are_named_and_summed() -> None:
    model = MFTN(**TINY).eval()
    x = torch.randn(2, 3, 64, 64)
    logits = model(x)
    assert isinstance(logits, Logits)
    torch.testing.assert_close(logits.fused, logits.backbone + logits.mstn)


def test_the_baseline_is_the_backbone_itself() -> None:
    model = Baseline("resnet10t", num_classes=5).eval()
    x = torch.randn(2, 3, 64, 64)
    logits = model(x)
    assert logits.mstn is None
    torch.testing.assert_close(logits.fused, model.backbone(x))


def test_grey_input_by_channel_adaptation() -> None:
    assert MFTN(**TINY, in_chans=1).eval()(torch.randn(2, 1, 64, 64)).fused.shape == (2, 5)


def test_every_parameter_learns_also_with_drop_path() -> None:
    torch.manual_seed(0)
    model = MFTN(**TINY, drop_path_rate=0.25).train()
    with torch.no_grad():
        for parameter in model.parameters():  # away from zeros of the initialisation, behind which nothing learns
            parameter.add_(0.1 * torch.randn_like(parameter))
    for _ in range(8):  # a block may be dropped in one step, not in all
        logits = model(torch.randn(8, 3, 64, 64))
        (logits.backbone.square().sum() + logits.mstn.square().sum()).backward()
    still = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert not still


def test_drop_path_rises_linearly_from_zero() -> None:
    model = MFTN(**TINY, mstn_depths=(3, 3, 3), drop_path_rate=0.2)
    for branch in model.mstn.branches:
        rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in branch]
        assert rates == pytest.approx([0.0, 0.1, 0.2])


@pytest.mark.parametrize("network", [MFTN, Baseline])
def test_the_backbone_drops_as_timms_own_does(network: type[Network]) -> None:
    rates = {"drop_rate": 0.3, "drop_path_rate": 0.2}

    def dropped(model: nn.Module) -> list[float]:
        layers = [layer for layer in model.modules() if isinstance(layer, nn.Dropout | DropPath)]
        return [layer.p if isinstance(layer, nn.Dropout) else layer.drop_prob for layer in layers]

    expected = dropped(timm.create_model("convnext_atto", **rates))
    assert dropped(network("convnext_atto", **rates).backbone) == expected and len(set(expected)) > 2


def test_new_layers_begin_small_and_without_bias() -> None:
    model = MFTN("convnext_atto", num_classes=5)
    model.reset_classifier(40)
    assert model.mstn.head.weight.std().item() == pytest.approx(0.02, rel=0.05) and not model.mstn.head.bias.any()
    assert model.mstn.branches[2][0].attn.kv.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_weights_that_the_backbone_never_decays_are_named() -> None:
    model = Baseline("convnext_atto", num_classes=5)
    assert model.no_weight_decay() == set()
    model.backbone.no_weight_decay = lambda: {"stem.0.weight"}
    assert model.no_weight_decay() == {"backbone.stem.0.weight"} <= dict(model.named_parameters()).keys()


def test_gradient_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for enable in (False, True):
        torch.manual_seed(0)
        model = MFTN("convnext_atto", num_classes=5).train()
        model.set_grad_checkpointing(enable)
        model(torch.ones(1, 3, 64, 64)).fused.sum().backward()
        gradients.append(model.mstn.branches[0][0].attn.kv.weight.grad)
    torch.testing.assert_close(*gradients)


def test_reset_classifier_changes_both_heads() -> None:
    model = MFTN(**TINY)
    model.reset_classifier(3)
    logits = model.eval()(torch.randn(1, 3, 64, 64))
    assert logits.backbone.shape == logits.mstn.shape == (1, 3)
    assert model.get_classifier().out_features == 3


def test_layers_decay_from_the_heads_down_to_the_stem() -> None:
    from timm.optim import param_groups_layer_decay

    model = MFTN("convnext_atto", num_classes=5)
    groups = param_groups_layer_decay(model, layer_decay=0.5)
    scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    assert len(scale) == sum(1 for _ in model.parameters())
    stem, last = model.backbone.stem[0].weight, model.mstn.head.weight
    assert scale[id(stem)] == min(scale.values()) and scale[id(last)] == max(scale.values()) == 1


def test_attention_is_a_distribution_over_the_tokens() -> None:
    attention, _ = mftn.models.AdaptiveContextAttention(32).attention(torch.randn(2, 49, 32))
    torch.testing.assert_close(attention.sum(dim=1), torch.ones(2, 32))


def test_pretrained_is_refused_with_what_to_do() -> None:
    with pytest.raises(mftn.errors.ModelError, match="load_checkpoint"):
        timm.create_model("mftn_atto", pretrained=True)


def test_narrow_branches_are_led_into_and_the_published_ones_are_not() -> None:
    published, narrow = MFTN(**TINY), MFTN(**TINY, branch_widths=(24, 16, 256), mlp_ratio=2.0, fuse_width=12).eval()
    assert not any(name.startswith("mstn.lead_ins") for name, _ in published.named_parameters())
    x = torch.randn(2, 3, 64, 64)
    assert [tokens.shape[2] for tokens in narrow.forward_features(x)] == [24, 16, 256]
    assert narrow(x).mstn.shape == (2, 5)
    assert isinstance(timm.create_model("mftn_mobile"), MFTN)
    with pytest.raises(ValueError, match="3 maps need as many depths and widths"):
        MFTN(**TINY, branch_widths=(24, 16))


@pytest.mark.parametrize("name", ["mftn_face", "baseline_face"])
def test_without_classes_there_are_features(name: str) -> None:
    network = timm.create_model(name, num_classes=0).eval()
    found = network.embeddings(torch.zeros(2, 1, 48, 48))
    assert found["backbone head"].shape == (2, 384)
    if name == "mftn_face":
        assert found["MsTN head"].shape == (2, 256)
