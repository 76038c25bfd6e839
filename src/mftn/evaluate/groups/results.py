"""What a comparison of groups found, as typed results."""

from dataclasses import dataclass
from typing import Literal

from mftn.evaluate.groups.request import GroupOptions

ALL = "all expressions"
OTHERS = "all others"

Interval = tuple[float, float]
Verdict = Literal["difference", "difference, not adjusted", "none established", "all alike", "too few people"]
"""What may be concluded; "all alike" means that every image is right, or that every image is wrong."""


@dataclass(frozen=True, slots=True)
class Share:
    """A group's images of one label.

    Attributes:
        column: The column of groups.
        group: Its level.
        label: The expression, or `ALL`.
        people: Number of people.
        images: Number of images.
        right: Number of images classified correctly.
        missed: Number of images in which no face was found; they count as wrong.
        share: right / images.
        interval: Its 95 % interval: Wilson's over people where everybody has one image, or all images are right or all
            wrong; otherwise by resampling people.
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
    """Result of one model.

    Attributes:
        odds_ratio: Odds of a right image in the group over those of the others; NaN where a covariate is the group
            itself.
        interval: Its 95 % interval: the odds ratios that the score test does not reject, up to infinity.
        p: p of the score test over people.
    """

    odds_ratio: float
    interval: Interval
    p: float


@dataclass(frozen=True, slots=True)
class Matched:
    """Images compared only within the same strata of the covariates.

    Attributes:
        images: Number of images with a counterpart in the other group.
        difference: Difference of the shares with Mantel–Haenszel weights; NaN where no image has a counterpart.
        interval: Its 95 % interval by resampling people.
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
        people: Number of different people in both.
        images: Number of images in both.
        group_right: Number of right images and of all images in the group.
        other_right: The same for the other.
        difference: Difference of the shares, group minus other.
        interval: Its 95 % interval by resampling people.
        raw: Test without covariates; None where there are too few people, or all images are right or all wrong.
        adjusted: Test with the covariates in the model; None without covariates.
        matched: Comparison within strata of the covariates; None without covariates.
        covariates: Covariates in the model.
        omitted: Requested covariates that are known for too few images of a side, or the same for all of them.
        imbalance: For each covariate: means of the group and of the other, and their difference in standard deviations;
            NaN where a group has no known value; the difference is also NaN where neither group varies.
        p_holm: p of `adjusted`, or else `raw`, corrected over all comparisons; NaN where nothing is tested.
        verdict: What may be concluded.
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
        images: Number of images.
        people: Number of people.
        missed: Number of images without a face.
        shares: Shares of every column, group and label.
        comparisons: Comparisons of every column, group and label.
        adjusted_for: The requested covariates.
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
