"""Recognise expressions in photographs and videos: a table, JSONL, CSV or Parquet, and annotated copies."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from mftn.cli import INTERRUPTED
from mftn.errors import ConfigError
from mftn.types import Prediction

Format = Literal["auto", "table", "jsonl", "csv", "parquet"]


@dataclass(frozen=True)
class Arguments:
    """What `mftn predict` takes.

    Attributes:
        sources: Files, folders (all levels), globs, or - for a list of paths on standard input; or one video, or 0 for
            the first webcam.
        format: auto is by the output file's ending; without a file, a table on a terminal and JSONL in a pipe.
        output: File to write the predictions to.
        save_images: Folder for annotated copies.
        save_crops: Folder for the aligned faces, 224×224.
        detector: Finds faces; none takes each picture as one face crop.
        min_score: Faces below this score are left out, 0 to 1; the detector's own default if not given.
        detect_size: Pixels to which the longer side is scaled, at most, to look for small faces; fewer are faster and
            miss more of them. By default photographs are looked at in full, video frames at 960.
        top: Expressions shown for a face in the table and on pictures.
        model: Name of a model that ships, or an exported file.
        threads: Processor threads; 0 for all cores.
        engine: Runs the network; auto is OpenVINO where it is installed.
        mirror: Average every face's answer with its mirror image's: more accurate, and twice the network's work. Videos
            are averaged over time instead.
        strict: Stop at the first picture that cannot be read.
        start: Of a video, seconds from where frames are read.
        end: Of a video, seconds after which none are.
        every: Of a video, read every so-manieth frame.
        detect_every: Of a video, frames from one detection in the whole picture to the next.
        smooth: Of a video, seconds over which probabilities are averaged; 0 is off.
        save_video: Of a video, an annotated copy with the sound.
        save_timeline: Of a video, a picture of the expressions over time.
    """

    sources: Annotated[tuple[str, ...], tyro.conf.Positional]
    format: Format = "auto"
    output: Path | None = None
    save_images: Path | None = None
    save_crops: Path | None = None
    detector: Literal["yunet", "mtcnn", "none"] = "yunet"
    min_score: float | None = None
    detect_size: int | None = None
    top: int = 3
    model: str | None = None
    threads: int = 0
    engine: Literal["auto", "onnxruntime", "openvino"] = "auto"
    mirror: bool = True
    strict: bool = False
    start: float = 0.0
    end: float | None = None
    every: int = 1
    detect_every: int = 5
    smooth: float = 0.3
    save_video: Path | None = None
    save_timeline: Path | None = None


def run(arguments: Arguments) -> int:
    """Recognise, write, and return the exit status."""
    from mftn.recognize import expand, load
    from mftn.video import is_video

    kind = _kind(arguments)
    if not arguments.sources:
        raise ConfigError("nothing to do: name a picture or a folder, as in `mftn predict photo.jpg`")
    videos = [source for source in arguments.sources if is_video(source)]
    if videos and len(arguments.sources) > 1:
        raise ConfigError(f"{videos[0]}: give one video at a time, without photographs")
    recognizer = load(
        arguments.model,
        detector=arguments.detector,
        min_score=arguments.min_score,
        detect_size=arguments.detect_size,
        threads=arguments.threads,
        engine=arguments.engine,
        mirror=arguments.mirror and not videos,
    )
    if videos:
        from mftn.cli.video import run_video

        return run_video(arguments, kind, recognizer)
    items = list(expand(arguments.sources))
    failed = done = 0
    try:
        with ExitStack() as stack:
            write = stack.enter_context(sink(arguments, kind))
            save = _picture_saver(arguments, recognizer.engine.info.template)
            advance = stack.enter_context(_progress(len(items)))
            for prediction in recognizer.stream(items):
                write(prediction)
                if prediction.error:
                    failed += 1
                    print(f"mftn: {prediction.error}", file=sys.stderr)
                    if arguments.strict:
                        return 1
                else:
                    save(prediction)
                done += 1
                advance()
    except KeyboardInterrupt:
        where = f" in {arguments.output}" if arguments.output else ""
        print(f"mftn: interrupted; {done} of {len(items)} pictures are done and kept{where}", file=sys.stderr)
        return INTERRUPTED
    if failed and len(items) > 1:
        print(f"mftn: {failed} of {len(items)} pictures failed", file=sys.stderr)
    return 1 if failed else 0


def _kind(arguments: Arguments) -> str:
    if arguments.format != "auto":
        kind = str(arguments.format)
    elif arguments.output:
        kind = arguments.output.suffix.removeprefix(".").lower()
    else:
        kind = "table" if sys.stdout.isatty() else "jsonl"
    if kind not in ("table", "jsonl", "csv", "parquet"):
        raise ConfigError(f"{arguments.output}: unknown ending; use .jsonl, .csv or .parquet, or give --format")
    if kind == "parquet" and not arguments.output:
        raise ConfigError("Parquet needs a file: add --output faces.parquet")
    return kind


@contextmanager
def sink(arguments: Arguments, kind: str) -> Iterator[Callable[[Prediction], None]]:
    """A function that takes predictions; what it took is complete when the block ends, even by Ctrl-C."""
    from mftn.output import CsvWriter, JsonlWriter, explain_failure, open_writer

    if kind == "table":
        table = _Table(arguments.top)
        try:
            yield table.add
        finally:
            if arguments.output:
                with explain_failure(arguments.output), arguments.output.open("w", encoding="utf-8") as file:
                    Console(file=file, width=120).print(table.table)
            elif table.table.row_count:
                Console(width=None if sys.stdout.isatty() else 120).print(table.table)
    elif arguments.output:
        with open_writer(arguments.output, kind) as writer:
            yield writer.write
    else:
        writer = JsonlWriter(sys.stdout) if kind == "jsonl" else CsvWriter(sys.stdout)

        def write(prediction: Prediction) -> None:
            writer.write(prediction)
            writer.close()  # flush: a reader at the other end sees each picture at once

        yield write


class _Table:
    """Predictions for people."""

    def __init__(self, top: int) -> None:
        self.top = top
        self.table = Table(box=None, header_style="bold", pad_edge=False)
        self.table.add_column("picture", overflow="fold")
        self.table.add_column("face", justify="right")
        self.table.add_column("box", justify="right")
        self.table.add_column("expression")
        self.table.add_column("probability", justify="right")
        self.table.add_column("next", style="dim")

    def add(self, prediction: Prediction) -> None:
        if prediction.error:
            self.table.add_row(Text(prediction.source), "–", "", Text("not read", "red"), "", "")
        elif not prediction.faces:
            self.table.add_row(Text(prediction.source), "0", "", "no face", "", "")
        for number, face in enumerate(prediction.faces, start=1):
            left, top, right, bottom = (round(edge) for edge in face.box)
            ranked = sorted(face.probabilities.items(), key=lambda item: -item[1])[1 : self.top]
            self.table.add_row(
                Text(prediction.source if number == 1 else ""),  # as it is: a name may hold brackets
                str(number),
                f"{left}, {top}, {right}, {bottom}",
                face.expression,
                f"{face.probability:.1%}",
                ", ".join(f"{name} {probability:.0%}" for name, probability in ranked),
            )


def _picture_saver(arguments: Arguments, template: NDArray[np.float64]) -> Callable[[Prediction], None]:
    """A function that saves a prediction's annotated copy and crops where they are asked for."""
    from mftn.output import PictureFolder

    annotated = PictureFolder(arguments.save_images) if arguments.save_images else None
    crops = PictureFolder(arguments.save_crops) if arguments.save_crops else None

    def save(prediction: Prediction) -> None:
        if not (annotated or (crops and prediction.faces)):
            return
        from mftn.images import read_image
        from mftn.output import annotate
        from mftn.recognize import crop_face

        image = read_image(prediction.source)
        if annotated:
            annotated.save(annotate(image, prediction.faces, arguments.top), prediction.source, "faces")
        if crops:
            from PIL import Image as PillowImage

            for number, face in enumerate(prediction.faces, start=1):
                crop = crop_face(image, face, (224, 224), template)
                crops.save(PillowImage.fromarray(crop), prediction.source, f"face{number}")

    return save


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A function that moves the bar on by one; silent off a terminal and for a single picture."""
    console = Console(stderr=True)
    if total < 2 or not console.is_terminal:
        yield lambda: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("pictures", total=total)
        yield lambda: progress.advance(task)
