"""Shares of right images by group, and every comparison between groups: as the images are, and where they are alike.

The unit is the person. A gap is called a difference after Holm's correction over all comparisons, and in a model that
holds the covariates where there are any; a group of few people is shown and not judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mftn.evaluate.groups import logistic
from mftn.evaluate.groups.request import GroupOptions
from mftn.evaluate.groups.sheet import LabelledImages
from mftn.evaluate.metrics import wilson_interval

ALL = "all expressions"
OTHERS = "all others"
DRAWS, STRATA = 2000, 5
"""Draws of people for an interval; strata that a covariate of many numbers is cut into for matching."""
KNOWN = 0.8
"""A covariate that is known for a smaller share of either side's images is not adjusted for."""

Interval = tuple[float, float]
Bools = NDArray[np.bool_]
Verdict = Literal["difference", "difference, not adjusted", "none established", "all alike", "too few people"]
"""What may be said; all alike: every image is right, or every one wrong."""


@dataclass(frozen=True, slots=True)
class Share:
    """A group's images of one label.

    Attributes:
        column: The column of groups.
        group: Its level.
        label: The expression, or `ALL`.
        people: How many.
        images: How many.
        right: How many are named right.
        missed: How many show no face to the detector; they are wrong.
        share: right / images.
        interval: Its 95 % interval: Wilson's over people where everybody has one image or all images are alike, else by
            drawing people.
        covariates: Mean of each covariate, NaN where it is unknown.
    """

    column: str
    group: str
    label: str
    people: int
    images: int
    right: int
    missed: int
    share: float
    interval: Interval
    covariates: dict[str, float]


@dataclass(frozen=True, slots=True)
class Test:
    """One model's answer.

    Attributes:
        odds_ratio: Odds of a right image in the group, over those of the others; NaN where a covariate is the group.
        interval: Its 95 % interval: the odds ratios that the score test does not reject, up to infinity.
        p: Of the score test over people.
    """

    odds_ratio: float
    interval: Interval
    p: float


@dataclass(frozen=True, slots=True)
class Matched:
    """Images compared with those of the same strata of the covariates alone.

    Attributes:
        images: How many have a counterpart in the other group.
        difference: Of the shares, weighted as Mantel and Haenszel do; NaN where no image has a counterpart.
        interval: Its 95 % interval by drawing people.
    """

    images: int
    difference: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Comparison:
    """A group against another, or against all others of its column.

    Attributes:
        column: The column of groups.
        group: One level.
        other: The other level; `OTHERS` where there are more than two.
        label: The expression, or `ALL`.
        people: In both, and fewer where they share people.
        images: In both.
        group_right: Right images and all images of the group.
        other_right: The same of the other.
        difference: Of the shares, group minus other.
        interval: Its 95 % interval by drawing people.
        raw: The images as they are; None where there are too few people, or all images are right or all wrong.
        adjusted: With the covariates in the model; None without any.
        matched: By strata of the covariates; None without any.
        covariates: Those in the model.
        omitted: Those that were asked for and are known for too few images of a side, or the same for all of them.
        imbalance: Of each covariate: means of the group and of the other, and their difference in standard deviations;
            NaN where a group has no known value, the difference also where neither group varies.
        p_holm: Of `adjusted`, or else `raw`, corrected over all comparisons; NaN where nothing is tested.
        verdict: What may be said.
    """

    column: str
    group: str
    other: str
    label: str
    people: int
    images: int
    group_right: tuple[int, int]
    other_right: tuple[int, int]
    difference: float
    interval: Interval
    raw: Test | None
    adjusted: Test | None
    matched: Matched | None
    covariates: tuple[str, ...]
    omitted: tuple[str, ...]
    imbalance: dict[str, tuple[float, float, float]]
    p_holm: float = float("nan")
    verdict: Verdict = "too few people"


@dataclass(frozen=True, slots=True)
class GroupResults:
    """All that was compared for one model.

    Attributes:
        images: How many.
        people: How many.
        missed: Images without a face.
        shares: Of every column, group and label.
        comparisons: Of every column, group and label.
        adjusted_for: The covariates that were asked for.
        notes: What was left out or assumed.
        options: How groups were compared.
    """

    images: int
    people: int
    missed: int
    shares: tuple[Share, ...]
    comparisons: tuple[Comparison, ...]
    adjusted_for: tuple[str, ...]
    notes: tuple[str, ...]
    options: GroupOptions


