"""One file that averages the answers of several networks."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
from numpy.typing import NDArray
from PIL import Image as PillowImage

import mftn
from mftn.cli import main
from mftn.engines import load_engine
from mftn.engines.installed import find_model
from mftn.errors import ConfigError, ModelError
from mftn.export import export_onnx
from mftn.export.recover import load_network
from mftn.models import save_model
from mftn.spec import ModelSpec
from mftn.types import Image

LARGE, SMALL = "mftn_mobile_ferplus", "mftn_face_ferplus"  # 112×112 and 48×48


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("several") / "both.onnx"
    assert main(["export", SMALL, LARGE, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def crops(astronaut: Image) -> NDArray[np.uint8]:
    """A face, brighter and darker, and parts of the photograph that are none: (4, 112, 112, 3)."""
    (face,) = mftn.load(LARGE).crops(astronaut, mftn.load(LARGE).detector.detect(astronaut)[:1])
    return np.stack([face, face // 2, astronaut[:112, :112], astronaut[300:412, 100:212]])


def resized(crops: NDArray[np.uint8], size: Sequence[int]) -> NDArray[np.uint8]:
    filtered = PillowImage.Resampling.BILINEAR
    return np.stack([PillowImage.fromarray(crop).resize((size[1], size[0]), filtered) for crop in crops])


@pytest.mark.parametrize("runs_on", ["onnxruntime", "openvino"])
def test_it_answers_with_the_geometric_mean_of_its_networks(both: Path, crops: NDArray[np.uint8], runs_on: str) -> None:
    large, small = (load_engine(find_model(name), engine="onnxruntime") for name in (LARGE, SMALL))
    first, second = large.probabilities(crops), small.probabilities(resized(crops, small.spec.size))
    expected = np.sqrt(first * second)
    expected /= expected.sum(axis=1, keepdims=True)
    engine = load_engine(both, engine=runs_on)
    np.testing.assert_allclose(engine.probabilities(crops), expected, atol=5e-3)
    assert np.abs((first + second) / 2 - expected).max() > 0.02  # the other mean would be noticed


def test_its_description_is_that_of_the_largest_and_between_their_temperatures(both: Path) -> None:
    spec, large, small = (load_engine(model).spec for model in (both, LARGE, SMALL))
    assert spec.size == large.size and spec.labels == large.labels and spec.name == "both"
    assert spec.general_temperature == pytest.approx((large.general_temperature * small.general_temperature) ** 0.5)


def test_it_recognises_photographs_like_any_model(both: Path, astronaut: Image) -> None:
    (face,) = mftn.load(both).predict(astronaut)
    assert face.expression == "happiness"


def test_what_needs_one_network_names_its_members(both: Path) -> None:
    with pytest.raises(ModelError, match=r"averages several networks \(.*mftn_face_ferplus.*\); this needs one"):
        load_network(both)


def test_several_need_a_name_for_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", LARGE, SMALL]) == 2
    assert "name it with --out" in capsys.readouterr().err
    assert main(["export", LARGE, "nobody", "--out", "both.onnx"]) == 2
    assert "nobody: neither a model file nor an installed model" in capsys.readouterr().err
    assert main(["export", "/nowhere.onnx"]) == 1
    assert "/nowhere.onnx: no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": tuple("edcba")}, "have different classes"),
        ({"template": ((0.2, 0.3),) * 5}, "align faces differently"),
    ],
)
def test_networks_that_cannot_answer_together_are_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    arguments = {"num_classes": 5, "in_chans": 1, "img_size": 32}
    spec = ModelSpec("baseline_face", tuple("abcde"), (32, 32), ((0.5, 0.5),) * 5, arguments=arguments)
    model = timm.create_model("baseline_face", **arguments)
    paths = [tmp_path / "first.safetensors", tmp_path / "second.safetensors"]
    for path, description in zip(paths, (spec, replace(spec, **change)), strict=True):  # type: ignore[arg-type]
        save_model(model, path, description)
    with pytest.raises(ConfigError, match=message):
        export_onnx(paths, tmp_path / "out.onnx", "both")
    assert not (tmp_path / "out.onnx").exists()
