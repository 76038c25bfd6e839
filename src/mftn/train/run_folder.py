"""The files of a run; each write is atomic.

config.json, environment.json (versions, git state, data fingerprint), log.csv (one row per epoch) and tensorboard/,
last.safetensors and best.safetensors (the evaluated weights, with everything that prediction needs), state.pt (for
resuming), metrics.json (validation scores of the best), curves.png, confusion.png, README.md (the model card).
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from timm.utils import ModelEmaV3

from mftn.data.manifest import MANIFEST
from mftn.errors import ConfigError, ModelError
from mftn.files import atomic_write, sha256_of, write_text
from mftn.models import Network
from mftn.train.config import TrainConfig, to_mapping

Row = dict[str, float]
"""One row of log.csv."""

MAY_CHANGE = ("out", "devices", "nodes", "accelerator", "compile", "channels_last", "save_minutes")
"""Settings that may differ in a resumed run: they change where and how fast it runs, not what it computes."""

PACKAGES = ("mftn", "torch", "torchvision", "timm", "lightning-fabric", "pytorch-optimizer", "numpy")


@dataclass(slots=True)
class Progress:
    """The progress of a run.

    Attributes:
        epoch: Number of completed epochs.
        step: Number of completed steps in the current epoch.
        sums: Sums over these steps: loss, loss of the backbone's head, loss of the MsTN's head, accuracy, seconds.
        rows: The log.
        unreadable: Images omitted because they could not be read.
    """

    epoch: int = 0
    step: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0] * 5)
    rows: list[Row] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def check_run(config: TrainConfig, resume: bool) -> None:
    """Refuse to overwrite a run, or to resume one with different settings or data.

    Raises:
        ConfigError: The folder contains another run, or none to resume.
    """
    file = config.out / "config.json"
    if not resume:
        if file.exists():
            raise ConfigError(f"{config.out}: contains a run; add --resume to continue it, or give another --out")
        if left := [name for name in ("state.pt", "best.safetensors") if (config.out / name).exists()]:
            raise ConfigError(f"{config.out / left[0]}: there is no config.json next to it; give another --out")
        return
    if not file.is_file():
        raise ConfigError(f"{config.out}: no run to resume; omit --resume to start one")
    if not (config.out / "state.pt").exists() and _had_state(config.out):
        raise ConfigError(
            f"{config.out / 'state.pt'}: missing; without it, the run would start again and replace its weights; put "
            f"it back, or give another --out, and --init-from {config.out / 'last.safetensors'} to use its weights"
        )
    before, now = _read_json(file), json.loads(json.dumps(to_mapping(config)))
    for settings in (before, now):
        for key in MAY_CHANGE:
            settings.pop(key, None)
        for key in ("workers", "folder", "unaligned"):
            settings.get("data", {}).pop(key, None)
    if others := [f"{name} was {old}" for name, old in _differences(before, now)]:
        raise ConfigError(
            f"{file}: the run to resume was started with other settings ({', '.join(sorted(others))}); "
            "use the same settings, or give another --out"
        )
    known = _read_json(config.out / "environment.json").get("data", {})
    for name, folder in _folders(config).items():
        if known.get(name) != data_fingerprint(folder):
            raise ConfigError(f"{folder}: not the data that {config.out} was started with (the manifest differs)")


def open_run(config: TrainConfig) -> None:
    """Create the run folder and record how the run was started."""
    config.out.mkdir(parents=True, exist_ok=True)
    write_text(config.out / "environment.json", json.dumps(_environment(config), indent=1))
    write_text(config.out / "config.json", json.dumps(to_mapping(config), indent=1))


def data_fingerprint(folder: Path) -> str:
    """SHA-256 of the manifest, which contains the SHA-256 of every crop."""
    return sha256_of(folder / MANIFEST)


def _had_state(out: Path) -> bool:
    """Whether state.pt was written: after the first epoch's row of the log, and before the second and metrics.json."""
    log = out / "log.csv"
    return (out / "metrics.json").exists() or (log.is_file() and len(log.read_text(encoding="utf-8").splitlines()) > 2)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{file}: cannot be read ({error}), so the run cannot continue; give another --out"
        ) from error
    return content


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "--") -> Iterator[tuple[str, Any]]:
    """Options whose values differ, as typed on the command line, with their previous values."""
    for key in before.keys() | now.keys():
        option, old, new = f"{prefix}{key.replace('_', '-')}", before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{option}.")
        elif old != new:
            yield option, old


def _folders(config: TrainConfig) -> dict[str, Path]:
    """The training data sets, by the name of their fingerprint."""
    folders = {"manifest_sha256": config.data.folder}
    if config.data.unaligned_share:
        folders["unaligned_manifest_sha256"] = Path(config.data.unaligned)
    return folders


def _environment(config: TrainConfig) -> dict[str, Any]:
    return {
        "command": sys.argv,
        "seed": config.seed,
        "data": {"folder": str(config.data.folder)}
        | {name: data_fingerprint(folder) for name, folder in _folders(config).items()},
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "machine": {
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "git": _git_state(),
    }


def _git_state() -> dict[str, Any] | None:
    """The commit, and whether files differ from it, if the package is in a git checkout."""
    here = Path(__file__)

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=here.parent, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # not if it is installed inside another repository
        commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "changed": bool(changes)}


def save_state(path: Path, model: Network, ema: ModelEmaV3 | None, optimizer: Any, progress: Progress) -> None:
    """Write everything that `load_state` needs; random numbers derive from seed, step and process only."""
    state = {
        "model": model.state_dict(),
        "ema": ema.module.state_dict() if ema else None,
        "optimizer": optimizer.state_dict(),
        "progress": {name: getattr(progress, name) for name in Progress.__slots__},
    }
    with atomic_write(path) as partial, partial.open("wb") as file:
        torch.save(state, file)


def load_state(path: Path, model: Network, ema: ModelEmaV3 | None, optimizer: Any) -> Progress:
    """Restore what `save_state` saved; without a file, change nothing.

    Raises:
        ModelError: The file cannot be read, or does not belong to this run.
    """
    if not path.is_file():
        return Progress()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        if ema:
            ema.module.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
        return Progress(**state["progress"])
    except Exception as error:  # torch raises pickle, zip, key, type, value and runtime errors here
        raise ModelError(
            f"{path}: corrupted or from another run ({type(error).__name__}), so the run cannot continue; give another "
            f"--out, and --init-from {path.with_name('last.safetensors')} to start from its weights"
        ) from error
