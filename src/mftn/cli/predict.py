"""Recognise expressions in photographs and videos: a table, JSONL, CSV or Parquet, and annotated copies."""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mftn.cli import INTERRUPTED, say
from mftn.cli.outputs import check_folders, check_outputs
from mftn.cli.progress import progress_bar
from mftn.cli.sink import ImageTable, sink
from mftn.engines import EngineName
from mftn.errors import ConfigError, MissingExtraError
from mftn.faces import DetectorName
from mftn.files import file_identity
from mftn.limits import check_range
from mftn.output import ImageFolder
from mftn.sources import Kind, Source, classify, describe, find_sources
from mftn.types import Prediction

if TYPE_CHECKING:
    from mftn.recognize import Recognizer

Format = Literal["auto", "table", "jsonl", "csv", "parquet"]


@dataclass(frozen=True)
class Arguments:
    """What `mftn predict` takes.

    Attributes:
        sources: Files, folders (with subfolders), globs, or - for a list of paths on standard input; or one video, or 0
            for the first webcam.
        format: auto follows the output file's suffix; without a file it is a table on a terminal and JSONL in a pipe.
        output: File to write the predictions to.
        save_images: Folder for annotated copies.
        save_crops: Folder for the aligned faces, 224×224.
        overwrite: Replace outputs that exist already; a source is never replaced.
        null: Paths on standard input are separated by NUL bytes, as find -print0 writes them.
        detector: Finds faces; none takes each image as one face crop.
        min_score: Lowest detector score of a face, 0 to 1; by default 0.5 (yunet) or 0.8 (mtcnn).
        detect_size: Largest size, in pixels of the longer side, at which faces are searched; smaller is faster and
            misses more small faces. By default images are searched at full size and video frames at 960.
        top: Expressions shown per face in the table and on images.
        model: Name of an installed model (mftn models lists them), or an exported file.
        threads: Processor threads; 0 for all cores.
        engine: Runs the network; auto is OpenVINO where it is installed.
        flip: Average every face's prediction with its horizontal flip's: more accurate, and twice the network's work.
            Videos are averaged over time instead.
        strict: Stop at the first image that cannot be read.
        start: Of a video, the timestamp in seconds of the first frame to read.
        end: Of a video, the timestamp in seconds of the last frame to read.
        every: Of a video, read every Nth frame.
        detect_every: Of a video, frames from one detection in the whole image to the next.
        smooth: Of a video, seconds over which probabilities are averaged; 0 turns smoothing off.
        save_video: Of a video, an annotated copy with the sound.
        save_timeline: Of a video, a figure of the expressions over time.
    """

    sources: Annotated[tuple[str, ...], tyro.conf.Positional]
    format: Format = "auto"
    output: Path | None = None
    save_images: Path | None = None
    save_crops: Path | None = None
    overwrite: bool = False
    null: Annotated[bool, tyro.conf.arg(aliases=["-0"])] = False
    detector: DetectorName = "yunet"
    min_score: float | None = None
    detect_size: int | None = None
    top: int = 3
    model: str | None = None
    threads: int = 0
    engine: EngineName = "auto"
    flip: bool = True
    strict: bool = False
    start: float = 0.0
    end: float | None = None
    every: int = 1
    detect_every: int = 5
    smooth: float = 0.3
    save_video: Path | None = None
    save_timeline: Path | None = None


FOR_VIDEOS = ("start", "end", "every", "detect_every", "smooth", "save_video", "save_timeline")
FOR_IMAGES = ("save_images", "save_crops", "strict")
TIMELINES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp")
RENAMED = {"--mirror": "--flip", "--no-mirror": "--no-flip"}
"""Options under their deprecated names."""


def parse(arguments: list[str]) -> Arguments:
    """The arguments; deprecated names are taken with a warning."""
    for old, new in RENAMED.items():
        if old in arguments:
            say(f"{old} has been renamed: use {new}")
    arguments = [RENAMED.get(argument, argument) for argument in arguments]
    return tyro.cli(Arguments, prog="mftn predict", description=__doc__, args=arguments)


def run(arguments: Arguments) -> int:
    """Recognise, write, and return the exit status."""
    kind = _kind(arguments)
    given = [classify(source) for source in arguments.sources]
    video = _video(given)
    _check(arguments, given, video)
    if video:
        from mftn.cli.video import run_video

        check_outputs(_files(arguments), arguments.sources, arguments.overwrite)
        return run_video(arguments, kind, _load(arguments, flip=False))
    return _run_images(arguments, given, kind)


def _run_images(arguments: Arguments, given: Sequence[Source], kind: str) -> int:
    unread: Counter[str] = Counter()
    sources, folders = _checked_sources(arguments, given, unread)
    recognizer = _load(arguments, flip=arguments.flip)
    total = len(sources) if isinstance(sources, list) else None
    failed = done = 0
    try:
        with ExitStack() as stack:
            write = stack.enter_context(sink(arguments.output, kind, ImageTable(arguments.top)))
            advance = stack.enter_context(progress_bar("images", total))
            for prediction in recognizer.stream(sources):
                write(prediction)
                done += 1
                if error := prediction.error or _save(arguments, prediction, recognizer, folders):
                    failed += 1
                    say(error)
                    if arguments.strict:
                        return 1
                advance(1)
    except KeyboardInterrupt:
        of = f" of {total}" if total is not None else ""
        where = f" in {arguments.output}" if arguments.output else ""
        say(f"interrupted; {done}{of} images are done and kept{where}")
        return INTERRUPTED
    if unread:
        say(f"not read: {describe(unread)}; convert images to JPEG, and give videos and linked folders by themselves")
    if failed and done > 1:
        say(f"{failed} of {done} images failed")
    return 1 if failed else 0


