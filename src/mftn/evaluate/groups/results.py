"""What a comparison of groups found, as typed results."""

from dataclasses import dataclass
from typing import Literal

from mftn.evaluate.groups.request import GroupOptions

ALL = "all expressions"
OTHERS = "all others"

Interval = tuple[float, float]
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
