"""Evaluate trained networks on a prepared data set, or predictions for photographs by group of people."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from mftn.cli.options import FILE, FOLDER, NO_DEFAULT, Options, OutFolder, Unset, flag, refuse
from mftn.cli.outputs import check_outputs
from mftn.cli.progress import progress_bars
from mftn.data.records import Split
from mftn.data.votes import Protocol
from mftn.errors import ConfigError, MissingExtraError
from mftn.files import UniqueNames
from mftn.limits import MAX_SEED, check_range

if TYPE_CHECKING:
    from rich.progress import TaskID

    from mftn.evaluate.groups.request import GroupRequest
    from mftn.evaluate.results import Results


@dataclass(frozen=True)
class Arguments(Options):
    """Options of `mftn evaluate`.

    Attributes:
        model: A checkpoint of `mftn train`, a file of `mftn export`, the name of an installed model, or predictions
            saved by an earlier report (Parquet); repeat the option to compare models.
        data: A prepared data set (`mftn prepare`).
        groups: Compare groups of people: a CSV file with image, label (not needed for a prepared data set), person, and
            a column for each kind of group (sex, age, pose …).
        predictions: With --groups, instead of --model and --data: the output of `mftn predict --output` for the
            photographs. A photograph without a detected face counts as wrong.
        by: A column of groups; repeat the option for several. By default all columns; a numeric column with many
            values is split into thirds.
        adjust: A column that describes how difficult an image is, such as the expression's intensity; repeat the option
            for several. Without one, no difference is attributed to the model.
        label: The column of expressions, if it is not named label.
        fewest: Smallest number of people in a group that is compared.
        split: The split to evaluate; valid was used to choose the model's epoch, test was not.
        out: Folder for the report.
        protocol: For data sets with votes: which images count, and their class. argmax also reports majority.
        robustness_images: Number of images for the nine corruptions; 0 omits them.
        deletion_images: Number of images for the deletion curves; 0 omits them and the maps.
        embedding_images: Number of images for the embedding plots, 10 or more; 0 omits them.
        seed: Seed for sampling, corruptions and confidence intervals.
    """

    model: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    data: Annotated[Unset[Path], FOLDER] = None
    groups: Annotated[Unset[Path], FILE] = None
    predictions: Annotated[Unset[Path], FILE] = None
    by: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    adjust: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    label: Annotated[str, NO_DEFAULT] = ""
    fewest: int = 30
    split: Split = "valid"
    out: OutFolder = Path("report")
    protocol: Protocol = "argmax"
    robustness_images: int = 500
    deletion_images: int = 200
    embedding_images: int = 1000
    seed: int = 0


EXAMPLES = (
    "mftn evaluate --model runs/ferplus/best.safetensors --data data/ferplus --split test",
    "mftn evaluate --model mine.onnx --model mftn_mobile_ferplus --data data/ferplus",
    "mftn evaluate --predictions faces.csv --groups people.csv --adjust intensity",
)


OF_MODELS = ("split", "protocol", "robustness_images", "deletion_images", "embedding_images")
"""Options that apply only to the evaluation of models."""


def run(arguments: Arguments) -> int:
    """Write the report and print the results."""
    check_range("--seed", arguments.seed, 0, MAX_SEED)
    groups = _groups(arguments)
    if arguments.predictions is not None:
        return _run_predictions(arguments, arguments.predictions, groups)
    if arguments.data is None:
        raise ConfigError("--data: name a prepared data set, or give --predictions and --groups for photographs")
    return _run_models(arguments, arguments.data, groups)


def _run_models(arguments: Arguments, data: Path, groups: "GroupRequest | None") -> int:
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
            models, data, arguments.split, arguments.out, arguments.protocol, options, on_progress, groups
        )
    _print(report.results)
    if report.groups:
        print("\n".join(report.groups.lines()))
        print(arguments.out / "groups.html")
    print(report.page)
    return 0


def _run_predictions(arguments: Arguments, predictions: Path, groups: "GroupRequest | None") -> int:
    if groups is None or arguments.groups is None:
        raise ConfigError("--predictions: also give --groups, a CSV file with image, label, person and groups")
    if arguments.model or arguments.data:
        raise ConfigError("--predictions replaces --model and --data; give one or the other")
    refuse(arguments, OF_MODELS, "has no effect with --predictions")
    from mftn.evaluate.groups.report import OUTPUTS, GroupReport, check_folder
    from mftn.evaluate.groups.sheet import predicted_expressions

    outputs = [("--out", arguments.out / name) for name in OUTPUTS]
    check_outputs(outputs, [predictions, arguments.groups], overwrite=True)
    check_folder(arguments.out)
    report = GroupReport.of({predictions.stem: predicted_expressions(predictions)}, groups)
    page = report.write(arguments.out)
    print("\n".join(report.lines()))
    print(page)
    return 0


def _groups(arguments: Arguments) -> "GroupRequest | None":
    """The groups to compare; None without --groups."""
    if arguments.groups is None:
        refuse(arguments, ("by", "adjust", "label", "fewest"), "has no effect without --groups")
        return None
    for package in ("pandas", "statsmodels"):
        if not find_spec(package):
            raise MissingExtraError("mftn evaluate --groups", "analysis")
    from mftn.evaluate.groups.request import GroupOptions, GroupRequest

    options = GroupOptions(fewest=arguments.fewest, seed=arguments.seed)
    return GroupRequest(arguments.groups, arguments.by, arguments.adjust, arguments.label, options)


def _check(arguments: Arguments) -> list[Path]:
    """Check the options before anything is loaded, and return the models' files."""
    from mftn.engines import find_model
    from mftn.evaluate.report import ALWAYS, INDEX
    from mftn.result_folder import ResultFolder

    for option in ("robustness_images", "deletion_images", "embedding_images"):
        check_range(flag(option), getattr(arguments, option), 0)
    if 0 < arguments.embedding_images < 10:  # nothing is drawn for fewer
        raise ConfigError(f"--embedding-images is {arguments.embedding_images}; give 10 or more, or 0 for none")
    if not arguments.model:
        raise ConfigError("--model: name the checkpoint to evaluate, such as runs/ferplus/best.safetensors")
    run = [arguments.out / name for name in ("best.safetensors", "config.json", "state.pt")]
    if run[0].exists() and any(path.exists() for path in run[1:]):
        raise ConfigError(f"--out {arguments.out}: contains a training run, whose metrics.json would be replaced")
    paths = [find_model(model) for model in arguments.model]
    outputs = [("--out", arguments.out / name) for name in ("report.html", "metrics.json", "groups.csv")]
    check_outputs(outputs, [*paths, *([arguments.groups] if arguments.groups else [])], overwrite=True)
    ResultFolder(arguments.out, INDEX).check(ALWAYS)
    if arguments.groups:
        from mftn.evaluate.groups.report import check_folder

        check_folder(arguments.out)
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
        corrected = f", {pair.p_holm:.2g} with Holm's correction" if len(results.pairs) > 1 else ""
        print(
            f"{pair.second} over {pair.first}: {100 * pair.difference:+.2f} points "
            f"(95 % {100 * pair.low:+.2f} to {100 * pair.high:+.2f}), McNemar p = {pair.p:.2g}{corrected}"
        )


def _names(paths: list[Path]) -> list[str]:
    """A short name per file: its own or that of its run folder, with a number if it is not unique."""
    unique = UniqueNames(separator=" ")
    stems = (path.resolve().parent.name if path.stem in ("best", "last", "model") else path.stem for path in paths)
    return [unique.name(stem) for stem in stems]
