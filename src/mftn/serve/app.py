"""The service's routes."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from importlib.util import find_spec
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from mftn.drawing import annotate
from mftn.engines import list_models
from mftn.errors import ImageError, MissingReaderError, TooManyPixelsError, UnknownFormatError
from mftn.files import write_image
from mftn.images import read_image
from mftn.labels import COLOURS
from mftn.output import CsvWriter, JsonlWriter
from mftn.serve.access import Access, note
from mftn.serve.metrics import Metrics
from mftn.serve.page_files import PageFile, page_files, swagger_files
from mftn.serve.pipeline import Pipeline
from mftn.serve.recognizers import Choice, Recognizers
from mftn.serve.refusals import RefusedError, too_large
from mftn.serve.schema import (
    AboutAnswer,
    AnnotateOptions,
    ErrorAnswer,
    LimitsAnswer,
    ModelsAnswer,
    PredictionsAnswer,
    PredictOptions,
    VideoOptions,
)
from mftn.serve.settings import Settings
from mftn.serve.uploads import Gate, Upload
from mftn.serve.video import VideoPool, VideoResponse
from mftn.types import ROW_TYPES, Prediction
from mftn.version import __version__

BODY = {"schema": {"type": "string", "format": "binary"}}
FILES = {"schema": {"type": "object", "properties": {"file": {"type": "array", "items": BODY["schema"]}}}}
IMAGES: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"multipart/form-data": FILES, "application/octet-stream": BODY}}
}
"""The request bodies that a route accepts, for the API description."""

REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": reason}
    for status, reason in {
        400: "no file, or a malformed body",
        408: "the upload is too slow",
        413: "larger than the limits",
        415: "not an image, or one in a format that this server cannot read",
        422: "a damaged image, or an option out of range",
        503: "busy; try again after the seconds in Retry-After",
    }.items()
}

NO_VIDEOS: dict[str, Any] = {"model": ErrorAnswer, "description": "the extra video is not installed"}


class Service:
    """State shared by the routes.

    Args:
        settings: Settings of the service.
        recognizers: The networks and detectors.
    """

    def __init__(self, settings: Settings, recognizers: Recognizers) -> None:
        self.settings, self.limits, self.recognizers = settings, settings.limits, recognizers
        self.metrics = Metrics()
        self.gate = Gate(self.limits.waiting, self.limits.held)
        self.metrics.waiting.set_function(lambda: self.gate.requests)
        self.metrics.held.set_function(lambda: self.gate.held)
        self.pipeline = Pipeline(settings.workers, self.limits.pixels, self.metrics.batch.observe)
        self.videos = VideoPool(self.limits)
        self.ready = False

    async def predict_all(self, choice: Choice, uploads: Sequence[Upload]) -> list[Prediction | ImageError]:
        """The prediction for each file, or its error; as many files at once as there are worker threads."""
        recognizer = await asyncio.to_thread(self.recognizers.get, choice)
        turns = asyncio.Semaphore(self.pipeline.workers)  # a request with many files leaves room for others

        async def one(upload: Upload) -> Prediction | ImageError:
            async with turns:
                try:
                    return await asyncio.wrap_future(self.pipeline.predict(recognizer, upload))
                except ImageError as error:
                    return error

        return await asyncio.gather(*map(one, uploads))

    def count(self, request: Request, predictions: Sequence[Prediction], size: int) -> None:
        """Add predictions to the metrics, and with the size of the body to the request's log line."""
        faces = sum(map(len, predictions))
        self.metrics.images.inc(len(predictions))
        self.metrics.faces.inc(faces)
        note(request, images=len(predictions), faces=faces, bytes=size)

    def annotated(self, upload: Upload, prediction: Prediction, options: AnnotateOptions) -> bytes:
        """An annotated copy; the image is decoded again, as a queue of decoded images would not fit in memory."""
        copy = annotate(read_image(upload.content), prediction.faces, options.top)
        out = io.BytesIO()
        if options.format == "png":
            write_image(copy, out, "PNG", compress_level=1)
        else:
            write_image(copy, out, "JPEG", quality=92)
        return out.getvalue()


