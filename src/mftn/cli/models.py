"""List the installed models: size, input, measured accuracy, licence."""

import sys
from dataclasses import dataclass

from mftn.cli.options import Options, Switch


@dataclass(frozen=True)
class Arguments(Options):
    """Options of `mftn models`.

    Attributes:
        json: Print JSON instead of a table.
    """

    json: Switch = False


EXAMPLES = (
    "mftn models",
    "mftn models --json",
)


def run(arguments: Arguments) -> int:
    """Print the models."""
    import dataclasses
    import json

    from rich.console import Console
    from rich.table import Table

    from mftn.cli.messages import LOG
    from mftn.engines.installed import DEFAULT_MODEL, scan_models

    cards, unreadable = scan_models()
    for found in unreadable:
        LOG.error(str(found))
    if arguments.json:
        print(json.dumps([dataclasses.asdict(card) for card in cards], indent=1))
        return 0
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("name", "input", "size", "accuracy as measured", "licence"):
        table.add_column(column, overflow="fold")
    for card in cards:
        table.add_row(
            card.name + (" (default)" if card.name == DEFAULT_MODEL else ""),
            card.input,
            f"{card.megabytes:.1f} MB, {card.parameters / 1e6:.1f} M weights",
            "\n".join(f"{share:.1%} {where}" for where, share in card.accuracy.items()),
            card.licence,
        )
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    return 0
