import csv
import dataclasses
import json
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from huggingface_hub import ModelCard
from matplotlib.figure import Figure
from PIL import Image as PillowImage
from safetensors.torch import load_file

from mftn.data.dataset import FaceDataset
from mftn.data.manifest import read_manifest
from mftn.data.prepare import ferplus_preparation, prepare
from mftn.data.readers import read_records
from mftn.data.transforms import Augmentation
from mftn.errors import ConfigError, DataError, MFTNError
from mftn.models import load_model
from mftn.train.config import DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from mftn.train.curves import draw_curves
from mftn.train.loop import StepReport, train
from mftn.train.network import build_model
from mftn.train.optimizer import learning_rate
from mftn.train.run_folder import data_fingerprint, open_run


def run(prepared: Path, out: Path, **changes: object) -> TrainConfig:
    config = TrainConfig(
        out=out,
        data=DataConfig(folder=prepared),
        model=ModelConfig(drop_rate=0.1, drop_path_rate=0.1),
        optimizer=OptimizerConfig(lr=1e-3),
        epochs=2,
        batch_size=8,
        ema_decay=0.9,
    )
    return dataclasses.replace(config, **changes)


def test_a_run_leaves_usable_weights_and_an_honest_log(prepared: Path, tmp_path: Path) -> None:
    reports: list[StepReport] = []
    best = train(config := run(prepared, tmp_path / "run"), on_step=reports.append)
    assert [report.steps for report in reports] == [6] * 6
    rates = [learning_rate(config.optimizer, done / 3, 2) for done in range(6)]
    assert [report.rate for report in reports] == pytest.approx(rates)
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for row, steps in zip(rows, (reports[:3], reports[3:]), strict=True):
        means = np.mean([dataclasses.astuple(step.result) for step in steps], axis=0)
        names = ("train_loss", "train_loss_backbone", "train_loss_mstn", "train_accuracy")
        assert [float(row[name]) for name in names] == pytest.approx(list(means), rel=1e-4)
        assert float(row["lr"]) == pytest.approx(steps[-1].rate, rel=1e-4)
    model = load_model(best)
    assert model.spec.labels[0] == "neutral" and len(model.spec.template) == 5 and model.spec.temperature > 0
    assert model(torch.zeros(1, 1, 48, 48)).fused.shape == (1, 8)
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert figures["argmax"]["images"] == 8
    assert max(float(row["valid_accuracy"]) for row in rows) == pytest.approx(figures["argmax"]["accuracy"])
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["data"]["manifest_sha256"] == data_fingerprint(prepared)
    for figure in ("curves.png", "confusion.png"):
        assert min(PillowImage.open(tmp_path / "run" / figure).size) > 300
    card = (tmp_path / "run" / "README.md").read_text()
    assert "8 images: accuracy" in card and "| contempt |" in card
    results = {(result.dataset_config, result.metric_type): result for result in ModelCard(card).data.eval_results}
    assert results["argmax", "accuracy"].metric_value == pytest.approx(figures["argmax"]["accuracy"], abs=1e-4)
    assert results["majority", "recall"].metric_config == "macro"
    assert results["argmax", "accuracy"].dataset_split == "validation"
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(prepared: Path, tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(run(prepared, tmp_path / name, seed=seed, epochs=1))
        weights.append(load_file(tmp_path / name / "last.safetensors")["mstn.head.weight"])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_moving_average_over_all_steps_is_what_is_saved(prepared: Path, tmp_path: Path) -> None:
    config, saved = run(prepared, tmp_path / "run", batch_size=24, epochs=3), []  # one step per epoch
    train(config, on_epoch=lambda row: saved.append(load_file(config.out / "last.safetensors")["mstn.head.weight"]))
    last = torch.load(config.out / "state.pt", weights_only=True)["model"]["mstn.head.weight"]
    assert not torch.equal(saved[2], last)
    torch.testing.assert_close(saved[2], torch.lerp(last, saved[1], 1 - 2 ** (-2 / 3)))  # timm's decay warms up


def test_every_step_has_its_own_random_numbers(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    monkeypatch.setattr("torch.manual_seed", seeds.append)
    train(run(prepared, tmp_path / "run"))
    assert len(set(seeds)) == len(seeds) == 7, "one for the first weights, and six steps"


def assert_same_weights(first: TrainConfig, second: TrainConfig) -> None:
    expected, found = (load_file(config.out / "last.safetensors") for config in (first, second))
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def assert_resuming_changes_nothing(straight: TrainConfig, stop_after: int) -> None:
    """Stopped after an epoch and resumed, a run must end with the weights of one that went straight through."""
    stopped = dataclasses.replace(straight, out=straight.out.with_name("stopped"))
    train(straight)

    def stop(row: dict[str, float]) -> None:
        if row["epoch"] == stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(stopped, on_epoch=stop)
    train(stopped, resume=True)
    assert_same_weights(straight, stopped)


@pytest.mark.parametrize("rho", [0.0, 0.05])
def test_a_resumed_run_equals_one_that_went_straight_through(prepared: Path, tmp_path: Path, rho: float) -> None:
    optimizer = OptimizerConfig(lr=1e-3, sam_rho=rho)
    assert_resuming_changes_nothing(run(prepared, tmp_path / "straight", epochs=3, optimizer=optimizer), 2)


# In a process of its own, as a user's: the test runner's must not see the signal.
SIGNALLED = """
import pickle, signal, sys
from mftn.train.loop import train

config, number, at = pickle.load(sys.stdin.buffer)

def stop(report):
    if report.done == at:  # noted there, honoured after the next of three steps, or after the validation between
        signal.raise_signal(number)

train(config, on_step=stop)
"""


@pytest.mark.parametrize(
    ("number", "status", "at", "left", "workers", "settings"),
    [
        (signal.SIGINT, -signal.SIGINT, 3, [4, 5, 6], 0, {}),
        (
            *(signal.SIGTERM, 128 + signal.SIGTERM, 4, [6], 1),
            {"optimizer": OptimizerConfig(lr=1e-3, sam_rho=0.05), "mixup": 0.5},
        ),
    ],
)
def test_a_signal_saves_and_resuming_changes_nothing(
    prepared: Path,
    tmp_path: Path,
    number: int,
    status: int,
    at: int,
    left: list[int],
    workers: int,
    settings: dict[str, object],
) -> None:
    data = DataConfig(folder=prepared, balance=0.5, workers=workers)
    augmentation = Augmentation(rotation=10, noise=0.1, erasing=0.5, policy="trivialaugment")
    straight = run(prepared, tmp_path / "straight", data=data, augmentation=augmentation, **settings)
    stopped = dataclasses.replace(straight, out=tmp_path / "stopped")
    train(straight)
    command = [sys.executable, "-X", "faulthandler", "-c", SIGNALLED]
    done = subprocess.run(command, input=pickle.dumps((stopped, number, at)), capture_output=True, check=False)
    assert done.returncode == status, done.stderr.decode()
    steps: list[int] = []
    train(stopped, resume=True, on_step=lambda report: steps.append(report.done))
    assert steps == left
    assert_same_weights(straight, stopped)
    rows = [list(csv.DictReader((c.out / "log.csv").open())) for c in (straight, stopped)]
    for one, other in zip(*rows, strict=True):
        assert {**one, "seconds": ""} == {**other, "seconds": ""}


def test_a_signal_during_the_last_validation_is_heeded(prepared: Path, tmp_path: Path) -> None:
    config = run(prepared, tmp_path / "run", epochs=1)
    with pytest.raises(SystemExit, match="143"):
        train(config, on_epoch=lambda row: signal.raise_signal(signal.SIGTERM))
    assert not (config.out / "metrics.json").exists()
    steps: list[int] = []
    train(config, resume=True, on_step=lambda report: steps.append(report.done))
    assert not steps and (config.out / "metrics.json").exists()


def test_a_log_that_could_not_be_written_is_whole_after_resuming(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run(prepared, tmp_path / "run", epochs=1)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr("mftn.train.loop.write_csv", Mock(side_effect=OSError("no space")))
        train(config)
    train(config, resume=True)
    assert len(list(csv.DictReader((config.out / "log.csv").open()))) == 1


def test_a_run_stopped_in_its_first_epoch_starts_again(prepared: Path, tmp_path: Path) -> None:
    config = run(prepared, tmp_path / "run", epochs=1)

    def stop(report: StepReport) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, on_step=stop)
    assert train(config, resume=True).is_file()


def test_a_run_that_lost_its_state_keeps_its_weights(prepared: Path, tmp_path: Path) -> None:
    """state.pt is the largest file of a run, and the first that people delete."""
    config = run(prepared, tmp_path / "run")
    best = train(config)
    (config.out / "state.pt").unlink()
    before, log = best.read_bytes(), config.out / "log.csv"
    for finished in (True, False):
        if not finished:
            (config.out / "metrics.json").unlink()
        with pytest.raises(ConfigError, match=r"state.pt: missing; .* replace its weights.*--init-from .*last.safe"):
            train(config, resume=True)
    assert best.read_bytes() == before
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:2]))  # killed at the end of the first epoch
    assert train(config, resume=True).is_file()


