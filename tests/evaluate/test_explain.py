from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image as PillowImage
from scipy.stats import spearmanr
from torch import nn

import mftn.models  # noqa: F401 (registers the networks)
from mftn.engines import find_model
from mftn.evaluate.explain import Explanation, Locations, deletion_curves, explain, locations, resample
from mftn.export.deployed import Normalise
from mftn.export.recover import load_network
from mftn.models import MFTN, Logits
from mftn.recognize import load


@pytest.fixture(scope="module", params=["mftn_mobile_ferplus", "mftn_face_ferplus"])
def shipped(request: pytest.FixtureRequest) -> MFTN:
    network = load_network(find_model(request.param))
    assert isinstance(network, MFTN)
    return network


@pytest.fixture(scope="module")
def faces(shipped: MFTN, photos: Path) -> torch.Tensor:
    """Two public-domain faces as the network sees them, (2, 1, H, W)."""
    recognizer = load(shipped.spec.name)
    crops = []
    for name in ("astronaut.jpg", "grace_hopper.jpg"):
        image = np.array(PillowImage.open(photos / name).convert("RGB"))
        crops.append(recognizer.crops(image, recognizer.detector.detect(image)[:1])[0])
    return Normalise(shipped.spec)(torch.from_numpy(np.stack(crops)))


def test_maps_add_up_to_the_logit(shipped: MFTN, faces: torch.Tensor) -> None:
    found = explain(shipped, faces)
    assert list(found.maps) == ["stage 2", "stage 3", "stage 4", "backbone head", "fused"]
    bias = (shipped.mstn.head.bias + shipped.get_classifier().bias)[found.classes]
    logit = found.logits.fused.gather(1, found.classes[:, None])[:, 0]
    torch.testing.assert_close(found.maps["fused"].sum(dim=(1, 2)) + bias, logit, rtol=1e-4, atol=1e-4)
    parts = [found.maps[name] for name in list(found.maps)[:-1]]
    torch.testing.assert_close(torch.stack(parts).sum(dim=0), found.maps["fused"])


def test_attention_is_that_of_aca_and_sums_to_one(shipped: MFTN, faces: torch.Tensor) -> None:
    found = explain(shipped, faces)
    assert list(found.attention) == ["stage 2", "stage 3", "stage 4"]
    for weights in found.attention.values():
        torch.testing.assert_close(weights.sum(dim=(1, 2)), torch.ones(2))
    _, maps = shipped.encode(faces)
    block, tokens = shipped.mstn.branches[0][0], shipped.mstn.lead_ins[0](maps[0].flatten(2).transpose(1, 2))
    expected = block.attn.attention(block.norm1(tokens))[0].mean(dim=2).unflatten(1, maps[0].shape[2:])
    grid = expected.shape[1:]
    shown = resample(expected.detach(), *grid, locations(shipped, faces)[grid[1]])
    torch.testing.assert_close(found.attention["stage 2"], shown)


def test_explaining_leaves_logits_and_inputs_alone(shipped: MFTN, faces: torch.Tensor) -> None:
    with torch.no_grad():
        expected = shipped(faces).fused
    found = explain(shipped, faces)
    torch.testing.assert_close(found.logits.fused, expected, rtol=1e-4, atol=1e-5)
    assert not faces.requires_grad and all(p.grad is None for p in shipped.parameters())


def correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(np.mean([spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first, second, strict=True)]))


def test_another_class_gives_another_map(shipped: MFTN, faces: torch.Tensor) -> None:
    maps = [explain(shipped, faces, torch.tensor([k, k])).maps["fused"] for k in (1, 4)]
    assert correlation(*maps) < 0.5


def test_random_weights_destroy_the_map(shipped: MFTN, faces: torch.Tensor) -> None:
    torch.manual_seed(0)
    strange = timm.create_model(shipped.spec.architecture).eval()
    classes = torch.tensor([1, 0])
    assert abs(correlation(*(explain(net, faces, classes).maps["fused"] for net in (shipped, strange)))) < 0.5


def test_removing_the_hottest_places_costs_more_than_the_coldest(shipped: MFTN, faces: torch.Tensor) -> None:
    found = explain(shipped, faces)
    curves = deletion_curves(shipped, faces, found, fractions=(0.0, 0.1, 0.2, 0.3, 0.5, 1.0))
    probability = found.logits.fused.softmax(dim=1).gather(1, found.classes[:, None])[:, 0].numpy()
    for curve in curves.values():
        np.testing.assert_allclose(curve[:, 0], probability, rtol=1e-4)
    assert curves["hottest first"][:, 1:5].mean() < curves["coldest first"][:, 1:5].mean() - 0.05
    np.testing.assert_allclose(curves["hottest first"][:, 5], curves["coldest first"][:, 5], rtol=1e-4)


