"""The one progress bar of every subcommand: on stderr, gone when done, silent off a terminal and with --quiet."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mftn.cli.messages import is_quiet


def progress_bars(*, transient: bool = True) -> Progress:
    """Bars with a description, a count and the time left; use it as a context manager.

    Args:
        transient: Remove the bars when done.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=transient, disable=is_quiet() or not console.is_terminal)


@contextmanager
def progress_bar(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A single bar; yields a function that moves it on by a number of items.

    Args:
        description: What is counted, such as "images".
        total: How many there are; None if unknown.
    """
    with progress_bars() as bars:
        task = bars.add_task(description, total=total)
        yield lambda done: bars.advance(task, done)