def test_small_images_first(prepared: Path, tmp_path: Path) -> None:
    train(run(prepared, tmp_path / "run", small_epochs=1, small_size=32))
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    assert [row["size"] for row in rows] == ["32", "48"]
    model = load_model(tmp_path / "run" / "best.safetensors")
    assert model.spec.provenance["epoch"] == 2, "an epoch at another size is no candidate for the best"


def test_the_curves_mark_the_best_epoch_of_the_size_that_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr("mftn.train.curves.save_figure", lambda figure, path: drawn.append(figure))
    names = ("train_loss", "train_loss_backbone", "train_loss_mstn", "train_accuracy", "valid_macro_recall", "lr")
    row = dict.fromkeys(names, 0.1)
    sizes_and_accuracies = [
        (64.0, 0.9),
        (48.0, 0.7),
        (48.0, 0.8),
        (48.0, 0.6),
    ]
    rows = [
        row | {"epoch": epoch, "size": size, "valid_accuracy": accuracy}
        for epoch, (size, accuracy) in enumerate(sizes_and_accuracies, start=1)
    ]
    draw_curves(rows, tmp_path / "curves.png")
    (best,) = (line for axes in drawn[0].axes for line in axes.lines if line.get_label() == "best")
    assert (list(best.get_xdata()), list(best.get_ydata())) == ([3], [80])


