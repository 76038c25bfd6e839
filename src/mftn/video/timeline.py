"""The timeline: a figure of the expressions over time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mftn.errors import MissingExtraError
from mftn.files import atomic_write
from mftn.labels import COLOURS
from mftn.video.persons import Person, Persons

MAX_BANDS = 6
"""Most persons shown: those seen in the most frames."""


def draw_timeline(persons: Persons, path: Path) -> None:
    """Write the figure: one band per person, each expression's probability stacked over time, empty where unseen.

    Args:
        persons: The persons of the video.
        path: Its suffix chooses the format: .png, .pdf, .svg, .jpg, .jpeg or .webp.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("--save-timeline", "video") from error
    shown = sorted(sorted(persons.by_track, key=lambda track: -persons.by_track[track].frames)[:MAX_BANDS])
    figure = Figure(figsize=(9, 1.0 + 1.3 * max(len(shown), 1)), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    bands = figure.subplots(max(len(shown), 1), 1, sharex=True, squeeze=False)[:, 0]
    colours = [COLOURS.get(name, "#000000") for name in persons.labels]
    for band, track in zip(bands, shown, strict=False):
        times, shares = stacked(persons.by_track[track], persons.width)
        band.stackplot(times, shares, colors=colours, labels=persons.labels, linewidth=0)
        band.set(ylim=(0, 1), ylabel=f"person {track}")
    bands[-1].set_xlabel("seconds")
    if shown:
        handles, names = bands[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=len(names), fontsize="x-small")
    with atomic_write(path) as partial:
        figure.savefig(partial, format=path.suffix.removeprefix(".").lower())


def stacked(person: Person, width: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A person's mean probabilities as steps.

    Args:
        person: The person.
        width: Width of a time bin in seconds.

    Returns:
        Times (n,) and probabilities (K, n): two points per bin, NaN between bins that are not neighbours.
    """
    times: list[float] = []
    rows: list[NDArray[np.float64]] = []
    last: int | None = None
    for k in sorted(person.bins):
        total = person.bins[k]
        mean = total[:-1] / total[-1]
        if last is not None and k != last + 1:
            times.append((last + 1) * width)
            rows.append(np.full_like(mean, np.nan))
        times += [k * width, (k + 1) * width]
        rows += [mean, mean]
        last = k
    return np.array(times), np.array(rows).T
