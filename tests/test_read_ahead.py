import threading
import time
from collections.abc import Iterator

import pytest

from mftn.read_ahead import ReadAhead


def test_reading_ahead_takes_what_is_there_and_waits_only_when_told() -> None:
    go = threading.Event()

    def slowly() -> Iterator[int]:
        yield from (1, 2)
        go.wait(10)
        yield 3

    items = ReadAhead(slowly(), 4)
    taken = list(items.take(5, wait=True))
    deadline = time.monotonic() + 10
    while len(taken) < 2 and time.monotonic() < deadline:
        taken += items.take(5, wait=False)
    assert taken == [1, 2]
    start = time.monotonic()
    assert list(items.take(5, wait=False)) == [] and time.monotonic() - start < 0.4
    go.set()
    assert list(items.take(1, wait=True)) == [3]
    assert list(items.take(5, wait=True)) == [] == list(items.take(5, wait=True))


def test_reading_ahead_passes_errors_on_and_ends_when_closed() -> None:
    produced: list[int] = []

    def endless() -> Iterator[int]:
        while True:
            produced.append(len(produced))
            yield produced[-1]

    items = ReadAhead(endless(), 2)
    assert len(list(items.take(3, wait=True))) >= 1
    before = threading.active_count()
    items.close()
    for _ in range(100):
        if threading.active_count() < before:
            break
        time.sleep(0.02)
    assert threading.active_count() < before and len(produced) < 20

    def failing() -> Iterator[int]:
        yield 1
        raise KeyError("gone")

    broken = ReadAhead(failing(), 2)
    with pytest.raises(KeyError, match="gone"):
        [*broken.take(1, wait=True), *broken.take(1, wait=True)]
    assert list(broken.take(1, wait=True)) == []


def test_an_error_comes_only_when_the_caller_waits() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise KeyError("gone")

    items, taken = ReadAhead(failing(), 2), list[int]()
    deadline = time.monotonic() + 10
    while not items.ended and time.monotonic() < deadline:
        taken += items.take(5, wait=False)
    assert taken == [1] and items.ended
    with pytest.raises(KeyError, match="gone"):
        list(items.take(5, wait=True))
