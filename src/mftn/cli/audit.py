"""Check a prepared data set for duplicates, leaks between splits, doubtful labels, and missed or poor faces."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from mftn.cli.options import FILE, FOLDER, SHORT_O, Options, Unset
from mftn.cli.outputs import check_outputs
from mftn.data.records import Split
from mftn.errors import MissingExtraError
from mftn.files import json_text, write_text
from mftn.limits import check_range
from mftn.result_folder import ResultFolder

if TYPE_CHECKING:
    from mftn.data.audit import Audit


@dataclass(frozen=True)
class Arguments(Options):
    """Options of `mftn audit`.

    Attributes:
        folder: A prepared data set.
        out: Folder for audit.json and audit.html; by default the data set's own.
        model: A checkpoint of `mftn train` that was not trained on --model-split, used to find doubtful labels.
        model_split: The split whose labels the model checks.
        near: Images whose perceptual hashes differ in at most this many of 256 bits are near duplicates.
    """

    folder: Annotated[tyro.conf.Positional[Path], FOLDER]
    out: Annotated[Unset[Path], SHORT_O, FOLDER] = None
    model: Annotated[Unset[Path], FILE] = None
    model_split: Split = "valid"
    near: int = 40


OUTPUTS = ("audit.json", "audit.html")

EXAMPLES = (
    "mftn audit data/ferplus",
    "mftn audit data/ferplus --model runs/ferplus/best.safetensors --out audit/",
)


def run(arguments: Arguments) -> int:
    """Print the counts, and write them with examples; the exit status is 1 if crops are missing or changed."""
    from mftn.data.audit import audit
    from mftn.data.audit_page import render

    check_range("--near", arguments.near, 0, 256)
    out = arguments.out or arguments.folder
    written = [("--out", out / name) for name in OUTPUTS]
    sources = [arguments.folder / name for name in ("manifest.parquet", "dataset.json")]
    check_outputs(written, [*sources, *filter(None, [arguments.model])], overwrite=True)
    results = ResultFolder(out, OUTPUTS[0])
    results.check(OUTPUTS)
    if arguments.model:  # report errors before the crops are read, which may take long
        from mftn.models import load_model

        if not find_spec("cleanlab"):
            raise MissingExtraError("finding doubtful labels", "audit")
        load_model(arguments.model)
    found = audit(arguments.folder, arguments.near)
    if arguments.model:
        from mftn.evaluate.doubt import ask_model

        found = ask_model(found, arguments.folder, arguments.model_split, arguments.model)
    results.begin(OUTPUTS)
    summary = found.summary() | {"findings": found.findings(), "files": OUTPUTS}
    write_text(out / "audit.json", json_text(summary, indent=1))
    write_text(out / "audit.html", render(arguments.folder, found))
    _print(found)
    print(out / "audit.html")
    return 1 if found.changed else 0


def _print(found: "Audit") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    balance = Table("expression", *(f"{split}" for split in found.balance), title="Balance")
    for label in sorted({label for counts in found.balance.values() for label in counts}):
        balance.add_row(label, *(f"{counts.get(label, 0):,}" for counts in found.balance.values()))
    console.print(balance)
    pairs = Table("duplicates", "pairs", "across splits", "labels differ", "valid or test faces also in train")
    for name, values in (("exact", found.exact), ("near", found.near)):
        leaks = found.across(values)
        counts = (len(values), len(leaks), len(found.disagreeing(values)), len(found.leaked(leaks)))
        pairs.add_row(name, *(f"{count:,}" for count in counts))
    console.print(pairs)
    console.print(f"valid or test faces also in train, either way: {len(found.leaked(found.exact + found.near)):,}")
    for name, accuracy in (found.accuracy or {}).items():
        console.print(f"the model's accuracy on faces {name}: {accuracy:.2%}")
    rows = Table("faces", *found.balance, title="To look at")
    kinds = {"no face found": found.without_face, "blurred": found.blurred, "dark": found.dark}
    kinds |= {"too bright": found.bright, "missing or changed": found.changed}
    if found.doubtful is not None:
        kinds["doubtful label"] = found.doubtful
    for name, chosen in kinds.items():
        count = found.by_split(chosen)
        rows.add_row(name, *(f"{count.get(split, 0):,}" for split in found.balance))
    console.print(rows)
