"""Measure trained networks on a prepared data set: metrics with intervals, figures, one page."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from mftn.cli.outputs import check_outputs
from mftn.cli.progress import progress_bars
from mftn.data.records import Split
from mftn.data.votes import Protocol
from mftn.errors import ConfigError
from mftn.limits import check_range

if TYPE_CHECKING:
    from rich.progress import TaskID

    from mftn.evaluate.results import Results


@dataclass(frozen=True)
class Arguments:
    """What `mftn evaluate` takes.

    Attributes:
        model: A checkpoint of `mftn train`, a file of `mftn export`, the name of a model that ships, or predictions
            that an earlier report kept (Parquet); repeat the option for each model to compare.
        data: A prepared data set (`mftn prepare`).
        split: Which split; validation has chosen a model's epoch, test has not.
        out: Folder of the report.
        protocol: Where raters voted: which images count, and their class.
        robustness_images: Images that are corrupted in nine ways; 0 omits this.
        deletion_images: Images of the deletion curves; 0 omits them and the maps.
        embedding_images: Images of the embedding plots; 0 omits them.
        seed: Of the draws, the corruptions and the intervals.
    """

    model: tyro.conf.UseAppendAction[tuple[str, ...]]
    data: Path
    split: Split = "valid"
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("report")
    protocol: Protocol = "argmax"
    robustness_images: int = 500
    deletion_images: int = 200
    embedding_images: int = 1000
    seed: int = 0


def run(arguments: Arguments) -> int:
    """Write the report and print the accuracies."""
    from mftn.evaluate.report import Model, Options, write_report
    from mftn.export.recover import load_network

    paths = _check(arguments)
    options = Options(
        arguments.robustness_images, arguments.deletion_images, arguments.embedding_images, arguments.seed
    )
    models = [
        Model(name, path, None if path.suffix == ".parquet" else load_network(path))
        for name, path in zip(_names(paths), paths, strict=True)
    ]
    with progress_bars() as bars:
        tasks: dict[str, TaskID] = {}

        def on_progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.advance(tasks[what], done)

        report = write_report(
            models, arguments.data, arguments.split, arguments.out, arguments.protocol, options, on_progress
        )
    _print(report.results)
    print(report.page)
    return 0


def _check(arguments: Arguments) -> list[Path]:
    """Refuse what cannot be done before anything is loaded; the models' files."""
    from mftn.engines import find_model

    for option in ("robustness_images", "deletion_images", "embedding_images", "seed"):
        check_range(f"--{option.replace('_', '-')}", getattr(arguments, option), 0)
    if not arguments.model:
        raise ConfigError("--model: name the checkpoint to evaluate, such as runs/ferplus/best.safetensors")
    paths = [find_model(model) for model in arguments.model]
    outputs = [("--out", arguments.out / name) for name in ("report.html", "metrics.json")]
    check_outputs(outputs, paths, overwrite=True)
    return paths


def _print(results: "Results") -> None:
    from mftn.evaluate.predictions import FUSED

    data = results.data
    excluded = f", {data.excluded:,} excluded by the protocol" if data.excluded else ""
    print(f"{data.images:,} images evaluated{excluded}: all {data.in_manifest:,} of the manifest")
    for name, model in results.models.items():
        for protocol, scores in model.outputs[FUSED].items():
            print(f"{name}, {protocol}, {scores}")
    for pair in results.pairs:
        print(
            f"{pair.second} over {pair.first}: {100 * pair.difference:+.2f} points "
            f"(95 % {100 * pair.low:+.2f} to {100 * pair.high:+.2f}), McNemar p = {pair.p:.2g}"
        )


def _names(paths: list[Path]) -> list[str]:
    """A short name per file: its own, or its run folder's, with a number where that is not unique."""
    names = [path.resolve().parent.name if path.stem in ("best", "last", "model") else path.stem for path in paths]
    return [name if names.count(name) == 1 else f"{name} {i}" for i, name in enumerate(names, start=1)]
