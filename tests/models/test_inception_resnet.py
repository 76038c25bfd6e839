import pytest
import timm
import torch

from mftn.errors import ModelError
from mftn.models import MFTN


def test_three_maps_of_the_published_sizes() -> None:
    network = timm.create_model("inception_resnet_v1", num_classes=0, in_chans=1).eval()
    with torch.no_grad():
        final, maps = network.forward_intermediates(torch.randn(1, 1, 160, 160), indices=3)
    assert [tuple(part.shape[1:]) for part in maps] == [(256, 17, 17), (896, 8, 8), (1792, 3, 3)]
    assert final is maps[-1]


def test_brightness_and_contrast_change_nothing() -> None:
    model = timm.create_model("mftn_facenet").eval()
    x = torch.randn(2, 1, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(model(0.3 * x - 2).fused, model(x).fused, atol=1e-4, rtol=1e-4)


def test_an_image_of_one_grey_is_finite() -> None:
    with torch.no_grad():
        assert timm.create_model("mftn_facenet").eval()(torch.full((1, 1, 96, 96), 0.7)).fused.isfinite().all()


def test_mftn_and_baseline_learn_in_every_parameter() -> None:
    torch.manual_seed(0)
    model = timm.create_model("mftn_facenet").train()
    assert isinstance(model, MFTN)
    model.set_grad_checkpointing()
    logits = model(torch.randn(4, 1, 112, 112))
    (logits.backbone.square().sum() + logits.mstn.square().sum()).backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]


def test_another_pooling_is_refused() -> None:
    network = timm.create_model("baseline_facenet")
    network.reset_classifier(5)
    assert network.eval()(torch.randn(1, 1, 96, 96)).fused.shape == (1, 5)
    with pytest.raises(ModelError, match="pools by the mean"):
        network.reset_classifier(5, "max")
