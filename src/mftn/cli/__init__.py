"""The command line: `mftn SUBCOMMAND …`. Each subcommand is a module with `Arguments` (a dataclass) and `run`.

Nothing heavy is imported until a subcommand runs, so that `mftn --help` is instant.
"""

import gc
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from types import FrameType

from mftn import __version__
from mftn.cli.messages import LOG, configure_messages, messages
from mftn.errors import ConfigError, MFTNError, MissingExtraError, did_you_mean
from mftn.files import what_to_do

SUBCOMMANDS = {
    "predict": "recognise expressions in photographs and videos",
    "summarize": "summarise predictions for a study: measures, events, comparisons and a report",
    "serve": "run a web page and an HTTP service on this machine",
    "models": "list the installed models",
    "benchmark": "measure speed on this machine: faces per second by threads and batch, photographs end to end",
    "doctor": "show versions, and which packages are installed or missing",
    "prepare": "align and document a data set for training",
    "audit": "check a prepared data set for duplicates, leaks and doubtful labels",
    "train": "train a network",
    "evaluate": "evaluate trained networks: confidence intervals, calibration, robustness and a report",
    "explain": "show which parts of a face a network looks at",
    "export": "convert a checkpoint to the file that prediction runs",
}
_NEED_TRAINING = ("prepare", "audit", "train", "evaluate", "explain", "export")
WRONG_USAGE, INTERRUPTED = 2, 130
"""Exit statuses; 130 is how shells report Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status: 0 done, 1 something failed, 2 wrong usage, 130 interrupted."""
    warnings.filterwarnings("ignore", module=r"PIL\.")  # our error messages say what is wrong with a file
    subcommand, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    _open_closed_streams()
    _set_encodings()
    with messages():
        return _reported(subcommand, rest)


def console() -> int:
    """Entry point of the `mftn` script."""
    status = main()
    gc.freeze()  # the process is about to exit, so no garbage collection is needed
    return status


def _reported(subcommand: str, arguments: list[str]) -> int:
    """Run a subcommand, and log the error if it fails."""
    try:
        with _signals():
            status = _run(subcommand, arguments)
            sys.stdout.flush()
    except ConfigError as error:
        LOG.error(str(error))
        return WRONG_USAGE
    except MFTNError as error:
        LOG.error(str(error))
        return 1
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        _drop_output()
        return 0
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # rich converts it to this, and drops further output
            return 0
        raise
    except OSError as error:  # a folder without write permission, a full disk behind standard output
        _drop_output()
        LOG.error(f"{error.filename or 'standard output'}: {error.strerror or error}; {what_to_do(error)}")
        return 1
    except KeyboardInterrupt as stop:
        LOG.info("interrupted")
        return exit_status(stop)
    return status


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, which stop a command as Ctrl-C does."""


def exit_status(stop: KeyboardInterrupt) -> int:
    """The exit status of an interrupted command: 130, or 128 plus the signal's number."""
    return 128 + stop.args[0] if isinstance(stop, Terminated) else INTERRUPTED


@contextmanager
def _signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP interrupt as Ctrl-C does, unless they are ignored, as under nohup."""
    process = os.getpid()

    def stop(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != process:  # a library's worker, forked with this handler: it would print a traceback
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise Terminated(number)

    here = threading.current_thread() is threading.main_thread()
    found = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")] if here else []
    taken = [number for number in found if number is not None and signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _open_closed_streams() -> None:
    """Replace closed standard streams (`2>&-`) by empty ones: files opened later would take their descriptors."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))


def _set_encodings() -> None:
    """Allow any name to be printed whatever the terminal's encoding; files and pipes get UTF-8 on every system."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")


def _drop_output() -> None:
    """Discard further output, so that the interpreter does not try to write it when it exits."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(subcommand: str, arguments: list[str]) -> int:
    if subcommand in ("-h", "--help"):
        print(_help())
        return 0
    if subcommand in ("-V", "--version"):
        print(f"mftn {__version__}")
        return 0
    if subcommand not in SUBCOMMANDS:
        is_file = os.path.exists(subcommand)  # noqa: PTH110 (never raises)
        known = f"to recognise it: mftn predict {subcommand}" if is_file else did_you_mean(subcommand, SUBCOMMANDS)
        raise ConfigError(f"no subcommand {subcommand}; {known}")
    try:
        module = import_module(f"mftn.cli.{subcommand}")
        if hasattr(module, "parse"):
            options = module.parse(arguments)
        else:
            from mftn.cli.options import parse_options

            options = parse_options(module.Arguments, subcommand, module.__doc__, arguments, module.EXAMPLES)
        configure_messages(options.messages, [subcommand, *arguments])
        status: int = module.run(options)
    except ModuleNotFoundError as error:
        if (error.name or "mftn").startswith("mftn") or subcommand not in _NEED_TRAINING:
            raise
        raise MissingExtraError(f"mftn {subcommand}", "train") from error
    return status


def _help() -> str:
    subcommands = "\n".join(f"  {name:<10} {text}" for name, text in SUBCOMMANDS.items())
    return (
        "usage: mftn SUBCOMMAND [OPTIONS]\n\n"
        "Facial expression recognition with MFTN-FER.\n\n"
        f"subcommands:\n{subcommands}\n\n"
        "options:\n  --help     this text, or a subcommand's: mftn predict --help\n  --version  the version\n\n"
        "example:\n  mftn predict photos/ --save-images annotated/"
    )
