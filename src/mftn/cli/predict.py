"""Recognise expressions in photographs and videos; writes a table, JSONL, CSV or Parquet, and annotated copies."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from importlib.util import find_spec
from itertools import groupby
from logging import DEBUG, INFO
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mftn.cli import exit_status
from mftn.cli.images import Images
from mftn.cli.messages import LOG, counted
from mftn.cli.options import (
    FOLDER,
    SOURCES,
    Group,
    Options,
    OutFile,
    Switch,
    Unset,
    VideoOptions,
    flag,
    parse_options,
    refuse,
)
from mftn.cli.outputs import FilePerVideo, check_folders, check_outputs
from mftn.cli.progress import Bars, bars_on_terminal
from mftn.cli.sink import Rows, Sink, is_file_to_be, sink
from mftn.cli.video import Videos
from mftn.engines import Calibration, EngineName, Precision, find_model
from mftn.errors import ConfigError, MissingExtraError
from mftn.faces import DetectorName
from mftn.files import file_identity, sha256_of
from mftn.journal import Earlier, earlier_run, journal_path
from mftn.limits import check_range
from mftn.output import ImageFolder, Provenance, meta_path
from mftn.sources import Kind, Source, advice, classify, describe, find_sources
from mftn.tags import is_own_copy

if TYPE_CHECKING:
    from mftn.recognize import Recognizer

Format = Literal["auto", "table", "jsonl", "csv", "parquet"]


@dataclass(frozen=True)
class Arguments(Options):
    """Options of `mftn predict`.

    Attributes:
        sources: Images, videos, folders (with subfolders), globs, or - for a list of paths on standard input; 0 for the
            first webcam; rtsp:// and http(s):// addresses of streams and videos.
        format: auto follows the output file's suffix; without a file it is a table on a terminal and JSONL otherwise.
        output: File to write the predictions to.
        save_images: Folder for annotated copies of images.
        save_crops: Folder for the aligned faces of images, 224×224.
        overwrite: Replace existing outputs; a source is never replaced.
        resume: Continue an earlier run with the same output, however it ended. Its results are kept in NAME.resume, and
            are computed again only for sources that have changed.
        null: Paths on standard input are separated by NUL bytes, as find -print0 writes them.
        detector: Face detector; none treats each image as one face crop.
        min_score: Lowest detector score of a face, 0 to 1; by default 0.5 (yunet) or 0.8 (mtcnn).
        detect_size: Largest size, in pixels of the longer side, at which images are searched for faces; smaller is
            faster but misses more small faces. By default images are searched at full size and video frames at 960.
        top: Expressions shown per face in the table and on images.
        model: Name of an installed model (mftn models lists them), or an exported file. By default mftn_mobile_ferplus.
        threads: CPU threads; 0 for all cores, or with --cluster one for each worker.
        engine: What runs the network; auto is OpenVINO if it is installed.
        precision: fast lets OpenVINO compute in bfloat16 if the CPU supports it; about 6 labels in 1,000 change.
        flip: Average every face's prediction with that of its horizontal flip: more accurate, at twice the computation.
            Videos are averaged over time instead.
        calibration: The images that probabilities are calibrated for: faces from anywhere (general), or images like the
            training data (training), for which the model is more confident. Labels are not affected.
        strict: Stop at the first image or video that cannot be read.
        cluster: Predict on all machines of a Ray cluster: auto for the one that this machine belongs to, local for this
            machine's CPUs, or HOST:PORT. Sources may be in object stores (s3://…), and may be Parquet or tar files;
            --output is a folder that all machines share, or an address. To continue after an interruption, repeat the
            command.
        video: What is read from videos, and what is written for them.
    """

    sources: Annotated[tyro.conf.Positional[tuple[str, ...]], SOURCES]
    format: Format = "auto"
    output: OutFile = None
    save_images: Annotated[Unset[Path], FOLDER] = None
    save_crops: Annotated[Unset[Path], FOLDER] = None
    overwrite: Switch = False
    resume: Switch = False
    null: Annotated[Switch, tyro.conf.arg(aliases=["-0"])] = False
    detector: DetectorName = "yunet"
    min_score: Unset[float] = None
    detect_size: Unset[int] = None
    top: int = 3
    model: Unset[str] = None
    threads: int = 0
    engine: EngineName = "auto"
    precision: Precision = "exact"
    flip: bool = True
    calibration: Calibration = "general"
    strict: Switch = False
    cluster: Annotated[Unset[str], tyro.conf.arg(metavar="auto|local|HOST:PORT")] = None
    video: Annotated[Group[VideoOptions], tyro.conf.arg(name="video")] = VideoOptions()  # noqa: RUF009 (frozen)


EXAMPLES = (
    "mftn predict photo.jpg",
    "mftn predict photos/ --output faces.csv --save-images annotated/",
    "mftn predict interviews/*.mp4 --output faces.parquet --fps 5 --save-timeline timelines/",
    "mftn predict archive/ --output faces.parquet --resume",
    "mftn predict s3://bucket/photos/ --cluster auto --output s3://bucket/faces/",
)
SETTINGS = (
    "detector", "min_score", "detect_size", "precision", "flip", "calibration", "top", "save_images", "save_crops",
)  # fmt: skip
"""Options for images that affect the output, as all options for videos do."""

FOR_IMAGES = ("save_images", "save_crops")
VIDEOS = (Kind.VIDEO, Kind.CAMERA, Kind.STREAM)
TIMELINES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp")
RENAMED = {"--mirror": "--flip", "--no-mirror": "--no-flip"}
"""Deprecated option names, and their replacements."""


def parse(arguments: list[str]) -> Arguments:
    """Parse the arguments; deprecated names are accepted with a warning."""
    for old, new in RENAMED.items():
        if old in arguments:
            LOG.warning(f"{old} has been renamed: use {new}")
    arguments = [RENAMED.get(argument, argument) for argument in arguments]
    return parse_options(Arguments, "predict", __doc__, arguments, EXAMPLES)


def run(arguments: Arguments) -> int:
    """Predict, write the output, and return the exit status."""
    if arguments.cluster:
        from mftn.cli.cluster import run_on_cluster

        return run_on_cluster(arguments)
    kind = _kind(arguments)
    given = [classify(source) for source in arguments.sources]
    _check(arguments, given)
    earlier = _check_resume(arguments, kind, given)
    unread: Counter[str] = Counter()
    sources, files, replaced = _checked_sources(arguments, kind, given, earlier, unread)
    recognizer = _load(arguments)
    LOG.debug(repr(recognizer))
    rows = _tables(arguments.top, named=len(given) > 1 or not given[0].moves) if kind == "table" else None
    order = [source.name for source in sources] if arguments.resume and isinstance(sources, list) else None
    with ExitStack() as stack:
        to = stack.enter_context(sink(arguments.output, kind, rows, _provenance(arguments, recognizer), order))
        if replaced:
            to.announce(replaced)  # a run that resumes this one may replace them too
        bars = stack.enter_context(bars_on_terminal())
        images = Images(recognizer, to, files.annotated, files.crops, arguments.top)
        videos = Videos(arguments.video, arguments.top, recognizer, to, files.copies, files.timelines, bars)
        todo = _not_done(sources, to, files)
        total = len(todo) if isinstance(todo, list) else None
        if isinstance(sources, list) and total is not None and total < len(sources):
            LOG.info(f"{len(sources) - total} of {len(sources)} done before")
        started = monotonic()
        try:
            to.complete = _work(todo, total, images, videos, bars, arguments.strict)
        except KeyboardInterrupt as stop:
            to.complete = any(source.live for source in given)
            where = f" and kept in {arguments.output}" if arguments.output else ""
            how = "; continue with --resume" if to.journal and not to.complete else ""
            LOG.info(f"interrupted with {_done(images, videos, total)} done{where}{how}")
            return exit_status(stop)
    if unread:
        LOG.warning(f"not read: {describe(unread)}; {advice(unread)}")
    if (images.failed or videos.failed) and images.done + videos.done > 1:
        LOG.warning(_failures(images, videos))
    wanted = sys.stderr.isatty() or arguments.messages.log
    LOG.log(INFO if wanted else DEBUG, _summary(images, videos, monotonic() - started))
    return 1 if images.failed or videos.failed else 0


def _tables(top: int, named: bool) -> Rows:
    """Tables for the terminal; imported only when needed, as importing rich is slow."""
    from mftn.cli.tables import ImageTable, PersonsTable, PredictionTables

    return PredictionTables(ImageTable(top), PersonsTable(named))


def _not_done(sources: Iterable[Source], to: Sink, files: "_Files") -> Iterable[Source]:
    """The sources that are still to be done, as a list if `sources` is one."""
    journal = to.journal
    if journal is None:
        return sources
    todo = (source for source in sources if not journal.has(source.name, files.beginnings(source)))
    return list(todo) if isinstance(sources, list) else todo


def _provenance(arguments: Arguments, recognizer: "Recognizer") -> Provenance:
    """The provenance of the output."""
    file = find_model(arguments.model)
    settings = {name: getattr(arguments, name) for name in SETTINGS} | vars(arguments.video)
    settings["engine"] = recognizer.engine.name
    texts = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
    return Provenance(recognizer.engine.spec.name or file.stem, sha256_of(file), texts)


def _work(
    sources: Iterable[Source], total: int | None, images: Images, videos: Videos, bars: Bars, strict: bool
) -> bool:
    """Process the sources in order, up to the first failure if `strict`; return whether none is left."""
    task = bars.add_task("images and videos", total=total, visible=total != 1)
    for moving, some in groupby(sources, key=lambda source: source.moves):
        for success in map(videos.add, some) if moving else images.add(some):
            bars.advance(task)
            if strict and not success:
                return False
    return True


def _done(images: Images, videos: Videos, total: int | None) -> str:
    """Progress as text: 3 of 12 images; 250 frames of 2 videos."""
    parts = []
    if images.done or not videos.frames:
        of = f"{images.done:,} of " if total and not videos.frames else ""
        parts.append(f"{of}{counted(total if of and total else images.done, 'image')}")
    if videos.frames:
        before = f" of {counted(videos.done + 1, 'video')}" if videos.done else ""
        parts.append(f"{counted(videos.frames, 'frame')}{before}")
    return " and ".join(parts)


def _summary(images: Images, videos: Videos, seconds: float) -> str:
    """Counts and speed as text: 12 images, 14 faces in 0.4 s, 30 images per second."""
    frames = f", {counted(videos.frames, 'frame')} of {counted(videos.done, 'video')}" if videos.done else ""
    faces, rate = images.faces + videos.faces, (images.done + videos.frames) / max(seconds, 1e-3)
    what = "frames" if videos.frames > images.done else "images"
    done = f"{counted(images.done, 'image')}{frames}, {counted(faces, 'face')}"
    return f"{done} in {seconds:.1f} s, {rate:.0f} {what} per second"


def _failures(images: Images, videos: Videos) -> str:
    """Numbers of failures as text."""
    counts = (("image", images.failed, images.done), ("video", videos.failed, videos.done))
    return " and ".join(f"{failed:,} of {counted(done, name)}" for name, failed, done in counts if failed) + " failed"


def _load(arguments: Arguments) -> "Recognizer":
    from mftn.recognize import load

    return load(
        arguments.model,
        detector=arguments.detector,
        min_score=arguments.min_score,
        detect_size=arguments.detect_size,
        threads=arguments.threads,
        engine=arguments.engine,
        precision=arguments.precision,
        flip=arguments.flip,
        calibration=arguments.calibration,
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


def _check_resume(arguments: Arguments, kind: str, given: Sequence[Source]) -> Earlier | None:
    """The earlier run to resume, if any; raise an error if its results would be lost or it cannot be resumed."""
    output = arguments.output
    earlier = earlier_run(output) if output and kind != "table" and not arguments.overwrite else None
    if not arguments.resume:
        if earlier and earlier.done:
            raise ConfigError(
                f"--output {output}: an earlier run ended after {earlier.done} images or videos; add --resume to "
                "continue it, or --overwrite to start afresh"
            )
        return None
    if arguments.overwrite:
        raise ConfigError("--resume continues a run, and --overwrite starts afresh; omit one")
    if not output or kind == "table" or not is_file_to_be(output):
        raise ConfigError("--resume needs a file to continue: add --output faces.csv, .jsonl or .parquet")
    if live := next((source for source in given if source.live), None):
        raise ConfigError(f"{live.name}: is live and cannot be resumed; omit --resume")
    if earlier is None and output.exists():
        raise ConfigError(
            f"--output {output}: exists already, but {journal_path(output).name}, which --resume needs, does not; add "
            "--overwrite instead of --resume, or choose another name"
        )
    return earlier


def _only_video(given: Sequence[Source]) -> Source | None:
    """The video, camera or stream that is certainly the only one."""
    videos = [source for source in given if source.kind in VIDEOS]
    several = any(source.kind in (Kind.FOLDER, Kind.GLOB, Kind.LIST) for source in given)
    return videos[0] if len(videos) == 1 and not several else None


def _check(arguments: Arguments, given: Sequence[Source]) -> None:
    """Refuse options that are out of range or would have no effect."""
    if not given:
        raise ConfigError("no source: name an image, a video or a folder, as in `mftn predict photo.jpg`")
    check_range("--top", arguments.top, 1)
    check_range("--threads", arguments.threads, 0, 1024)
    if arguments.min_score is not None:
        check_range("--min-score", arguments.min_score, 0, 1)
        if arguments.detector == "none":
            raise ConfigError("--min-score has no effect with --detector none, which has no scores; omit it")
    lists = sum(source.kind is Kind.LIST for source in given)
    if arguments.null and not lists:
        raise ConfigError("--null applies to paths on standard input; add - as a source")
    if lists > 1:
        raise ConfigError("- is given twice; standard input can be read only once")
    if all(source.kind is Kind.IMAGE for source in given):
        refuse(arguments.video, [field.name for field in fields(VideoOptions)], "applies to videos only")
    else:
        _check_videos(arguments.video, given)
    if all(source.kind in VIDEOS for source in given):
        refuse(arguments, FOR_IMAGES, "applies to images only")


def _check_videos(options: VideoOptions, given: Sequence[Source]) -> None:
    from mftn.tracking import check_video_options

    check_video_options(
        options.start, options.end, options.every, options.fps, options.detect_every, options.smooth, flag
    )
    if options.save_timeline and not find_spec("matplotlib"):
        raise MissingExtraError("--save-timeline", "video")
    if any(source.kind in VIDEOS for source in given) and not find_spec("av"):
        raise MissingExtraError("video", "video")
    endless = next((source for source in given[:-1] if source.live and options.end is None), None)
    if endless:
        raise ConfigError(f"{endless.name}: has no end, so nothing after it would be read; give it last, or add --end")


@dataclass(frozen=True)
class _Files:
    """The folders and files for copies, crops and figures; None if they are not requested."""

    annotated: ImageFolder | None
    crops: ImageFolder | None
    copies: FilePerVideo | None
    timelines: FilePerVideo | None

    def beginnings(self, source: Source) -> list[str]:
        """The prefixes of the paths of a source's output files."""
        if source.moves:
            return [str(each.path(source)) for each in (self.copies, self.timelines) if each]
        return [str(each.path(source.path, ""))[: -len(".jpg")] for each in (self.annotated, self.crops) if each]

    def planned(self, sources: Sequence[Source]) -> list[tuple[str, Path]]:
        """The output files of sources, as far as their names are known, with the options that request them."""
        images = [source.path for source in sources if not source.moves]
        videos = [source for source in sources if source.moves]
        planned = [
            (option, path)
            for option, folder, ending in (
                ("--save-images", self.annotated, "faces"),
                ("--save-crops", self.crops, "face1"),
            )
            if folder
            for path in dict.fromkeys(folder.path(image, ending) for image in images)
            if path.exists()
        ]
        for each in (self.copies, self.timelines):
            if each:
                planned += [(each.option, path) for path in dict.fromkeys(map(each.path, videos))]
        return planned


