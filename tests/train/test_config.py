import json
from dataclasses import replace
from pathlib import Path

import pytest

from mftn.cli import prepare, train
from mftn.cli.train import parse
from mftn.errors import ConfigError
from mftn.train.config import (
    ModelConfig,
    TrainConfig,
    as_baseline,
    load_config,
    recipes,
    to_mapping,
)
from mftn.train.mapping import from_mapping


@pytest.mark.parametrize("name", recipes())
def test_recipes_load_and_survive_a_round_trip(name: str) -> None:
    config = load_config(name)
    assert from_mapping(TrainConfig, to_mapping(config), "copy") == config


def test_flags_files_and_defaults(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("epochs: 3\noptimizer: {lr: 1}\n")
    config = load_config(tmp_path / "mine.yaml")
    assert (config.epochs, config.optimizer.lr, config.batch_size) == (3, 1.0, TrainConfig().batch_size)
    (tmp_path / "deep.yaml").write_text("model: {architecture: mftn_face, mstn_depths: [3, 2, 1]}\n")
    assert load_config(tmp_path / "deep.yaml").model.mstn_depths == (3, 2, 1)
    assert load_config(tmp_path / "deep.yaml", baseline=True).model.mstn_depths == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3", "unknown key epoch; did you mean epochs"),
        ("optimizer: {lrr: 1}", "optimizer: unknown key lrr; did you mean lr"),
        ("optimizer: 3", "optimizer needs keys and values"),
        ("epochs: many", "epochs: needs int, not 'many'"),
        ("epochs: true", "epochs: needs int, not True"),
        ("precision: fp17", "'fp17' is not one of auto, fp32, bf16"),
        ("epochs: [", "not valid YAML"),
        ("1: 2", "unknown key 1; there are"),
        ("out: 5", "out: needs a path, not 5"),
        ("data: {folder: [a]}", "data: folder: needs a path, not ['a']"),
        ("extends: bad.yaml", "bad.yaml: extends itself"),
        ("model: {mstn_depths: [1, 1.5, 1]}", "mstn_depths: needs a list of whole numbers"),
        ("augmentation: {erasing_area: [0.1]}", "erasing_area: needs a list of 2 numbers"),
    ],
)
def test_mistakes_are_refused_with_the_nearest_key(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        load_config(tmp_path / "bad.yaml")


def test_powers_of_ten_are_numbers_and_a_run_can_be_started_from_the_settings_of_another(tmp_path: Path) -> None:
    (tmp_path / "short.yaml").write_text("optimizer: {lr: 1e-3, weight_decay: .5E+1}\ndata: {std: [25e-2]}\n")
    config = load_config(tmp_path / "short.yaml")
    assert (config.optimizer.lr, config.optimizer.weight_decay, config.data.std) == (0.001, 5.0, (0.25,))
    config = replace(config, optimizer=replace(config.optimizer, lr=1e-5))
    (tmp_path / "config.json").write_text(json.dumps(to_mapping(config), indent=1))
    assert load_config(tmp_path / "config.json") == config


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"out: caf\xe9\n")
    with pytest.raises(ConfigError, match=r"latin.yaml: not valid YAML: .*utf-8"):
        load_config(tmp_path / "latin.yaml")


def test_an_unknown_recipe_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"there are .*ferplus"):
        load_config("xyz")


