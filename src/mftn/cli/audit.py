"""Look through a prepared data set: duplicates, leaks between splits, doubtful labels, lost and poor faces."""

import base64
import html
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mftn.cli.outputs import check_outputs
from mftn.files import write_text
from mftn.limits import check_range

if TYPE_CHECKING:
    from mftn.data.audit import Audit

SHOWN = 60
"""Findings of a kind that the page shows."""


@dataclass(frozen=True)
class Arguments:
    """What `mftn audit` takes.

    Attributes:
        folder: A prepared data set.
        out: Folder for audit.json and audit.html; the data set's own if not given.
        model: Weights (safetensors of `mftn train`) that have not seen `model_split`, to find doubtful labels.
        model_split: The split whose labels the model doubts.
        near: Perceptual hashes that differ in at most this many of 256 bits are near duplicates.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    out: Path | None = None
    model: Path | None = None
    model_split: Literal["train", "valid", "test"] = "valid"
    near: int = 40


def run(arguments: Arguments) -> int:
    """Print the counts, and write them with examples; exit status 1 where crops are missing or changed."""
    from mftn.data.audit import audit

    check_range("--near", arguments.near, 0, 256)
    out = arguments.out or arguments.folder
    written = [("--out", out / name) for name in ("audit.json", "audit.html")]
    sources = [arguments.folder / name for name in ("manifest.parquet", "dataset.json")]
    check_outputs(written, [*sources, *filter(None, [arguments.model])], overwrite=True)
    found = audit(arguments.folder, arguments.near)
    if arguments.model:
        _ask_model(arguments, found)
    summary = found.summary()
    write_text(out / "audit.json", json.dumps(summary | {"findings": _findings(found)}, indent=1))
    write_text(out / "audit.html", _page(arguments.folder, found))
    _print(found)
    print(out / "audit.html")
    return 1 if found.changed else 0


def _ask_model(arguments: Arguments, found: "Audit") -> None:
    """Complete the findings by what a model says: labels it doubts, and what it owes to copies in train."""
    from mftn.data.audit import doubtful_labels
    from mftn.data.dataset import FaceDataset
    from mftn.evaluate.predict import predict_logits, preprocess_for
    from mftn.models import load_model

    assert arguments.model
    model, config = load_model(arguments.model)
    dataset = FaceDataset(arguments.folder, arguments.model_split, config["channels"])
    logits = predict_logits(model, dataset, preprocess_for(config, dataset)).fused
    probabilities = (logits / config["temperature"]).softmax(dim=1).double().numpy()
    row_of = {path: row for row, path in enumerate(found.paths)}
    found.doubtful = [row_of[dataset.paths[i]] for i in doubtful_labels(dataset.labels.numpy(), probabilities)]
    leaked = set(found.leaked(found.exact + found.near))
    right = (logits.argmax(dim=1) == dataset.labels).tolist()
    by_copy: dict[str, list[bool]] = {"with a copy in train": [], "without": []}
    for path, correct in zip(dataset.paths, right, strict=True):
        by_copy["with a copy in train" if row_of[path] in leaked else "without"].append(correct)
    found.accuracy = {name: sum(values) / len(values) for name, values in by_copy.items() if values}


def _findings(found: "Audit") -> dict[str, object]:
    def name(rows: list[int]) -> list[str]:
        return [found.paths[row] for row in rows]

    def names(pairs: list[tuple[int, int, int]]) -> list[list[object]]:
        return [[found.paths[a], found.paths[b], bits] for a, b, bits in pairs]

    rows = {key: name(getattr(found, key)) for key in ("without_face", "blurred", "dark", "bright", "changed")}
    return rows | {
        "doubtful_labels": None if found.doubtful is None else name(found.doubtful),
        "exact_duplicates": names(found.exact),
        "near_duplicates": names(found.near),
    }


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


def _page(folder: Path, found: "Audit") -> str:
    from jinja2 import Template

    def figure(row: int) -> dict[str, str]:
        path = folder / found.paths[row]
        kind = "png" if path.suffix == ".png" else "jpeg"
        data = base64.b64encode(path.read_bytes()).decode() if path.is_file() else ""
        return {"source": f"data:image/{kind};base64,{data}", "name": html.escape(found.paths[row]),
                "note": f"{found.split[row]} · {found.label[row]}"}  # fmt: skip

    def leaks_first(pairs: list[tuple[int, int, int]]) -> list[int]:
        ordered = found.across(pairs) + [pair for pair in pairs if found.split[pair[0]] == found.split[pair[1]]]
        return [row for a, b, _ in ordered[: SHOWN // 2] for row in (a, b)]

    sections = {
        "Exact duplicates, in pairs, leaks between splits first": (len(found.exact), leaks_first(found.exact)),
        "Near duplicates, in pairs, leaks between splits first": (len(found.near), leaks_first(found.near)),
        "Doubtful labels": (len(found.doubtful or []), (found.doubtful or [])[:SHOWN]),
        "No face found": (len(found.without_face), found.without_face[:SHOWN]),
        "Blurred": (len(found.blurred), found.blurred[:SHOWN]),
        "Dark": (len(found.dark), found.dark[:SHOWN]),
        "Too bright": (len(found.bright), found.bright[:SHOWN]),
    }
    shown = [(title, count, [figure(row) for row in rows]) for title, (count, rows) in sections.items()]
    labels = sorted({label for counts in found.balance.values() for label in counts})
    return Template(PAGE).render(folder=html.escape(folder.name), sections=shown, balance=found.balance, labels=labels)


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Audit of {{ folder }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse } td, th { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd }
td:first-child, th:first-child { text-align: left }
.faces { display: flex; flex-wrap: wrap; gap: .6rem } figure { margin: 0; width: 6.5rem; font-size: .7rem }
img { width: 6.5rem; height: 6.5rem; object-fit: contain; background: #000 }
.name { color: #666; overflow-wrap: anywhere }
</style>
<h1>Audit of {{ folder }}</h1>
<table><tr><th>expression</th>{% for split in balance %}<th>{{ split }}</th>{% endfor %}</tr>
{% for label in labels %}<tr><td>{{ label }}</td>{% for counts in balance.values() %}
<td>{{ counts.get(label, 0) }}</td>{% endfor %}</tr>{% endfor %}</table>
{% for title, count, faces in sections %}<h2>{{ title }}: {{ count }}</h2>
{% if count > faces | length %}<p>The first are shown; audit.json names all.</p>{% endif %}
<div class="faces">{% for face in faces %}<figure><img src="{{ face.source }}" alt="">
<div>{{ face.note }}</div><div class="name">{{ face.name }}</div></figure>{% endfor %}</div>{% endfor %}
</html>
"""
