"""Transitions: which expression follows which as the most probable one."""

from dataclasses import dataclass

import numpy as np

from mftn.analysis.clock import ROUNDING
from mftn.analysis.events import new_spans
from mftn.analysis.settings import Settings
from mftn.analysis.table import Floats
from mftn.labels import EXPRESSIONS


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of the most probable expression.

    Attributes:
        time: Seconds; when the expression changes.
        before: The expression until then.
        after: The expression from then on.
    """

    time: float
    before: str
    after: str


def find_transitions(times: Floats, durations: Floats, values: Floats, settings: Settings) -> list[Transition]:
    """Changes between expressions that each last at least `settings.shortest` seconds; none is counted across a gap.

    Args:
        times: (n,) seconds.
        durations: (n,) seconds.
        values: (n, 8) smoothed probabilities.
        settings: The shortest stretch, and for how long a person may be unseen.
    """
    if not len(times):
        return []
    top = np.nan_to_num(values, nan=-1.0).argmax(axis=1)
    fresh = new_spans(times, durations, settings.bridge)
    starts = np.flatnonzero(fresh | np.concatenate([[True], np.diff(top) != 0]))
    ends = np.append(starts[1:] - 1, len(top) - 1)
    lengths = times[ends] + durations[ends] - times[starts]
    span = fresh.cumsum()[starts]
    found: list[Transition] = []
    last: tuple[int, int] | None = None  # (span, expression)
    for start, length, number in zip(starts.tolist(), lengths.tolist(), span.tolist(), strict=True):
        if length < settings.shortest - ROUNDING:
            continue
        here = int(top[start])
        if last and last[0] == number and last[1] != here:
            found.append(Transition(float(times[start]), EXPRESSIONS[last[1]], EXPRESSIONS[here]))
        last = (number, here)
    return found
