"""What a training run is made of. A recipe (YAML) names what differs from these defaults, or from the recipe it
`extends`; flags override both."""

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from mftn.data.augmentation import Augmentation
from mftn.errors import ConfigError, did_you_mean

Config = TypeVar("Config")


@dataclass(frozen=True, slots=True)
class DataConfig:
    """What is learnt from.

    Attributes:
        folder: A prepared data set (`mftn prepare`).
        protocol: Which pictures count, and their class.
        soft_targets: Learn the raters' distribution in place of one class.
        view: The network's share of the stored crop's side.
        mean: Of every channel, or one for all, on the scale 0 to 1.
        std: As `mean`.
        workers: Loader processes; the crops lie in memory, so none is usually fastest.
        balance: 0 draws pictures as they are, 1 draws every class equally often; between, by count^(−balance).
        unaligned: The same data set prepared with `--detector none`; empty for none.
        unaligned_share: Share of training pictures taken from there, so that crops which arrive as they are fare well.
        drop_copies: Leave out training images that are also, exactly or nearly, in the validation split.
    """

    folder: Annotated[Path, tyro.conf.arg(aliases=["--data"])] = Path("data/ferplus")
    protocol: Literal["majority", "argmax"] = "argmax"
    soft_targets: bool = True
    view: float = 0.875
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)
    workers: int = 0
    balance: float = 0.0
    unaligned: str = ""
    unaligned_share: float = 0.0
    drop_copies: bool = False


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
        grad_checkpointing: Recompute activations in the backward pass: less memory, about a third slower.
    """

    architecture: str = "mftn_face"
    num_classes: int = 8
    channels: int = 1
    size: int = 48
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    grad_checkpointing: bool = False


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
        layer_decay: Factor of the rate from each layer of the backbone to the one before it; 1 is off.
        freeze_epochs: The backbone's body keeps its first weights for so many epochs, while the heads learn.
    """

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    sam_rho: float = 0.0
    lr: float = 1e-3
    weight_decay: float = 0.05
    schedule: Literal["cosine", "exponential"] = "cosine"
    decay: float = 0.95
    warmup_epochs: float = 1.0
    clip_norm: float = 0.0
    layer_decay: float = 1.0
    freeze_epochs: int = 0


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """A training run.

    Attributes:
        out: The run folder to make.
        data: What is learnt from.
        model: What is trained.
        optimizer: How the weights move.
        init_from: Weights to start from: a file (ours, the release's, a bare backbone), or a timm model's name, whose
            backbone is fetched; empty starts at random.
        init_part: What is taken of a file: all, the backbone with its classifier, or its trunk without.
        augmentation: What training changes at random.
        mixup: α of the Beta distribution that blends pairs of pictures; 0 is off.
        cutmix: α of the one that pastes rectangles between pairs; 0 is off. With both, one is drawn a batch.
        mix_probability: Share of batches that are mixed.
        teachers: Weights files of trained networks whose mean answer is learnt too.
        distillation: The teachers' share of the target; the raters have the rest.
        epochs: Passes over the training split.
        batch_size: Pictures a step, over all processes.
        accumulate: A step's pictures go through the network in so many parts, for less memory.
        small_epochs: The first epochs see pictures of `small_size`, which is faster.
        small_size: Side of the input in the first epochs, in pixels.
        lambda_mstn: λ of the joint loss.
        label_smoothing: Probability mass spread evenly over the classes.
        ema_decay: Decay a step of the weights' moving average, which is what is evaluated and kept; 0 is off.
        logit_adjustment: τ: after training, every class's logit rises by τ·log(its share of the training split), which
            gives back part of the frequencies that `data.balance` takes away (Menon et al., 2021); 0 is off.
        seed: Of every random number.
        precision: fp32, bf16 mixed precision, or auto: bf16 where the GPU or the processor has its instructions, fp32
            elsewhere, where bf16 would be a hundred times slower.
        channels_last: Keep maps channels-last in memory.
        compile: Compile the network with torch.compile, which takes a minute and a C++ compiler or a GPU.
        save_minutes: Save what resuming needs so often inside an epoch too.
        devices: Processes on each machine.
        nodes: Machines.
        accelerator: What to compute on.
    """

    out: Path = Path("runs/mftn")
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
    init_from: str = ""
    init_part: Literal["all", "backbone", "trunk"] = "all"
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_probability: float = 1.0
    teachers: tuple[str, ...] = ()
    distillation: float = 0.5
    epochs: int = 50
    batch_size: int = 64
    accumulate: int = 1
    small_epochs: int = 0
    small_size: int = 48
    lambda_mstn: float = 0.55
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    logit_adjustment: float = 0.0
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    channels_last: bool = True
    compile: bool = False
    save_minutes: float = 10.0
    devices: int = 1
    nodes: int = 1
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
    return from_mapping(TrainConfig, _read_recipe(str(recipe)), str(recipe))


def _read_recipe(recipe: str) -> dict[str, Any]:
    """The recipe's values on top of those of the recipe it `extends`."""
    import yaml

    if recipe in recipes():
        text = (files("mftn.train") / "recipes" / f"{recipe}.yaml").read_text(encoding="utf-8")
    elif Path(recipe).is_file():
        text = Path(recipe).read_text(encoding="utf-8")
    else:
        raise ConfigError(f"{recipe}: neither a file nor a recipe; {did_you_mean(recipe, recipes())}")
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{recipe}: not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{recipe}: needs keys and values, not {values!r}")
    below = values.pop("extends", None)
    return _merged(_read_recipe(str(below)), values) if below else values


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = below | above
    for key in below.keys() & above.keys():
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            merged[key] = _merged(below[key], above[key])
    return merged


def from_mapping(cls: type[Config], values: Mapping[str, Any], source: str) -> Config:
    """A config from nested mappings; what they leave out keeps its default.

    Raises:
        ConfigError: A key is unknown (the nearest known one is named), or a value has the wrong form.
    """
    types = typing.get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in types:
            raise ConfigError(f"{source}: unknown key {key}; {did_you_mean(key, types)}")
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
        wanted, name = (str, "strings") if typing.get_args(kind)[0] is str else (int | float, "numbers")
        if not isinstance(value, list | tuple) or not all(isinstance(item, wanted) for item in value):
            raise ConfigError(f"{source}: needs a list of {name}, not {value!r}")
        return tuple(value) if wanted is str else tuple(map(float, value))
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