def test_a_recipe_extends_another_and_says_only_what_differs(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: affectnet_8_paper\nmodel: {drop_path_rate: 0.5}\nepochs: 3\n")
    config = load_config(tmp_path / "mine.yaml")
    assert (config.model.drop_path_rate, config.model.num_classes, config.epochs) == (0.5, 8, 3)
    (tmp_path / "child.yaml").write_text("extends: mine.yaml\nseed: 4\n")  # beside it, wherever the command is run
    assert load_config(tmp_path / "child.yaml") == replace(config, seed=4)
    (tmp_path / "bad.yaml").write_text("extends: affectnet_9\n")
    with pytest.raises(ConfigError, match="did you mean affectnet_8"):
        load_config(tmp_path / "bad.yaml")


PUBLISHED = {  # rate, decay, epochs, erasing probability and area, balance, classes: the released code
    "raf_db_paper": (2.5e-4, 0.95, 100, 0.5, (0.02, 0.1), 0.0, 7),
    "affectnet_7_paper": (2.5e-4, 0.95, 100, 1.0, (0.05, 0.07), 1.0, 7),
    "affectnet_8_paper": (2.5e-5, 0.98, 60, 1.0, (0.05, 0.07), 1.0, 8),
    "expw_paper": (2.5e-4, 0.95, 100, 1.0, (0.05, 0.07), 1.0, 7),
}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("baseline", [False, True])
def test_the_paper_recipes_hold_the_published_settings(name: str, baseline: bool) -> None:
    c = load_config(name, baseline)
    found = (c.optimizer.lr, c.optimizer.decay, c.epochs, c.augmentation.erasing, c.augmentation.erasing_area)
    assert (*found, c.data.balance, c.model.num_classes) == PUBLISHED[name]
    assert (c.optimizer.name, c.optimizer.sam_rho, c.optimizer.schedule) == ("adam", 0.05, "exponential")
    assert (c.batch_size, c.label_smoothing, c.lambda_mstn, c.model.drop_path_rate) == (128, 0.1, 0.55, 0.25)
    assert c.model.architecture == ("baseline_base" if baseline else "mftn_base")


@pytest.mark.parametrize("baseline", [False, True])
@pytest.mark.parametrize("name", recipes())
def test_every_recipe_names_a_network_that_can_be_built(name: str, baseline: bool) -> None:
    import torch

    from mftn.train.network import build_model

    config = load_config(name, baseline)
    with torch.device("meta"):
        logits = build_model(config)(torch.empty(2, config.model.channels, config.model.size, config.model.size))
    assert logits.fused.shape == (2, config.model.num_classes)
    assert (logits.mstn is None) == baseline


@pytest.mark.parametrize("name", ["ferplus", "raf_db", "expw_paper"])
def test_a_baseline_differs_in_architecture_and_run_folder_alone(name: str, tmp_path: Path) -> None:
    config, baseline = load_config(name), load_config(name, baseline=True)
    assert baseline.model.architecture == config.model.architecture.replace("mftn", "baseline")
    assert baseline.out == Path("runs", f"{name}_baseline")
    assert replace(baseline, out=config.out, model=config.model) == config
    assert load_config(f"{name}_baseline") == baseline == load_config(f"{name}_baseline", baseline=True)
    (tmp_path / "mine.yaml").write_text(f"extends: {name}_baseline\n")
    assert load_config(tmp_path / "mine.yaml") == baseline


def test_the_command_takes_a_baseline_by_flag_and_by_its_former_name(caplog: pytest.LogCaptureFixture) -> None:
    by_flag = parse(["--config", "ferplus", "--baseline", "--epochs", "40"])
    assert by_flag.run == replace(load_config("ferplus", baseline=True), epochs=40)
    assert not caplog.text
    assert parse(["--config", "ferplus_baseline", "--epochs", "40"]).run == by_flag.run
    assert "use --config ferplus --baseline" in caplog.text
    with pytest.raises(ConfigError, match="--baseline cannot train mftn_face; omit one"):
        parse(["--config", "ferplus", "--baseline", "--model.architecture", "mftn_face"])
    with pytest.raises(ConfigError, match="vgg: has no baseline"):
        as_baseline(TrainConfig(model=ModelConfig("vgg")))


def test_the_examples_of_the_help_prepare_what_the_recipe_reads() -> None:
    for command, option in ((prepare, "--out"), (train, "--data")):
        (example,) = (line.split() for line in command.EXAMPLES if "raf" in line)
        assert Path(example[example.index(option) + 1]) == load_config("raf_db").data.folder