def compare(images: LabelledImages, options: GroupOptions | None = None) -> GroupResults:
    """Compare the groups of every column on every label, and on all labels together with the label in the model."""
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
        len(images.names),
        len(set(images.people.tolist())),
        int(images.missed.sum()),
        tuple(shares),
        tuple(_judge(comparisons, options)),
        tuple(images.covariates),
        (*images.notes, *_notes_of_omitted(comparisons)),
        options,
    )


def _notes_of_omitted(comparisons: Sequence[Comparison]) -> list[str]:
    """A line for each covariate that is not in every model."""
    omitted = Counter(name for found in comparisons for name in found.omitted)
    return [
        f"{name} is not in the model of {count} of {len(comparisons)} comparisons: there it is known, with those "
        f"before it, for less than {100 * KNOWN:.0f} % of a side's images, or the same for all of them"
        for name, count in omitted.items()
    ]


def _natural(name: str) -> tuple[float, str]:
    """Bands of numbers in their order, then words."""
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
        drawn = _drawn_sums(sums, options.seed)
        bounds = _bounds(drawn[:, 0] / drawn[:, 1])
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
    inside = images.groups[column][chosen] == group
    right, people = images.right[chosen].astype(float), _renumber(images.people[chosen])
    labels = images.labels[chosen]
    covariates = {name: _within_labels(images.covariates[name][chosen], labels) for name in known}
    plain = _design(labels, [])
    sides = [len(set(people[side].tolist())) for side in (inside, ~inside)]
    enough, varied = min(sides) >= options.fewest, 0 < right.mean() < 1
    judged = enough and varied
    raw = _test(inside, plain, right, people) if judged else None
    adjusted = _test(inside, _design(labels, list(covariates.values())), right, people) if judged and known else None
    strata = _strata(labels, list(covariates.values()))
    difference, interval, _ = _difference(inside, right, people, np.zeros(len(right), np.int64), options)
    if all(len(set(right[side].tolist())) == 1 for side in (inside, ~inside)):  # every draw of people is alike
        interval = _newcombe([float(right[side][0]) for side in (inside, ~inside)], sides)
    matched = None
    if judged and known:
        gap, bounds, counted = _difference(inside, right, people, strata, options)
        matched = Matched(counted, gap, bounds)
    return Comparison(
        column,
        group,
        other,
        label,
        int(people.max()) + 1,
        len(right),
        (int(right[inside].sum()), int(inside.sum())),
        (int(right[~inside].sum()), int((~inside).sum())),
        difference,
        interval,
        raw,
        adjusted,
        matched,
        tuple(known),
        tuple(name for name in images.covariates if name not in known),
        {name: _imbalance(images.covariates[name][chosen], inside) for name in known},
        verdict="all alike" if enough and not varied else "too few people",
    )


def _test(inside: Bools, null: NDArray[np.float64], right: NDArray[np.float64], people: NDArray[np.int64]) -> Test:
    group = inside.astype(float)
    full = np.column_stack([null, group])
    if np.linalg.matrix_rank(full) < full.shape[1]:  # a covariate says who is in the group
        return Test(float("nan"), (0.0, float("inf")), 1.0)
    middle = float(logistic.fit(full, right)[-1])
    p = logistic.score_test(group, null, right, people)
    low, high = logistic.score_interval(group, null, right, people, middle)
    return Test(float(np.exp(middle)), (float(np.exp(low)), float(np.exp(high))), p)


def _known_covariates(images: LabelledImages, chosen: Bools, inside: Bools) -> tuple[list[str], Bools]:
    """Those that are known together for most images of either side, and not the same for all; and the images.

    Both models see the same images: those for which all these covariates are known. A label that lacks a covariate
    altogether does not count.
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
    """(n,) whether the covariate is unknown for all images of the image's label: the label then stands for it."""
    unknown = np.zeros(len(images.names), bool)
    for label in set(images.labels.tolist()):
        of_label = images.labels == label
        if not np.isfinite(images.covariates[covariate][of_label]).any():
            unknown |= of_label
    return unknown


def _within_labels(values: NDArray[np.float64], labels: NDArray[np.str_]) -> NDArray[np.float64]:
    """Standardised, and centred within each label; 0 for a label whose values are unknown."""
    centred = np.zeros(len(values))
    for label in set(labels.tolist()):
        of_label = labels == label
        if np.isfinite(values[of_label]).all():
            centred[of_label] = values[of_label] - values[of_label].mean()
    spread = centred.std()
    return centred / spread if spread else centred


