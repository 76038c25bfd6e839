"""Shares of right images by group, and every comparison between groups, without and with adjustment for covariates.

The unit is the person. A gap is called a difference only after Holm's correction over all comparisons, in a model with
the covariates if there are any; a group of few people is shown but not judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mftn.evaluate.groups import intervals, logistic
from mftn.evaluate.groups.request import GroupOptions
from mftn.evaluate.groups.results import ALL, OTHERS, Comparison, GroupResults, Matched, Share, Test, Verdict
from mftn.evaluate.groups.sheet import LabelledImages
from mftn.evaluate.metrics import holm, wilson_interval

STRATA = 5
"""Number of strata into which a covariate with many values is cut for matching."""
KNOWN = 0.8
"""A covariate that is known for a smaller share of either side's images is not adjusted for."""

Bools = NDArray[np.bool_]


def compare(images: LabelledImages, options: GroupOptions | None = None) -> GroupResults:
    """Compare the groups of every column for every label, and for all labels together with the label in the model."""
    options = options or GroupOptions()
    shown = sorted(set(images.labels.tolist()))
    labels = [ALL, *shown] if len(shown) > 1 else shown
    shares, comparisons = list[Share](), list[Comparison]()
    for column, levels in images.groups.items():
        for label in labels:
            chosen = (levels != "") & ((images.labels == label) | (label == ALL))
            names = sorted(set(levels[chosen].tolist()), key=_natural)
            shares += [_share(images, column, name, label, chosen & (levels == name), options) for name in names]
            if len(names) > 1:
                pairs = [(names[0], names[1])] if len(names) == 2 else [(name, OTHERS) for name in names]
                comparisons += [_compare(images, column, a, b, label, chosen, options) for a, b in pairs]
    return GroupResults(
        images=len(images.names),
        people=len(set(images.people.tolist())),
        missed=int(images.missed.sum()),
        shares=tuple(shares),
        comparisons=tuple(_judge(comparisons, options)),
        adjusted_for=tuple(images.covariates),
        notes=(*images.notes, *_notes_of_omitted(comparisons)),
        options=options,
    )


def _notes_of_omitted(comparisons: Sequence[Comparison]) -> list[str]:
    """A note for each covariate that is not in every model."""
    omitted = Counter(name for found in comparisons for name in found.omitted)
    return [
        f"{name} is not in the model of {count} of {len(comparisons)} comparisons: it is known there, together with "
        f"the covariates before it, for less than {100 * KNOWN:.0f} % of a side's images, or is the same for all"
        for name, count in omitted.items()
    ]


def _natural(name: str) -> tuple[float, str]:
    """Sort key: bands of numbers in ascending order, then text."""
    first = name.split(" ", maxsplit=1)[0]
    try:
        return float(first), name
    except ValueError:
        return float("inf"), name


def _share(images: LabelledImages, column: str, group: str, label: str, chosen: Bools, options: GroupOptions) -> Share:
    right, people = images.right[chosen], _renumber(images.people[chosen])
    count, total, persons = int(right.sum()), len(right), int(people.max()) + 1
    if persons == total or count in (0, total):
        bounds = wilson_interval(round(count * persons / total), persons)
    else:
        sums = logistic.sum_by(people, np.column_stack([right, np.ones(total)]).astype(float))  # (N, 2)
        drawn = intervals.resampled_sums(sums, options.seed)
        bounds = intervals.percentiles(drawn[:, 0] / drawn[:, 1])
    with np.errstate(invalid="ignore"):
        means = {
            name: float(np.nanmean(values[chosen])) if np.isfinite(values[chosen]).any() else float("nan")
            for name, values in images.covariates.items()
        }
    missed = int(images.missed[chosen].sum())
    return Share(column, group, label, persons, total, count, missed, count / total, bounds, means)


def _compare(
    images: LabelledImages, column: str, group: str, other: str, label: str, chosen: Bools, options: GroupOptions
) -> Comparison:
    known, chosen = _known_covariates(images, chosen, images.groups[column] == group)
    inside, labels = images.groups[column][chosen] == group, images.labels[chosen]
    right, people = images.right[chosen].astype(float), _renumber(images.people[chosen])
    covariates = [_within_labels(images.covariates[name][chosen], labels) for name in known]
    sides = (inside, ~inside)
    counts = [len(set(people[side].tolist())) for side in sides]
    enough, varied = min(counts) >= options.fewest, 0 < right.mean() < 1
    raw = adjusted = matched = None
    if enough and varied:
        raw = _test(inside, _design(labels, []), right, people)
    if raw and known:
        adjusted = _test(inside, _design(labels, covariates), right, people)
        strata = _strata(labels, covariates)
        gap, bounds, counted = intervals.difference(inside, right, people, strata, options.seed)
        matched = Matched(counted, gap, bounds)
    one_stratum = np.zeros(len(right), np.int64)
    difference, interval, _ = intervals.difference(inside, right, people, one_stratum, options.seed)
    if all(len(set(right[side].tolist())) == 1 for side in sides):  # every draw of people gives the same
        interval = intervals.newcombe([float(right[side][0]) for side in sides], counts)
    return Comparison(
        column=column,
        group=group,
        other=other,
        label=label,
        people=int(people.max()) + 1,
        images=len(right),
        group_right=(int(right[inside].sum()), int(inside.sum())),
        other_right=(int(right[~inside].sum()), int((~inside).sum())),
        difference=difference,
        interval=interval,
        raw=raw,
        adjusted=adjusted,
        matched=matched,
        covariates=tuple(known),
        omitted=tuple(name for name in images.covariates if name not in known),
        imbalance={name: _imbalance(images.covariates[name][chosen], inside) for name in known},
        verdict="all alike" if enough and not varied else "too few people",
    )


