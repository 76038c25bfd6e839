"""Settings of a summary; the methods paragraph reports every value."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from mftn.errors import ConfigError
from mftn.limits import check_range

Test = Literal["permutation", "mixed"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How expressions over time are measured and compared.

    Attributes:
        onset: An event is a stretch that reaches this probability, 0 to 1.
        offset: The event lasts as long as the probability stays at or above this value, 0 to `onset`.
        shortest: Events and dwell times shorter than this many seconds do not count.
        smooth: Width in seconds of the centred moving average on which events and transitions are detected; 0 turns it
            off. Means, shares and percentiles use the unsmoothed values.
        bridge: A person unseen for at most this many seconds does not end an event.
        max_gap: Two frames further apart than this many seconds have a gap between them, which counts as missing time;
            by default 1 s or 3 usual frame intervals, whichever is longer.
        synchrony: Compare over time people who are seen together or saw the same stimulus.
        synchrony_window: Length in seconds of each window in which two people are correlated.
        synchrony_lag: Maximum lag in seconds between two people.
        synchrony_rate: Number of values per second that are correlated.
        test: permutation, or mixed for a linear mixed model with a random intercept for each person.
        permutations: Number of random draws in each permutation test.
        confidence: Confidence level of the intervals, 0 to 1.
        seed: Seed of the permutations.
    """

    onset: float = 0.6
    offset: float = 0.4
    shortest: float = 0.25
    smooth: float = 0.2
    bridge: float = 0.3
    max_gap: Annotated[float | None, tyro.conf.arg(help_behavior_hint="")] = None
    synchrony: bool = False
    synchrony_window: float = 10.0
    synchrony_lag: float = 2.0
    synchrony_rate: float = 5.0
    test: Test = "permutation"
    permutations: int = 5000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        check_range("--onset", self.onset, 0, 1, above=True)
        check_range("--offset", self.offset, 0, self.onset, above=True)
        for name in ("shortest", "smooth", "bridge", "synchrony_lag"):
            check_range(f"--{name.replace('_', '-')}", getattr(self, name), 0)
        if self.max_gap is not None:
            check_range("--max-gap", self.max_gap, 0, above=True)
        check_range("--synchrony-rate", self.synchrony_rate, 0, 100, above=True)
        check_range("--synchrony-window", self.synchrony_window, 4 / self.synchrony_rate)
        check_range("--permutations", self.permutations, 99)
        check_range("--confidence", self.confidence, 0.5, 0.9999)
        check_range("--seed", self.seed, 0)
        if self.test not in ("permutation", "mixed"):
            raise ConfigError(f"--test is {self.test}; use permutation or mixed")


_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}


def parse_seconds(text: str | float, what: str = "time") -> float:
    """Seconds of a duration or a time as people write it: 10, 10s, 500ms, 2min, 1:30, 0:01:30.5.

    Raises:
        ConfigError: It is none of these.
    """
    word = str(text).strip().lower().replace(" ", "")
    if re.fullmatch(r"\d+(:\d{1,2}){1,2}([.,]\d+)?", word):
        parts = [float(part.replace(",", ".")) for part in word.split(":")]
        return sum(part * 60**power for power, part in enumerate(reversed(parts)))
    match = re.fullmatch(r"(-?\d+(?:[.,]\d+)?(?:e[+-]?\d+)?)(ms|s|min|m|h|)", word)
    if not match:
        raise ConfigError(f"{what} {text!r} is not a time; write seconds (12.5), a unit (10s, 2min) or minutes (1:30)")
    return float(match[1].replace(",", ".")) * _UNITS[match[2]]
