"""Model cards in the hub's format: their YAML, as the hub's own library reads it."""

import json
from pathlib import Path

import pytest
import timm
from huggingface_hub import ModelCard

import mftn.models  # noqa: F401 (registers the networks)

ROOT = Path(__file__).parents[2]
CARDS = [
    *ROOT.glob("src/mftn/engines/weights/*.md"),
    *ROOT.glob("weights/mftn_*/mftn_*/*.md"),
]


@pytest.mark.parametrize("path", sorted(CARDS), ids=lambda path: path.stem)
def test_the_card_of_a_model_that_ships_has_its_measured_figures(path: Path) -> None:
    card = ModelCard.load(path)
    known = json.loads(path.with_suffix(".json").read_text())
    assert card.data.model_name == path.stem
    assert card.data.license == "mit" and known["licence"].startswith("MIT")
    assert card.data.pipeline_tag == "image-classification" and card.data.library_name == "mftn"
    figures = [
        f"{result.dataset_type}, {result.dataset_config}, {result.dataset_split}, {result.metric_value}"
        for result in card.data.eval_results
    ]
    expected = []
    for what, value in known["accuracy"].items():
        data, *rest = what.split(", ")
        if data.startswith("FERPlus "):
            expected.append(f"ferplus, {rest[0]}, {data.removeprefix('FERPlus ')}, {value}")
        else:
            expected.append(f"photographs, end-to-end, test, {value}")
    assert figures == expected
    assert {result.metric_type for result in card.data.eval_results} == {"accuracy"}
    assert card.text.strip().startswith(f"# {path.stem}")


def test_a_shared_network_has_a_card(tmp_path: Path) -> None:
    network = timm.create_model("mftn_face", num_classes=8, in_chans=1, img_size=32)
    network.save_pretrained(tmp_path)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.library_name == "mftn" and "mftn_face" not in card.data.to_dict()
    assert "facial-expression-recognition" in card.data.tags and "model_hub_mixin" in card.data.tags
    assert "no description" in card.text and "More Information Needed" not in card.text
