"""`mftn predict` for images: recognition, and output as a table, annotated copies and crops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mftn.cli.messages import LOG, counted
from mftn.cli.sink import Sink
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
        sink: Receives the predictions, in order.
        annotated: Folder for annotated copies; None if they are not requested.
        crops: Folder for aligned faces; None if they are not requested.
        top: Expressions shown per face.
        done: Images processed so far.
        faces: Faces found so far.
        failed: Images that could not be read or saved.
    """

    recognizer: Recognizer
    sink: Sink
    annotated: ImageFolder | None
    crops: ImageFolder | None
    top: int
    done: int = 0
    faces: int = 0
    failed: int = 0

    def add(self, sources: Iterable[Source]) -> Iterator[bool]:
        """Process images and yield, for each, whether it could be read and saved; failures are logged."""
        for found in self.recognizer.stream(sources):
            prediction, error = self._save(found)
            saved = [prediction.annotated, *(face.crop for face in prediction)]
            self.sink.write(prediction)
            self.sink.end(prediction.source, [path for path in saved if path], failed=bool(error))
            self.done += 1
            self.faces += len(prediction)
            if error:
                self.failed += 1
                LOG.error(error)
            else:
                LOG.debug(f"{prediction.source}: {counted(len(prediction), 'face')}")
            yield not error

    def _save(self, prediction: Prediction) -> tuple[Prediction, str | None]:
        """Save the requested annotated copy and crops; return the prediction with their paths, and an error if any."""
        if prediction.error or not (self.annotated or (self.crops and prediction.faces)):
            return prediction, prediction.error
        from PIL import Image as PillowImage

        from mftn.drawing import annotate
        from mftn.errors import ImageError
        from mftn.images import read_image
        from mftn.recognize import crop_face

        try:
            image = read_image(prediction.source)
            if self.annotated:
                copy = annotate(image, prediction.faces, self.top)
                prediction = replace(prediction, annotated=str(self.annotated.save(copy, prediction.source, "faces")))
            if self.crops:
                template, faces = self.recognizer.engine.spec.template, list(prediction.faces)
                for index, face in enumerate(faces):
                    crop = PillowImage.fromarray(crop_face(image, face, (224, 224), template))
                    path = self.crops.save(crop, prediction.source, f"face{index + 1}")
                    faces[index] = replace(face, crop=str(path))
                    prediction = replace(prediction, faces=tuple(faces))
        except (FileExistsError, ImageError) as error:
            return prediction, str(error)
        return prediction, None
