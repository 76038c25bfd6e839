"""Train a network: a recipe, with flags that override it."""

import argparse
import shlex
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from mftn.cli import INTERRUPTED, say
from mftn.cli.progress import progress_bars
from mftn.train.config import BASELINE, TrainConfig, load_config, recipes

if TYPE_CHECKING:
    from rich.progress import Progress

    from mftn.train.loop import StepReport
    from mftn.train.run_folder import Row


@dataclass(frozen=True)
class Arguments:
    """What `mftn train` takes.

    Attributes:
        run: The run: the recipe's values unless a flag says otherwise.
        config: A recipe's name, or a YAML file.
        baseline: Train the recipe's baseline: the same backbone with its own head alone.
        resume: Continue the run in the run folder.
    """

    run: Annotated[TrainConfig, tyro.conf.arg(name="")]
    config: str = "ferplus"
    baseline: bool = False
    resume: bool = False


def parse(arguments: list[str]) -> Arguments:
    """Read the recipe that --config names, then let the flags override it.

    Where YAML cannot be read, --help shows the package's defaults.
    """
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config", default=Arguments.config)
    finder.add_argument("--baseline", action="store_true")
    found = finder.parse_known_args(arguments)[0]
    recipe, baseline = found.config, found.baseline
    if recipe.endswith(BASELINE) and recipe.removesuffix(BASELINE) in recipes():
        recipe, baseline = recipe.removesuffix(BASELINE), True
        say(f"--config {found.config} is deprecated; use --config {recipe} --baseline")
    try:
        default = Arguments(load_config(recipe, baseline), recipe, baseline)
    except ModuleNotFoundError:
        if not {"-h", "--help"} & set(arguments):
            raise
        default = Arguments(TrainConfig(), recipe)
    arguments = ["--out" if argument == "-o" else argument for argument in arguments]  # a setting has no short name
    return tyro.cli(Arguments, prog="mftn train", description=__doc__, args=arguments, default=default)


def run(arguments: Arguments) -> int:
    """Train and print where the checkpoint is and how good."""
    from lightning_fabric.utilities.rank_zero import rank_zero_only
    from rich.console import Console

    from mftn.train.calibrate import Validation
    from mftn.train.loop import train

    console = Console(stderr=True)
    with progress_bars(console, transient=False) as bars:
        display = _Display(bars, arguments.run)
        try:
            best = train(arguments.run, arguments.resume, display.on_step, display.on_epoch)
        except (KeyboardInterrupt, SystemExit) as stop:
            if rank_zero_only.rank == 0:
                words = [argument for argument in sys.argv[2:] if argument != "--resume"]
                console.print(
                    f"stopped; everything so far is saved. Continue with: mftn train {shlex.join(words)} --resume",
                    highlight=False,
                    soft_wrap=True,
                )
            return int(stop.code or 0) if isinstance(stop, SystemExit) else INTERRUPTED
        except OSError as error:
            console.print(f"mftn: {error}; then continue with --resume", highlight=False, soft_wrap=True)
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
        """Move the bar on."""
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
        """Print the epoch."""
        self.bars.console.print(
            f"{time.strftime('%H:%M:%S')} epoch {row['epoch']:.0f}/{self.config.epochs}: "
            f"loss {row['train_loss']:.3f}, train {row['train_accuracy']:.1%}, "
            f"validation {row['valid_accuracy']:.2%} (macro recall {row['valid_macro_recall']:.1%}), "
            f"{row['seconds']:.0f} s",
            highlight=False,
            soft_wrap=True,
        )
