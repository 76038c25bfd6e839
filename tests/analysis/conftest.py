"""Made tables of faces, with the documented columns."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest

from mftn.labels import EXPRESSIONS
from mftn.types import Prediction

Faces = Callable[..., pd.DataFrame]


def make_faces(
    source: str,
    times: Sequence[float] | np.ndarray,
    shown: Sequence[str | None] | np.ndarray,
    track: int = 1,
    side: float = 100.0,
) -> pd.DataFrame:
    """One face per frame: an expression (at 0.93), a row of eight probabilities, or None where nobody is seen."""
    rows = []
    for number, (time, what) in enumerate(zip(times, shown, strict=True)):
        row = Prediction(source, 640, 480, (), frame=number, time=float(time)).to_rows()[0]
        if what is not None:
            values = np.where(np.array(EXPRESSIONS) == what, 0.93, 0.01) if isinstance(what, str) else what
            row |= {f"p_{name}": float(value) for name, value in zip(EXPRESSIONS, values, strict=True)}
            row |= {
                "left": 10.0,
                "top": 10.0,
                "right": 10.0 + side,
                "bottom": 10.0 + side,
                "score": 0.9,
                "track": track,
            }
            row |= {"expression": EXPRESSIONS[int(np.argmax(values))], "probability": float(np.max(values))}
        rows.append(row)
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def faces() -> Faces:
    """Makes the rows of one person in one recording."""
    return make_faces


@pytest.fixture(scope="session")
def study() -> pd.DataFrame:
    """Twelve people: 5 s neutral, 10 s of question 1, 10 s of question 2, in which every other one smiles more."""
    rng = np.random.default_rng(3)
    parts = []
    for number in range(12):
        smile = np.zeros(250)
        smile[50:] = 0.1 + 0.05 * rng.normal()
        smile[150:] += 0.4 * (number % 2) + 0.05 * rng.normal()
        smile = (smile + rng.normal(0, 0.02, 250)).clip(0.001, 0.95)
        rest = rng.uniform(0.002, 0.006, (250, 6))
        shown = np.column_stack([1 - smile - rest.sum(axis=1), smile, rest])
        parts.append(make_faces(f"films/P{number:02d}.mp4", np.arange(250) / 10, shown))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="session")
def segments() -> pd.DataFrame:
    """The study's segments."""
    return pd.DataFrame({"name": ["rest", "question 1", "question 2"], "start": [0, 5, 15], "end": [5, 15, 25]})


@pytest.fixture(scope="session")
def groups() -> pd.DataFrame:
    """The study's conditions, by the films' names."""
    names = [f"P{number:02d}" for number in range(12)]
    return pd.DataFrame({"source": names, "group": ["control", "treated"] * 6})