def _test(inside: Bools, null: NDArray[np.float64], right: NDArray[np.float64], people: NDArray[np.int64]) -> Test:
    group = inside.astype(float)
    full = np.column_stack([null, group])
    if np.linalg.matrix_rank(full) < full.shape[1]:  # a covariate determines who is in the group
        return Test(float("nan"), (0.0, float("inf")), 1.0)
    middle = float(logistic.fit(full, right)[-1])
    p = logistic.score_test(group, null, right, people)
    low, high = logistic.score_interval(group, null, right, people, middle)
    return Test(float(np.exp(middle)), (float(np.exp(low)), float(np.exp(high))), p)


def _known_covariates(images: LabelledImages, chosen: Bools, inside: Bools) -> tuple[list[str], Bools]:
    """The covariates that are known together for most images on each side and vary, and the images that have them.

    Both models use the same images: those for which all these covariates are known. A label for which a covariate is
    never known does not count.
    """
    found, kept = list[str](), chosen
    for name, values in images.covariates.items():
        unknown = _unknown_label(images, name)
        wider, here = kept & (np.isfinite(values) | unknown), chosen & ~unknown
        enough = all((wider & here & side).sum() >= KNOWN * (here & side).sum() for side in (inside, ~inside))
        if enough and len(known := values[wider & here]) and np.ptp(known) > 0:
            found.append(name)
            kept = wider
    return found, kept


def _unknown_label(images: LabelledImages, covariate: str) -> Bools:
    """(n,) whether the covariate is unknown for all images of the image's label: the label then replaces it."""
    unknown = np.zeros(len(images.names), bool)
    for label in set(images.labels.tolist()):
        of_label = images.labels == label
        if not np.isfinite(images.covariates[covariate][of_label]).any():
            unknown |= of_label
    return unknown


def _within_labels(values: NDArray[np.float64], labels: NDArray[np.str_]) -> NDArray[np.float64]:
    """The values standardised and centred within each label; 0 for a label whose values are unknown."""
    centred = np.zeros(len(values))
    for label in set(labels.tolist()):
        of_label = labels == label
        if np.isfinite(values[of_label]).all():
            centred[of_label] = values[of_label] - values[of_label].mean()
    spread = centred.std()
    return centred / spread if spread else centred


def _design(labels: NDArray[np.str_], covariates: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Columns of the model: constant, all labels but one, and covariates that are not collinear with these."""
    shown = sorted(set(labels.tolist()))[1:]
    design = np.column_stack([np.ones(len(labels)), *((labels == label).astype(float) for label in shown)])
    for values in covariates:
        wider = np.column_stack([design, values])
        if np.linalg.matrix_rank(wider) == wider.shape[1]:
            design = wider
    return design


def _strata(labels: NDArray[np.str_], covariates: Sequence[NDArray[np.float64]]) -> NDArray[np.int64]:
    """(n,) strata: labels × values of the covariates, or their fifths where there are many values."""
    keys = [np.unique(labels, return_inverse=True)[1]]
    for values in covariates:
        edges = np.unique(values)
        if len(edges) > 2 * STRATA:
            edges = np.quantile(values, np.arange(1, STRATA) / STRATA)
        keys.append(np.searchsorted(edges, values))
    strata: NDArray[np.int64] = np.unique(np.column_stack(keys), axis=0, return_inverse=True)[1].ravel()
    return strata


def _imbalance(values: NDArray[np.float64], inside: Bools) -> tuple[float, float, float]:
    a, b = values[inside & np.isfinite(values)], values[~inside & np.isfinite(values)]
    if not len(a) or not len(b):
        return float("nan"), float("nan"), float("nan")
    spread = float(np.sqrt((a.var() + b.var()) / 2))
    constant = spread <= 1e-9 * np.ptp(np.append(a, b))  # up to rounding
    return float(a.mean()), float(b.mean()), float("nan") if constant else float((a.mean() - b.mean()) / spread)


def _renumber(people: NDArray[np.int64]) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = np.unique(people, return_inverse=True)[1]
    return numbers


def _judge(comparisons: Sequence[Comparison], options: GroupOptions) -> Iterator[Comparison]:
    tests = [found.adjusted or found.raw for found in comparisons]
    corrected = iter(holm([test.p for test in tests if test]))
    for found, test in zip(comparisons, tests, strict=True):
        if test is None:
            yield found
            continue
        p = next(corrected)
        verdict: Verdict = "none established"
        if p < options.alpha:
            verdict = "difference" if found.adjusted else "difference, not adjusted"
        yield replace(found, p_holm=p, verdict=verdict)
