"""Recognise expressions in photographs and videos; writes a table, JSONL, CSV or Parquet, and annotated copies."""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
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
from mftn.cli.predict_outputs import OutputFiles, check_sources, find_earlier, output_kind
from mftn.cli.progress import Bars, bars_on_terminal
from mftn.cli.sink import Rows, Sink, open_sink
from mftn.cli.video import Videos
from mftn.engines import Calibration, EngineName, Precision, find_model
from mftn.errors import ConfigError, MissingExtraError
from mftn.faces import DetectorName
from mftn.files import sha256_of
from mftn.limits import check_range
from mftn.output import Provenance
from mftn.sources import VIDEO_KINDS, Kind, Source, advice, classify, describe

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
    kind = output_kind(arguments)
    given = [classify(source) for source in arguments.sources]
    _check(arguments, given)
    earlier = find_earlier(arguments, kind, given)
    unread: Counter[str] = Counter()
    sources, files, replaced = check_sources(arguments, kind, given, earlier, unread)
    recognizer = _load(arguments)
    LOG.debug(repr(recognizer))
    rows = _tables(arguments.top, named=len(given) > 1 or not given[0].moves) if kind == "table" else None
    order = [source.name for source in sources] if arguments.resume and isinstance(sources, list) else None
    with ExitStack() as stack:
        sink = stack.enter_context(open_sink(arguments.output, kind, rows, _provenance(arguments, recognizer), order))
        if replaced:
            sink.announce(replaced)  # a run that resumes this one may replace them too
        bars = stack.enter_context(bars_on_terminal())
        images = Images(recognizer, sink, files.annotated, files.crops, arguments.top)
        videos = Videos(arguments.video, arguments.top, recognizer, sink, files.copies, files.timelines, bars)
        todo = _not_done(sources, sink, files)
        total = len(todo) if isinstance(todo, list) else None
        if isinstance(sources, list) and total is not None and total < len(sources):
            LOG.info(f"{len(sources) - total} of {len(sources)} already done")
        started = monotonic()
        try:
            sink.complete = _work(todo, total, images, videos, bars, arguments.strict)
        except KeyboardInterrupt as stop:
            sink.complete = any(source.live for source in given)
            where = f", kept in {arguments.output}" if arguments.output else ""
            how = "; continue with --resume" if sink.journal and not sink.complete else ""
            LOG.info(f"interrupted after {_done(images, videos, total)}{where}{how}")
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


def _not_done(sources: Iterable[Source], sink: Sink, files: OutputFiles) -> Iterable[Source]:
    """The sources that are still to be done, as a list if `sources` is one."""
    journal = sink.journal
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
    if all(source.kind in VIDEO_KINDS for source in given):
        refuse(arguments, FOR_IMAGES, "applies to images only")


def _check_videos(options: VideoOptions, given: Sequence[Source]) -> None:
    from mftn.track_video import check_video_options

    check_video_options(
        options.start, options.end, options.every, options.fps, options.detect_every, options.smooth, flag
    )
    if options.save_timeline and not find_spec("matplotlib"):
        raise MissingExtraError("--save-timeline", "video")
    if any(source.kind in VIDEO_KINDS for source in given) and not find_spec("av"):
        raise MissingExtraError("video", "video")
    endless = next((source for source in given[:-1] if source.live and options.end is None), None)
    if endless:
        raise ConfigError(f"{endless.name}: has no end, so nothing after it would be read; give it last, or add --end")
