"""Comparisons as sentences that say neither more nor less than was found."""

import math

from mftn.evaluate.groups.results import Comparison, GroupResults, Test

ENOUGH_MATCHED = 0.7
"""Groups with a smaller share of images with a counterpart are said to overlap little."""


def sentence(found: Comparison) -> str:
    """One comparison: the verdict first, then the figures behind it."""
    pair = f"{found.group} and {found.other}"
    shares = f"{_of(found.group_right)} against {_of(found.other_right)} right"
    begin = f"{found.column}, {found.label}: "
    if found.verdict == "too few people":
        return f"{begin}too few people to judge {pair} ({shares})."
    test = found.adjusted or found.raw
    if test is None or found.raw is None:
        return f"{begin}nothing to compare between {pair}: {shares}."
    tested = f"{_odds(test)}, {p_value(test.p)}, corrected {p_value(found.p_holm)}, {found.people} people"
    if found.verdict == "difference":
        return (
            f"{begin}difference between {pair}, even with {_names(found)} in the model ({tested}). "
            f"Without adjustment, {shares}, {p_value(found.raw.p)}.{_matched(found)}"
        )
    if found.verdict == "difference, not adjusted":
        advice = "Rate the images, for example the expression's intensity, and pass that column to --adjust."
        if found.omitted:
            advice = f"Rate {' and '.join(found.omitted)} for the images that lack it; it must also vary."
        return (
            f"{begin}the images of {pair} differ: {shares} ({tested}). This does not yet show that the model treats "
            f"the groups differently: no covariate is in the model, and one group's images may be harder. {advice}"
        )
    if not found.adjusted:
        return f"{begin}no difference established between {pair} ({shares}; {tested}).{_room(test)}"
    gap = f" Without adjustment, {shares}, {p_value(found.raw.p)}"
    gap += f", but the images differ: {_differ(found)}." if found.raw.p < 0.05 else "."
    return (
        f"{begin}no difference established between {pair} with {_names(found)} in the model ({tested})."
        f"{gap}{_matched(found)}{_room(test)}"
    )


def headline(results: GroupResults) -> str:
    """All comparisons in one line."""
    judged = [found for found in results.comparisons if found.raw]
    sure = sum(found.verdict == "difference" for found in judged)
    unadjusted = sum(found.verdict == "difference, not adjusted" for found in judged)
    few = sum(found.verdict == "too few people" for found in results.comparisons)
    parts = []
    if sure:
        parts.append(f"{_count(sure, 'difference')} between groups, even with covariates in the model")
    if unadjusted:
        parts.append(f"{_count(unadjusted, 'gap')} between groups' images without any adjustment")
    if not parts:
        parts.append("no difference established" if judged else "nothing could be judged")
    end = f"; {_count(few, 'comparison')} with too few people to judge" if few else ""
    return f"{' and '.join(parts)} in {_count(len(judged), 'comparison')}{end}"


def people(number: int) -> str:
    """Such as "1 person" or "30 people"."""
    return "1 person" if number == 1 else f"{number:,} people"


def p_value(p: float) -> str:
    """Such as "p = 0.34" or "p < 0.001"."""
    return "p unknown" if math.isnan(p) else "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def odds(value: float) -> str:
    """An odds ratio with two significant digits."""
    if math.isnan(value):
        return "unknown"
    return f"{value:.2g}" if 0.01 <= value < 100 else "> 100" if value >= 100 else "< 0.01"


def points(value: float) -> str:
    """A difference of shares in percentage points."""
    if math.isnan(value):
        return "–"
    return f"{100 * value:+.0f}".replace("-", "−")


def _names(found: Comparison) -> str:
    return " and ".join(found.covariates)


def _odds(test: Test) -> str:
    low, high = test.interval
    return f"odds ratio {odds(test.odds_ratio)}, 95 % interval {odds(low)} to {odds(high)}"


def _of(counts: tuple[int, int]) -> str:
    return f"{counts[0]} of {counts[1]}"


def _differ(found: Comparison) -> str:
    return ", ".join(_differs(name, *imbalance) for name, imbalance in found.imbalance.items())


def _differs(name: str, group: float, other: float, apart: float) -> str:
    if math.isnan(group) or math.isnan(other):
        return f"{name} is unknown for one of the groups"
    if math.isnan(apart):
        return f"{name} is {group:.2g} throughout one group and {other:.2g} throughout the other"
    standard = f"{apart:+.1f}".replace("-", "−")
    return f"{name} is {group:.2g} against {other:.2g} on average ({standard} standard deviations)"


def _matched(found: Comparison) -> str:
    if not found.matched:
        return ""
    if not found.matched.images:
        return f" No image has a counterpart with the same {_names(found)} in the other group: they cannot be compared."
    low, high = found.matched.interval
    little = found.matched.images < ENOUGH_MATCHED * found.images
    return (
        f" Matched on {_names(found)} ({found.matched.images} of {found.images} images have a counterpart) the gap is "
        f"{points(found.matched.difference)} points (95 % {points(low)} to {points(high)})."
        f"{' The groups overlap little there, so the model extrapolates.' if little else ''}"
    )


def _room(test: Test) -> str:
    low, high = test.interval
    return f" This does not prove equality: the data allow odds from {odds(low)} to {odds(high)} times as high."


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
