"""Train a network: a recipe, with flags that override it."""

import argparse
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from mftn.train.config import TrainConfig, load_config


@dataclass(frozen=True)
class Arguments:
    """What `mftn train` takes.

    Attributes:
        run: The run: the recipe's values unless a flag says otherwise.
        config: A recipe's name, or a YAML file.
        resume: Go on with the run in the run folder.
    """

    run: Annotated[TrainConfig, tyro.conf.arg(name="")]
    config: str = "ferplus"
    resume: bool = False


def parse(arguments: list[str]) -> Arguments:
    """Read the recipe that --config names, then let the flags override it."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config", default=Arguments.config)
    recipe = finder.parse_known_args(arguments)[0].config
    default = Arguments(load_config(recipe), recipe)
    return tyro.cli(Arguments, prog="mftn train", description=__doc__, args=arguments, default=default)


def run(arguments: Arguments) -> int:
    """Train and print where the weights are and how good."""
    import json
    import time

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from mftn.train.loop import train
    from mftn.train.run_folder import Row

    config = arguments.run
    console = Console(stderr=True)
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("steps")

        def on_step(done: int, steps: int, loss: float) -> None:
            progress.update(task, completed=done, total=steps, description=f"loss {loss:.3f}")

        def on_epoch(row: Row) -> None:
            progress.console.print(
                f"{time.strftime('%H:%M:%S')} epoch {row['epoch']:.0f}/{config.epochs}: loss {row['train_loss']:.3f}, "
                f"train {row['train_accuracy']:.1%}, validation {row['valid_accuracy']:.2%} "
                f"(macro recall {row['valid_macro_recall']:.1%}), {row['seconds']:.0f} s",
                highlight=False,
            )

        try:
            best = train(config, arguments.resume, on_step, on_epoch)
        except KeyboardInterrupt:
            command = f"mftn train {' '.join(_without_resume(sys.argv[2:]))} --resume"
            console.print(f"interrupted; whole epochs are kept. Go on with: {command}", highlight=False)
            return 130
    figures = json.loads((best.parent / "metrics.json").read_text(encoding="utf-8"))
    for protocol in (name for name in ("argmax", "majority", "label") if name in figures):
        row = figures[protocol]
        low, high = row["interval"]
        kind = "labels" if protocol == "label" else f"{protocol} protocol"
        print(
            f"validation, {kind}, {row['images']:,} images: {row['accuracy']:.2%} "
            f"(95 % interval {low:.1%} to {high:.1%}), macro recall {row['macro_recall']:.1%}, "
            f"calibration error {row['calibration_error']:.3f}"
        )
    print(best)
    return 0


def _without_resume(arguments: list[str]) -> list[str]:
    return [argument for argument in arguments if argument != "--resume"]
