"""Videos as requests, one line of JSON per frame as responses; the video is held in memory."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from mftn.errors import ImageError, MissingExtraError
from mftn.recognize import Recognizer
from mftn.serve.metrics import Metrics
from mftn.serve.refusals import RefusedError, busy
from mftn.serve.schema import VideoOptions
from mftn.serve.settings import Limits
from mftn.serve.uploads import Upload
from mftn.track_video import TrackedFrames
from mftn.types import Prediction
from mftn.video import Clip

LAST_LINES_S = 60.0
"""Seconds that a client has to read the remaining lines after the processing time of its video is over."""


class VideoPredictions:
    """The predictions of an uploaded video, each computed when it is asked for.

    Args:
        upload: The file.
        recognizer: Detects and classifies.
        options: The request's options.
        limits: Limits at which it is cut off.
        threads: Executor of the work.

    Raises:
        ImageError: It is not a video.
        MissingExtraError: PyAV is not installed.
    """

    def __init__(
        self,
        upload: Upload,
        recognizer: Recognizer,
        options: VideoOptions,
        limits: Limits,
        threads: ThreadPoolExecutor,
    ) -> None:
        self._name, self._limits, self._threads = upload.name, limits, threads
        self._last = options.start + limits.video_seconds
        self._limited = options.end is None or options.end > self._last
        end = self._last if self._limited else options.end
        self._until = time.monotonic() + limits.video_work_seconds
        self._clip = Clip(
            upload.name,
            options.start,
            end,
            options.every,
            file=io.BytesIO(upload.content),
            max_pixels=limits.pixels,
            before_packet=self._check_time,
        )
        self._frames = TrackedFrames(self._clip, recognizer, options.detect_every, options.smooth, keep_images=False)
        self._predictions = self._recognise()

    async def __aiter__(self) -> AsyncIterator[Prediction]:
        """The predictions; if the video ends too early, the last one has the reason as its error."""
        loop = asyncio.get_running_loop()
        while (prediction := await loop.run_in_executor(self._threads, next, self._predictions, None)) is not None:
            yield prediction

    def close(self) -> None:
        """Release the video after the current frame."""
        self._until = float("-inf")  # stop decoding, even before the first frame
        self._threads.submit(self._clip.close)

    def _recognise(self) -> Iterator[Prediction]:
        try:
            for frame in self._clip:
                for prediction, _ in self._frames.push(frame):
                    yield prediction
            reason = self._why_short()
        except ImageError as error:
            reason = str(error).removeprefix(f"{self._name}: ")
        for prediction, _ in self._frames.flush():
            yield prediction
        if reason:
            yield Prediction(self._name, 0, 0, (), f"{self._name}: {reason}")

    def _check_time(self) -> None:
        if time.monotonic() > self._until:
            raise ImageError(f"took more than {self._limits.video_work_seconds:g} seconds, the limit of this server")

    def _why_short(self) -> str | None:
        reached = self._clip.clock.time
        if self._limited and reached is not None and reached > self._last:
            return f"is cut off after {self._limits.video_seconds:g} seconds, the limit of this server"
        return self._clip.cut_off()


class VideoPool:
    """The threads that process videos, one per video.

    Args:
        limits: How many videos, and how long.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits, self._reserved = limits, 0
        self._threads = ThreadPoolExecutor(limits.videos, "mftn-video")

    @contextmanager
    def reserve(self) -> Iterator[None]:
        """Reserve a place for one video, from its upload to its last line.

        Raises:
            RefusedError: 503, there is no place left.
        """
        if self._reserved >= self._limits.videos:
            raise busy(f"already processing as many videos as the server allows ({self._reserved}); try again later")
        self._reserved += 1
        try:
            yield
        finally:
            self._reserved -= 1

    async def open(self, upload: Upload, recognizer: Recognizer, options: VideoOptions) -> VideoPredictions:
        """Open an uploaded video.

        Raises:
            RefusedError: It is not a video, or PyAV is not installed.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._threads, VideoPredictions, upload, recognizer, options, self._limits, self._threads
            )
        except ImageError as error:
            raise RefusedError(415, "not_a_video", str(error)) from error
        except MissingExtraError as error:
            raise RefusedError(501, "no_videos", str(error)) from error

    def close(self) -> None:
        """Finish the current frame, then stop."""
        self._threads.shutdown(cancel_futures=True)


class VideoResponse(StreamingResponse):
    """A line per prediction; the video is released afterwards, or if the client disconnects or reads too slowly.

    Args:
        predictions: The predictions.
        held: Resources released with the video.
        metrics: The counters to update.
        seconds: Longest processing time of the video; the client has LAST_LINES_S more to read.
    """

    def __init__(self, predictions: VideoPredictions, held: ExitStack, metrics: Metrics, seconds: float) -> None:
        super().__init__(self._lines(), media_type="application/jsonl")
        self._predictions, self._held, self._metrics, self._seconds = predictions, held, metrics, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the lines.

        Raises:
            ClientDisconnect: The client did not read them in time; its connection is to be closed.
        """
        try:
            async with asyncio.timeout(self._seconds + LAST_LINES_S):
                await super().__call__(scope, receive, send)
        except TimeoutError as error:
            raise ClientDisconnect from error
        finally:
            self._predictions.close()
            self._held.close()

    async def _lines(self) -> AsyncIterator[str]:
        async for prediction in self._predictions:
            if not prediction.error:
                self._metrics.images.inc()
                self._metrics.faces.inc(len(prediction.faces))
            yield prediction.to_json() + "\n"