def test_the_hottest_places_are_blurred_and_probabilities_are_calibrated() -> None:
    heat = torch.randn(2, 12, 12, generator=torch.Generator().manual_seed(0))
    x = 1 + torch.rand(2, 1, 48, 48, generator=torch.Generator().manual_seed(1))
    logits, seen = torch.tensor([[1.0, 3.0], [2.0, 0.5]]), []

    def network(images: torch.Tensor) -> Logits:
        seen.append(images)
        return Logits(logits, logits)

    found = Explanation(Logits(logits, logits), torch.tensor([1, 0]), {"fused": heat}, {})
    curves = deletion_curves(network, x, found, (0.25, 1.0), temperature=2.0)  # type: ignore[arg-type]
    expected = (logits / 2).softmax(dim=1)[[0, 1], [1, 0]].numpy()
    assert all(np.allclose(curve.T, expected) for curve in curves.values())
    for images, order in ((seen[0], -heat), (seen[2], heat)):
        gone = ((images - x).abs() > 1e-6).view(2, 12, 4, 12, 4).amax(dim=(2, 4))
        first = order.flatten(1).argsort(dim=1)[:, :36]
        assert (gone.flatten(1).gather(1, first)).all() and gone.sum() == 72
    for images in (seen[1], seen[3], seen[5]):
        torch.testing.assert_close(images.mean(), x.mean(), rtol=0.01, atol=0)  # as bright as before
        assert images.std() < x.std() / 5


@pytest.mark.parametrize(("name", "side"), [("mftn_atto", 64), ("baseline_face", 64), ("baseline_facenet", 96)])
def test_places_lie_where_their_convolutions_look(name: str, side: int) -> None:
    """The mean location of the pixels that reach a place, all kernels taken as even."""
    network = timm.create_model(name, in_chans=1).eval()
    where = locations(network, torch.zeros(1, 1, side, side))
    layers = {m: m.forward for m in network.backbone.modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d)}
    _, maps = network.backbone.forward_intermediates(torch.zeros(1, 1, side, side), indices=3)
    width = maps[0].shape[3]
    x = torch.zeros(1, 1, side, side, requires_grad=True)
    shrinking = x
    seen: set[int] = set()
    shapes: list[tuple[int, nn.Conv2d | nn.MaxPool2d]] = []
    hooks = [
        layer.register_forward_hook(
            lambda m, i, o: shapes.append((i[0].shape[3], m)) if o.shape != i[0].shape else None
        )
        for layer in layers
    ]
    with torch.no_grad():
        network.backbone.forward_features(x)
    for hook in hooks:
        hook.remove()
    for wide, layer in shapes:
        geometry = {"kernel_size": layer.kernel_size, "stride": layer.stride, "padding": layer.padding}
        if wide not in seen and shrinking.shape[3] == wide and wide > width:
            shrunk = nn.functional.avg_pool2d(shrinking, **geometry, count_include_pad=True)
            if shrunk.shape[3] < wide:
                seen.add(wide)
                shrinking = shrunk
    assert shrinking.shape[3] == width
    place = width // 2
    shrinking[0, 0, place, place].backward()
    reach = x.grad[0, 0].sum(dim=0)
    centre = (reach * (torch.arange(side) + 0.5)).sum() / reach.sum() / side
    assert centre.item() == pytest.approx(where[width].first + place * where[width].pitch, abs=1e-6)


def test_a_resampled_map_keeps_its_sum_and_its_locations() -> None:
    part = torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(0))
    for where in (None, Locations(0.1, 0.15)):
        torch.testing.assert_close(resample(part, 12, 10, where).sum(dim=(1, 2)), part.sum(dim=(1, 2)))
    torch.testing.assert_close(resample(part, 3, 5), part)
    spot = torch.zeros(1, 4, 4)
    spot[0, 1, 2] = 1  # at 0.2 + 1 · 0.15 and 0.2 + 2 · 0.15 of the image
    row, column = divmod(resample(spot, 20, 20, Locations(0.2, 0.15))[0].argmax().item(), 20)
    assert (row, column) == (6, 9) or (row, column) == (7, 10)


def test_embeddings_are_what_the_heads_see(shipped: MFTN, faces: torch.Tensor) -> None:
    found = shipped.embeddings(faces)
    with torch.no_grad():
        logits = shipped(faces)
        torch.testing.assert_close(shipped.mstn.head(found["MsTN head"]), logits.mstn, rtol=1e-4, atol=1e-4)
        answer = shipped.get_classifier()(found["backbone head"])
        torch.testing.assert_close(answer, logits.backbone, rtol=1e-4, atol=1e-4)


def test_a_baseline_is_explained_by_its_one_head(faces: torch.Tensor) -> None:
    network = timm.create_model("baseline_atto", in_chans=1, num_classes=8).eval()
    found = explain(network, faces.repeat(1, 1, 2, 2))
    side = 2 * faces.shape[2] // 32
    assert list(found.maps) == ["backbone head", "fused"] and not found.attention
    assert found.maps["fused"].shape == (2, side, side) and found.maps["fused"].abs().sum() > 0
    assert list(network.embeddings(faces.repeat(1, 1, 2, 2))) == ["backbone head"]
