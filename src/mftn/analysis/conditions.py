"""Comparisons between conditions with the person as the unit: one value per person and condition, not per frame."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mftn.analysis import permutation
from mftn.analysis.effects import effect_of_groups, effect_of_pairs
from mftn.analysis.settings import Settings
from mftn.analysis.table import Floats
from mftn.labels import EXPRESSIONS

if TYPE_CHECKING:
    import pandas as pd

MAX_PAIRS = 6
"""Maximum number of levels of a factor for which every pair of levels is compared."""

MIN_PEOPLE = 3
"""Minimum number of people: in each condition, or in total where people are compared with themselves."""

SIGNALS = (*EXPRESSIONS, "valence_index")


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """The U values that are compared, one per person and stretch.

    Attributes:
        people: (U,) names.
        levels: (U,) the factor's level.
        values: (U, 9) probabilities, then the valence index.
        weights: (U,) seconds seen, or images.
    """

    people: NDArray[np.object_]
    levels: NDArray[np.object_]
    values: Floats
    weights: Floats

    def means(self) -> dict[str, dict[str, Floats]]:
        """level → person → (9,): each person's mean over the stretches of a level, weighted by seen time."""
        indices: dict[tuple[str, str], list[int]] = {}
        for index, key in enumerate(zip(self.levels, self.people, strict=True)):
            indices.setdefault(key, []).append(index)
        found: dict[str, dict[str, Floats]] = {level: {} for level in sorted(set(self.levels))}
        for (level, person), chosen in sorted(indices.items()):  # random permutations must not depend on row order
            weights = self.weights[chosen]
            found[level][person] = weights @ self.values[chosen] / weights.sum()
        return found

    def averaged(self) -> Units:
        """One unit per person and level."""
        means = self.means()
        cells = [(person, level, value) for level, people in means.items() for person, value in people.items()]
        people, levels, values = zip(*cells, strict=True)
        return Units(np.array(people, object), np.array(levels, object), np.array(values), np.ones(len(cells)))

    def several(self) -> list[str]:
        """The people who have values in several levels."""
        levels_of: dict[str, set[str]] = {}
        for person, level in zip(self.people, self.levels, strict=True):
            levels_of.setdefault(person, set()).add(level)
        return sorted(person for person, seen in levels_of.items() if len(seen) > 1)

    def without(self, people: Collection[str]) -> Units:
        """The units of everybody else."""
        return self.where(np.array([person not in people for person in self.people], bool))

    def where(self, chosen: NDArray[np.bool_]) -> Units:
        """Some of the units, by a mask (U,)."""
        return Units(self.people[chosen], self.levels[chosen], self.values[chosen], self.weights[chosen])


@dataclass(frozen=True, slots=True)
class Comparison:
    """One test of one signal.

    Attributes:
        factor: What differs.
        contrast: "A - B", or "any" for the test of all levels at once.
        signal: The expression, or valence_index.
        design: within (people with themselves) or between (different people).
        test: The test's name.
        people: Number of people in the test.
        statistic: t or F.
        p: p of this test, not corrected for the others.
        mean_a: Mean over people at the contrast's first level; this and all that follow are NaN for "any".
        mean_b: Mean over people at its second level.
        difference: mean_a minus mean_b.
        low: Lower bound of the difference.
        high: Upper bound.
        effect: d_z (within) or g (between), corrected for small samples; d of the mixed model.
        effect_low: Its lower bound.
        effect_high: Its upper bound.
    """

    factor: str
    contrast: str
    signal: str
    design: str
    test: str
    people: int
    statistic: float
    p: float
    mean_a: float = float("nan")
    mean_b: float = float("nan")
    difference: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    effect: float = float("nan")
    effect_low: float = float("nan")
    effect_high: float = float("nan")


def compare(factor: str, units: Units, settings: Settings, notes: list[str]) -> list[Comparison]:
    """Every comparison between the levels of a factor.

    Where at least half of the people were seen at several levels, people are compared with themselves; anyone who lacks
    one of the compared levels is left out of that comparison. Otherwise groups of people are compared, and anyone seen
    at several levels is left out. Notes name the people who are left out.

    Args:
        factor: Name of the factor.
        units: The values.
        settings: The test, the permutations and the confidence.
        notes: Receives who is left out and what cannot be tested.
    """
    several = units.several()
    within = bool(several) and 2 * len(several) >= len(set(units.people))
    if several and not within:
        notes.append(
            f"{factor}: most people are in one condition only, so groups are compared; {named_people(several)} "
            f"{'is' if len(several) == 1 else 'are'} in several and left out"
        )
        units = units.without(several)
    means = units.means()
    levels = list(means)
    if len(levels) < 2:
        notes.append(f"{factor}: has only {levels[0] if levels else 'no level'}, so there is nothing to compare")
        return []
    if settings.test == "mixed":
        from mftn.analysis.mixed import compare_mixed

        return compare_mixed(factor, units, levels, within, settings, notes)
    found: list[Comparison] = []
    if len(levels) > 2:
        found += _omnibus(factor, means, within, settings, notes)
    if len(levels) > MAX_PAIRS:
        notes.append(f"{factor}: has {len(levels)} levels, so pairs of them are not compared")
        return found
    for one, other in combinations(levels, 2):
        found += _pair(factor, one, other, means, within, settings, notes)
    return found


