"""Summarise predictions for a study: measures, events, comparisons, figures and a report."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from mftn.analysis.settings import Settings
from mftn.cli.messages import LOG, counted
from mftn.cli.options import FILE, FILES, Options, OutFolder, Switch, Unset
from mftn.cli.outputs import check_location
from mftn.errors import ConfigError, MissingExtraError

_SHOWN = 20
"""Maximum number of notes that are printed."""

_INPUTS = ("groups", "segments", "people", "baseline")


@dataclass(frozen=True)
class Arguments(Options):
    """Options of `mftn summarize`.

    Attributes:
        tables: One or more outputs of `mftn predict`: .parquet, .csv or .jsonl.
        out: Folder for the tables, the figures and summary.html.
        groups: Conditions: a CSV file with source or person or both, start and end if a condition applies to part of a
            recording, and a column for each factor.
        segments: Stimuli or questions: a CSV file with name, source (empty for every recording), start, end.
        people: Identities: a CSV file with source, track (empty if a recording shows one person), person; or the word
            one, if each recording shows one person.
        baseline: Each person's baseline: FROM:TO in seconds (0:10), a segment's name, or a CSV file with source or
            person, start, end.
        window: Also divide segments into windows of this length (10s, 2min).
        elan: Also write the events for ELAN, one .eaf per recording.
        bids: Also write the events under BIDS-like names.
        settings: How expressions are measured and compared.
    """

    tables: Annotated[tyro.conf.Positional[tuple[Path, ...]], FILES]
    out: OutFolder = Path("summary")
    groups: Annotated[Unset[Path], FILE] = None
    segments: Annotated[Unset[Path], FILE] = None
    people: Annotated[Unset[str], FILE] = None
    baseline: Unset[str] = None
    window: Unset[str] = None
    elan: Switch = False
    bids: Switch = False
    settings: Annotated[Settings, tyro.conf.arg(name="")] = field(default_factory=Settings)


EXAMPLES = (
    "mftn summarize faces.parquet",
    "mftn summarize session*.csv --people people.csv --groups conditions.csv --baseline 0:10",
)


def run(arguments: Arguments) -> int:
    """Summarise, write the results, print the notes, and return the exit status."""
    try:
        from mftn.analysis.summary import summarize

        _refuse_to_replace(arguments)

        summary = summarize(
            arguments.tables,
            groups=arguments.groups,
            segments=arguments.segments,
            people=arguments.people,
            baseline=arguments.baseline,
            window=arguments.window,
            settings=arguments.settings,
        )
        page = summary.write(arguments.out, elan=arguments.elan, bids=arguments.bids)
    except ModuleNotFoundError as error:
        if (error.name or "mftn").startswith("mftn"):
            raise
        raise MissingExtraError("mftn summarize", "analysis") from error
    written = arguments.out / "notes.txt"
    notes = written.read_text(encoding="utf-8").splitlines()
    for note in notes[:_SHOWN]:
        LOG.warning(f"note: {note}")
    if len(notes) > _SHOWN:
        LOG.warning(f"{len(notes) - _SHOWN} more notes are in {written}")
    print(f"{page}: {counted(summary.study.people, 'person', 'people')}, {counted(len(summary.events), 'event')}")
    return 0


def _refuse_to_replace(arguments: Arguments) -> None:
    """Check, before computing, that results do not replace an input, such as a study's own conditions.csv."""
    from mftn.analysis.output import ALWAYS, INDEX, OUTPUTS
    from mftn.files import file_identity
    from mftn.result_folder import ResultFolder

    written = {file_identity(arguments.out / name): name for name in OUTPUTS}
    inputs = [*arguments.tables, *(getattr(arguments, name) for name in _INPUTS)]
    for path in inputs:
        if path is not None and (identity := file_identity(path)) and identity in written:
            raise ConfigError(f"{path} would be replaced by a result of the same name; give another folder with --out")
    check_location("--out", arguments.out)
    ResultFolder(arguments.out, INDEX).check(ALWAYS)
