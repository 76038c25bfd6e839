"""Models of add-on packages: made packages with metadata on sys.path."""

import json
import shutil
import tomllib
from pathlib import Path

import pytest

import mftn
from mftn.cli import main
from mftn.engines import DEFAULT_MODEL, ModelCard, find_model, list_models, load_engine
from mftn.engines.installed import GROUP, IN_THE_CLONE
from mftn.errors import UnknownModelError

CARD = {"summary": "one", "input": "112×112 grey", "parameters": 1, "megabytes": 1.0, "accuracy": {}, "licence": "MIT"}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def add_package(site: Path, package: str, models: dict[str, dict | None], code: str = "") -> Path:
    """Install a package with these models and cards; None leaves the card out."""
    folder = site / package
    folder.mkdir()
    (folder / "__init__.py").write_text(code)
    for name, card in models.items():
        shutil.copy(find_model(), folder / f"{name}.onnx")
        (folder / f"{name}.md").write_text(f"# {name}")
        if card is not None:
            (folder / f"{name}.json").write_text(json.dumps({"name": name} | card))
    metadata = site / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[mftn.models]\n{package} = {package}\n")
    return folder


def test_models_of_an_add_on_package_are_found_and_run(
    site: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = list_models()
    folder = add_package(site, "addon_one", {"tiny_b": CARD, "tiny_a": CARD})
    assert [card.name for card in list_models()] == [*(card.name for card in shipped), "tiny_a", "tiny_b"]
    assert find_model("tiny_a") == folder / "tiny_a.onnx"
    prediction = mftn.predict(photos / "astronaut.jpg", model="tiny_a")
    assert prediction.faces[0].expression == "happiness"
    assert main(["models", "--json"]) == 0
    printed = capsys.readouterr()
    assert [card["name"] for card in json.loads(printed.out)][-2:] == ["tiny_a", "tiny_b"] and not printed.err


def test_a_model_that_ships_comes_first_and_needs_no_scan(site: Path) -> None:
    add_package(site, "addon_two", {DEFAULT_MODEL: CARD}, code="raise RuntimeError('imported')")
    assert find_model(DEFAULT_MODEL).parent.parent.name == "engines" == find_model().parent.parent.name
    add_package(site, "addon_three", {DEFAULT_MODEL: CARD})
    (card,) = [card for card in list_models() if card.name == DEFAULT_MODEL]
    assert card.summary != "one"


def test_what_cannot_be_read_is_named_and_the_rest_is_listed(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_package(site, "addon_broken", {"never": CARD}, code="raise RuntimeError('no luck')")
    add_package(site, "addon_empty", {})
    add_package(site, "addon_cards", {"without_card": None, "wrong_card": {"summary": "one"}, "good": CARD})
    assert [card.name for card in list_models()][2:] == ["good"]
    assert main(["models"]) == 0
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert "good" in printed.out and len(lines) == 4
    assert "the add-on package addon_broken: cannot be read (no luck); reinstall or remove" in lines[0]
    assert "addon_empty: cannot be read (it holds no .onnx file)" in printed.err
    assert "without_card.json" in printed.err and "wrong_card.json" in printed.err


def test_an_unknown_name_says_what_is_installed(site: Path) -> None:
    add_package(site, "addon_five", {"tiny_c": CARD})
    add_package(site, "addon_six", {}, code="raise RuntimeError('no luck')")
    with pytest.raises(UnknownModelError) as caught:
        find_model("tiny")
    message = str(caught.value)
    assert (
        "tiny: neither a model file nor an installed model (installed: mftn_face_ferplus, mftn_mobile_ferplus, "
        in message
    )
    assert "tiny_c" in message and "the add-on package addon_six: cannot be read (no luck)" in message


def test_export_says_what_to_do_with_a_models_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", DEFAULT_MODEL]) == 2
    error = capsys.readouterr().err
    assert f"use it as --model {DEFAULT_MODEL}" in error and f"mftn export {find_model()} --out" in error


@pytest.mark.parametrize("wanted", IN_THE_CLONE)
def test_models_in_packages_of_their_own_say_how_to_install_them_and_are_complete(wanted: str) -> None:
    with pytest.raises(UnknownModelError, match=rf"pip install \./weights/{wanted}"):
        find_model(wanted)
    package = Path(__file__).parents[1] / IN_THE_CLONE[wanted]
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    ((name, module),) = project["entry-points"][GROUP].items()
    (model,) = (package / module).glob("*.onnx")
    card = ModelCard(**json.loads(model.with_suffix(".json").read_text()))
    assert wanted == name == model.stem == card.name == load_engine(model).spec.name
    assert model.with_suffix(".md").is_file() and abs(model.stat().st_size / 1e6 - card.megabytes) < 0.1
    assert card.megabytes <= 60
