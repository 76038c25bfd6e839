"""Numbers that must lie in a range; an error names the option as it is typed."""

import math

from mftn.errors import ConfigError

MAX_SEED = 2**32 - 1
"""The largest seed that every generator takes."""


def check_range(
    option: str, value: float, lowest: float = -math.inf, highest: float = math.inf, *, above: bool = False
) -> None:
    """Refuse a number outside its range; infinity and NaN lie outside every range.

    Args:
        option: Its name as a user types it, such as --batch-size.
        value: The number.
        lowest: The smallest number that is taken.
        highest: The largest.
        above: `lowest` itself is not taken.

    Raises:
        ConfigError: The number is outside.
    """
    inside = lowest < value <= highest if above else lowest <= value <= highest
    if math.isfinite(value) and inside:
        return
    bounds = [f"{'above' if above else 'at least'} {_shown(lowest)}"] if lowest > -math.inf else []
    bounds += [f"at most {_shown(highest)}"] if highest < math.inf else []
    raise ConfigError(f"{option} is {_shown(value)}; it must be {' and '.join(bounds) or 'a finite number'}")


def _shown(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"
