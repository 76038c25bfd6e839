"""Train a network: a recipe, with flags that override it."""

import argparse
import shlex
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
    """Read the recipe that --config names, then let the flags override it.

    Where YAML cannot be read, --help shows the package's defaults.
    """
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config", default=Arguments.config)
    recipe = finder.parse_known_args(arguments)[0].config
    try:
        default = Arguments(load_config(recipe), recipe)
    except ModuleNotFoundError:
        if not {"-h", "--help"} & set(arguments):
            raise
        default = Arguments(TrainConfig(), recipe)
    return tyro.cli(Arguments, prog="mftn train", description=__doc__, args=arguments, default=default)


def run(arguments: Arguments) -> int:
    """Train and print where the weights are and how good."""
    import json
    import time

    from lightning_fabric.utilities.rank_zero import rank_zero_only
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from mftn.train.loop import StepReport, train
    from mftn.train.run_folder import Row

    config = arguments.run
    console = Console(stderr=True)
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("starting")

        def on_step(report: StepReport) -> None:
            result, speed = report.result, progress.tasks[0].speed
            heads = f" (backbone {result.backbone:.2f}, MsTN {result.mstn:.2f})" if result.mstn else ""
            pictures = f", {speed * config.batch_size:.0f} pictures/s" if speed else ""
            progress.update(
                task,
                completed=report.done,
                total=report.steps,
                description=f"epoch {report.epoch}/{config.epochs}: loss {result.loss:.2f}{heads}, "
                f"accuracy {result.accuracy:.0%}, rate {report.rate:.2g}{pictures}",
            )

        def on_epoch(row: Row) -> None:
            progress.console.print(
                f"{time.strftime('%H:%M:%S')} epoch {row['epoch']:.0f}/{config.epochs}: loss {row['train_loss']:.3f}, "
                f"train {row['train_accuracy']:.1%}, validation {row['valid_accuracy']:.2%} "
                f"(macro recall {row['valid_macro_recall']:.1%}), {row['seconds']:.0f} s",
                highlight=False,
                soft_wrap=True,
            )

        try:
            best = train(config, arguments.resume, on_step, on_epoch)
        except (KeyboardInterrupt, SystemExit) as stop:
            if rank_zero_only.rank == 0:
                words = [argument for argument in sys.argv[2:] if argument != "--resume"]
                console.print(
                    f"stopped; what is done is saved. Go on with: mftn train {shlex.join(words)} --resume",
                    highlight=False,
                    soft_wrap=True,
                )
            return int(stop.code or 0) if isinstance(stop, SystemExit) else 130
        except OSError as error:
            console.print(f"mftn: {error}; then go on with --resume", highlight=False, soft_wrap=True)
            return 1
    if rank_zero_only.rank:
        return 0
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
    if figures["unreadable"]:
        print(f"left out because they cannot be read: {len(figures['unreadable']):,} (named in metrics.json)")
    print(best)
    return 0
