"""Runs at the edge of what can be trained: each ends with usable weights, or is refused before anything is written."""

import dataclasses
import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import ByobNet

from mftn.cli import main
from mftn.data.dataset import FaceDataset
from mftn.data.manifest import read_manifest
from mftn.data.transforms import Preprocess
from mftn.errors import ConfigError, DataError, MFTNError, ModelError
from mftn.evaluate.inference import predict_logits
from mftn.models import MFTN, load_model
from mftn.train.check import check_network
from mftn.train.config import DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from mftn.train.loop import train
from mftn.train.stop import raise_stopped


def data_with(prepared: Path, folder: Path, **columns: object) -> Path:
    """The prepared data with a changed manifest: each column is a function of the old row."""
    (folder).mkdir()
    for path in prepared.iterdir():
        (folder / path.name).symlink_to(path)
    rows = read_manifest(prepared).to_pylist()
    rows = [row | {name: change(row) for name, change in columns.items()} for row in rows]  # type: ignore[operator]
    (folder / "manifest.parquet").unlink()
    pq.write_table(pa.Table.from_pylist(rows, read_manifest(prepared).schema), folder / "manifest.parquet")
    return folder


def run(folder: Path, out: Path, **changes: object) -> TrainConfig:
    return dataclasses.replace(TrainConfig(out=out, data=DataConfig(folder=folder), epochs=1, batch_size=8), **changes)


def votes_for(label: int) -> list[int]:
    return [10 if index == label else 0 for index in range(10)]


@pytest.mark.parametrize("name", ["mftn_face", "baseline_face"])
def test_no_images_give_no_logits(prepared: Path, name: str) -> None:
    model = timm.create_model(name, num_classes=8, in_chans=1)
    logits = predict_logits(model, FaceDataset(prepared, "valid"), Preprocess(48, 0.875, 0.5, 0.25), indices=range(0))
    assert logits.fused.shape == logits.backbone.shape == (0, 8)
    assert (logits.mstn is None) == (name == "baseline_face")


VALIDATE = """
import sys
from pathlib import Path
from mftn.train.config import DataConfig, TrainConfig
from mftn.train.loop import train
if __name__ == "__main__":
    config = TrainConfig(out=Path(sys.argv[2]), data=DataConfig(folder=Path(sys.argv[1])), epochs=1, batch_size=8,
                         devices=int(sys.argv[3]), accelerator="cpu")
    train(config, on_epoch=lambda row: print(row["valid_images"], row["valid_accuracy"]))
"""


