"""Many clients share one network: several threads detect faces, and one thread classifies them in batches."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from mftn.engines import BATCH
from mftn.errors import ImageError, TooManyPixelsError
from mftn.images import image_size, read_image
from mftn.recognize import Located, Recognizer
from mftn.runtime import return_freed_memory
from mftn.serve.uploads import Upload
from mftn.types import Prediction

LARGE_PIXELS = 8_000_000
"""Images with more pixels have a thread of their own, so that small ones need not wait for them."""

MAX_WAIT_S = 0.01
"""Seconds that faces wait for images still in detection, to share a batch; if there are none, they do not wait."""

R = TypeVar("R")


@dataclass(slots=True)
class _Job:
    """An image in the pipeline.

    Attributes:
        recognizer: The recognizer that predicts it.
        upload: The file.
        located: Its faces, once detected.
        future: Its prediction.
    """

    recognizer: Recognizer
    upload: Upload
    located: Located | None = None
    future: Future[Prediction] = field(default_factory=Future)


class Pipeline:
    """Recognises the images of many requests.

    Args:
        workers: Threads that read and detect; 0 for one per core.
        max_pixels: Pixels of the largest image that is decoded.
        on_batch: Called with the number of faces of every batch.
    """

    def __init__(self, workers: int, max_pixels: int, on_batch: Callable[[int], object]) -> None:
        self.workers = workers or os.cpu_count() or 1
        self._max_pixels, self._on_batch = max_pixels, on_batch
        self._threads = ThreadPoolExecutor(self.workers, "mftn-locate")
        self._large = ThreadPoolExecutor(1, "mftn-large")
        self._ready: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._locating, self._lock = 0, threading.Lock()
        self._network = threading.Thread(target=self._classify_all, name="mftn-network", daemon=True)
        self._network.start()

    def predict(self, recognizer: Recognizer, upload: Upload) -> Future[Prediction]:
        """The prediction for a file.

        The future raises ImageError if the file cannot be read, and TooManyPixelsError if it is too large. If it is
        cancelled before its turn, it is skipped.
        """
        job = _Job(recognizer, upload)
        self._count(1)
        self._threads.submit(self._measure, job)
        return job.future

    def run(self, function: Callable[[], R], pixels: int) -> Future[R]:
        """Run other work on an image, in the threads for images of this size."""
        return (self._large if pixels > LARGE_PIXELS else self._threads).submit(function)

    def close(self) -> None:
        """Finish accepted work, then stop."""
        self._threads.shutdown()
        self._large.shutdown()
        self._ready.put(None)
        self._network.join()

    def _count(self, change: int) -> None:
        with self._lock:
            self._locating += change

    def _measure(self, job: _Job) -> None:
        """Locate the faces in this thread, or in the one for large images."""
        try:
            if job.future.cancelled():
                return
            width, height = image_size(job.upload.content)
            if width * height > self._max_pixels:
                megapixels = f"{width * height / 1e6:.0f} megapixels"
                raise TooManyPixelsError(f"has {megapixels}, and the limit is {self._max_pixels / 1e6:g}")
            if width * height > LARGE_PIXELS:
                self._large.submit(self._locate_large, job)
            else:
                self._locate(job)
        except Exception as error:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(_named(error, job.upload))
        finally:
            self._count(-1)

    def _locate_large(self, job: _Job) -> None:
        self._locate(job)
        return_freed_memory()

    def _locate(self, job: _Job) -> None:
        if not job.future.set_running_or_notify_cancel():
            return
        try:
            job.located = job.recognizer.locate(read_image(job.upload.content), job.upload.name)
            if 0 < len(job.located.faces) <= BATCH:
                self._ready.put(job)
                return
            (prediction,) = job.recognizer.classify([job.located])  # none, or more than a batch
            job.future.set_result(prediction)
        except Exception as error:
            job.future.set_exception(_named(error, job.upload))

    def _classify_all(self) -> None:
        while (first := self._ready.get()) is not None:
            batch = self._gather(first)
            self._on_batch(sum(_faces(job) for job in batch))
            engines = {id(job.recognizer.engine): job.recognizer for job in batch}
            for engine, recognizer in engines.items():
                _classify(recognizer, [job for job in batch if id(job.recognizer.engine) == engine])

    def _gather(self, first: _Job) -> list[_Job]:
        """The images that are ready, and those that soon will be."""
        batch, faces, until = [first], _faces(first), time.monotonic() + MAX_WAIT_S
        while faces < BATCH:
            try:
                job = self._ready.get(timeout=max(until - time.monotonic(), 0) if self._locating else 0)
            except queue.Empty:
                break
            if job is None:
                self._ready.put(None)
                break
            batch.append(job)
            faces += _faces(job)
        return batch


def _faces(job: _Job) -> int:
    return len(job.located.faces) if job.located else 0


def _classify(recognizer: Recognizer, jobs: Iterable[_Job]) -> None:
    jobs = list(jobs)
    try:
        predictions = list(recognizer.classify([job.located for job in jobs if job.located]))
        for job, prediction in zip(jobs, predictions, strict=True):
            job.future.set_result(prediction)
    except Exception as error:
        for job in jobs:
            if not job.future.done():
                job.future.set_exception(error)


def _named(error: Exception, upload: Upload) -> Exception:
    """The error with the client's file name in front."""
    if not isinstance(error, ImageError):
        return error
    return type(error)(f"{upload.name}: {str(error).removeprefix('the image: ')}")
