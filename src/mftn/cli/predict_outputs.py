"""The outputs of `mftn predict`: their names, and checks that they replace neither a source nor somebody's file."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mftn.cli.outputs import FilePerVideo, check_folders, check_outputs
from mftn.cli.sink import is_file_to_be
from mftn.errors import ConfigError, MissingExtraError
from mftn.files import file_identity
from mftn.journal import Earlier, earlier_run, journal_path
from mftn.output import ImageFolder, meta_path
from mftn.sources import VIDEO_KINDS, Kind, Source, find_sources

if TYPE_CHECKING:
    from mftn.cli.predict import Arguments

TIMELINES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp")


def output_kind(arguments: Arguments) -> str:
    """The form of the predictions: "table", "jsonl", "csv" or "parquet".

    Raises:
        ConfigError: The suffix of the output is unknown, or Parquet has no file.
        MissingExtraError: pyarrow is not installed.
    """
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


def find_earlier(arguments: Arguments, kind: str, given: Sequence[Source]) -> Earlier | None:
    """The earlier run to resume; None to start over.

    Raises:
        ConfigError: There is an earlier run whose results would be lost, or none that can be resumed.
    """
    output = arguments.output
    earlier = earlier_run(output) if output and kind != "table" and not arguments.overwrite else None
    if not arguments.resume:
        if earlier and earlier.done:
            raise ConfigError(
                f"--output {output}: an earlier run ended after {earlier.done} images or videos; add --resume to "
                "continue it, or --overwrite to start over"
            )
        return None
    if arguments.overwrite:
        raise ConfigError("--resume continues a run, and --overwrite starts over; omit one")
    if not output or kind == "table" or not is_file_to_be(output):
        raise ConfigError("--resume needs a file to continue: add --output faces.csv, .jsonl or .parquet")
    if live := next((source for source in given if source.live), None):
        raise ConfigError(f"{live.name}: is live and cannot be resumed; omit --resume")
    if earlier is None and output.exists():
        raise ConfigError(
            f"--output {output}: already exists, but {journal_path(output).name}, which --resume needs, does not; add "
            "--overwrite instead of --resume, or choose another name"
        )
    return earlier


@dataclass(frozen=True)
class OutputFiles:
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


def check_sources(
    arguments: Arguments, kind: str, given: Sequence[Source], earlier: Earlier | None, unread: Counter[str]
) -> tuple[Iterable[Source], OutputFiles, list[Path]]:
    """Check the outputs, and return the sources, their output files, and the files that --overwrite replaces.

    A list on standard input is read as it arrives, unless outputs may replace files: then it is read to its end first.

    Args:
        arguments: The command's options.
        kind: As from `output_kind`.
        given: The sources as given.
        earlier: The run to resume.
        unread: As in `find_sources`.

    Raises:
        ConfigError: An output is refused.
    """
    own = earlier.owns if earlier else None
    copies, timelines = _video_files(arguments, _only_video(given), own)
    folders = {"--save-images": arguments.save_images, "--save-crops": arguments.save_crops}
    folders |= {each.option: each.given for each in (copies, timelines) if each and each.is_folder}
    check_folders(folders, arguments.sources)
    skip = {folder.resolve() for folder in folders.values() if folder}
    found = find_sources(given, null=arguments.null, videos=bool(find_spec("av")), skip=skip, unread=unread)
    replacing = arguments.resume or (arguments.overwrite and (skip or arguments.output))
    lazy = any(source.kind is Kind.LIST for source in given) and not replacing
    known = [] if lazy else list(found)
    paths = [source.path for source in known]

    protected = {identity for path in paths if (identity := file_identity(path))} if skip else set()
    roots = [source.path for source in given if source.kind is Kind.FOLDER]
    annotated, crops = (
        ImageFolder(folder, arguments.overwrite, protected, roots, earlier is not None) if folder else None
        for folder in (arguments.save_images, arguments.save_crops)
    )
    files = OutputFiles(annotated, crops, copies, timelines)
    outputs = [("--output", arguments.output), *files.planned(known)]
    if arguments.output and kind in ("jsonl", "csv") and is_file_to_be(arguments.output):
        outputs.insert(1, ("--output", meta_path(arguments.output)))
    check_outputs(outputs, arguments.sources if lazy else paths, arguments.overwrite, own)
    replaced = [path for _, path in outputs if path and path.exists()] if arguments.overwrite else []
    return found if lazy else known, files, replaced


def _video_files(
    arguments: Arguments, only: Source | None, own: Callable[[Path], bool] | None
) -> Iterable[FilePerVideo | None]:
    """The files or folders for copies and timelines of videos."""
    from mftn.video import SAVED_SUFFIXES

    for option, path, ending, suffixes in (
        ("--save-video", arguments.video.save_video, "faces.mp4", SAVED_SUFFIXES),
        ("--save-timeline", arguments.video.save_timeline, "timeline.png", TIMELINES),
    ):
        yield FilePerVideo(option, path, ending, suffixes, only, arguments.overwrite, own) if path else None


def _only_video(given: Sequence[Source]) -> Source | None:
    """The video, camera or stream that is certainly the only one."""
    videos = [source for source in given if source.kind in VIDEO_KINDS]
    several = any(source.kind in (Kind.FOLDER, Kind.GLOB, Kind.LIST) for source in given)
    return videos[0] if len(videos) == 1 and not several else None
