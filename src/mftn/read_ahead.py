"""Read-ahead: a background thread consumes an iterable, so that ready items never wait for the next one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class ReadAhead(Generic[T]):
    """Consumes an iterable in a background thread, so that ready items can be taken without waiting for more.

    Args:
        items: The iterable.
        size: Maximum number of items that are buffered.
    """

    def __init__(self, items: Iterable[T], size: int) -> None:
        self._queue: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(size)
        self._closed = False
        self._error: BaseException | None = None
        self.ended = False
        threading.Thread(target=self._read, args=(iter(items),), daemon=True).start()

    def _read(self, items: Iterator[T]) -> None:
        try:
            for item in items:
                self._queue.put((item,))
                if self._closed:
                    return
        except BaseException as error:
            self._queue.put(error)
        else:
            self._queue.put(None)

    def take(self, limit: int, *, wait: bool) -> Iterator[T]:
        """Yield up to `limit` items that are ready.

        An exception of the iterable is raised only if the caller waits: it may still be busy with earlier items.

        Args:
            limit: Maximum number of items.
            wait: Block until there is an item or the iterable ends.
        """
        for number in range(limit):
            got = self._get(wait and number == 0)
            if got is None:
                return
            yield got[0]

    def _get(self, wait: bool) -> tuple[T] | None:
        while not self.ended:
            try:
                got = self._queue.get(timeout=0.5) if wait else self._queue.get_nowait()
            except queue.Empty:
                if wait:  # in short intervals, so that Windows notices Ctrl-C
                    continue
                return None
            if isinstance(got, tuple):
                return got
            self.ended, self._error = True, got
        if wait and self._error is not None:
            error, self._error = self._error, None
            raise error
        return None

    def close(self) -> None:
        """Stop the thread at its next item."""
        self._closed = True
        while not self._queue.empty():
            self._queue.get_nowait()
