"""The one progress bar of every subcommand: on stderr, gone when done, silent off a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def progress_bars(console: Console | None = None, *, transient: bool = True) -> Progress:
    """Bars with a description, a count and the time left; use it as a context manager.

    Args:
        console: Where they are drawn; stderr if not given. Lines printed to the same console stand above them.
        transient: Remove the bars when done.
    """
    console = console or Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=transient, disable=not console.is_terminal)


@contextmanager
def progress_bar(
    description: str, total: int | None, console: Console | None = None
) -> Iterator[Callable[[int], None]]:
    """A single bar; yields a function that moves it on by a number of items.

    Args:
        description: What is counted, such as "images".
        total: How many there are; None if unknown.
        console: Where it is drawn; stderr if not given.
    """
    with progress_bars(console) as bars:
        task = bars.add_task(description, total=total)
        yield lambda done: bars.advance(task, done)
