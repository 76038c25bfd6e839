"""What a training run is made of. A recipe (YAML) names what differs from these defaults, or from the recipe it
`extends`; flags override both."""

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
"""What a recipe's name and its run folder end with where its baseline is trained."""


@dataclass(frozen=True, slots=True)
class DataConfig:
    """The training data.

    Attributes:
        folder: A prepared data set (`mftn prepare`).
        protocol: Which images count, and their class.
        soft_targets: Learn the raters' distribution in place of one class.
        view: The network's share of the stored crop's side.
        mean: Mean of each channel, or one for all, on the scale 0 to 1.
        std: Standard deviation, given like `mean`.
        workers: Loader processes; the crops lie in memory, so none is usually fastest.
        balance: 0 draws images as they are, 1 draws every class equally often; between, by count^(−balance).
        unaligned: The same data set prepared with `--detector none`; empty for none.
        unaligned_share: Share of training images taken from there, so that the network also handles faces that
            are not aligned.
        drop_copies: Omit training images that are also, exactly or nearly, in the validation split.
    """

    folder: Annotated[Path, tyro.conf.arg(aliases=["--data"])] = Path("data/ferplus")
    protocol: Protocol = "argmax"
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
        num_classes: Number of classes.
        channels: 1 for grey, 3 for colour.
        size: Side of the input in pixels.
        drop_rate: Dropout before the backbone's classifier.
        drop_path_rate: Stochastic depth of the last block.
        grad_checkpointing: Recompute activations in the backward pass: less memory, about a third slower.
        mstn_depths: Transformer blocks on each of the three maps, such as 3 2 1; the architecture's own where none is
            given.
    """

    architecture: str = "mftn_face"
    num_classes: int = 8
    channels: int = 1
    size: int = 48
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    grad_checkpointing: bool = False
    mstn_depths: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """How the weights move.

    Attributes:
        name: The optimizer, or SAM's inner one.
        sam_rho: Radius of sharpness-aware minimisation; 0 is off.
        lr: Highest learning rate.
        weight_decay: Decoupled for AdamW; norms and biases are left alone.
        schedule: cosine falls to zero; exponential multiplies by `decay` after each epoch.
        decay: Factor per epoch of the exponential schedule.
        warmup_epochs: The learning rate rises linearly over these; fractions of an epoch count.
        clip_norm: Gradients longer than this are shortened; 0 is off.
        layer_decay: Factor of the learning rate from each layer of the backbone to the one before it; 1 is off.
        freeze_epochs: For this many epochs only the heads learn; the backbone's body keeps its initial weights.
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
        data: The training data.
        model: What is trained.
        optimizer: How the weights move.
        init_from: Initial weights: a file (ours, the release's, a bare backbone), or a timm model's name, whose
            backbone is fetched; empty starts at random.
        init_part: What is taken from a file: all, the backbone with its classifier, or its trunk without it.
        augmentation: What training changes at random.
        mixup: α of the Beta distribution that blends pairs of images; 0 is off.
        cutmix: α of the Beta distribution for pasting rectangles between pairs; 0 is off. With both, one is drawn per
            batch.
        mix_probability: Share of batches that are mixed.
        teachers: Checkpoints of trained networks whose mean output is part of the target.
        distillation: The teachers' share of the target; the raters have the rest.
        epochs: Passes over the training split.
        batch_size: Images per step, over all processes.
        accumulate: Parts in which a step's images go through the network, for less memory.
        small_epochs: The first epochs see images of `small_size`, which is faster.
        small_size: Side of the input in the first epochs, in pixels.
        lambda_mstn: λ of the joint loss.
        label_smoothing: Probability mass spread evenly over the classes.
        ema_decay: Decay per step of the weights' moving average, which is what is evaluated and kept; 0 is off.
        logit_adjustment: τ: after training, every class's logit rises by τ·log(its share of the training split), which
            gives back part of the frequencies that `data.balance` takes away (Menon et al., 2021); 0 is off.
        seed: Seed of all random numbers.
        precision: fp32, bf16 mixed precision, or auto: bf16 where the GPU or the processor has its instructions, fp32
            elsewhere, where bf16 would be a hundred times slower.
        channels_last: Keep maps channels-last in memory.
        compile: Compile the network with torch.compile, which takes a minute and a C++ compiler or a GPU.
        save_minutes: Minutes between saves of the state that resuming needs, inside an epoch.
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
    init_part: Part = "all"
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
    """Names of the recipes that ship."""
    folder = files("mftn.train") / "recipes"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_config(recipe: str | Path, baseline: bool = False) -> TrainConfig:
    """A recipe by its name, or from a YAML file.

    Args:
        recipe: The name or the file; a name with `_baseline` appended is the recipe's baseline.
        baseline: Of the recipe, the published comparison's baseline; see `as_baseline`.

    Raises:
        ConfigError: There is no such recipe, it holds an unknown key, or it has no baseline.
    """
    config = from_mapping(TrainConfig, _read_recipe(str(recipe)), str(recipe))
    return as_baseline(config) if baseline else config


def as_baseline(config: TrainConfig) -> TrainConfig:
    """The published comparison's baseline: the same backbone with its own head alone, in a run folder of its own.

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
    """The recipe's values on top of those of the recipe it `extends`; `extending` are those on top of it."""
    import yaml

    if recipe.endswith(BASELINE) and recipe.removesuffix(BASELINE) in recipes():
        return to_mapping(load_config(recipe.removesuffix(BASELINE), baseline=True))
    if recipe in extending:
        raise ConfigError(f"{recipe}: extends itself")
    try:
        values = yaml.load(_text(recipe), _yaml_loader()) or {}
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date that is none
        raise ConfigError(f"{recipe}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{recipe}: needs keys and values, not {values!r}")
    if not (below := values.pop("extends", None)):
        return values
    beside = (Path(recipe).parent / str(below)).resolve()
    given = recipe not in recipes() and below not in recipes() and beside.is_file()
    return _merged(_read_recipe(str(beside if given else below), (*extending, recipe)), values)


def _yaml_loader() -> Any:
    """PyYAML's safe loader with the numbers of YAML 1.2 and JSON too: it takes 1e-3 for a word."""
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