def _checked_sources(
    arguments: Arguments, kind: str, given: Sequence[Source], earlier: Earlier | None, unread: Counter[str]
) -> tuple[Iterable[Source], _Files, list[Path]]:
    """Check the outputs, and return the sources, their output locations, and the files that --overwrite replaces.

    A list on standard input is read as it arrives, unless outputs may replace files: then it is read to its end first.
    """
    own = _own(earlier) if earlier else None
    copies, timelines = _video_files(arguments.video, _only_video(given), arguments.overwrite, own)
    named = {"--save-images": arguments.save_images, "--save-crops": arguments.save_crops}
    named |= {each.option: each.given for each in (copies, timelines) if each and each.is_folder}
    check_folders(named, arguments.sources)
    used = [folder for folder in named.values() if folder]
    skip = {folder.resolve() for folder in used}
    found = find_sources(given, null=arguments.null, videos=bool(find_spec("av")), skip=skip, unread=unread)
    table = [("--output", arguments.output)]
    if arguments.output and kind in ("jsonl", "csv") and is_file_to_be(arguments.output):
        table.append(("--output", meta_path(arguments.output)))
    roots = [source.path for source in given if source.kind is Kind.FOLDER]
    lazy = not arguments.resume and not (arguments.overwrite and (used or arguments.output))
    if any(source.kind is Kind.LIST for source in given) and lazy:
        check_outputs(table, arguments.sources, arguments.overwrite)
        return found, _Files(*_image_folders(arguments, roots), copies, timelines), []
    sources = list(found)
    paths = [source.path for source in sources]
    protected = {identity for path in paths if (identity := file_identity(path))} if used else set()
    files = _Files(*_image_folders(arguments, roots, protected, earlier is not None), copies, timelines)
    outputs = [*table, *files.planned(sources)]
    check_outputs(outputs, paths, arguments.overwrite, own)
    replaced = [path for _, path in outputs if path and path.exists()] if arguments.overwrite else []
    return sources, files, replaced


