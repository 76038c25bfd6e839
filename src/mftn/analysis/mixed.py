"""Comparisons by a linear mixed model: value ~ level with a random intercept for each person (statsmodels)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from mftn.analysis.settings import Settings
from mftn.analysis.table import Floats

if TYPE_CHECKING:
    from mftn.analysis.conditions import Comparison, Units

MIN_STANDARD_ERROR = 1e-10
"""A standard error of a difference below this comes from rounding alone."""


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A fitted model of L levels.

    Attributes:
        means: (L,) means of the levels.
        covariance: (L, L) covariance of these means.
        spread: Standard deviation of a single value: people and residual together.
        freedom: Degrees of freedom of a contrast between levels.
    """

    means: Floats
    covariance: Floats
    spread: float
    freedom: float


def fit(values: Floats, levels: Sequence[str], people: Sequence[str], within: bool) -> Fit | None:
    """Fit by restricted maximum likelihood; None where it does not converge, or no value differs within a level.

    The degrees of freedom are those of the between-within method (Schluchter & Elashoff 1990): statsmodels' own normal
    approximation gives too many false positives in small samples. With one value per person it is ordinary least
    squares.
    """
    import statsmodels.api as sm

    names = sorted(set(levels))
    design = np.array([[level == name for name in names] for level in levels], float)
    count, persons, width = len(values), len(set(people)), len(names)
    if count == persons:
        ols = sm.OLS(values, design).fit()
        return _certain(Fit(ols.params, ols.cov_params(), float(np.sqrt(ols.scale)), float(count - width)))
    freedom = count - persons - (width - 1) if within else persons - width
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a variance of 0 between people is no error: their own values do not correlate
        try:
            model = sm.MixedLM(values, design, groups=np.asarray(people)).fit(
                reml=True, method=["bfgs", "lbfgs", "powell"]
            )
        except (np.linalg.LinAlgError, ValueError):
            return None
    covariance = np.asarray(model.cov_params())[:width, :width]
    if not np.isfinite(covariance).all() or not model.converged:
        return None
    spread = float(np.sqrt(model.scale + np.asarray(model.cov_re)[0, 0]))
    return _certain(Fit(np.asarray(model.fe_params), covariance, spread, float(freedom)))


def _certain(model: Fit) -> Fit | None:
    """The model, or None where a difference has no error at all: its t would be infinite and its p 0."""
    variances = model.covariance.diagonal()
    errors = variances[:, None] + variances - 2 * model.covariance
    return model if errors[np.triu_indices(len(errors), 1)].min() > MIN_STANDARD_ERROR**2 else None


def compare_mixed(
    factor: str, units: Units, levels: Sequence[str], within: bool, settings: Settings, notes: list[str]
) -> list[Comparison]:
    """Every comparison between a factor's levels by mixed models, one for each signal.

    People compared with themselves have one value per level: people differ in how strongly they respond, so several
    stretches of one person at one level are not independent evidence of a difference between levels.
    """
    from mftn.analysis.conditions import MAX_PAIRS, MIN_PEOPLE, SIGNALS

    if thin := [level for level, people in units.means().items() if len(people) < MIN_PEOPLE]:
        notes.append(f"{factor}: too few people in {', '.join(thin)} ({MIN_PEOPLE} are needed): not tested")
        units = units.where(np.array([level not in thin for level in units.levels], bool))
        levels = [level for level in levels if level not in thin]
        if len(levels) < 2:
            return []
    units = units.averaged() if within else units
    count = len(set(units.people))
    few = len(units.people) - count < len(levels) if within else count < MIN_PEOPLE + len(levels)
    if few or count < MIN_PEOPLE:
        notes.append(
            f"{factor}: too few people ({count}, or too few of them in several levels) for a mixed model: not tested"
        )
        return []
    found: list[Comparison] = []
    for index, signal in enumerate(SIGNALS):
        values = units.values[:, index]
        if np.isnan(values).any() or not values.std():
            notes.append(f"{factor}: {signal} does not vary or is partly unknown: not tested")
            continue
        model = fit(values, list(units.levels), list(units.people), within)
        if model is None:
            notes.append(
                f"{factor}: the mixed model of {signal} does not converge, or no value differs within a level: "
                "not tested"
            )
            continue
        about = (factor, signal, "within" if within else "between", count)
        if len(levels) > 2:
            found.append(_omnibus(model, *about))
        if len(levels) <= MAX_PAIRS:
            found += _pairs(model, levels, settings, *about)
    return found


def _omnibus(model: Fit, factor: str, signal: str, design: str, people: int) -> Comparison:
    from scipy.stats import f

    from mftn.analysis.conditions import Comparison

    width = len(model.means)
    contrasts = np.eye(width)[1:] - np.eye(width)[0]
    difference = contrasts @ model.means
    wald = difference @ np.linalg.solve(contrasts @ model.covariance @ contrasts.T, difference) / (width - 1)
    p = float(f.sf(wald, width - 1, model.freedom))
    return Comparison(factor, "any", signal, design, "mixed model", people, float(wald), p)


def _pairs(
    model: Fit, levels: Sequence[str], settings: Settings, factor: str, signal: str, design: str, people: int
) -> Iterator[Comparison]:
    from scipy.stats import t

    from mftn.analysis.conditions import Comparison

    for i, j in combinations(range(len(levels)), 2):
        difference = float(model.means[i] - model.means[j])
        variance = model.covariance[i, i] + model.covariance[j, j] - 2 * model.covariance[i, j]
        error = float(np.sqrt(variance))
        reach = float(t.ppf(0.5 + settings.confidence / 2, model.freedom)) * error
        low, high = difference - reach, difference + reach
        yield Comparison(
            factor,
            f"{levels[i]} - {levels[j]}",
            signal,
            design,
            "mixed model",
            people,
            difference / error,
            float(2 * t.sf(abs(difference / error), model.freedom)),
            float(model.means[i]),
            float(model.means[j]),
            difference,
            low,
            high,
            difference / model.spread,
            low / model.spread,
            high / model.spread,
        )