def test_a_baseline_trains_in_the_same_loop(prepared: Path, tmp_path: Path) -> None:
    best = train(run(prepared, tmp_path / "run", epochs=1, model=ModelConfig(architecture="baseline_face")))
    assert load_model(best)(torch.zeros(1, 1, 48, 48)).mstn is None


def test_a_run_is_not_overwritten_and_not_resumed_with_other_settings(prepared: Path, tmp_path: Path) -> None:
    config = run(prepared, tmp_path / "run", epochs=1)
    with pytest.raises(ConfigError, match="no run to resume"):
        train(config, resume=True)
    train(config)
    with pytest.raises(ConfigError, match="--resume"):
        train(config)
    with pytest.raises(ConfigError, match="other settings"):
        train(dataclasses.replace(config, epochs=5), resume=True)
    (config.out / "config.json").unlink()
    for left in ("state.pt", "best.safetensors"):
        with pytest.raises(ConfigError, match=f"{left}: there is no config.json next to it"):
            train(dataclasses.replace(config, seed=1))
        (config.out / left).unlink()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"small_epochs": 2}, "--small-epochs is 2 of 2"),
        ({"model": ModelConfig(num_classes=7)}, "--model.num-classes is 7, but .* has 8"),
        ({"batch_size": 100}, "--batch-size is 100, but .* has 24"),
        ({"accumulate": 3}, "is not divisible by 1 processes × --accumulate 3"),
        ({"nodes": 2}, "--nodes is 2, but the machines cannot find each other"),
        ({"accelerator": "cuda", "devices": 99}, "this machine has .* GPUs for --devices 99"),
        ({"init_from": "convnext_bace"}, "--init-from convnext_bace: neither a file nor a timm model"),
    ],
)
def test_contradictions_are_refused_before_anything_is_written(
    prepared: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(run(prepared, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_the_git_state_is_that_of_the_package_and_not_of_the_repository_around_it(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    package = tmp_path / "environment" / "run_folder.py"
    package.parent.mkdir()
    package.touch()
    monkeypatch.setattr("mftn.train.run_folder.__file__", str(package))
    git("init")
    git("commit", "--allow-empty", "-m", "a study")
    states = []
    for name in ("study", "checkout"):
        open_run(run(prepared, tmp_path / name))
        states.append(json.loads((tmp_path / name / "environment.json").read_text())["git"])
        git("add", "environment")
        git("commit", "--allow-empty", "-m", "the package")
    assert states[0] is None
    assert states[1]["changed"] is False and len(states[1]["commit"]) == 40


def test_more_devices_than_gpus_are_refused_where_the_gpus_are_found_by_themselves(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(ConfigError, match="--accelerator is auto, but this machine has 1 usable GPUs for --devices 4"):
        train(run(prepared, tmp_path / "run", accelerator="auto", devices=4))
    assert not (tmp_path / "run").exists()


def test_processes_that_the_settings_do_not_name_are_refused(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")  # as torchrun --nproc-per-node 2 sets it
    with pytest.raises(ConfigError, match="2 processes were launched, but --devices 1 × --nodes 1 make 1"):
        train(run(prepared, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_waiting_for_other_machines_ends_on_ctrl_c(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mftn.train.loop.launch", lambda config: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(run(prepared, tmp_path / "run"))


def test_missing_data_and_a_diverging_loss_are_named(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="mftn prepare"):
        train(run(tmp_path / "nowhere", tmp_path / "a"))
    with pytest.raises(
        MFTNError, match=r"loss became (nan|inf) in epoch \d+, step [123] of 3, at a learning rate of \S*e\+"
    ):
        train(run(prepared, tmp_path / "b", epochs=20, optimizer=OptimizerConfig(name="sgd", lr=1e30, warmup_epochs=0)))


def test_a_second_stage_starts_from_given_weights_and_resumes_exactly(
    prepared: Path, ferplus_root: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    prepare(read_records("ferplus", ferplus_root), whole, ferplus_preparation(64, detector="none"), workers=1)
    first = train(run(prepared, tmp_path / "first", epochs=1))
    data = DataConfig(folder=prepared, balance=0.5, unaligned=str(whole), unaligned_share=0.5)
    still = run(
        prepared, tmp_path / "still", epochs=1, init_from=str(first), optimizer=OptimizerConfig(lr=0.0), data=data
    )
    train(still)
    travels = load_model(tmp_path / "still" / "last.safetensors").spec.to_json()
    assert f'"init_from": "{first.name}"' in travels and str(tmp_path) not in travels, "folders stay private"
    before, after = load_file(first), load_file(tmp_path / "still" / "last.safetensors")
    assert torch.equal(before["mstn.head.weight"], after["mstn.head.weight"])

    assert_resuming_changes_nothing(run(prepared, tmp_path / "straight", init_from=str(first), data=data), 1)


def test_missing_first_weights_are_named_before_the_run_folder_is_made(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--init-from nowhere.safetensors: neither a file nor a timm model"):
        train(run(prepared, tmp_path / "run", init_from="nowhere.safetensors"))
    assert not (tmp_path / "run").exists()


def test_an_unaligned_share_needs_its_data_set(prepared: Path, tmp_path: Path) -> None:
    data = DataConfig(folder=prepared, unaligned_share=0.5)
    with pytest.raises(ConfigError, match=r"make it with `mftn prepare .* --detector none`"):
        train(run(prepared, tmp_path / "run", data=data))


def test_where_and_how_fast_may_change_on_resuming_and_the_data_may_not(prepared: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(prepared, data)
    config = run(data, tmp_path / "run", epochs=1)
    train(config)
    assert train(dataclasses.replace(config, save_minutes=1.0), resume=True).is_file()
    pq.write_table(read_manifest(data), data / "manifest.parquet", compression="gzip")
    with pytest.raises(ConfigError, match="not the data that"):
        train(config, resume=True)


def copy_with_unreadable(prepared: Path, folder: Path, split: str, count: int) -> Path:
    shutil.copytree(prepared, folder)
    for path in FaceDataset(folder, split).paths[:count]:
        (folder / path).write_bytes((folder / path).read_bytes()[:100])
    return folder


@pytest.mark.parametrize("in_memory", [True, False])
def test_unreadable_training_images_are_skipped_and_named(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: bool
) -> None:
    monkeypatch.setattr("mftn.train.loop.MAX_UNREADABLE", 0.05)
    if not in_memory:
        monkeypatch.setattr("mftn.data.dataset.IN_MEMORY", 0)
    data = copy_with_unreadable(prepared, tmp_path / "data", "train", 1)
    train(run(data, tmp_path / "run", epochs=1))
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
    bad = FaceDataset(prepared, "train").paths[0]
    assert figures["unreadable"] == [bad]
    assert "1 training images could not be read" in (tmp_path / "run" / "README.md").read_text()


@pytest.mark.parametrize(("split", "message"), [("train", "1 of 24 training images"), ("valid", "cannot be read")])
def test_too_many_unreadable_images_or_one_that_validates_stop_the_run(
    prepared: Path, tmp_path: Path, split: str, message: str
) -> None:
    data = copy_with_unreadable(prepared, tmp_path / "data", split, 1)
    with pytest.raises(DataError, match=message):
        train(run(data, tmp_path / "run", epochs=1))


def test_the_backbone_keeps_its_weights_while_it_is_frozen(prepared: Path, tmp_path: Path) -> None:
    config = run(prepared, tmp_path / "run", optimizer=OptimizerConfig(lr=1e-3, freeze_epochs=1), ema_decay=0.0)
    weights: list[dict[str, torch.Tensor]] = []
    train(config, on_epoch=lambda row: weights.append(load_file(config.out / "last.safetensors")))
    torch.manual_seed(config.seed)
    first = build_model(config).state_dict()
    body, head, norm = "backbone.stem.conv.weight", "backbone.head.fc.weight", "backbone.stem.bn.running_mean"
    assert torch.equal(weights[0][body], first[body]) and torch.equal(weights[0][norm], first[norm])
    assert not torch.equal(weights[0][head], first[head])
    assert not torch.equal(weights[1][body], first[body])
    assert_resuming_changes_nothing(dataclasses.replace(config, out=tmp_path / "straight"), 1)


def test_first_weights_come_from_timm_or_from_part_of_a_file(prepared: Path, tmp_path: Path) -> None:
    source = timm.create_model("convnext_atto", num_classes=5)
    timm.models.save_for_hf(source, tmp_path / "timm", model_config={"num_classes": 5})
    still = run(
        prepared,
        tmp_path / "run",
        epochs=1,
        model=ModelConfig("mftn_atto", channels=3, size=32),
        optimizer=OptimizerConfig(lr=0.0),
        init_from=f"local-dir:{tmp_path / 'timm'}",
    )
    train(still)
    after = load_file(still.out / "last.safetensors")
    assert torch.equal(after["backbone.stages.2.blocks.0.conv_dw.weight"], source.stages[2].blocks[0].conv_dw.weight)
    torch.manual_seed(still.seed)
    assert torch.equal(after["backbone.head.fc.weight"], build_model(still).get_classifier().weight)  # type: ignore[arg-type]

    weights = str(still.out / "last.safetensors")
    train(dataclasses.replace(still, out=tmp_path / "part", init_from=weights, init_part="trunk", seed=1))
    part = load_file(tmp_path / "part" / "last.safetensors")
    assert torch.equal(part["backbone.stem.0.weight"], after["backbone.stem.0.weight"])
    assert not torch.equal(part["mstn.head.weight"], after["mstn.head.weight"])
