"""The progress bars of all subcommands: on stderr, removed when done, hidden without a terminal and with --quiet."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from mftn.cli.messages import is_quiet

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bars(Protocol):
    """The progress bars of `mftn predict`."""

    def add_task(self, description: str, *, total: float | None = ..., visible: bool = ...) -> TaskID:
        """Add a bar."""
        ...

    def advance(self, task_id: TaskID, advance: float = ...) -> None:
        """Advance a bar."""
        ...

    def remove_task(self, task_id: TaskID) -> None:
        """Remove a bar."""
        ...


def progress_bars(*, transient: bool = True) -> Progress:
    """Bars with a description, a count and the remaining time, as a context manager.

    Args:
        transient: Remove the bars when done.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=transient, disable=is_quiet() or not console.is_terminal)


@contextmanager
def bars_on_terminal() -> Iterator[Bars]:
    """The bars; without a terminal nothing is shown, and rich is not imported, as that would take time."""
    if not sys.stderr.isatty():
        yield _NoBars()
        return
    with progress_bars() as bars:
        yield bars


class _NoBars:
    def add_task(self, description: str, *, total: float | None = None, visible: bool = True) -> TaskID:  # noqa: ARG002
        task: TaskID = 0  # type: ignore[assignment]
        return task

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        pass

    def remove_task(self, task_id: TaskID) -> None:
        pass


@contextmanager
def progress_bar(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A single bar; yields a function that advances it by a number of items.

    Args:
        description: What is counted, such as "images".
        total: Number of items; None if unknown.
    """
    with progress_bars() as bars:
        task = bars.add_task(description, total=total)
        yield lambda done: bars.advance(task, done)
