"""Which groups are compared, and how; imports nothing heavy, so that the command line can import it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mftn.limits import check_range

if TYPE_CHECKING:
    from mftn.analysis.sheets import Sheet


@dataclass(frozen=True, slots=True)
class GroupOptions:
    """How groups are compared.

    Attributes:
        fewest: People needed on each side of a comparison for it to be judged.
        alpha: A difference is reported below this level of Holm's corrected p.
        seed: Seed of the intervals that resample people.
    """

    fewest: int = 30
    alpha: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        check_range("--fewest", self.fewest, 5)
        check_range("--alpha", self.alpha, 0, 0.5, above=True)
        check_range("--seed", self.seed, 0)


@dataclass(frozen=True, slots=True)
class GroupRequest:
    """The people behind the images, and what is compared.

    Attributes:
        people: people.csv or a data frame: image, label, person, and a column for each kind of group.
        by: The columns of groups; if empty, every column with two to twelve levels. Columns with many numbers are cut
            into thirds.
        adjust: Columns of numbers, or of two different words, with what makes an image easy or hard, such as the
            expression's intensity.
        label: The column of the expression; empty for label or expression.
        options: How groups are compared.
    """

    people: Sheet
    by: tuple[str, ...] = ()
    adjust: tuple[str, ...] = ()
    label: str = ""
    options: GroupOptions = field(default_factory=GroupOptions)
