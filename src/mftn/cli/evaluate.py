"""Measure trained networks on a prepared data set: metrics with intervals, figures, one page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mftn.cli.outputs import check_outputs
from mftn.limits import check_range


@dataclass(frozen=True)
class Arguments:
    """What `mftn evaluate` takes.

    Attributes:
        model: Weights of `mftn train`, a file of `mftn export`, the name of a model that ships, or predictions that an
            earlier report kept (Parquet); give it again for each model to compare.
        data: A prepared data set (`mftn prepare`).
        split: Which split; validation has chosen a model's epoch, test has not.
        out: Folder of the report.
        protocol: Where raters voted: which pictures count, and their class.
        robustness_images: Pictures that are damaged in nine ways; 0 leaves it out.
        deletion_images: Pictures of the deletion curves; 0 leaves out the maps.
        embedding_images: Pictures of the embedding plots; 0 leaves them out.
        seed: Of the draws, the damage and the intervals.
    """

    model: tyro.conf.UseAppendAction[tuple[str, ...]]
    data: Path
    split: Literal["train", "valid", "test"] = "valid"
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("report")
    protocol: Literal["majority", "argmax"] = "argmax"
    robustness_images: int = 500
    deletion_images: int = 200
    embedding_images: int = 1000
    seed: int = 0


def run(arguments: Arguments) -> int:
    """Write the report and print the accuracies."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    from mftn.engines import find_model
    from mftn.errors import ConfigError
    from mftn.evaluate.predictions import FUSED
    from mftn.evaluate.report import Model, Options, write_report
    from mftn.export.recover import load_network

    for option in ("robustness_images", "deletion_images", "embedding_images", "seed"):
        check_range(f"--{option.replace('_', '-')}", getattr(arguments, option), 0)
    if not arguments.model:
        raise ConfigError("--model: name the weights to evaluate, such as runs/ferplus/best.safetensors")
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}

        def on_progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.advance(tasks[what], done)

        options = Options(
            arguments.robustness_images, arguments.deletion_images, arguments.embedding_images, arguments.seed
        )
        paths = [find_model(model) for model in arguments.model]
        check_outputs(
            [("--out", arguments.out / name) for name in ("report.html", "metrics.json")], paths, overwrite=True
        )
        models = [
            Model(name, path, None if path.suffix == ".parquet" else load_network(path))
            for name, path in zip(_names(paths), paths, strict=True)
        ]
        report = write_report(
            models,
            arguments.data,
            arguments.split,
            arguments.out,
            arguments.protocol,
            options,
            on_progress,
        )
    data = report.results.data
    left_out = f", {data.left_out:,} left out by the protocol" if data.left_out else ""
    print(f"{data.images:,} images evaluated{left_out}: all {data.in_manifest:,} of the manifest")
    for name, model in report.results.models.items():
        for protocol, row in model.answers[FUSED].items():
            low, high = row.wilson
            print(
                f"{name}, {protocol}, {row.images:,} images: accuracy {row.accuracy:.2%} "
                f"(95 % interval {low:.1%} to {high:.1%}), macro recall {row.macro_recall:.1%}"
            )
    for pair in report.results.pairs:
        print(
            f"{pair.second} over {pair.first}: {100 * pair.difference:+.2f} points "
            f"(95 % {100 * pair.low:+.2f} to {100 * pair.high:+.2f}), McNemar p = {pair.p:.2g}"
        )
    print(report.page)
    return 0


def _names(paths: list[Path]) -> list[str]:
    """A short name a file: its own, or its run folder's, and with a number where that is not unique."""
    names = [path.resolve().parent.name if path.stem in ("best", "last", "model") else path.stem for path in paths]
    return [name if names.count(name) == 1 else f"{name} {i}" for i, name in enumerate(names, start=1)]
