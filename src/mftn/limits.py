"""Checks of values against a range or a list of choices; errors name the option as the user types it."""

import math
from collections.abc import Collection
from numbers import Integral, Real

from mftn.errors import ConfigError, did_you_mean

MAX_SEED = 2**32 - 1
"""The largest seed that every random number generator accepts."""


def check_range(
    option: str,
    value: float,
    lowest: float = -math.inf,
    highest: float = math.inf,
    *,
    above: bool = False,
    whole: bool = False,
) -> None:
    """Reject a value that is not a number or is out of range; infinity and NaN are outside every range.

    Args:
        option: The option's name as a user types it, such as --batch-size.
        value: The number.
        lowest: The smallest number that is accepted.
        highest: The largest.
        above: Do not accept `lowest` itself.
        whole: Accept only whole numbers.

    Raises:
        ConfigError: The value is rejected.
    """
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        raise ConfigError(f"{option} is {value!r}; it must be a {'whole ' * whole}number")
    inside = lowest < value <= highest if above else lowest <= value <= highest
    if math.isfinite(value) and inside:
        return
    bounds = [f"{'above' if above else 'at least'} {_shown(lowest)}"] if lowest > -math.inf else []
    bounds += [f"at most {_shown(highest)}"] if highest < math.inf else []
    raise ConfigError(f"{option} is {_shown(value)}; it must be {' and '.join(bounds) or 'a finite number'}")


def check_choice(option: str, value: object, choices: Collection[str]) -> None:
    """Reject a value that is not one of the choices.

    Raises:
        ConfigError: The value is rejected.
    """
    if value not in choices:
        raise ConfigError(f"{option} is {value!r}; {did_you_mean(str(value), choices)}")


def check_switch(option: str, value: object) -> None:
    """Reject a value that is neither true nor false, such as the text "no", which Python counts as true.

    Raises:
        ConfigError: The value is rejected.
    """
    if value not in (True, False):
        raise ConfigError(f"{option} is {value!r}; it must be True or False")


def _shown(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"
