"""Train a network with a recipe; options override its values."""

import argparse
import shlex
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from mftn.cli import INTERRUPTED
from mftn.cli.messages import LOG
from mftn.cli.options import FILE, Options, Switch, parse_options
from mftn.cli.outputs import check_location
from mftn.cli.progress import progress_bars
from mftn.errors import ConfigError
from mftn.train.config import BASELINE, TrainConfig, load_config, recipes

if TYPE_CHECKING:
    from rich.progress import Progress

    from mftn.train.loop import StepReport
    from mftn.train.run_folder import Row


@dataclass(frozen=True)
class Arguments(Options):
    """Options of `mftn train`.

    Attributes:
        run: The run's settings: the recipe's values unless an option overrides them.
        config: A recipe's name, or a YAML file.
        baseline: Train the recipe's baseline: the same backbone with only its own head.
        resume: Continue the run in the run folder.
    """

    run: Annotated[TrainConfig, tyro.conf.arg(name="")]
    config: Annotated[str, FILE] = "ferplus"
    baseline: bool = False
    resume: Switch = False


EXAMPLES = (
    "mftn train --config raf_db --data data/raf-db --out runs/raf_db",
    "mftn train --config ferplus --epochs 20 --optimizer.lr 0.001",
    "mftn train --config ferplus --resume",
)


def parse(arguments: list[str]) -> Arguments:
    """Read the recipe that --config names, then let the options override it.

    If the YAML package is missing, --help shows the package's defaults.
    """
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config", default=Arguments.config)
    finder.add_argument("--baseline", action="store_true")
    found = finder.parse_known_args(arguments)[0]
    recipe, baseline = found.config, found.baseline
    if recipe.endswith(BASELINE) and recipe.removesuffix(BASELINE) in recipes():
        recipe, baseline = recipe.removesuffix(BASELINE), True
        LOG.warning(f"--config {found.config} is deprecated; use --config {recipe} --baseline")
    try:
        default = Arguments(run=load_config(recipe, baseline), config=recipe, baseline=baseline)
    except ModuleNotFoundError:
        if not {"-h", "--help"} & set(arguments):
            raise
        default = Arguments(run=TrainConfig(), config=recipe)
    arguments = ["--out" if argument == "-o" else argument for argument in arguments]  # settings have no short names
    parsed = parse_options(Arguments, "train", __doc__, arguments, EXAMPLES, default)
    if parsed.baseline and parsed.run.model.architecture.startswith("mftn"):
        raise ConfigError(f"--baseline cannot train {parsed.run.model.architecture}; omit one of the two")
    return parsed


def run(arguments: Arguments) -> int:
    """Train, and print the checkpoint's path and validation results."""
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    from mftn.train.calibrate import Validation
    from mftn.train.loop import train
    from mftn.train.stop import SAVED

    check_location("--out", arguments.run.out)
    with progress_bars(transient=False) as bars:
        display = _Display(bars, arguments.run)
        try:
            best = train(arguments.run, arguments.resume, display.on_step, display.on_epoch)
        except (KeyboardInterrupt, SystemExit) as stop:
            if rank_zero_only.rank == 0:
                words = shlex.join(argument for argument in sys.argv[2:] if argument != "--resume")
                saved = isinstance(stop, SystemExit) or SAVED in stop.args
                kept = SAVED if saved else "the last checkpoint is kept"
                if (arguments.run.out / "config.json").is_file():
                    LOG.info(f"stopped; {kept}. Continue with: mftn train {words} --resume")
                else:
                    LOG.info("stopped before the run began")
            return int(stop.code or 0) if isinstance(stop, SystemExit) else INTERRUPTED
        except OSError as error:
            begun = (arguments.run.out / "config.json").is_file()
            LOG.error(f"{error}{'; then continue with --resume' if begun else ''}")
            return 1
    if rank_zero_only.rank:
        return 0
    validation = Validation.read(best.parent / "metrics.json")
    for line in validation.lines():
        print(f"validation, {line}")
    if validation.unreadable:
        print(f"omitted because they cannot be read: {len(validation.unreadable):,} (named in metrics.json)")
    print(best)
    return 0


class _Display:
    """The bar of a run, and a line per epoch above it."""

    def __init__(self, bars: "Progress", config: TrainConfig) -> None:
        self.bars, self.config = bars, config
        self.task = bars.add_task("starting")

    def on_step(self, report: "StepReport") -> None:
        """Advance the bar."""
        result, speed = report.result, self.bars.tasks[0].speed
        heads = f" (backbone {result.backbone:.2f}, MsTN {result.mstn:.2f})" if result.mstn else ""
        images = f", {speed * self.config.batch_size:.0f} images/s" if speed else ""
        self.bars.update(
            self.task,
            completed=report.done,
            total=report.steps,
            description=f"epoch {report.epoch}/{self.config.epochs}: loss {result.loss:.2f}{heads}, "
            f"accuracy {result.accuracy:.0%}, learning rate {report.rate:.2g}{images}",
        )

    def on_epoch(self, row: "Row") -> None:
        """Print the epoch's results."""
        LOG.info(
            f"{time.strftime('%H:%M:%S')} epoch {row['epoch']:.0f}/{self.config.epochs}: "
            f"loss {row['train_loss']:.3f}, train {row['train_accuracy']:.1%}, "
            f"validation {row['valid_accuracy']:.2%} (macro recall {row['valid_macro_recall']:.1%}), "
            f"{row['seconds']:.0f} s"
        )