def _pair(
    factor: str,
    one: str,
    other: str,
    means: dict[str, dict[str, Floats]],
    within: bool,
    settings: Settings,
    notes: list[str],
) -> Iterator[Comparison]:
    first, second = means[one], means[other]
    name = f"{one} - {other}"
    if within:
        both = [person for person in first if person in second]
        _note_left_out(factor, name, sorted({*first, *second} - set(both)), notes)
        a, b = _stack(first, both), _stack(second, both)
        enough = len(both) >= MIN_PEOPLE
    else:
        a, b = _stack(first, list(first)), _stack(second, list(second))
        enough = min(len(a), len(b)) >= MIN_PEOPLE
    if not enough:
        notes.append(
            f"{factor}: {name} has too few people ({len(a)} and {len(b)}; {MIN_PEOPLE} are needed): not tested"
        )
        return
    least = permutation.least_p(len(a), None if within else len(b), settings.permutations)
    _note_if_out_of_reach(f"{factor}: {name}", least, comb(len(means), 2) * len(EXPRESSIONS), settings, notes)
    effect = (effect_of_pairs if within else effect_of_groups)(a, b, settings.confidence)
    sizes = (effect.difference, effect.low, effect.high, effect.size, effect.size_low, effect.size_high)
    p = (permutation.pairs if within else permutation.groups)(a, b, settings.permutations, settings.seed)
    for index, signal in enumerate(SIGNALS):
        yield Comparison(
            factor,
            name,
            signal,
            "within" if within else "between",
            "sign-flip permutation" if within else "permutation of Welch's t",
            len(a) if within else len(a) + len(b),
            float(effect.statistic[index]),
            float(p[index]),
            float(a[:, index].mean()),
            float(b[:, index].mean()),
            *(float(values[index]) for values in sizes),
        )


def _omnibus(
    factor: str, means: dict[str, dict[str, Floats]], within: bool, settings: Settings, notes: list[str]
) -> Iterator[Comparison]:
    everybody = sorted({person for level in means.values() for person in level})
    if within:
        complete = [person for person in everybody if all(person in level for level in means.values())]
        _note_left_out(factor, "the test over all levels", sorted(set(everybody) - set(complete)), notes)
        groups = [_stack(level, complete) for level in means.values()]
        count = len(complete)
    else:
        groups = [_stack(level, list(level)) for level in means.values()]
        count = len(everybody)
    if min(map(len, groups)) < MIN_PEOPLE:
        notes.append(f"{factor}: too few people for a test over all levels ({MIN_PEOPLE} are needed)")
        return
    test = permutation.any_pairs if within else permutation.any_groups
    statistic, p = test(groups, settings.permutations, settings.seed)
    for index, signal in enumerate(SIGNALS):
        yield Comparison(
            factor,
            "any",
            signal,
            "within" if within else "between",
            "permutation of F",
            count,
            float(statistic[index]),
            float(p[index]),
        )


def _stack(values: dict[str, Floats], people: Sequence[str]) -> Floats:
    return np.array([values[person] for person in people]).reshape(len(people), len(SIGNALS))


def _note_left_out(factor: str, what: str, people: Sequence[str], notes: list[str]) -> None:
    if people:
        notes.append(
            f"{factor}: {len(people)} of the people lack a level and are left out of {what}: {named_people(people)}"
        )


def named_people(people: Sequence[str]) -> str:
    """The first eight names, for a note."""
    return ", ".join(people[:8]) + (" …" if len(people) > 8 else "")


def _note_if_out_of_reach(what: str, least: float, tests: int, settings: Settings, notes: list[str]) -> None:
    """Note a test that cannot reach significance, so that nobody reads its result as no difference."""
    if least * tests > 1 - settings.confidence:
        corrected = min(least * tests, 1.0)
        notes.append(
            f"{what}: with so few people or permutations no p can be below {least:.2g}, nor {corrected:.2g} after "
            f"correction for {tests} tests, however large the difference is: read the intervals"
        )


def correct(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Add the columns p_holm and tests: Holm's correction over the expressions (and pairs) of each factor.

    The valence index is corrected separately, over pairs only, since it is derived from the expressions.
    """
    from statsmodels.stats.multitest import multipletests

    found = comparisons.assign(p_holm=np.nan, tests=0)
    apart = found["signal"] == "valence_index"
    for _, rows in found.groupby([found["factor"], found["contrast"] == "any", apart]):
        known = rows.index[rows["p"].notna()]
        found.loc[rows.index, "tests"] = len(known)
        if len(known):
            found.loc[known, "p_holm"] = multipletests(found.loc[known, "p"], method="holm")[1]
    return found
