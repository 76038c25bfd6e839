"""What a training run is made of. A recipe (YAML) names what differs from these defaults, flags override both."""

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from mftn.data.transforms import Augmentation
from mftn.errors import ConfigError

Config = TypeVar("Config")


@dataclass(frozen=True, slots=True)
class DataConfig:
    """What is learnt from.

    Attributes:
        folder: A prepared data set (`mftn prepare`).
        protocol: Which pictures count, and their class.
        soft_targets: Learn the raters' distribution in place of one class.
        view: The network's share of the stored crop's side.
        mean: Of a channel, on the scale 0 to 1.
        std: Of a channel, on the scale 0 to 1.
        workers: Loader processes; the crops lie in memory, so none is usually fastest.
        balance: 0 draws pictures as they are, 1 draws every class equally often; between, by count^(−balance).
        unaligned: The same data set prepared with `--detector none`; empty for none.
        unaligned_share: Share of training pictures taken from there, so that crops which arrive as they are fare well.
    """

    folder: Annotated[Path, tyro.conf.arg(aliases=["--data"])] = Path("data/ferplus")
    protocol: Literal["majority", "argmax"] = "argmax"
    soft_targets: bool = True
    view: float = 0.875
    mean: float = 0.5
    std: float = 0.25
    workers: int = 0
    balance: float = 0.0
    unaligned: str = ""
    unaligned_share: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What is trained.

    Attributes:
        architecture: A registered name, such as mftn_face or baseline_face.
        num_classes: K.
        channels: 1 for grey, 3 for colour.
        size: Side of the input in pixels.
        drop_rate: Dropout before the backbone's classifier.
        drop_path_rate: Stochastic depth of the last block.
    """

    architecture: str = "mftn_face"
    num_classes: int = 8
    channels: int = 1
    size: int = 48
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """How the weights move.

    Attributes:
        name: The optimizer, or SAM's inner one.
        sam_rho: Radius of sharpness-aware minimisation; 0 is off.
        lr: Highest learning rate.
        weight_decay: Decoupled for AdamW; norms and biases are left alone.
        schedule: cosine falls to zero; exponential multiplies by `decay` after each epoch.
        decay: Factor an epoch of the exponential schedule.
        warmup_epochs: The rate rises linearly over these; parts of an epoch count.
        clip_norm: Gradients longer than this are shortened; 0 is off.
    """

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    sam_rho: float = 0.0
    lr: float = 1e-3
    weight_decay: float = 0.05
    schedule: Literal["cosine", "exponential"] = "cosine"
    decay: float = 0.95
    warmup_epochs: float = 1.0
    clip_norm: float = 0.0


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """A training run.

    Attributes:
        out: The run folder to make.
        data: What is learnt from.
        model: What is trained.
        optimizer: How the weights move.
        init_from: Weights to start from (safetensors of a run of the same network); empty starts at random.
        augmentation: What training changes at random.
        epochs: Passes over the training split.
        batch_size: Pictures a step, over all processes.
        small_epochs: The first epochs see pictures of `small_size`, which is faster.
        small_size: Side of the input in the first epochs, in pixels.
        lambda_mstn: λ of the joint loss.
        label_smoothing: Probability mass spread evenly over the classes.
        ema_decay: Decay a step of the weights' moving average, which is what is evaluated and kept; 0 is off.
        seed: Of every random number.
        precision: fp32, or bf16 mixed precision where the processor has it.
        devices: Processes on this machine.
        accelerator: What to compute on.
    """

    out: Path = Path("runs/mftn")
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
    init_from: str = ""
    epochs: int = 50
    batch_size: int = 64
    small_epochs: int = 0
    small_size: int = 48
    lambda_mstn: float = 0.55
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    devices: int = 1
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"


def recipes() -> list[str]:
    """Names of the recipes that ship."""
    folder = files("mftn.train") / "recipes"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_config(recipe: str | Path) -> TrainConfig:
    """A recipe by its name, or from a YAML file.

    Raises:
        ConfigError: There is no such recipe, or it holds an unknown key.
    """
    import yaml

    if str(recipe) in recipes():
        text = (files("mftn.train") / "recipes" / f"{recipe}.yaml").read_text(encoding="utf-8")
    elif Path(recipe).is_file():
        text = Path(recipe).read_text(encoding="utf-8")
    else:
        raise ConfigError(f"{recipe}: neither a file nor a recipe; recipes are {', '.join(recipes())}")
    try:
        return from_mapping(TrainConfig, yaml.safe_load(text) or {}, str(recipe))
    except yaml.YAMLError as error:
        raise ConfigError(f"{recipe}: not valid YAML: {error}") from error


def from_mapping(cls: type[Config], values: Mapping[str, Any], source: str) -> Config:
    """A config from nested mappings; what they leave out keeps its default.

    Raises:
        ConfigError: A key is unknown (the nearest known one is named), or a value has the wrong form.
    """
    types = typing.get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in types:
            near = difflib.get_close_matches(key, types, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(types)}"
            raise ConfigError(f"{source}: unknown key {key}{hint}")
        kind = types[key]
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{source}: {key} needs keys of its own, not {value!r}")
            arguments[key] = from_mapping(kind, value, f"{source}: {key}")  # type: ignore[arg-type]
        else:
            arguments[key] = _checked(kind, value, f"{source}: {key}")
    return cls(**arguments)


def _checked(kind: Any, value: Any, source: str) -> Any:
    origin = typing.get_origin(kind)
    if origin is Literal:
        if value not in typing.get_args(kind):
            raise ConfigError(f"{source}: {value!r} is not one of {', '.join(map(str, typing.get_args(kind)))}")
    elif origin is tuple:
        return tuple(value)
    elif kind is Path:
        return Path(value)
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif not isinstance(value, origin or kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{source}: needs {getattr(kind, '__name__', kind)}, not {value!r}")
    return value


def to_mapping(config: TrainConfig) -> dict[str, Any]:
    """The config as JSON-ready nested mappings; `from_mapping` reads it back."""

    def plain(items: list[tuple[str, Any]]) -> dict[str, Any]:
        return {key: str(value) if isinstance(value, Path) else value for key, value in items}

    return dataclasses.asdict(config, dict_factory=plain)
