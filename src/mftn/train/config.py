"""The configuration of a training run.

A recipe (YAML) sets what differs from these defaults, or from the recipe it `extends`; flags override both.
"""

import dataclasses
import re
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from mftn.data.augmentation import Augmentation
from mftn.data.votes import Protocol
from mftn.errors import ConfigError, did_you_mean
from mftn.spec import LAMBDA_MSTN, Part
from mftn.train.mapping import from_mapping

BASELINE = "_baseline"
"""Suffix of a recipe's name and of its run folder when its baseline is trained."""

MAY_BE_EMPTY = tyro.conf.arg(help_behavior_hint=lambda value: f"(default: {value.strip(chr(39)) or 'none'})")
"""An option whose help says "none" where the value is empty."""


@dataclass(frozen=True, slots=True)
class DataConfig:
    """The training data.

    Attributes:
        folder: A prepared data set (`mftn prepare`).
        protocol: Determines which images count, and their class.
        soft_targets: Learn the raters' distribution instead of a single class.
        view: The network's input as a share of the stored crop's side.
        mean: Mean of each channel, or one for all, on a scale from 0 to 1.
        std: Standard deviation, in the same form as `mean`.
        workers: Loader processes; the crops are held in memory, so 0 is usually fastest.
        balance: 0 draws all images equally often, 1 draws all classes equally often; in between, images are weighted
            by count^(−balance).
        unaligned: The same data set prepared with `--detector none`; empty for none.
        unaligned_share: Share of training images taken from it, so that the network also handles unaligned faces.
        drop_copies: Omit training images with exact or near duplicates in the validation split.
    """

    folder: Annotated[Path, tyro.conf.arg(aliases=["--data"])] = Path("data/ferplus")
    protocol: Protocol = "argmax"
    soft_targets: bool = True
    view: float = 0.875
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)
    workers: int = 0
    balance: float = 0.0
    unaligned: Annotated[str, MAY_BE_EMPTY] = ""
    unaligned_share: float = 0.0
    drop_copies: bool = False


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The network.

    Attributes:
        architecture: A registered name, such as mftn_face or baseline_face.
        num_classes: Number of classes.
        channels: 1 for grey, 3 for colour.
        size: Side of the input in pixels.
        drop_rate: Dropout before the backbone's classifier.
        drop_path_rate: Stochastic depth of the last block.
        grad_checkpointing: Recompute activations in the backward pass: less memory, but about a third slower.
        mstn_depths: Transformer blocks on each of the three maps, such as 3 2 1; if none are given, the architecture's
            own.
    """

    architecture: str = "mftn_face"
    num_classes: int = 8
    channels: int = 1
    size: int = 48
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    grad_checkpointing: bool = False
    mstn_depths: Annotated[tuple[int, ...], MAY_BE_EMPTY] = ()


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """The optimizer and the learning-rate schedule.

    Attributes:
        name: The optimizer, or SAM's inner one.
        sam_rho: Radius of sharpness-aware minimisation; 0 is off.
        lr: Peak learning rate.
        weight_decay: Weight decay, decoupled for AdamW; norms and biases are excluded.
        schedule: cosine falls to zero; exponential multiplies by `decay` after each epoch.
        decay: Factor per epoch of the exponential schedule.
        warmup_epochs: Epochs, or a fraction of one, over which the learning rate rises linearly.
        clip_norm: Largest gradient norm; longer gradients are clipped. 0 is off.
        layer_decay: Factor of the learning rate from each layer of the backbone to the one before it; 1 is off.
        freeze_epochs: Epochs at the start in which only the heads learn and the backbone's trunk is frozen.
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
        out: The run folder to create.
        data: The training data.
        model: The network.
        optimizer: The optimizer and the learning-rate schedule.
        init_from: Initial weights: a file (ours, the release's, a bare backbone), or a timm model's name, whose
            backbone is downloaded; empty for random weights.
        init_part: Part to load from a file: all, the backbone with its classifier, or its trunk without it.
        augmentation: Random changes to training images.
        mixup: α of the Beta distribution for blending pairs of images; 0 is off.
        cutmix: α of the Beta distribution for pasting rectangles between pairs; 0 is off. If both are on, one is drawn
            for each batch.
        mix_probability: Share of batches that are mixed.
        teachers: Checkpoints of trained networks whose mean output is part of the target.
        distillation: The teachers' share of the target; the rest comes from the raters.
        epochs: Passes over the training split.
        batch_size: Images per step, over all processes.
        accumulate: Number of parts that a step's images are split into, to save memory.
        small_epochs: Number of epochs at the start that use images of `small_size`, which is faster.
        small_size: Side of the input in those epochs, in pixels.
        lambda_mstn: λ of the joint loss.
        label_smoothing: Probability mass spread evenly over the classes.
        ema_decay: Decay per step of the weights' moving average, which is what is evaluated and saved; 0 is off.
        logit_adjustment: τ: after training, τ·log(its share of the training split) is added to every class's logit,
            which restores part of the class frequencies that `data.balance` removes (Menon et al., 2021); 0 is off.
        seed: Seed of all random numbers.
        precision: fp32, bf16 mixed precision, or auto: bf16 if the GPU or the CPU supports it, otherwise fp32, because
            bf16 would be a hundred times slower.
        channels_last: Store feature maps channels-last in memory.
        compile: Compile the network with torch.compile, which takes a minute and needs a C++ compiler or a GPU.
        save_minutes: Minutes between saves, within an epoch, of the state for resuming.
        devices: Processes per machine.
        nodes: Number of machines.
        accelerator: Hardware to train on.
    """

    out: Path = Path("runs/mftn")
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
    init_from: Annotated[str, MAY_BE_EMPTY] = ""
    init_part: Part = "all"
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_probability: float = 1.0
    teachers: Annotated[tuple[str, ...], MAY_BE_EMPTY] = ()
    distillation: float = 0.5
    epochs: int = 50
    batch_size: int = 64
    accumulate: int = 1
    small_epochs: int = 0
    small_size: int = 48
    lambda_mstn: float = LAMBDA_MSTN
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
    """Names of the included recipes."""
    folder = files("mftn.train") / "recipes"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_config(recipe: str | Path, baseline: bool = False) -> TrainConfig:
    """Load a recipe by its name or from a YAML file.

    Args:
        recipe: The name or the file; a name with `_baseline` appended is the recipe's baseline.
        baseline: Return the recipe's baseline for the published comparison; see `as_baseline`.

    Raises:
        ConfigError: There is no such recipe, it has an unknown key, or it has no baseline.
    """
    config = from_mapping(TrainConfig, _read_recipe(str(recipe)), str(recipe))
    return as_baseline(config) if baseline else config


def as_baseline(config: TrainConfig) -> TrainConfig:
    """The published comparison's baseline: the same backbone with only its own head, in a separate run folder.

    Raises:
        ConfigError: The architecture has none.
    """
    kind, _, backbone = config.model.architecture.partition("_")
    if kind == "baseline":
        return config
    if kind != "mftn":
        raise ConfigError(f"{config.model.architecture}: has no baseline; give --model.architecture")
    model = dataclasses.replace(config.model, architecture=f"baseline_{backbone}", mstn_depths=())
    return dataclasses.replace(config, model=model, out=config.out.with_name(config.out.name + BASELINE))


def _read_recipe(recipe: str, extending: tuple[str, ...] = ()) -> dict[str, Any]:
    """The recipe's values, merged over those of the recipe it `extends`; `extending` are the recipes that extend it."""
    import yaml

    if recipe.endswith(BASELINE) and recipe.removesuffix(BASELINE) in recipes():
        return to_mapping(load_config(recipe.removesuffix(BASELINE), baseline=True))
    if recipe in extending:
        raise ConfigError(f"{recipe}: extends itself")
    try:
        values = yaml.load(_text(recipe), _yaml_loader()) or {}
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or an invalid date
        raise ConfigError(f"{recipe}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{recipe}: needs keys and values, not {values!r}")
    if not (below := values.pop("extends", None)):
        return values
    beside = (Path(recipe).parent / str(below)).resolve()
    given = recipe not in recipes() and below not in recipes() and beside.is_file()
    return _merged(_read_recipe(str(beside if given else below), (*extending, recipe)), values)


def _yaml_loader() -> Any:
    """PyYAML's safe loader, extended to numbers of YAML 1.2 and JSON such as 1e-3, which it would read as strings."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    number = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))
    return Loader


def _text(recipe: str) -> str:
    if recipe in recipes():
        return (files("mftn.train") / "recipes" / f"{recipe}.yaml").read_text(encoding="utf-8")
    if Path(recipe).is_file():
        return Path(recipe).read_text(encoding="utf-8")
    raise ConfigError(f"{recipe}: neither a file nor a recipe; {did_you_mean(recipe, recipes())}")


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = below | above
    for key in below.keys() & above.keys():
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            merged[key] = _merged(below[key], above[key])
    return merged


def to_mapping(config: TrainConfig) -> dict[str, Any]:
    """The config as JSON-ready nested mappings; `from_mapping` reads it back."""

    def plain(items: list[tuple[str, Any]]) -> dict[str, Any]:
        return {key: str(value) if isinstance(value, Path) else value for key, value in items}

    return dataclasses.asdict(config, dict_factory=plain)
