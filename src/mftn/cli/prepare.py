"""Align, check and document a data set for training."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from mftn import __version__
from mftn.cli import INTERRUPTED
from mftn.cli.messages import LOG
from mftn.cli.options import FOLDER, Options, OutFolder, Switch, Unset
from mftn.cli.progress import progress_bar
from mftn.data.readers import DataSetName
from mftn.data.records import CropFormat, Framing
from mftn.errors import ConfigError
from mftn.limits import check_range

if TYPE_CHECKING:
    from mftn.data.prepare import Preparation
    from mftn.data.readers import DataSet


@dataclass(frozen=True)
class Arguments(Options):
    """Options of `mftn prepare`.

    Attributes:
        dataset: The data set; folder and table are for your own images.
        root: The extracted data set as its owners distribute it; for `table`, the table itself.
        out: Folder to create, or to complete after an interruption.
        size: Side of the crops in pixels; by default 112, or 96 for FERPlus and FER2013.
        framing: The template that landmarks are aligned to: arcface as published, or fer2013, which has FER2013's
            margin and is the default for FERPlus and FER2013.
        classes: Number of classes; 7 omits contempt.
        original: For RAF-DB: crop from the original photographs instead of its aligned ones.
        detector: Face detector; none crops to annotated boxes or uses whole images.
        min_score: Faces below this score count as not found, 0 to 1.
        format: File format of the crops: png is lossless (the default for FERPlus and FER2013), jpg is smaller.
        quality: JPEG quality, 1 to 100.
        valid_share: Fraction used for validation if the data set has no validation split.
        test_share: Fraction used for testing if the data set has no splits at all.
        seed: Seed of the splits made here.
        skip_damaged: Omit and report images that cannot be read, instead of stopping.
        workers: Number of processes.
    """

    dataset: tyro.conf.Positional[DataSetName]
    root: Annotated[Path, FOLDER]
    out: OutFolder
    size: Unset[int] = None
    framing: Unset[Framing] = None
    classes: Literal[7, 8] = 8
    original: Switch = False
    detector: Literal["yunet", "mtcnn", "none"] = "yunet"
    min_score: float = 0.3
    format: Unset[CropFormat] = None
    quality: int = 95
    valid_share: float = 0.1
    test_share: float = 0.2
    seed: int = 0
    skip_damaged: Switch = False
    workers: int = 2


EXAMPLES = (
    "mftn prepare raf-db --root RAF-DB/basic --out data/raf-db --size 224",
    "mftn prepare ferplus --root FERPlus/ --out data/ferplus",
    "mftn prepare folder --root mine/ --out data/mine",
)


def run(arguments: Arguments) -> int:
    """Prepare the data set and print its counts."""
    from mftn.data.prepare import Shares, prepare
    from mftn.data.readers import ReadOptions, find_data_set, read_records, survey

    _check(arguments)
    name, root, data_set = arguments.dataset, arguments.root, find_data_set(arguments.dataset)
    options = ReadOptions(arguments.classes, not arguments.original)
    found = survey(name, root, options)

    for warning in found.warnings:
        LOG.warning(f"note: {warning}")
    about: dict[str, Any] = {"name": name, "title": data_set.title, "licence": data_set.licence, "mftn": __version__}
    about |= {"classes_read": arguments.classes, "original": arguments.original}
    with progress_bar("faces", found.total) as advance:
        try:
            manifest = prepare(
                read_records(name, root, options),
                arguments.out,
                _preparation(arguments, data_set),
                root=root if root.is_dir() else root.parent,
                shares=Shares(arguments.valid_share, arguments.test_share, arguments.seed),
                about=about,
                warnings=found.warnings,
                workers=arguments.workers,
                skip_damaged=arguments.skip_damaged,
                on_part=advance,
                on_note=lambda text: LOG.warning(f"note: {text}"),
            )
        except KeyboardInterrupt:
            LOG.info("interrupted; run the same command again to continue")
            return INTERRUPTED
    _print(arguments.out)
    print(manifest)
    return 0


def _preparation(arguments: Arguments, data_set: "DataSet") -> "Preparation":
    """The data set's own framing, size and format unless the command line overrides them."""
    from mftn.data.prepare import arcface_preparation, ferplus_preparation

    framing = arguments.framing or data_set.framing
    return (ferplus_preparation if framing == "fer2013" else arcface_preparation)(
        arguments.size or data_set.size,
        detector=arguments.detector,
        min_score=arguments.min_score,
        format=arguments.format or data_set.format,
        quality=arguments.quality,
    )


def _print(out: Path) -> None:
    from mftn.data.manifest import read_description

    description = read_description(out)
    for split, count in description["images"].items():
        lost = f", {description['without_face'].get(split, 0):,} of them not found by the detector (kept and flagged)"
        print(f"{split}: {count:,} faces{lost if description['preparation']['detector'] != 'none' else ''}")
    if description["damaged"]:
        print(f"omitted because they cannot be read: {len(description['damaged']):,} (named in dataset.json)")


def _check(arguments: Arguments) -> None:
    """Refuse invalid numbers and folders before the data set is read."""
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
    if arguments.original and arguments.dataset != "raf-db":
        raise ConfigError(f"--original: only raf-db has two kinds of images, {arguments.dataset} has one; omit it")
    out, root = arguments.out.resolve(), arguments.root.resolve()
    if out == root or (arguments.dataset == "folder" and out.is_relative_to(root)):
        raise ConfigError(
            f"--out {arguments.out}: is inside --root {arguments.root}, where crops would be mistaken for images of "
            "the data set; choose a folder outside"
        )
    check_range("--workers", arguments.workers, 1)
