"""Settings of the service."""

from __future__ import annotations

from dataclasses import dataclass, field

from mftn.engines import EngineName
from mftn.faces import DetectorName

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Limits:
    """Limits of the service; requests beyond them are refused.

    Attributes:
        upload: Bytes of a request's body; videos have a separate limit.
        pixels: Pixels of an image.
        files: Images per request.
        waiting: Concurrent requests; further ones get 503.
        held: Total bytes of all bodies in memory; further requests get 503.
        upload_seconds: Time that an upload may take.
        seconds: Time of a request, from its first byte to its response; videos have a separate limit.
        video: Bytes of a video, which is held in memory.
        video_upload_seconds: Time that the upload of a video may take.
        video_seconds: Seconds of a video that are processed.
        video_work_seconds: Time that processing a video may take.
        videos: Videos processed at once; further ones get 503.
    """

    upload: int = 20 * MEGABYTE
    pixels: int = 50_000_000
    files: int = 32
    waiting: int = 64
    held: int = 320 * MEGABYTE
    upload_seconds: float = 30.0
    seconds: float = 60.0
    video: int = 100 * MEGABYTE
    video_upload_seconds: float = 300.0
    video_seconds: float = 600.0
    video_work_seconds: float = 3600.0
    videos: int = 1


@dataclass(frozen=True, slots=True)
class Settings:
    """How the service predicts, who may use it, and its limits.

    Attributes:
        model: Name of an installed model, or an exported file; the default model if None.
        detector: As in `mftn.load`, like the next four.
        min_score: None for the detector's default.
        detect_size: None to choose by the image's size.
        engine: Runs the network.
        threads: Processor threads of the network and of a detection; 0 for all cores.
        workers: Threads that read and detect; 0 for one per core.
        api_key: Key required for every request except the health checks; None for no key.
        cors: Origins whose pages may use the service.
        root_path: The path under which a proxy serves this.
        limits: Limits beyond which requests are refused.
    """

    model: str | None = None
    detector: DetectorName = "yunet"
    min_score: float | None = None
    detect_size: int | None = None
    engine: EngineName = "auto"
    threads: int = 0
    workers: int = 0
    api_key: str | None = field(default=None, repr=False)
    cors: tuple[str, ...] = ()
    root_path: str = ""
    limits: Limits = Limits()
