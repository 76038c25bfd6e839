"""Facial expression recognition with the Multi-stage Feature-aware Transformer Network (MFTN-FER).

>>> import mftn
>>> mftn.predict("photo.jpg")  # doctest: +SKIP
Prediction(photo.jpg, 512×512: happiness 97%)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mftn.version import __version__ as __version__

if TYPE_CHECKING:
    from mftn.analysis.settings import Settings
    from mftn.analysis.summary import Summary, summarize
    from mftn.drawing import annotate
    from mftn.engines import list_models
    from mftn.evaluate.groups.report import compare_groups
    from mftn.models import MFTN
    from mftn.recognize import load, predict
    from mftn.track_video import track
    from mftn.types import Face, Prediction

__all__ = [
    "MFTN",
    "Face",
    "Prediction",
    "Settings",
    "Summary",
    "annotate",
    "compare_groups",
    "list_models",
    "load",
    "predict",
    "summarize",
    "track",
]

_HOMES = {
    "annotate": "mftn.drawing",
    "load": "mftn.recognize",
    "predict": "mftn.recognize",
    "track": "mftn.track_video",
    "list_models": "mftn.engines",
    "Face": "mftn.types",
    "Prediction": "mftn.types",
    "MFTN": "mftn.models",
    "Settings": "mftn.analysis.settings",
    "Summary": "mftn.analysis.summary",
    "summarize": "mftn.analysis.summary",
    "compare_groups": "mftn.evaluate.groups.report",
}


_EXTRAS = {
    "mftn.models": ("The network", "train", ("torch", "timm")),
    "mftn.analysis.summary": ("mftn.summarize", "analysis", ("pandas", "scipy")),
    "mftn.evaluate.groups.report": ("mftn.compare_groups", "analysis", ("pandas", "scipy")),
}
"""Modules that need an extra: the feature, the extra's name, and packages that it installs."""


def __getattr__(name: str) -> Any:
    """Load public names on first use, so that `import mftn` is fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mftn' has no attribute {name!r}")
    try:
        value = getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        if _HOMES[name] not in _EXTRAS or (error.name or "").startswith("mftn"):
            raise
        from mftn.errors import MissingExtraError

        feature, extra, _ = _EXTRAS[_HOMES[name]]
        raise MissingExtraError(feature, extra) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names that can be used, whether or not they are loaded yet; for `help` and completion."""
    from importlib.util import find_spec

    missing = {home for home, (*_, packages) in _EXTRAS.items() if not all(map(find_spec, packages))}
    return sorted({*(name for name in __all__ if _HOMES[name] not in missing), "__version__"})
