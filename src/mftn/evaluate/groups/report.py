"""Write groups.html, groups.csv, group_comparisons.csv, groups.json and the figure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mftn import __version__
from mftn.analysis.formats import Table
from mftn.analysis.sheets import Sheet
from mftn.evaluate.groups import sentences
from mftn.evaluate.groups.compare import compare
from mftn.evaluate.groups.request import GroupOptions, GroupRequest
from mftn.evaluate.groups.results import ALL, Comparison, GroupResults
from mftn.evaluate.groups.sheet import join, predicted_expressions
from mftn.evaluate.results import to_json
from mftn.figures import save_figure, text_as_written
from mftn.files import json_text, write_csv, write_text
from mftn.pages import data_uri, render_page
from mftn.result_folder import ResultFolder

INDEX = "groups.json"
COMPARISONS = "group_comparisons.csv"
ALWAYS = ("groups.html", "groups.csv", INDEX, "groups.png", "groups.pdf")
OUTPUTS = (*ALWAYS, COMPARISONS)


@dataclass(frozen=True, slots=True, eq=False)
class GroupReport:
    """Results by group of one or more models.

    Attributes:
        models: Results by the model's name.
    """

    models: Mapping[str, GroupResults]

    @classmethod
    def of(
        cls,
        predicted: Mapping[str, Mapping[str, str | None]],
        request: GroupRequest,
        labels: Mapping[str, str] | None = None,
    ) -> GroupReport:
        """Compare groups for each model.

        Args:
            predicted: Model → source → expression, None where no face was found.
            request: People and what is compared.
            labels: Source → expression, for labels that are not in people.csv.
        """
        found = {name: compare(join(request, named, labels), request.options) for name, named in predicted.items()}
        return cls(found)

    def lines(self) -> list[str]:
        """The findings as sentences: for each model a headline, then the comparisons that could be judged."""
        found = []
        for name, results in self.models.items():
            found.append(f"{name}: {sentences.headline(results)}")
            found += [sentences.sentence(one) for one in results.comparisons if one.verdict != "too few people"]
        return found

    def write(self, out: str | Path) -> Path:
        """Write `OUTPUTS` into a folder, without `COMPARISONS` if there are none, and return the page's path.

        Raises:
            OutputError: The folder has a file with one of these names that no report wrote.
        """
        from mftn.evaluate.groups.figure import draw_groups

        out = Path(out)
        shares, comparisons = _rows(self.models)
        results = ResultFolder(out, INDEX)
        results.begin(OUTPUTS)
        written = results.remove_others(OUTPUTS if comparisons else ALWAYS, re.compile(re.escape(COMPARISONS)))
        with text_as_written():
            figure = draw_groups(self.models)
            save_figure(figure, out / "groups.png", out / "groups.pdf")
        write_csv(out / "groups.csv", shares)
        if comparisons:
            write_csv(out / COMPARISONS, comparisons)
        write_text(out / INDEX, json_text({"models": to_json(self.models), "files": written}, indent=1))
        write_text(out / "groups.html", _render(self.models, (out / "groups.png").read_bytes()))
        return out / "groups.html"


def check_folder(out: Path) -> None:
    """Refuse a folder with a file that a report of groups would replace but no earlier one wrote.

    Raises:
        OutputError: The folder has such a file.
    """
    ResultFolder(out, INDEX).check(OUTPUTS)


def compare_groups(
    table: Table,
    people: Sheet,
    *,
    by: Sequence[str] = (),
    adjust: Sequence[str] = (),
    label: str = "",
    options: GroupOptions | None = None,
    name: str = "the model",
) -> GroupReport:
    """Compare how often photographs of different groups of people are classified correctly.

    Args:
        table: A file written by `mftn predict`, a data frame of that form, or predictions.
        people: A CSV file or a data frame: image, label, person, and a column for each kind of group.
        by: The columns of groups; all by default.
        adjust: Columns with what makes an image easy or hard, such as the expression's intensity.
        label: The column of the expression, if it is not called label or expression.
        options: How groups are compared.
        name: The model's name in the report.

    Raises:
        DataError: A table cannot be read, or the tables do not match.
        ConfigError: An option is out of range.
    """
    request = GroupRequest(people, tuple(by), tuple(adjust), label, options or GroupOptions())
    return GroupReport.of({name: predicted_expressions(table)}, request)


def _rows(models: Mapping[str, GroupResults]) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    shares: list[dict[str, object]] = []
    comparisons: list[dict[str, object]] = []
    for name, results in models.items():
        for share in results.shares:
            row = {field: getattr(share, field) for field in share.__dataclass_fields__}
            low, high = row.pop("interval")
            means = {f"mean_{key}": value for key, value in row.pop("covariates").items()}
            shares.append({"model": name, **row, "low": low, "high": high, **means})
        comparisons += [{"model": name, **_row(found)} for found in results.comparisons]
    return shares, comparisons


def _row(found: Comparison) -> dict[str, object]:
    row: dict[str, object] = {key: getattr(found, key) for key in ("column", "group", "other", "label", "verdict")}
    row |= {"people": found.people, "images": found.images, "p_holm": found.p_holm}
    row |= {"difference": found.difference, "low": found.interval[0], "high": found.interval[1]}
    for kind, test in (("raw", found.raw), ("adjusted", found.adjusted)):
        row |= {f"{kind}_odds_ratio": test.odds_ratio if test else None, f"{kind}_p": test.p if test else None}
        row |= {f"{kind}_low": test.interval[0] if test else None, f"{kind}_high": test.interval[1] if test else None}
    matched = found.matched
    row |= {"matched_images": matched.images if matched else None}
    row |= {"matched_difference": matched.difference if matched else None}
    return row | {"covariates": " ".join(found.covariates), "sentence": sentences.sentence(found)}


def _render(models: Mapping[str, GroupResults], figure: bytes) -> str:
    return render_page(
        "mftn.evaluate.groups",
        "groups.html.j2",
        {
            "p": lambda p: sentences.p_value(p).removeprefix("p ").removeprefix("= "),
            "odds": sentences.odds,
            "points": sentences.points,
            "sentence": sentences.sentence,
            "headline": sentences.headline,
        },
        models=models,
        image=data_uri(figure),
        all=ALL,
        version=__version__,
    )
