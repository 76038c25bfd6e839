"""The command line: `mftn VERB …`. Each verb is a module with `Arguments` (a dataclass) and `run`.

Nothing heavy is imported until a verb runs, so that `mftn --help` answers at once.
"""

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from mftn import __version__
from mftn.errors import MFTNError, MissingExtraError

VERBS = {
    "predict": "recognise expressions in photographs and videos",
    "summarize": "turn faces per frame into what a study needs: measures, events, comparisons, one page",
    "models": "list the models that ship",
    "benchmark": "measure this machine: faces a second by threads and batch, photographs end to end",
    "doctor": "show versions, and what is installed or missing",
    "prepare": "align and document a data set for training",
    "audit": "look through a prepared data set: duplicates, leaks, doubtful labels",
    "train": "train a network",
    "evaluate": "measure trained networks: intervals, calibration, robustness, one page",
    "explain": "show where a network looks in photographs",
    "export": "turn trained weights into the file that prediction runs",
}
_NEED_TRAINING = ("prepare", "audit", "train", "evaluate", "explain", "export")
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells report it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status: 0 done, 1 something failed, 2 wrong usage, 130 interrupted."""
    verb, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if verb in ("-h", "--help"):
        print(_help())
        return 0
    if verb in ("-V", "--version"):
        print(f"mftn {__version__}")
        return 0
    if verb not in VERBS:
        import difflib

        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(VERBS)}"
        print(f"mftn: no verb {verb}; {hint}", file=sys.stderr)
        return 2
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # file names are bytes; not all are UTF-8
    try:
        status = _run(verb, rest)
        sys.stdout.flush()
    except MFTNError as error:
        print(f"mftn: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a folder that may not be written to, a full disk
        print(f"mftn: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("mftn: interrupted", file=sys.stderr)
        return INTERRUPTED
    return status


def _run(verb: str, arguments: list[str]) -> int:
    try:
        module = import_module(f"mftn.cli.{verb}")
        if hasattr(module, "parse"):
            parsed = module.parse(arguments)
        else:
            import tyro

            parsed = tyro.cli(module.Arguments, prog=f"mftn {verb}", description=module.__doc__, args=arguments)
        status: int = module.run(parsed)
    except ModuleNotFoundError as error:
        if (error.name or "mftn").startswith("mftn") or verb not in _NEED_TRAINING:
            raise
        raise MissingExtraError(f"mftn {verb}", "train") from error
    return status


def _help() -> str:
    verbs = "\n".join(f"  {verb:<9} {text}" for verb, text in VERBS.items())
    return (
        "usage: mftn VERB [OPTIONS]\n\n"
        "Facial expression recognition with MFTN-FER.\n\n"
        f"verbs:\n{verbs}\n\n"
        "options:\n  --help     this text, or a verb's: mftn predict --help\n  --version  the version\n\n"
        "example:\n  mftn predict photos/ --save-images annotated/"
    )
