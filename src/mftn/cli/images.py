"""`mftn predict` for images: through recognition to the table, annotated copies and crops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mftn.cli import say
from mftn.output import ImageFolder
from mftn.sources import Source
from mftn.types import Prediction

if TYPE_CHECKING:
    from mftn.recognize import Recognizer


@dataclass
class Images:
    """The images of one command.

    Attributes:
        recognizer: Detects and classifies.
        write: Takes the predictions, in order.
        annotated: Where annotated copies go; None for none.
        crops: Where aligned faces go; None for none.
        top: Expressions shown per face.
        done: Images so far.
        failed: Those that could not be read or saved.
    """

    recognizer: Recognizer
    write: Callable[[Prediction], None]
    annotated: ImageFolder | None
    crops: ImageFolder | None
    top: int
    done: int = 0
    failed: int = 0

    def add(self, sources: Iterable[Source]) -> Iterator[bool]:
        """Process images; for each, whether it could be read and saved. A failure is said."""
        for prediction in self.recognizer.stream(sources):
            self.write(prediction)
            self.done += 1
            error = prediction.error or self._save(prediction)
            if error:
                self.failed += 1
                say(error)
            yield not error

    def _save(self, prediction: Prediction) -> str | None:
        """Save the annotated copy and the crops where requested; the error message if that fails."""
        if not (self.annotated or (self.crops and prediction.faces)):
            return None
        from PIL import Image as PillowImage

        from mftn.drawing import annotate
        from mftn.errors import ImageError
        from mftn.images import read_image
        from mftn.recognize import crop_face

        try:
            image = read_image(prediction.source)
            if self.annotated:
                self.annotated.save(annotate(image, prediction.faces, self.top), prediction.source, "faces")
            if self.crops:
                for number, face in enumerate(prediction.faces, start=1):
                    crop = crop_face(image, face, (224, 224), self.recognizer.engine.spec.template)
                    self.crops.save(PillowImage.fromarray(crop), prediction.source, f"face{number}")
        except (FileExistsError, ImageError) as error:
            return str(error)
        return None
