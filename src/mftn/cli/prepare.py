"""Align, check and document a data set for training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from mftn import __version__
from mftn.errors import ConfigError
from mftn.limits import check_range

NATIVE_SIZES = {"ferplus": 96, "fer2013": 96}


@dataclass(frozen=True)
class Arguments:
    """What `mftn prepare` takes.

    Attributes:
        dataset: The data set's kind; folder and table are for your own pictures.
        root: What its owners give, extracted; the table itself for `table`.
        out: Folder to make, or to complete after an interruption.
        size: Side of the crops in pixels; 112, or 96 for FERPlus and FER2013.
        framing: Where landmarks go: as published (arcface) or as FER2013 shows its faces, with a margin
            (fer2013, for FERPlus and FER2013 the default).
        classes: 7 leaves out contempt.
        original: RAF-DB: cut from the original photographs, not from its aligned ones.
        detector: Face detector; none cuts by annotated boxes or takes whole pictures.
        min_score: Faces below this score count as not found, 0 to 1.
        format: Of the crops: png keeps every pixel (FERPlus's and FER2013's default), jpg is smaller.
        quality: Of jpg, 1 to 100.
        valid_share: Share that validates where the owners give no validation split.
        test_share: Share that tests where they give no splits at all.
        seed: Of the splits made here.
        skip_damaged: Leave out pictures that cannot be read, and name them, instead of stopping.
        workers: Processes.
    """

    dataset: Annotated[
        Literal["raf-db", "affectnet", "expw", "ferplus", "fer2013", "folder", "table"], tyro.conf.Positional
    ]
    root: Path
    out: Path
    size: int | None = None
    framing: Literal["arcface", "fer2013"] | None = None
    classes: Literal[7, 8] = 8
    original: bool = False
    detector: Literal["yunet", "mtcnn", "none"] = "yunet"
    min_score: float = 0.3
    format: Literal["png", "jpg"] | None = None
    quality: int = 95
    valid_share: float = 0.1
    test_share: float = 0.2
    seed: int = 0
    skip_damaged: bool = False
    workers: int = 2


def run(arguments: Arguments) -> int:
    """Prepare and print what was made."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    from mftn.data.manifest import read_description
    from mftn.data.prepare import Shares, arcface_preparation, ferplus_preparation, prepare
    from mftn.data.readers import ReadOptions, find_data_set, read_records, survey

    _check(arguments)
    name, data_set = arguments.dataset, find_data_set(arguments.dataset)
    options = ReadOptions(arguments.classes, not arguments.original)
    console = Console(stderr=True)
    found = survey(name, arguments.root, options)

    def note(text: str) -> None:
        console.print(f"note: {text}", highlight=False, markup=False, soft_wrap=True)

    for warning in found.warnings:
        note(warning)

    small = name in NATIVE_SIZES
    framed_as_fer = (arguments.framing or ("fer2013" if small else "arcface")) == "fer2013"
    preparation = (ferplus_preparation if framed_as_fer else arcface_preparation)(
        arguments.size or NATIVE_SIZES.get(name, 112),
        detector=arguments.detector,
        min_score=arguments.min_score,
        format=arguments.format or ("png" if small else "jpg"),
        quality=arguments.quality,
    )
    about: dict[str, Any] = {"name": name, "title": data_set.title, "licence": data_set.licence, "mftn": __version__}
    about |= {"classes_read": arguments.classes, "original": arguments.original}
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("faces", total=found.total)
        try:
            manifest = prepare(
                read_records(name, arguments.root, options),
                arguments.out,
                preparation,
                root=arguments.root if arguments.root.is_dir() else arguments.root.parent,
                shares=Shares(arguments.valid_share, arguments.test_share, arguments.seed),
                about=about,
                warnings=found.warnings,
                workers=arguments.workers,
                skip_damaged=arguments.skip_damaged,
                on_part=lambda done: progress.advance(task, done),
                on_note=note,
            )
        except KeyboardInterrupt:
            console.print("interrupted; give the same command again and it goes on where it stopped")
            return 130
    description = read_description(arguments.out)
    for split, count in description["pictures"].items():
        lost = description["without_face"].get(split, 0)
        print(f"{split}: {count:,} faces, {lost:,} of them not found by the detector (kept and flagged)")
    if description["damaged"]:
        print(f"left out because they cannot be read: {len(description['damaged']):,} (named in dataset.json)")
    print(manifest)
    return 0


def _check(arguments: Arguments) -> None:
    """Refuse numbers that make no sense before the data set is read."""
    if arguments.size is not None:
        check_range("--size", arguments.size, 16, 4096)
    check_range("--min-score", arguments.min_score, 0, 1)
    check_range("--quality", arguments.quality, 1, 100)
    check_range("--valid-share", arguments.valid_share, 0, 1)
    check_range("--test-share", arguments.test_share, 0, 1)
    if arguments.valid_share + arguments.test_share >= 1:
        raise ConfigError(
            f"--valid-share {arguments.valid_share:g} and --test-share {arguments.test_share:g} leave nothing to train "
            "on; together they must be below 1"
        )
    check_range("--seed", arguments.seed, 0)
    check_range("--workers", arguments.workers, 1)
