import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mftn.errors import ModelError
from mftn.spec import ModelSpec

TEMPLATE = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.4, 0.8), (0.6, 0.8))
SPEC = ModelSpec("mftn_face", ("neutral", "happiness"), (48, 48), TEMPLATE)


@given(
    size=st.tuples(st.integers(1, 512), st.integers(1, 512)),
    temperature=st.floats(0.1, 10),
    mean=st.floats(0, 1),
    channels=st.sampled_from([1, 3]),
    labels=st.lists(st.text(min_size=1), min_size=2, max_size=8, unique=True),
)
def test_json_gives_back_what_it_was_made_of(
    size: tuple[int, int], temperature: float, mean: float, channels: int, labels: list[str]
) -> None:
    spec = replace(
        SPEC, size=size, temperature=temperature, mean=(mean,) * channels, channels=channels, labels=tuple(labels),
        arguments={"num_classes": 2}, provenance={"epoch": 3, "training": {"lr": 0.1}}, name="mine", licence="MIT",
    )  # fmt: skip
    assert ModelSpec.from_json(spec.to_json(), "m.onnx") == spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ("a", "a")}, "different names"),
        ({"labels": ("a",)}, "two or more"),
        ({"size": (0, 48)}, "whole numbers above 0"),
        ({"template": TEMPLATE[:4]}, "five points"),
        ({"channels": 2}, "channels is 2"),
        ({"mean": (0.1, 0.2)}, "one number, or one per channel"),
        ({"std": (0.0,)}, "above 0"),
        ({"temperature": -1.0}, "above 0"),
        ({"temperature": float("nan")}, "not finite"),
        ({"architecture": ""}, "architecture is empty"),
    ],
)
def test_what_cannot_be_is_refused_by_name(change: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        replace(SPEC, **change)
    with pytest.raises(ModelError, match=rf"m\.onnx: .*{message}"):
        ModelSpec.from_json(json.dumps(json.loads(SPEC.to_json()) | change), "m.onnx")


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ("[1]", "not a JSON object"), ('{"labels": []}', "lacks architecture, size, template")],
)
def test_what_is_no_description_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=rf"m\.onnx: .*{message}"):
        ModelSpec.from_json(text, "m.onnx")


def test_a_description_of_an_earlier_version_keeps_what_it_knew() -> None:
    older = {"architecture": "mftn_face", "labels": ["a", "b"], "size": [48, 48], "template": list(map(list, TEMPLATE))}
    spec = ModelSpec.from_json(json.dumps(older | {"epoch": 7, "training": {"seed": 1}}), "old.safetensors")
    assert spec.provenance == {"epoch": 7, "training": {"seed": 1}} and spec.labels == ("a", "b")
