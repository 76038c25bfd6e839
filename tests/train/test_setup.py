"""Every setting of a run reaches what it is for."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lightning_fabric import Fabric

from mftn.data.manifest import read_manifest
from mftn.data.sampler import BatchSampler
from mftn.data.transforms import Augmentation
from mftn.train.config import DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from mftn.train.loop import StepReport, train
from mftn.train.setup import make_loader, make_splits


def test_batches_are_drawn_as_the_settings_say(prepared: Path) -> None:
    data = DataConfig(folder=prepared, balance=0.5, unaligned=str(prepared), unaligned_share=0.4)
    train_set, _ = make_splits(config := TrainConfig(data=data, batch_size=8, seed=3))
    _, sampler = make_loader(config, train_set, Fabric(accelerator="cpu", devices=1))
    assert list(sampler) == list(BatchSampler(train_set.labels.numpy(), 8, 3, balance=0.5, unaligned_share=0.4))
    assert train_set.unaligned_crops is not None


@pytest.mark.parametrize(("drop", "left"), [(False, 24), (True, 23)])
def test_copies_of_validated_images_are_dropped_if_asked(prepared: Path, tmp_path: Path, drop: bool, left: int) -> None:
    table, rng = read_manifest(prepared), np.random.default_rng(0)
    hashes = [rng.bytes(32) for _ in range(len(table))]
    hashes[table["split"].index("train").as_py()] = hashes[table["split"].index("valid").as_py()]
    column = table.schema.get_field_index("phash")
    pq.write_table(table.set_column(column, table.schema.field(column), pa.array(hashes, pa.binary(32))),
                   tmp_path / "manifest.parquet")  # fmt: skip
    for name in ("dataset.json", "train", "valid"):
        (tmp_path / name).symlink_to(prepared / name)
    train_set, valid_set = make_splits(TrainConfig(data=DataConfig(folder=tmp_path, drop_copies=drop)))
    assert (len(train_set), len(valid_set)) == (left, 8)


def first_loss(config: TrainConfig) -> float:
    losses: list[float] = []

    def stop(report: StepReport) -> None:
        losses.append(report.result.loss)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, on_step=stop)
    return losses[0]


def test_settings_change_the_first_step(prepared: Path, tmp_path: Path) -> None:
    data = DataConfig(folder=prepared)
    plain = TrainConfig(data=data, model=ModelConfig("baseline_face"), optimizer=OptimizerConfig(lr=0.0), batch_size=24)
    settings = {
        "plain": {},
        "hard labels": {"data": dataclasses.replace(data, soft_targets=False)},
        "balance": {"data": dataclasses.replace(data, balance=1.0)},
        "augmentation": {"augmentation": Augmentation(brightness=3.0)},
        "mixup": {"mixup": 1.0},
        "label smoothing": {"label_smoothing": 0.2},
        "dropout": {"model": ModelConfig("baseline_face", drop_rate=0.5)},
        "size": {"model": ModelConfig("baseline_face", size=32)},
    }
    losses = {
        name: first_loss(dataclasses.replace(plain, out=tmp_path / name, **changes))  # type: ignore[arg-type]
        for name, changes in settings.items()
    }
    assert len(set(losses.values())) == len(settings), losses