def test_two_processes_validate_on_one_image(prepared: Path, tmp_path: Path) -> None:
    only = FaceDataset(prepared, "valid").paths[0]
    data = data_with(prepared, tmp_path / "data", split=lambda row: "valid" if row["path"] == only else "train")
    (tmp_path / "run.py").write_text(VALIDATE)
    command = [sys.executable, str(tmp_path / "run.py"), str(data), str(tmp_path / "run"), "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    images, accuracy = done.stdout.split()
    (correct,) = (json.loads((tmp_path / "run" / "metrics.json").read_text())["argmax"]["confusion"],)
    assert images == "1" and float(accuracy) == np.trace(correct)


@pytest.mark.parametrize(
    ("name", "size", "stride"), [("mftn_mobile", 31, 32), ("baseline_mobile", 16, 32), ("mftn_face", 15, 16),
                                 ("mftn_atto", 24, 32), ("baseline_atto", 31, 32)]
)  # fmt: skip
def test_images_smaller_than_the_stride_are_refused(name: str, size: int, stride: int) -> None:
    with pytest.raises(ModelError, match=f"{stride}×{stride} pixels, more than an image of {size}×{size} has"):
        timm.create_model(name, img_size=size)
    channels = 1 if "mobile" in name or "face" in name else 3
    logits = timm.create_model(name, img_size=stride).eval()(torch.zeros(1, channels, stride, stride)).fused
    assert logits.isfinite().all()


def test_a_small_size_that_the_network_cannot_take_is_refused(prepared: Path, tmp_path: Path) -> None:
    model = ModelConfig("mftn_atto", size=32)
    config = run(prepared, tmp_path / "run", model=model, epochs=2, small_epochs=1, small_size=16)
    with pytest.raises(ConfigError, match="--small-size is 16, too small for mftn_atto"):
        train(config)
    assert not config.out.exists()


def test_one_image_at_a_time_is_refused_where_batch_norm_needs_two(prepared: Path, tmp_path: Path) -> None:
    config = run(prepared, tmp_path / "run", model=ModelConfig("baseline_mobile", size=32), batch_size=2, accumulate=2)
    with pytest.raises(ConfigError, match="--batch-size is 2, which is 1 image at a time; .* at least 2"):
        train(config)
    assert not config.out.exists()
    check_network(config, images=2)
    check_network(run(prepared, tmp_path / "run", model=ModelConfig("mftn_atto", size=32)), images=1)  # layer norm
    larger = run(prepared, tmp_path / "run", model=ModelConfig("baseline_face", size=32), batch_size=1)
    assert load_model(train(larger)).training is False


@pytest.mark.parametrize("labels", ["one class", "a class is missing"])
@pytest.mark.parametrize("balance", [0.0, 1])
def test_few_classes_train_and_their_probabilities_are_finite(
    prepared: Path, tmp_path: Path, labels: str, balance: float
) -> None:
    data = data_with(
        prepared, tmp_path / "data", votes=lambda row: votes_for(0 if labels == "one class" else row["votes"][0] > 5)
    )
    settings = DataConfig(folder=data, balance=balance)
    path = train(run(data, tmp_path / "run", data=settings, logit_adjustment=0.5, optimizer=OptimizerConfig(lr=0.01)))
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert 0.05 <= figures["temperature"] <= 20
    assert all(tensor.isfinite().all() for tensor in load_file(path).values())
    assert np.isfinite(figures["argmax"]["calibration_error"])


def test_images_without_a_vote_are_left_out(prepared: Path, tmp_path: Path) -> None:
    first = FaceDataset(prepared, "train").paths[0]
    data = data_with(prepared, tmp_path / "data", votes=lambda row: [0] * 10 if row["path"] == first else row["votes"])
    found = FaceDataset(data, "train")
    assert first not in found.paths and found.excluded == 1
    torch.testing.assert_close(found.targets.sum(dim=1), torch.ones(23))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"split": lambda row: "valid"}, "has no images in the split train"),
        ({"split": lambda row: "train"}, "has no images in the split valid"),
        ({"votes": lambda row: votes_for(9)}, "the argmax protocol excludes all 24 images of the split train"),
        ({"votes": lambda row: None, "label": lambda row: None}, r"fer\d+.png has no label"),
        ({"votes": lambda row: None, "label": lambda row: "joyful"}, "has the label 'joyful'; known are neutral"),
        ({"votes": lambda row: row["votes"] if row["path"].endswith("0.png") else None}, "has no votes, but other"),
    ],
)
def test_a_split_that_teaches_nothing_is_named(
    prepared: Path, tmp_path: Path, columns: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        train(run(data_with(prepared, tmp_path / "data", **columns), tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "--epochs is 0; it must be at least 1"),
        ({"batch_size": 0}, "--batch-size is 0; it must be at least 1"),
        ({"accumulate": 0}, "--accumulate is 0"),
        ({"seed": -1}, "--seed is -1; it must be at least 0"),
        ({"seed": 2**32}, "--seed is 4294967296; it must be at least 0 and at most 4294967295"),
        ({"label_smoothing": 1.5}, "--label-smoothing is 1.5; it must be at least 0 and at most 1"),
        ({"optimizer": OptimizerConfig(lr=float("nan"))}, "--optimizer.lr is nan"),
        ({"optimizer": OptimizerConfig(lr=-1e-3)}, "--optimizer.lr is -0.001"),
        ({"optimizer": OptimizerConfig(layer_decay=0)}, "--optimizer.layer-decay is 0; it must be above 0"),
        ({"data": DataConfig(view=0)}, "--data.view is 0; it must be above 0 and at most 1"),
        ({"data": DataConfig(std=(0.0,))}, "--data.std is 0"),
        ({"model": ModelConfig(channels=2)}, "--model.channels is 2"),
        ({"model": ModelConfig(drop_rate=1)}, "--model.drop-rate is 1"),
    ],
)
def test_numbers_out_of_range_name_their_option(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train(TrainConfig(out=tmp_path / "run", **changes))


def test_every_number_of_the_configuration_has_a_range() -> None:
    from mftn.train import check
    from mftn.train.config import to_mapping

    def numbers(values: dict[str, object], prefix: str = "") -> set[str]:
        found: set[str] = set()
        for key, value in values.items():
            if isinstance(value, dict):
                found |= numbers(value, f"{prefix}{key}.")
            elif isinstance(value, float | tuple) or type(value) is int:
                found.add(prefix + key)
        return found

    checked = {*check._RANGES, *check._ABOVE_ZERO}
    others = {"teachers", "model.num_classes", "model.channels"}  # paths, and numbers with checks of their own
    assert numbers(to_mapping(TrainConfig())) == checked | others


def test_the_depth_of_the_transformer_travels_with_the_weights(prepared: Path, tmp_path: Path) -> None:
    best = train(run(prepared, tmp_path / "deep", model=ModelConfig("mftn_face", mstn_depths=(0, 2, 3))))
    again = load_model(best)
    assert isinstance(again, MFTN) and [len(branch) for branch in again.mstn.branches] == [0, 2, 3]  # type: ignore[arg-type]
    for depths, name in (((1, 1), "mftn_face"), ((1, 1, 1), "baseline_face")):
        with pytest.raises(ConfigError, match="mstn-depths: give the blocks for each of MFTN's three maps"):
            train(run(prepared, tmp_path / "refused", model=ModelConfig(name, mstn_depths=depths)))


@pytest.mark.parametrize(
    ("name", "message"), [("mftn_fase", "did you mean mftn_face"), ("resnet18", "neither MFTN nor a baseline")]
)
def test_an_architecture_that_cannot_be_trained_is_refused(
    prepared: Path, tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(run(prepared, tmp_path / "run", model=ModelConfig(name)))
    assert not (tmp_path / "run").exists()


def test_a_backbone_may_lack_checkpointing_until_it_is_asked_for(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(ByobNet, "set_grad_checkpointing")
    with pytest.raises(ConfigError, match="--model.grad-checkpointing: the backbone of mftn_face cannot"):
        train(run(prepared, tmp_path / "refused", model=ModelConfig(grad_checkpointing=True)))
    assert train(run(prepared, tmp_path / "run")).is_file()


def test_initial_weights_that_do_not_fit_leave_the_run_folder_free(prepared: Path, tmp_path: Path) -> None:
    save_file({"head.weight": torch.zeros(3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(MFTNError):
        train(run(prepared, tmp_path / "run", init_from=str(tmp_path / "other.safetensors")))
    assert not (tmp_path / "run").exists()


def test_a_run_folder_that_cannot_be_made_is_named_before_the_data_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["train", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "file" / "run")]) == 2
    assert f"--out: {tmp_path / 'file'} is not a folder; choose another location" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("saved", "message"),
    [(True, "everything so far is saved"), (False, "the last checkpoint is kept")],
)
def test_an_interruption_says_what_is_kept(
    prepared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    saved: bool,
    message: str,
) -> None:
    out = tmp_path / "run"

    def interrupted(*_: object) -> Path:
        out.mkdir()
        (out / "config.json").write_text("{}")
        if saved:
            raise_stopped(signal.SIGINT)
        raise KeyboardInterrupt

    monkeypatch.setattr("mftn.train.loop.train", interrupted)
    assert main(["train", "--data", str(prepared), "--out", str(out)]) == 130
    assert message in capsys.readouterr().err


def test_weights_that_are_no_numbers_are_not_kept(prepared: Path, tmp_path: Path) -> None:
    config = run(
        prepared, tmp_path / "run", optimizer=OptimizerConfig(name="sgd", lr=1e38, warmup_epochs=0), batch_size=24
    )
    with pytest.raises(
        MFTNError, match=r"non-finite logits for 8 validation images after epoch 1; lower --optimizer.lr"
    ):
        train(config)
    assert not (config.out / "best.safetensors").exists()


def test_a_learning_rate_of_zero_changes_no_weight(prepared: Path, tmp_path: Path) -> None:
    config = run(prepared, tmp_path / "run", optimizer=OptimizerConfig(lr=0.0))
    path = train(config)
    assert load_model(path).spec.provenance["epoch"] == 1, "of epochs that are as good, the first is the best"
    again = train(dataclasses.replace(config, out=tmp_path / "again", init_from=str(path)))
    assert torch.equal(load_file(path)["mstn.head.weight"], load_file(again)["mstn.head.weight"])


def test_resuming_names_each_changed_setting_and_a_corrupted_file(prepared: Path, tmp_path: Path) -> None:
    config = run(prepared, tmp_path / "run")
    train(config)
    changed = dataclasses.replace(config, optimizer=OptimizerConfig(lr=0.5), seed=3)
    with pytest.raises(ConfigError, match=r"\(--optimizer.lr was 0.001, --seed was 0\)"):
        train(changed, resume=True)
    state = config.out / "state.pt"
    part, content = state.read_bytes()[:1000], torch.load(state, weights_only=True)
    for other in ({"weights": torch.zeros(2)}, content | {"model": {}}, content | {"progress": {"place": 1}}):
        torch.save(other, state)
        with pytest.raises(ModelError, match="state.pt: corrupted or from another run"):
            train(config, resume=True)
    state.write_bytes(part)
    with pytest.raises(ModelError, match="state.pt: corrupted"):
        train(config, resume=True)
    (config.out / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="config.json: cannot be read"):
        train(config, resume=True)


def test_the_unaligned_copy_may_not_change_on_resuming(prepared: Path, tmp_path: Path) -> None:
    twin = data_with(prepared, tmp_path / "twin")
    config = run(prepared, tmp_path / "run", data=DataConfig(folder=prepared, unaligned=str(twin), unaligned_share=0.5))
    train(config)
    moved = twin.rename(tmp_path / "moved")
    data = dataclasses.replace(config.data, unaligned=str(moved))
    assert train(dataclasses.replace(config, data=data), resume=True).is_file()
    other = data_with(prepared, tmp_path / "other", blur=lambda row: 1.0)
    with pytest.raises(ConfigError, match="other: not the data that"):
        train(dataclasses.replace(config, data=dataclasses.replace(data, unaligned=str(other))), resume=True)


def test_a_full_disk_keeps_the_last_checkpoint_and_the_run_goes_on(prepared: Path, tmp_path: Path) -> None:
    config = run(prepared, tmp_path / "run", epochs=2)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_the_disk(row: dict[str, float]) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, unlimited[1]))

    try:
        with pytest.raises(OSError, match=r"safetensors|state\.pt"):
            train(config, on_epoch=fill_the_disk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert load_model(config.out / "last.safetensors").spec.provenance["epoch"] == 1
    assert not list(config.out.glob("*.partial"))
    train(config, resume=True)
    straight = train(dataclasses.replace(config, out=tmp_path / "straight"))
    expected, found = load_file(straight.with_name("last.safetensors")), load_file(config.out / "last.safetensors")
    assert all(torch.equal(expected[key], found[key]) for key in expected)
