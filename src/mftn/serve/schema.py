"""Models of requests and responses, for validation and for the API description.

Predictions are written by `Prediction.to_dict`; the tests compare it with these models.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from mftn.faces import SMALLEST_SIZE, DetectorName


class PredictionOptions(BaseModel):
    """Query parameters of all predictions."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(None, max_length=200, description="name of an installed model (GET v1/models)")
    detector: DetectorName | None = Field(None, description="face detector; none treats each image as one face crop")
    min_score: float | None = Field(None, ge=0, le=1, description="lowest detector score of a face")
    detect_size: int | None = Field(
        None, ge=SMALLEST_SIZE, le=100_000, description="largest size in pixels at which images are searched for faces"
    )


class ImageOptions(PredictionOptions):
    """Query parameters for images."""

    flip: bool = Field(True, description="average with the horizontal flip: more accurate, twice the network's work")


class PredictOptions(ImageOptions):
    """Query parameters of v1/predict."""

    format: Literal["json", "jsonl", "csv"] = Field("json", description="as `mftn predict --format` writes it")


class AnnotateOptions(ImageOptions):
    """Query parameters of v1/annotate."""

    top: int = Field(3, ge=1, le=8, description="expressions shown per face")
    format: Literal["png", "jpeg"] = Field("png", description="of the annotated copy")


class VideoOptions(PredictionOptions):
    """Query parameters of v1/video."""

    start: float = Field(0.0, ge=0, allow_inf_nan=False, description="timestamp in seconds of the first frame")
    end: float | None = Field(None, ge=0, allow_inf_nan=False, description="timestamp in seconds of the last frame")
    every: int = Field(1, ge=1, le=10_000, description="every Nth frame")
    detect_every: int = Field(5, ge=1, le=10_000, description="frames between detections in the whole image")
    smooth: float = Field(0.3, ge=0, le=60, description="seconds over which probabilities are averaged")

    @field_validator("end")
    @classmethod
    def _not_before_start(cls, end: float | None, others: ValidationInfo) -> float | None:
        start = others.data.get("start", 0.0)
        if end is not None and end < start:
            raise PydanticCustomError("before_start", "Input should be greater than or equal to start")
        return end


class FaceAnswer(BaseModel):
    """A face, as docs/output.md describes it."""

    face: int
    box: tuple[float, float, float, float]
    score: float | None
    landmarks: list[tuple[float, float]] | None
    expression: str
    probability: float
    probabilities: dict[str, float]
    track: int | None
    crop: str | None


class PredictionAnswer(BaseModel):
    """An image or a frame, as docs/output.md describes it."""

    source: str
    width: int
    height: int
    faces: list[FaceAnswer]
    error: str | None
    frame: int | None
    time: float | None
    annotated: str | None
    model: str | None
    mftn_version: str


class PredictionsAnswer(BaseModel):
    """One prediction for each file, in the order of the files."""

    predictions: list[PredictionAnswer]


class ErrorBody(BaseModel):
    """What is wrong."""

    code: str = Field(description="one word for programs, such as too_large")
    message: str = Field(description="what is wrong and what to do")
    request_id: str = Field(description="as in the server's log")


class ErrorAnswer(BaseModel):
    """The response to every refused request."""

    error: ErrorBody


class ModelAnswer(BaseModel):
    """An installed model."""

    name: str
    summary: str
    input: str
    parameters: int
    megabytes: float
    accuracy: dict[str, float]
    licence: str


class ModelsAnswer(BaseModel):
    """The installed models."""

    default: str
    models: list[ModelAnswer]


class LimitsAnswer(BaseModel):
    """The server's limits."""

    upload: int
    pixels: int
    files: int
    video: int
    video_seconds: float


class AboutAnswer(BaseModel):
    """What a page needs to know."""

    version: str
    colours: dict[str, str]
    columns: list[str] = Field(description="of the CSV format")
    video: bool = Field(description="whether v1/video is available")
    limits: LimitsAnswer
