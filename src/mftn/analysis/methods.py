"""The methods paragraph: every setting and version, worded for a paper."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from mftn import __version__
from mftn.analysis.conditions import MIN_PEOPLE
from mftn.analysis.synchrony import MAX_DRAWS
from mftn.analysis.valence import SOURCE

if TYPE_CHECKING:
    from mftn.analysis.summary import Summary

PACKAGES = ("numpy", "pandas", "scipy", "statsmodels", "pyarrow", "matplotlib")


def versions() -> dict[str, str]:
    """Versions of this package and of the packages that compute the numbers."""
    return {"mftn": __version__} | {name: version(name) for name in PACKAGES}


def methods(summary: Summary) -> list[str]:
    """Paragraphs that describe what was done, with every setting."""
    parts = [_material(summary), _measures(summary)]
    if summary.study.recordings:
        parts.append(_events(summary))
    if len(summary.conditions):
        parts.append(_tests(summary))
    if len(summary.synchrony):
        parts.append(_synchrony(summary))
    return [*parts, "Versions: " + ", ".join(f"{name} {number}" for name, number in versions().items()) + "."]


def _material(summary: Summary) -> str:
    study = summary.study
    sources = [
        f"{count:,} {name}{'s' if count > 1 else ''}"
        for count, name in ((study.recordings, "recording"), (study.images, "image"))
        if count
    ]
    model = f" with the model {', '.join(study.models)}" if study.models else ""
    who = (
        "Tracks and images were assigned to people by the study's own table or rule."
        if study.people_given
        else ("Each track counts as a person, since no table of people was given.")
    )
    unnamed = f" and {study.unnamed:,} tracks or images of others" if study.unnamed else ""
    return (
        f"Facial expressions in {' and '.join(sources)} ({study.people:,} people{unnamed}, {study.rows:,} rows) "
        f"were classified{model} by MFTN {__version__}, which gives each face calibrated probabilities of eight "
        f"expressions, as raters would label the image. {who} Where one person was seen twice in a frame, the "
        "largest face was used."
    )


def _measures(summary: Summary) -> str:
    study, settings = summary.study, summary.settings
    gap = (
        "1 s or three usual frame intervals, whichever is longer"
        if settings.max_gap is None
        else f"{settings.max_gap:g} s"
    )
    video = (
        "Each frame is weighted by how long it lasts, until the next one; where frames are further apart than "
        f"{gap}, the time between them is missing, as is all time in which the person is not detected. "
        if study.recordings
        else ""
    )
    windows = f" Segments were also cut into windows of {study.window:g} s." if study.window else ""
    baseline = (
        f" Differences are relative to the person's own baseline, {study.baseline}: that of the same recording or, "
        f"where the person has none in it, the mean over their other recordings."
        if study.baseline
        else ""
    )
    return (
        f"{video}Mean, standard deviation, percentiles (5, 50, 95) and share as the most probable expression were "
        f"computed over seen time only; slopes are weighted least squares.{windows}{baseline} The valence index is "
        f"{SOURCE}; it is an index derived from probabilities, not measured valence."
    )


def _events(summary: Summary) -> str:
    settings = summary.settings
    smooth = f"a centred moving average of {settings.smooth:g} s" if settings.smooth else "the unsmoothed probabilities"
    return (
        f"Events were detected on {smooth}: stretches in which an expression's probability stays at or above "
        f"{settings.offset:g} and reaches {settings.onset:g}, for at least {settings.shortest:g} s; a person unseen "
        f"for up to {settings.bridge:g} s does not end an event. An event belongs to the segment in which it begins; "
        f"rates are per minute of seen time. Transitions are changes of the most probable expression between "
        f"stretches of at least {settings.shortest:g} s."
    )


def _tests(summary: Summary) -> str:
    settings = summary.settings
    if settings.test == "mixed":
        test = (
            "linear mixed models with a random intercept for each person (statsmodels, restricted maximum likelihood; "
            "degrees of freedom by the between-within method; one value per person and condition where people are "
            "compared with themselves, else one per person, condition and segment); effect sizes are differences "
            "divided by the standard deviation of these values"
        )
    else:
        test = (
            "permutation tests over people: sign flips of each person's own difference (d_z) where people were seen in "
            "several conditions, Welch's t (Hedges' g) between different people, F for more than two levels; "
            f"{settings.permutations:,} random permutations with seed {settings.seed} or, except for F, all of them "
            "where there are no more. Effect sizes are corrected for small samples, with intervals from the "
            "noncentral t distribution"
        )
    value = "difference from the baseline" if summary.study.baseline else "mean probability"
    return (
        f"Conditions were compared by {test}. The unit is the person: the {value} of a person in a condition is "
        "averaged over segments, weighted by seen time; frames are never treated as independent. Intervals have a "
        f"confidence level of {100 * settings.confidence:g}%. Each factor is tested by itself, without interactions; "
        "its eight expressions (times the pairs of levels) are one family, corrected by Holm's method (p_holm); the "
        f"valence index is tested separately. Comparisons need at least {MIN_PEOPLE} people."
    )


def _synchrony(summary: Summary) -> str:
    settings = summary.settings
    return (
        f"Synchrony was measured on time courses with {settings.synchrony_rate:g} values per second. Pairs in one "
        f"recording: the highest correlation within lags of ±{settings.synchrony_lag:g} s in windows of "
        f"{settings.synchrony_window:g} s, averaged by Fisher's z, against windows paired at random. Viewers of one "
        f"segment: the correlation of each with the mean of all others, against courses shifted circularly by random "
        f"amounts. {min(settings.permutations, MAX_DRAWS):,} draws, one-sided, not corrected for the number of pairs "
        "and signals."
    )
