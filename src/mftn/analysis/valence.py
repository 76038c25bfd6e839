"""The valence index: a number derived from probabilities, not a measured feeling."""

import warnings

import numpy as np

from mftn.analysis.table import Floats
from mftn.labels import EXPRESSIONS

NEGATIVE = ("sadness", "anger", "fear", "disgust")
SOURCE = (
    "happiness minus the strongest of sadness, anger, fear and disgust, as Noldus defines valence for FaceReader "
    "(Loijens & Krips, FaceReader Methodology Note)"
)


def valence_index(probabilities: Floats) -> Floats:
    """Happiness minus the strongest of sadness, anger, fear and disgust, −1 to 1.

    The formula is that of Noldus FaceReader (Loijens & Krips, FaceReader Methodology Note), which uses
    intensities. Contempt and surprise are not part of it.

    Args:
        probabilities: (n, 8) in the package's order.

    Returns:
        (n,)
    """
    negative = probabilities[:, [EXPRESSIONS.index(name) for name in NEGATIVE]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a model that knows none of the four gives NaN
        strongest = np.nanmax(negative, axis=1) if len(negative) else np.zeros(0)
    return probabilities[:, EXPRESSIONS.index("happiness")] - strongest