def _design(labels: NDArray[np.str_], covariates: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Constant, labels but one, covariates that add something to these."""
    shown = sorted(set(labels.tolist()))[1:]
    design = np.column_stack([np.ones(len(labels)), *((labels == label).astype(float) for label in shown)])
    for values in covariates:
        wider = np.column_stack([design, values])
        if np.linalg.matrix_rank(wider) == wider.shape[1]:
            design = wider
    return design


def _strata(labels: NDArray[np.str_], covariates: Sequence[NDArray[np.float64]]) -> NDArray[np.int64]:
    """(n,) numbers of strata: labels by values of the covariates, or by fifths where there are many values."""
    keys = [np.unique(labels, return_inverse=True)[1]]
    for values in covariates:
        edges = np.unique(values)
        if len(edges) > 2 * STRATA:
            edges = np.quantile(values, np.arange(1, STRATA) / STRATA)
        keys.append(np.searchsorted(edges, values))
    strata: NDArray[np.int64] = np.unique(np.column_stack(keys), axis=0, return_inverse=True)[1].ravel()
    return strata


def _difference(
    inside: Bools,
    right: NDArray[np.float64],
    people: NDArray[np.int64],
    strata: NDArray[np.int64],
    options: GroupOptions,
) -> tuple[float, Interval, int]:
    """Difference of shares within strata, its interval, and how many images have a counterpart."""
    count = int(strata.max()) + 1
    cells = np.zeros((len(right), 4 * count))  # of each stratum: images and right images, in the group and outside
    rows = np.arange(len(right))
    place = 4 * strata + 2 * ~inside
    cells[rows, place], cells[rows, place + 1] = 1, right
    sums = logistic.sum_by(people, cells)
    observed = sums.sum(axis=0).reshape(count, 4)
    both = (observed[:, 0] > 0) & (observed[:, 2] > 0)
    draws = _drawn_sums(sums, options.seed).reshape(-1, count, 4)
    middle = float(_weighted_gap(observed[None])[0])
    gaps = _weighted_gap(draws)
    return middle, _bounds(gaps[np.isfinite(gaps)]), int(observed[both][:, [0, 2]].sum())


def _newcombe(shares: Sequence[float], people: Sequence[int]) -> Interval:
    """Newcombe's interval of the difference of two shares (1998, method 10), each over people who are all alike."""
    (one, other), bounds = shares, [wilson_interval(round(s * n), n) for s, n in zip(shares, people, strict=True)]
    (low, high), (other_low, other_high) = bounds
    difference = one - other
    return (
        float(difference - np.hypot(one - low, other_high - other)),
        float(difference + np.hypot(high - one, other - other_low)),
    )


def _weighted_gap(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B,) Mantel and Haenszel's difference of shares from (B, strata, 4) counts."""
    a, a_right, b, b_right = np.moveaxis(cells, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.nan_to_num(a * b / (a + b))
        gap = np.nan_to_num(a_right / a - b_right / b)
        return np.asarray((weight * gap).sum(axis=1) / weight.sum(axis=1))


def _imbalance(values: NDArray[np.float64], inside: Bools) -> tuple[float, float, float]:
    a, b = values[inside & np.isfinite(values)], values[~inside & np.isfinite(values)]
    if not len(a) or not len(b):
        return float("nan"), float("nan"), float("nan")
    spread = float(np.sqrt((a.var() + b.var()) / 2))
    constant = spread <= 1e-9 * np.ptp(np.append(a, b))  # but for rounding
    return float(a.mean()), float(b.mean()), float("nan") if constant else float((a.mean() - b.mean()) / spread)


def _drawn_sums(sums: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """(DRAWS, M) totals when as many people are drawn with replacement, from each person's (N, M) sums.

    People who are alike are drawn as one kind, so that many people cost little.
    """
    kinds, counts = np.unique(sums, axis=0, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(sums), counts / len(sums), DRAWS)
    return np.asarray(drawn @ kinds)


def _bounds(values: NDArray[np.float64]) -> Interval:
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def _renumber(people: NDArray[np.int64]) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = np.unique(people, return_inverse=True)[1]
    return numbers


def _judge(comparisons: Sequence[Comparison], options: GroupOptions) -> Iterator[Comparison]:
    from statsmodels.stats.multitest import multipletests

    tests = [found.adjusted or found.raw for found in comparisons]
    known = [test.p for test in tests if test]
    corrected = iter(multipletests(known, method="holm")[1] if known else ())
    for found, test in zip(comparisons, tests, strict=True):
        if test is None:
            yield found
            continue
        p = float(next(corrected))
        verdict: Verdict = "none established"
        if p < options.alpha:
            verdict = "difference" if found.adjusted else "difference, not adjusted"
        yield replace(found, p_holm=p, verdict=verdict)
