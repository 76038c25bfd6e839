"""`mftn predict` for videos: tracking, smoothing, and all outputs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mftn.cli.messages import LOG, counted
from mftn.cli.options import VideoOptions
from mftn.cli.outputs import FilePerVideo
from mftn.cli.sink import Sink
from mftn.errors import ImageError, MissingExtraError
from mftn.sources import Source
from mftn.types import Image, Prediction

if TYPE_CHECKING:
    from mftn.cli.progress import Bars
    from mftn.recognize import Recognizer
    from mftn.video import Clip
    from mftn.video.persons import Persons


@dataclass
class Videos:
    """The videos of one command, one after the other.

    Attributes:
        options: The command's options.
        top: Expressions shown per face.
        recognizer: Detects and classifies; flips are omitted.
        sink: Receives every frame's prediction, in order.
        copies: Paths of annotated copies; None if they are not requested.
        timelines: Paths of figures; None if they are not requested.
        bars: Shows the progress within the current video.
        done: Videos processed so far.
        failed: Videos that could not be read completely.
        frames: Frames processed so far, in all videos.
        faces: Faces in those frames.
    """

    options: VideoOptions
    top: int
    recognizer: Recognizer
    sink: Sink
    copies: FilePerVideo | None
    timelines: FilePerVideo | None
    bars: Bars
    done: int = 0
    failed: int = 0
    frames: int = 0
    faces: int = 0

    def add(self, source: Source) -> bool:
        """Process a video; return whether all of it could be read.

        A failure is logged, and becomes a row of its own if no frame was read. After Ctrl-C every output is complete
        up to that frame.
        """
        before = self.frames
        try:
            error = self._process(source)
        except (ImageError, MissingExtraError, FileExistsError) as failure:
            error = str(failure)
        if error:
            LOG.error(error)
            self.failed += 1
            if self.frames == before:
                self.sink.write(Prediction(source.name, 0, 0, (), error, model=self.recognizer.engine.spec.name))
        saved = [str(each.path(source)) for each in (self.copies, self.timelines) if each]
        self.sink.end(source.name, saved, failed=bool(error))
        self.done += 1
        return not error

    def _process(self, source: Source) -> str | None:
        """Send a video's frames to every output; return an error message if its end is missing."""
        from mftn.video import Clip
        from mftn.video.persons import Persons
        from mftn.video.timeline import draw_timeline

        copy = self.copies.checked_path(source) if self.copies else None
        timeline = self.timelines.checked_path(source) if self.timelines else None
        self.sink.announce(path for path in (copy, timeline) if path)
        before, persons = self.frames, Persons()
        options = self.options
        with ExitStack() as stack:
            clip = Clip(source.path, options.start, options.end, options.every, fps=options.fps, tell=LOG.warning)
            stack.callback(clip.close)
            try:
                self._recognise(clip, self._outputs(stack, clip, copy, persons if timeline else None))
            finally:
                if timeline and self.frames > before:
                    draw_timeline(persons, timeline, source.name)
        read = f"{counted(self.frames - before, 'frame')} read"
        if clip.damaged:
            LOG.warning(f"{source.name}: {counted(clip.damaged, 'damaged packet')} skipped, {read}")
        cut_off = clip.cut_off()
        return f"{source.name}: {cut_off}; {read} and kept" if cut_off else None

    def _recognise(self, clip: Clip, write: Callable[[Prediction, Image | None], None]) -> None:
        """Process the frames; those that wait for their smoothing window are also written after Ctrl-C."""
        from mftn.track_video import TrackedFrames

        frames = TrackedFrames(
            clip,
            self.recognizer,
            self.options.detect_every,
            self.options.smooth,
            keep_images=self.copies is not None,
        )
        try:
            for frame in clip:
                for ready in frames.push(frame):
                    write(*ready)
        finally:
            for ready in frames.flush():
                write(*ready)

    def _outputs(
        self, stack: ExitStack, clip: Clip, copy: Path | None, persons: Persons | None
    ) -> Callable[[Prediction, Image | None], None]:
        """A function that sends a frame's faces to every output."""
        from mftn.drawing import annotate
        from mftn.video import video_writer

        video = stack.enter_context(video_writer(copy, clip)) if copy else None
        task = self.bars.add_task("frames", total=clip.frames or None)
        stack.callback(self.bars.remove_task, task)

        def write(prediction: Prediction, image: Image | None) -> None:
            self.sink.write(replace(prediction, annotated=str(copy) if copy else None))
            if persons:
                persons.add(prediction)
            if video and image is not None:
                assert prediction.time is not None
                video.write(annotate(image, prediction.faces, self.top), prediction.time)
            self.frames += 1
            self.faces += len(prediction)
            self.bars.advance(task)

        return write
