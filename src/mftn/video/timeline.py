"""The timeline: a figure of the expressions over time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mftn.errors import MissingExtraError
from mftn.figures import text_as_written
from mftn.files import readable, write_encoded
from mftn.labels import COLOURS
from mftn.video.persons import Person, Persons

MAX_BANDS = 6
"""Largest number of persons shown: those seen in the most frames."""

UNSEEN = "#E4E4E4"
"""Colour of periods in which a person is not seen."""


def draw_timeline(persons: Persons, path: Path, title: str = "") -> None:
    """Write the figure: one band per person, each expression's probability stacked over time, grey where unseen.

    Args:
        persons: The persons of the video.
        title: The video's name; if some persons are left out, their number is added.
        path: Its suffix determines the format: .png, .pdf, .svg, .jpg, .jpeg or .webp.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
    except ModuleNotFoundError as error:
        raise MissingExtraError("--save-timeline", "video") from error
    shown = sorted(sorted(persons.by_track, key=lambda track: -persons.by_track[track].frames)[:MAX_BANDS])
    figure = Figure(figsize=(9, 1.4 + 1.3 * max(len(shown), 1)), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    bands = figure.subplots(max(len(shown), 1), 1, sharex=True, squeeze=False)[:, 0]
    colours = [COLOURS.get(name, "#000000") for name in persons.labels]
    for band, track in zip(bands, shown, strict=False):
        times, shares = stacked(persons.by_track[track], persons.width)
        band.stackplot(times, shares, colors=colours, labels=persons.labels, linewidth=0)
        band.set(ylim=(0, 1), ylabel=f"person {track}")
    begin = persons.begin or 0.0
    bands[-1].set(xlabel="seconds", xlim=(begin, max(persons.end, begin + persons.width)))
    for band in bands:
        band.set_facecolor(UNSEEN)
        band.set_yticks([0, 0.5, 1])
    if shown:
        handles = [*bands[0].get_legend_handles_labels()[0], Patch(facecolor=UNSEEN, label="not seen")]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize="x-small")
    else:
        bands[0].set_yticks([])
        bands[0].text(0.5, 0.5, "no face was found", transform=bands[0].transAxes, ha="center", va="center")
    everybody = len(persons.by_track) + persons.others
    count = f"the {len(shown)} persons seen longest, of {everybody}" if everybody > len(shown) else ""
    name = readable(shortened(title))
    with text_as_written():
        figure.suptitle(" – ".join(filter(None, (name, count))), fontsize="medium")
    with write_encoded(path) as content:
        figure.savefig(content, format=path.suffix.removeprefix(".").lower())


def shortened(title: str, longest: int = 90) -> str:
    """A title that fits above a figure: if it is long, only its end."""
    return title if len(title) <= longest else f"…{title[-longest + 1 :]}"


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