def _own(earlier: Earlier) -> Callable[[Path], bool]:
    """Whether a file may be replaced by a resumed run: only if the earlier run wrote it, or if it is a saved copy."""
    return lambda path: os.path.abspath(path) in earlier.saved or is_own_copy(path)  # noqa: PTH100 (as in the journal)


def _image_folders(
    arguments: Arguments,
    roots: Sequence[str],
    protected: Collection[tuple[int, int]] = (),
    resuming: bool = False,
) -> tuple[ImageFolder | None, ImageFolder | None]:
    """The folders for annotated copies and crops of images."""
    annotated, crops = (
        ImageFolder(folder, arguments.overwrite, protected, roots, resuming) if folder else None
        for folder in (arguments.save_images, arguments.save_crops)
    )
    return annotated, crops


def _video_files(
    options: VideoOptions, only: Source | None, overwrite: bool, own: Callable[[Path], bool] | None
) -> tuple[FilePerVideo | None, FilePerVideo | None]:
    """The files or folders for copies and timelines of videos."""
    from mftn.video import SAVED_SUFFIXES

    copies, timelines = (
        FilePerVideo(option, path, ending, suffixes, only, overwrite, own) if path else None
        for option, path, ending, suffixes in (
            ("--save-video", options.save_video, "faces.mp4", SAVED_SUFFIXES),
            ("--save-timeline", options.save_timeline, "timeline.png", TIMELINES),
        )
    )
    return copies, timelines
