"""Delays Ctrl-C and SIGTERM until a training loop has finished its current step."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class StopRequest:
    """Within this context, the first Ctrl-C or SIGTERM is recorded in `signal`; a second Ctrl-C interrupts at once.

    Outside the main thread, signals are unaffected, as Python requires.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number
        signal.signal(signal.SIGINT, self._before[signal.SIGINT])


SAVED = "everything so far is saved"
"""Message of the KeyboardInterrupt after the current step. It is not a subclass: Python exits by the signal only for
KeyboardInterrupt itself."""


def raise_stopped(number: int) -> None:
    """End as the signal would have, now that all is saved: KeyboardInterrupt on Ctrl-C, SystemExit(143) on SIGTERM."""
    if number == signal.SIGTERM:
        raise SystemExit(128 + signal.SIGTERM)
    raise KeyboardInterrupt(SAVED)
