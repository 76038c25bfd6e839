"""Check a prepared data set for duplicates, leaks between splits, doubtful labels, and missed or poor faces."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from mftn.cli.options import FOLDER, SHORT_O, Options, Unset
from mftn.cli.outputs import check_outputs
from mftn.data.records import Split
from mftn.errors import MissingExtraError
from mftn.files import json_text, write_text
from mftn.limits import check_range
from mftn.result_folder import ResultFolder

if TYPE_CHECKING:
    from mftn.data.audit import Audit
    from mftn.models import Network


@dataclass(frozen=True)
class Arguments(Options):
    """Options of `mftn audit`.

    Attributes:
        folder: A prepared data set.
        out: Folder for audit.json and audit.html; by default the data set's own.
        model: A model that was not trained on --model-split, to find doubtful labels: a checkpoint of `mftn train`, a
            file of `mftn export`, or the name of an installed model.
        model_split: The split whose labels the model checks.
        near: Images whose perceptual hashes differ in at most this many of 256 bits are near duplicates.
    """

    folder: Annotated[tyro.conf.Positional[Path], FOLDER]
    out: Annotated[Unset[Path], SHORT_O, FOLDER] = None
    model: Unset[str] = None
    model_split: Split = "valid"
    near: int = 40


OUTPUTS = ("audit.json", "audit.html")

EXAMPLES = (
    "mftn audit data/ferplus",
    "mftn audit data/ferplus --model runs/ferplus/best.safetensors --out audit/",
    "mftn audit data/mine --model mftn_mobile_ferplus --model-split train",
)


def run(arguments: Arguments) -> int:
    """Print the counts, and write them with examples; the exit status is 1 if crops are missing or changed."""
    from mftn.data.audit import audit
    from mftn.data.audit_page import render
    from mftn.engines import find_model

    check_range("--near", arguments.near, 0, 256)
    out = arguments.out or arguments.folder
    written = [("--out", out / name) for name in OUTPUTS]
    sources = [arguments.folder / name for name in ("manifest.parquet", "dataset.json")]
    model = None if arguments.model is None else find_model(arguments.model)
    check_outputs(written, [*sources, *filter(None, [model])], overwrite=True)
    results = ResultFolder(out, OUTPUTS[0])
    results.check(OUTPUTS)
    network = _network(model) if model else None  # reports errors before the crops are read, which may take long
    found = audit(arguments.folder, arguments.near)
    if network:
        from mftn.evaluate.audit_labels import add_model_findings

        found = add_model_findings(found, arguments.folder, arguments.model_split, network)
    results.begin(OUTPUTS)
    summary = found.summary() | {"findings": found.findings(), "files": OUTPUTS}
    write_text(out / "audit.json", json_text(summary, indent=1))
    write_text(out / "audit.html", render(arguments.folder, found))
    _print(found)
    print(out / "audit.html")
    return 1 if found.changed else 0


def _network(model: Path) -> "Network":
    """The network that is asked about labels."""
    if not find_spec("cleanlab"):
        raise MissingExtraError("finding doubtful labels", "audit")
    from mftn.export.recover import load_network

    return load_network(model)


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
