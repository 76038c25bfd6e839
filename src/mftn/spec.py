"""What a model is: one description that travels with its weights, from training to prediction."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from mftn.errors import ModelError

Precision = Literal["fp32", "fp16", "int8-weights", "int8"]
"""How an exported file stores and computes."""

Part = Literal["all", "backbone", "trunk"]
"""What is taken from a checkpoint: everything, the backbone with its classifier, or the backbone without it."""

LAMBDA_MSTN = 0.55
"""The published weight of the MsTN's head in the joint loss; the backbone's has the rest."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A network's description.

    Attributes:
        architecture: A registered name, such as mftn_mobile.
        labels: Class names in the order of its output.
        size: Height and width of its crops in pixels.
        template: Where a face's landmarks go in the crop: five (x, y) as fractions of its side.
        channels: 1 for grey, 3 for colour.
        mean: Of every channel, or one for all, on the scale 0 to 1.
        std: As `mean`.
        temperature: Divides the logits before the softmax; fitted on the validation split as it is.
        general_temperature: Divides the logarithms of those probabilities again for faces from elsewhere; fitted on the
            same split, with every class counting the same.
        logit_adjustment: τ that was added to the logits after training; 0 for none.
        name: What people call it; empty before it is exported.
        precision: How an exported file stores and computes; empty before.
        licence: Of the weights.
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
        """Refuse what cannot be.

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
        """A description from JSON.

        What files of earlier versions hold beside these fields, such as `training`, becomes provenance.

        Args:
            text: JSON.
            source: The file, for messages.

        Raises:
            ModelError: It is no JSON object, or something is missing or out of range.
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