def create_app(settings: Settings, recognizers: Recognizers) -> FastAPI:
    """The service as an ASGI application.

    Args:
        settings: Settings of the service.
        recognizers: The networks and detectors, created with the same settings.
    """
    service = Service(settings, recognizers)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.ready = True
        yield
        service.ready = False
        await asyncio.to_thread(service.pipeline.close)
        await asyncio.to_thread(service.videos.close)

    app = FastAPI(
        title="MFTN",
        version=__version__,
        description="Facial expression recognition. Options are query parameters; a refused request gets "
        '`{"error": {"code", "message", "request_id"}}`.',
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.state.service = service
    app.add_exception_handler(RefusedError, _on_refusal)
    app.add_exception_handler(RequestValidationError, _on_wrong_option)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_middleware(
        Access,
        metrics=service.metrics,
        api_key=settings.api_key,
        cors=settings.cors,
        root_path=settings.root_path,
    )
    if settings.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    _add_predictions(app, service)
    _add_descriptions(app, service)
    _add_page(app)
    return app


def _add_predictions(app: FastAPI, service: Service) -> None:
    limits = service.limits

    @app.post(
        "/v1/predict",
        summary="Recognise expressions in images",
        responses={200: {"model": PredictionsAnswer}, **REFUSALS},
        openapi_extra=IMAGES,
        tags=["images"],
    )
    async def predict(request: Request, options: Annotated[PredictOptions, Query()]) -> Response:
        """Send one image as the body itself, or several as files of multipart/form-data.

        A single image that cannot be read is refused; one of several becomes a prediction with `error`.
        """
        async with _time_limit(limits.seconds):
            with service.gate.admit() as body:
                uploads = await body.files(request, limits.upload, limits.files, limits.upload_seconds)
                found = await service.predict_all(_choice(options), uploads)
        predictions = [_answered(upload, each, len(found) == 1) for upload, each in zip(uploads, found, strict=True)]
        service.count(request, predictions, body.size)
        return _written(predictions, options.format)

    @app.post(
        "/v1/annotate",
        summary="Draw boxes, expressions and bars on an image",
        responses={200: {"content": {"image/png": {}, "image/jpeg": {}}}, **REFUSALS},
        response_class=Response,
        openapi_extra=IMAGES,
        tags=["images"],
    )
    async def draw(request: Request, options: Annotated[AnnotateOptions, Query()]) -> Response:
        """One image, as the body itself or as a file of multipart/form-data."""
        async with _time_limit(limits.seconds):
            with service.gate.admit() as body:
                uploads = await body.files(request, limits.upload, 1, limits.upload_seconds)
                (found,) = await service.predict_all(_choice(options), uploads)
                prediction = _answered(uploads[0], found, True)
                pixels = prediction.width * prediction.height
                drawn = service.pipeline.run(lambda: service.annotated(uploads[0], prediction, options), pixels)
                try:
                    content = await asyncio.wrap_future(drawn)
                except ImageError as error:
                    raise RefusedError(422, "no_such_copy", f"{error}; use format=png") from error
        service.count(request, [prediction], body.size)
        return Response(content, media_type=f"image/{options.format}")

    @app.post(
        "/v1/video",
        summary="Recognise expressions in a video, frame by frame",
        responses={200: {"content": {"application/jsonl": {}}}, **REFUSALS, 501: NO_VIDEOS},
        response_class=Response,
        openapi_extra=IMAGES,
        tags=["videos"],
    )
    async def video(request: Request, options: Annotated[VideoOptions, Query()]) -> Response:
        """One video, as the body itself or as a file of multipart/form-data; streams one line of JSON per frame.

        If the file is truncated or a limit ends the video, the last line has no frame and gives the reason in `error`.
        """
        with ExitStack() as stack:
            stack.enter_context(service.videos.reserve())
            body = stack.enter_context(service.gate.admit())
            (upload,) = await body.files(request, limits.video, 1, limits.video_upload_seconds)
            recognizer = await asyncio.to_thread(service.recognizers.get, _choice(options))
            predictions = await service.videos.open(upload, recognizer, options)
            note(request, bytes=body.size)
            return VideoResponse(predictions, stack.pop_all(), service.metrics, limits.video_work_seconds)


def _add_descriptions(app: FastAPI, service: Service) -> None:
    limits = service.limits

    @app.get("/v1/models", summary="The installed models", tags=["about"])
    async def models() -> ModelsAnswer:
        cards = await asyncio.to_thread(list_models)
        return ModelsAnswer.model_validate(
            {"default": service.recognizers.default, "models": [dataclasses.asdict(card) for card in cards]}
        )

    @app.get("/v1/about", summary="Version, limits, colours and columns", tags=["about"])
    async def about() -> AboutAnswer:
        return AboutAnswer(
            version=__version__,
            colours=dict(COLOURS),
            columns=list(ROW_TYPES),
            video=find_spec("av") is not None,
            limits=LimitsAnswer.model_validate(limits, from_attributes=True),
        )

    @app.get("/healthz", summary="Whether the process is running", tags=["operation"])
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Whether the model is loaded", tags=["operation"])
    async def readyz() -> dict[str, str]:
        if not service.ready:
            message = "the model is still loading, or the server is stopping"
            raise RefusedError(503, "not_ready", message, {"Retry-After": "1"})
        return {"status": "ready"}

    @app.get("/metrics", summary="Counters for Prometheus", tags=["operation"], response_class=Response)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_page(app: FastAPI) -> None:
    files = page_files() | swagger_files()

    @app.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        return _page_answer(request, files["index.html"])

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return _page_answer(request, files["docs.html"])

    @app.get("/page/{name}", include_in_schema=False)
    async def page(request: Request, name: str) -> Response:
        if name not in files:
            raise RefusedError(404, "not_found", "there is no such file")
        return _page_answer(request, files[name])


def _page_answer(request: Request, file: PageFile) -> Response:
    headers = {"ETag": file.tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.kind, headers=headers)


def _choice(options: Any) -> Choice:
    return Choice(
        options.model, options.detector, options.min_score, options.detect_size, getattr(options, "flip", False)
    )


def _answered(upload: Upload, found: Prediction | ImageError, alone: bool) -> Prediction:
    """A prediction; a single file that cannot be read is refused."""
    if isinstance(found, Prediction):
        return found
    if not alone:
        return Prediction(upload.name, 0, 0, (), str(found))
    if isinstance(found, TooManyPixelsError):
        raise too_large(str(found)) from found
    if isinstance(found, UnknownFormatError):
        raise RefusedError(415, "not_an_image", str(found)) from found
    if isinstance(found, MissingReaderError):
        raise RefusedError(415, "no_reader", str(found)) from found
    raise RefusedError(422, "damaged", str(found)) from found


def _written(predictions: Sequence[Prediction], format_name: str) -> Response:
    if format_name == "json":
        values = [prediction.to_dict() for prediction in predictions]
        return Response(json.dumps({"predictions": values}, ensure_ascii=False), media_type="application/json")
    out = io.StringIO()
    writer = JsonlWriter(out) if format_name == "jsonl" else CsvWriter(out)
    for prediction in predictions:
        writer.write(prediction)
    return Response(out.getvalue(), media_type="application/jsonl" if format_name == "jsonl" else "text/csv")


@asynccontextmanager
async def _time_limit(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        message = f"the request took more than {seconds:g} seconds; send fewer or smaller images at once"
        raise RefusedError(503, "timeout", message, {"Retry-After": "5"}) from error


Handler = Callable[[Request, Exception], Awaitable[Response]]


async def _on_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return error.response(request.state.request_id)


async def _on_wrong_option(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = "; ".join(f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in error.errors())
    return RefusedError(422, "wrong_option", wrong).response(request.state.request_id)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "wrong_method"}.get(error.status_code, "refused")
    return RefusedError(error.status_code, code, str(error.detail), error.headers).response(request.state.request_id)