def _load(arguments: Arguments, flip: bool) -> "Recognizer":
    from mftn.recognize import load

    return load(
        arguments.model,
        detector=arguments.detector,
        min_score=arguments.min_score,
        detect_size=arguments.detect_size,
        threads=arguments.threads,
        engine=arguments.engine,
        flip=flip,
    )


def _kind(arguments: Arguments) -> str:
    if arguments.format != "auto":
        kind = str(arguments.format)
    elif arguments.output:
        kind = arguments.output.suffix.removeprefix(".").lower()
    else:
        kind = "table" if sys.stdout.isatty() else "jsonl"
    if kind not in ("table", "jsonl", "csv", "parquet"):
        raise ConfigError(
            f"--output {arguments.output}: unknown suffix; use .jsonl, .csv or .parquet, or give --format"
        )
    if kind == "parquet" and not arguments.output:
        raise ConfigError("--format parquet needs a file: add --output faces.parquet")
    if kind == "parquet" and not find_spec("pyarrow"):
        raise MissingExtraError("Parquet output", "parquet")
    return kind


def _video(given: Sequence[Source]) -> Source | None:
    """The one video or camera; None for images."""
    videos = [source for source in given if source.kind in (Kind.VIDEO, Kind.CAMERA)]
    if videos and len(given) > 1:
        raise ConfigError(f"{videos[0].path}: give one video at a time, without images")
    return videos[0] if videos else None


def _check(arguments: Arguments, given: Sequence[Source], video: Source | None) -> None:
    """Refuse options that are out of range or would have no effect."""
    if not given:
        raise ConfigError("no source: name an image or a folder, as in `mftn predict photo.jpg`")
    check_range("--top", arguments.top, 1)
    check_range("--threads", arguments.threads, 0, 1024)
    if arguments.min_score is not None:
        check_range("--min-score", arguments.min_score, 0, 1)
        if arguments.detector == "none":
            raise ConfigError("--min-score has no effect with --detector none, which gives no scores; omit it")
    lists = sum(source.kind is Kind.LIST for source in given)
    if arguments.null and not lists:
        raise ConfigError("--null applies to paths on standard input; add - as a source")
    if lists > 1:
        raise ConfigError("- is given twice; standard input can be read once")
    defaults = {field.name: field.default for field in fields(Arguments)}
    for name in FOR_IMAGES if video else FOR_VIDEOS:
        if getattr(arguments, name) != defaults[name]:
            raise ConfigError(f"{_option(name)} applies to {'images' if video else 'videos'} only; omit it")
    if arguments.save_timeline:
        if arguments.save_timeline.suffix.lower() not in TIMELINES:
            raise ConfigError(f"--save-timeline {arguments.save_timeline}: unknown suffix; use {', '.join(TIMELINES)}")
        if not find_spec("matplotlib"):
            raise MissingExtraError("--save-timeline", "video")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _files(arguments: Arguments) -> list[tuple[str, Path | None]]:
    return [(_option(name), getattr(arguments, name)) for name in ("output", "save_video", "save_timeline")]


@dataclass(frozen=True)
class _Folders:
    """Where annotated copies and crops go; None where none are requested."""

    annotated: ImageFolder | None
    crops: ImageFolder | None


def _checked_sources(
    arguments: Arguments, given: Sequence[Source], unread: Counter[str]
) -> tuple[Iterable[Source], _Folders]:
    """The sources and the folders of images, after checking that no output replaces what must stay.

    A list on standard input is read as it comes, unless outputs may replace files: then it is read to its end first.
    """
    named = {"--save-images": arguments.save_images, "--save-crops": arguments.save_crops}
    check_folders(named, arguments.sources)
    used = [folder for folder in named.values() if folder]
    found = find_sources(given, null=arguments.null, skip={folder.resolve() for folder in used}, unread=unread)
    replaces = arguments.overwrite and (used or arguments.output)
    if any(source.kind is Kind.LIST for source in given) and not replaces:
        check_outputs(_files(arguments), arguments.sources, arguments.overwrite)
        return found, _Folders(*(ImageFolder(folder) if folder else None for folder in named.values()))
    sources = list(found)
    paths = [source.path for source in sources]
    protected = {identity for path in paths if (identity := file_identity(path))} if used else set()
    folders = _Folders(
        *(ImageFolder(folder, arguments.overwrite, protected) if folder else None for folder in named.values())
    )
    planned = [
        (option, path)
        for option, folder, ending in (
            ("--save-images", folders.annotated, "faces"),
            ("--save-crops", folders.crops, "face1"),
        )
        if folder
        for path in dict.fromkeys(folder.path(source, ending) for source in paths)
        if path.exists()
    ]
    check_outputs([*_files(arguments), *planned], paths, arguments.overwrite)
    return sources, folders


def _save(arguments: Arguments, prediction: Prediction, recognizer: "Recognizer", folders: _Folders) -> str | None:
    """Save a prediction's annotated copy and crops where requested; the error message if that fails."""
    if not (folders.annotated or (folders.crops and prediction.faces)):
        return None
    from PIL import Image as PillowImage

    from mftn.drawing import annotate
    from mftn.errors import ImageError
    from mftn.images import read_image
    from mftn.recognize import crop_face

    try:
        image = read_image(prediction.source)
        if folders.annotated:
            folders.annotated.save(annotate(image, prediction.faces, arguments.top), prediction.source, "faces")
        if folders.crops:
            for number, face in enumerate(prediction.faces, start=1):
                crop = crop_face(image, face, (224, 224), recognizer.engine.spec.template)
                folders.crops.save(PillowImage.fromarray(crop), prediction.source, f"face{number}")
    except (FileExistsError, ImageError) as error:
        return str(error)
    return None
