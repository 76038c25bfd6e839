"""Values that must lie in a range or be one of a few; an error names the option as it is typed."""

import math
from collections.abc import Collection
from numbers import Integral, Real

from mftn.errors import ConfigError, did_you_mean

MAX_SEED = 2**32 - 1
"""The largest seed that every generator takes."""


def check_range(
    option: str,
    value: float,
    lowest: float = -math.inf,
    highest: float = math.inf,
    *,
    above: bool = False,
    whole: bool = False,
) -> None:
    """Refuse what is no number, or one outside its range; infinity and NaN lie outside every range.

    Args:
        option: Its name as a user types it, such as --batch-size.
        value: The number.
        lowest: The smallest number that is taken.
        highest: The largest.
        above: `lowest` itself is not taken.
        whole: Only whole numbers are taken.

    Raises:
        ConfigError: The value is refused.
    """
    if not isinstance(value, Integral if whole else Real):
        raise ConfigError(f"{option} is {value!r}; it must be a {'whole ' * whole}number")
    inside = lowest < value <= highest if above else lowest <= value <= highest
    if math.isfinite(value) and inside:
        return
    bounds = [f"{'above' if above else 'at least'} {_shown(lowest)}"] if lowest > -math.inf else []
    bounds += [f"at most {_shown(highest)}"] if highest < math.inf else []
    raise ConfigError(f"{option} is {_shown(value)}; it must be {' and '.join(bounds) or 'a finite number'}")


def check_choice(option: str, value: object, choices: Collection[str]) -> None:
    """Refuse a value that is not one of a few names.

    Raises:
        ConfigError: It is none of them.
    """
    if value not in choices:
        raise ConfigError(f"{option} is {value!r}; {did_you_mean(str(value), choices)}")


def _shown(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"
