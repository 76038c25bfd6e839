"""The files of a run: each is written whole or not at all.

config.json, log.csv (one row an epoch), last.safetensors and best.safetensors (weights as they are evaluated, with all
that prediction needs), state.pt (what resuming needs), metrics.json (validation figures of the best).
"""

import csv
import json
import os
from pathlib import Path
from typing import Any

import torch
from timm.utils import ModelEmaV3

from mftn.errors import ConfigError
from mftn.models import Baseline
from mftn.train.config import TrainConfig, to_mapping

Row = dict[str, float]
"""One row of log.csv."""


def open_run(config: TrainConfig, resume: bool) -> None:
    """Make the run folder and write its configuration, or compare it with that of the run to resume.

    Raises:
        ConfigError: The folder holds another run, or none to resume.
    """
    file = config.out / "config.json"
    text = json.dumps(to_mapping(config), indent=1)
    if resume:
        if not file.is_file():
            raise ConfigError(f"{config.out}: no run to resume; leave out --resume to start one")
        if file.read_text(encoding="utf-8") != text:
            raise ConfigError(
                f"{file}: the run to resume was started with other settings; give the same, or another --out"
            )
        return
    if file.exists():
        raise ConfigError(f"{config.out}: holds a run already; add --resume to go on with it, or give another --out")
    config.out.mkdir(parents=True, exist_ok=True)
    write_text(file, text)


def save_state(
    path: Path, model: Baseline, ema: ModelEmaV3 | None, optimizer: Any, loader: Any, rows: list[Row]
) -> None:
    """Write all that `load_state` needs to go on after a whole epoch."""
    state = {
        "model": model.state_dict(),
        "ema": ema.module.state_dict() if ema else None,
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
        "order": loader.generator.get_state(),
        "rows": rows,
    }
    temporary = path.with_suffix(".partial")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_state(path: Path, model: Baseline, ema: ModelEmaV3 | None, optimizer: Any, loader: Any) -> list[Row]:
    """Put everything back as `save_state` found it, and return the log so far; without a file, nothing and no rows."""
    if not path.is_file():
        return []
    state = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    if ema:
        ema.module.load_state_dict(state["ema"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    loader.generator.set_state(state["order"])
    rows: list[Row] = state["rows"]
    return rows


def write_log(path: Path, rows: list[Row]) -> None:
    """Write the log as CSV."""
    temporary = path.with_suffix(".partial")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    temporary = path.with_suffix(".partial")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
