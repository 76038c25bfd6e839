from pathlib import Path

import pytest

from mftn.errors import ConfigError
from mftn.train.config import TrainConfig, from_mapping, load_config, recipes, to_mapping


@pytest.mark.parametrize("name", recipes())
def test_recipes_load_and_survive_a_round_trip(name: str) -> None:
    config = load_config(name)
    assert from_mapping(TrainConfig, to_mapping(config), "copy") == config


def test_flags_files_and_defaults(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("epochs: 3\noptimizer: {lr: 1}\n")
    config = load_config(tmp_path / "mine.yaml")
    assert (config.epochs, config.optimizer.lr, config.batch_size) == (3, 1.0, TrainConfig().batch_size)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3", "unknown key epoch; did you mean epochs"),
        ("optimizer: {lrr: 1}", "optimizer: unknown key lrr; did you mean lr"),
        ("optimizer: 3", "optimizer needs keys of its own"),
        ("epochs: many", "epochs: needs int, not 'many'"),
        ("epochs: true", "epochs: needs int, not True"),
        ("precision: fp17", "'fp17' is not one of fp32, bf16"),
        ("epochs: [", "not valid YAML"),
    ],
)
def test_mistakes_are_refused_with_the_nearest_key(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        load_config(tmp_path / "bad.yaml")


def test_an_unknown_recipe_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"recipes are .*ferplus"):
        load_config("fer-plus")
