"""Raters' votes: FERPlus's columns, and the protocols that turn ten votes into a class or a distribution.

Source: Barsoum et al., Training deep networks for facial expression recognition with crowd-sourced label
distribution, 2016.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mftn.labels import EXPRESSIONS

Protocol = Literal["majority", "argmax"]
PROTOCOLS: tuple[Protocol, ...] = ("argmax", "majority")
VOTE_COLUMNS = (*EXPRESSIONS, "unknown", "not-a-face")


def hard_labels(votes: NDArray[np.int64], protocol: Protocol, classes: int = 8) -> NDArray[np.int64]:
    """One class per image, or -1 where the protocol excludes it.

    *argmax* takes the column with the most votes, the first one in a tie. *majority* sets single votes to zero and
    requires the top column to have more than half of the remaining votes. Both keep an image only if its top column is
    an expression and has votes.

    Args:
        votes: (n, 10) counts.
        protocol: Which rule.
        classes: How many of `EXPRESSIONS` count; 7 excludes the images of contempt.

    Returns:
        (n,) indices into `EXPRESSIONS`, or -1.
    """
    if protocol == "majority":
        votes = np.where(votes > 1, votes, 0)
    top = votes.argmax(axis=1)  # (n,)
    kept = (top < classes) & votes.any(axis=1)
    if protocol == "majority":
        kept &= 2 * votes.max(axis=1) > votes.sum(axis=1)
    return np.where(kept, top, -1)


def distributions(votes: NDArray[np.int64], classes: int = 8) -> NDArray[np.float32]:
    """The raters' distribution over the first expressions, (n, 10) counts to (n, `classes`).

    Single votes are treated as mistakes and dropped, unless there are no others.
    """
    expressions = votes[:, :classes].astype(np.float32)
    trusted = np.where(expressions > 1, expressions, 0)
    trusted = np.where(trusted.any(axis=1, keepdims=True), trusted, expressions)
    return trusted / np.maximum(trusted.sum(axis=1, keepdims=True), 1)
