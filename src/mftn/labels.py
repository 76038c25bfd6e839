"""Expressions and label sets: the package has one numbering; data set readers map their own to it."""

from collections.abc import Mapping
from types import MappingProxyType

EXPRESSIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""The eight expressions in the package's order, which is the order of FERPlus's vote columns."""

LABEL_SETS: Mapping[int, tuple[str, ...]] = MappingProxyType({7: EXPRESSIONS[:7], 8: EXPRESSIONS})
"""Class names by number of classes; the set of 7 omits contempt."""

SHORT_NAMES: Mapping[str, str] = MappingProxyType({name: name[:2].upper() for name in EXPRESSIONS})
"""Two-letter names, as in the published figures (AN, CO, DI, FE, HA, NE, SA, SU)."""

COLOURS: Mapping[str, str] = MappingProxyType(
    {
        "neutral": "#BBBBBB",
        "happiness": "#F0E442",
        "surprise": "#E69F00",
        "sadness": "#56B4E9",
        "anger": "#D55E00",
        "disgust": "#009E73",
        "fear": "#CC79A7",
        "contempt": "#7F8CDB",
    }
)
"""One colour per expression, after Okabe and Ito's palette, which colour-blind readers can tell apart."""

_WORDS: Mapping[str, str] = MappingProxyType(
    {name: name for name in EXPRESSIONS}
    | {"happy": "happiness", "joy": "happiness", "surprised": "surprise", "sad": "sadness", "angry": "anger"}
    | {"smile": "happiness", "smiling": "happiness"}
    | {"disgusted": "disgust", "fearful": "fear", "afraid": "fear", "scared": "fear", "contemptuous": "contempt"}
)


def find_expression(word: str) -> str | None:
    """The expression for a data set's own word (happy, Angry, joy), or None."""
    return _WORDS.get(word.strip().lower())
