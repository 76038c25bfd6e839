"""Messages of the command line, on standard error and, with timestamps, in a log file."""

import logging
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mftn.errors import ConfigError, OutputError
from mftn.files import visible, without_secrets

if TYPE_CHECKING:
    from mftn.cli.options import Messages

LOG = logging.getLogger("mftn.cli")
"""The logger of all messages: errors, warnings, what was done (info) and, with --verbose, details (debug)."""

_TIMESTAMP = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


class _StandardError(logging.Handler):
    """Writes to the current standard error, so that lines appear above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"mftn: {visible(record.getMessage())}", file=sys.stderr)


class _File(logging.FileHandler):
    """Writes a line per message, unbuffered; a full disk stops the command instead of losing messages."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802
        LOG.removeHandler(self)
        error = sys.exc_info()[1]
        raise OutputError(f"--log {self.baseFilename}: {getattr(error, 'strerror', error)}") from error


@contextmanager
def messages() -> Iterator[None]:
    """Show messages while the block runs, on standard error and wherever `configure_messages` directs them."""
    LOG.propagate = False
    LOG.handlers = [_StandardError()]
    LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        for handler in LOG.handlers:
            handler.close()
        LOG.handlers, LOG.propagate = [], True


def configure_messages(wanted: "Messages", command: Sequence[str]) -> None:
    """Set the level and the log file from the options; a log file begins with the command line."""
    if wanted.quiet and wanted.verbose:
        raise ConfigError("--quiet and --verbose exclude each other; omit one")
    LOG.setLevel(logging.DEBUG if wanted.verbose else logging.INFO)
    if wanted.quiet:
        LOG.handlers[0].setLevel(logging.ERROR)
    if wanted.log:
        handler = _open(wanted.log)
        handler.setFormatter(logging.Formatter("{asctime} {levelname:<7} {message}", "%Y-%m-%d %H:%M:%S", "{"))
        LOG.addHandler(handler)
        handler.handle(LOG.makeRecord(LOG.name, logging.INFO, "", 0, f"mftn {command_line(command)}", (), None))


def command_line(words: Sequence[str]) -> str:
    """A command as it is typed in a shell, without the passwords in addresses."""
    split = (word.partition("=") if word.startswith("-") else ("", "", word) for word in words)
    return shlex.join(f"{option}{sign}{without_secrets(value)}" for option, sign, value in split)


def is_quiet() -> bool:
    """Whether standard error shows only errors, and therefore no progress bar."""
    return bool(LOG.handlers) and LOG.handlers[0].level >= logging.ERROR


def counted(number: int, noun: str, several: str = "") -> str:
    """A number with its noun: 1 face, 2 faces."""
    return f"{number:,} {noun if number == 1 else several or f'{noun}s'}"


def _open(file: Path) -> logging.FileHandler:
    try:
        if file.is_file() and file.stat().st_size:
            with file.open("rb") as opened:
                if not _TIMESTAMP.match(opened.read(32)):
                    raise ConfigError(f"--log {file}: already exists and is not an mftn log; choose another name")
        file.parent.mkdir(parents=True, exist_ok=True)
        return _File(file, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ConfigError(f"--log {file}: {error.strerror}") from error
