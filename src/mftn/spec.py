"""The description of a model, which is stored with its weights from training to prediction."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from mftn.errors import ModelError

Precision = Literal["fp32", "fp16", "int8-weights", "int8"]
"""How an exported file stores weights and computes."""

Part = Literal["all", "backbone", "trunk"]
"""The part of a checkpoint that is loaded: everything, the backbone with its classifier, or the backbone alone."""

LAMBDA_MSTN = 0.55
"""The published weight of the MsTN's head in the joint loss; the rest is the weight of the backbone's head."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A network's description.

    Attributes:
        architecture: A registered name, such as mftn_mobile.
        labels: Class names in the order of the network's outputs.
        size: Height and width of its input crops in pixels.
        template: Where a face's landmarks go in the crop: five (x, y) as fractions of its side.
        channels: 1 for grey, 3 for colour.
        mean: Mean per channel, or one for all, for pixels scaled to 0 to 1.
        std: Standard deviation, as `mean`.
        temperature: Divides the logits before the softmax; fitted on the unweighted validation split.
        general_temperature: Divides the logarithms of those probabilities for faces from elsewhere; fitted on the same
            split, with every class weighted equally.
        logit_adjustment: Strength τ of the logit adjustment applied after training; 0 for none.
        name: The model's name; empty before export.
        precision: How an exported file stores weights and computes; empty before export.
        licence: The licence of the weights.
        arguments: Keyword arguments of the network's builder.
        provenance: Where the weights come from: settings, epoch, validation scores.
    """

    architecture: str
    labels: tuple[str, ...]
    size: tuple[int, int]
    template: tuple[tuple[float, float], ...]
    channels: int = 1
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)
    temperature: float = 1.0
    general_temperature: float = 1.0
    logit_adjustment: float = 0.0
    name: str = ""
    precision: str = ""
    licence: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Reject invalid values.

        Raises:
            ModelError: A value is out of range; the message names it.
        """
        temperatures = (self.temperature, self.general_temperature)
        numbers = (*self.mean, *self.std, *(value for point in self.template for value in point), *temperatures)
        problems = {
            "architecture is empty": not self.architecture,
            "labels must be two or more different names": not 2 <= len(self.labels) == len(set(self.labels)),
            f"size {self.size} must be two whole numbers above 0": len(self.size) != 2 or min(self.size) < 1,
            "template must be five points": [len(point) for point in self.template] != [2] * 5,
            f"channels is {self.channels}, not 1 or 3": self.channels not in (1, 3),
            "mean and std must have one number, or one per channel": not {len(self.mean), len(self.std)}
            <= {1, self.channels},
            "a number is not finite": not all(map(math.isfinite, numbers)),
            "std and temperatures must be above 0": min((*self.std, *temperatures)) <= 0,
        }
        if wrong := [text for text, found in problems.items() if found]:
            raise ModelError(f"a model's description: {'; '.join(wrong)}")

    def to_json(self) -> str:
        """The description as JSON; `from_json` reads it back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str, source: str) -> ModelSpec:
        """Read a description from JSON.

        Further keys in files of earlier versions, such as `training`, become part of the provenance.

        Args:
            text: JSON.
            source: The file, for messages.

        Raises:
            ModelError: The text is not a JSON object, or a value is missing or out of range.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ModelError(f"{source}: its description is not JSON ({error}); export it again") from error
        if not isinstance(values, dict):
            raise ModelError(f"{source}: its description is not a JSON object; export it again")
        known = {item.name for item in fields(cls)}
        if lacking := [name for name in ("architecture", "labels", "size", "template") if name not in values]:
            raise ModelError(f"{source}: its description lacks {', '.join(lacking)}; export it again")
        older = {name: value for name, value in values.items() if name not in known}
        try:
            return cls(
                **{name: _frozen(value) for name, value in values.items() if name in known}
                | {"provenance": values.get("provenance", {}) | older}
            )
        except (ModelError, TypeError, ValueError) as error:
            raise ModelError(f"{source}: {error}") from error


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
