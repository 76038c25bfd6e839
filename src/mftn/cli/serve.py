"""Run a web page for people and an HTTP service for programs; no data leaves the machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import tyro

from mftn.cli.messages import LOG
from mftn.cli.options import FILE, NO_DEFAULT, SIZE, Options, Unset
from mftn.engines import EngineName
from mftn.errors import ConfigError, MissingExtraError
from mftn.faces import DetectorName
from mftn.limits import check_range


@dataclass(frozen=True)
class Arguments(Options):
    """Options of `mftn serve`.

    Attributes:
        host: Address to listen on; the default serves only this machine.
        port: Port to listen on; 0 for any free one.
        model: Name of an installed model (mftn models lists them), or an exported file. By default mftn_mobile_ferplus.
        detector: Face detector; none treats each image as one face crop.
        min_score: Lowest detector score of a face, 0 to 1; by default 0.5 (yunet) or 0.8 (mtcnn).
        detect_size: Largest size, in pixels of the longer side, at which images are searched for faces; smaller is
            faster but misses more small faces. By default images are searched at full size and video frames at 960.
        engine: What runs the network; auto is OpenVINO if it is installed.
        threads: CPU threads for the network; 0 for all cores.
        workers: Threads that read images and detect faces; 0 for one per core.
        api_key_file: A file with a key that every request except health checks must send.
        max_upload: Largest request, such as 20MB; larger ones are rejected while they are read.
        max_video: Largest video, such as 100MB; it is held in memory.
        max_pixels: Largest image that is decoded, in pixels.
        max_waiting: Maximum number of requests in progress; further ones are told to retry later.
        cors: An origin, such as https://example.org, whose pages may use the service; repeat the option for several.
        root_path: The path under which a proxy serves it, such as /mftn.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    model: Unset[str] = None
    detector: DetectorName = "yunet"
    min_score: Unset[float] = None
    detect_size: Unset[int] = None
    engine: EngineName = "auto"
    threads: int = 0
    workers: int = 0
    api_key_file: Annotated[Unset[Path], FILE] = None
    max_upload: Annotated[str, SIZE] = "20MB"
    max_video: Annotated[str, SIZE] = "100MB"
    max_pixels: int = 50_000_000
    max_waiting: int = 64
    cors: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    root_path: Annotated[str, NO_DEFAULT] = ""


EXAMPLES = (
    "mftn serve",
    "mftn serve --host 0.0.0.0 --port 8080 --api-key-file key.txt",
)


UNITS = {"": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KIB": 1024, "MIB": 1024**2, "GIB": 1024**3}
MIN_KEY_LENGTH = 16
"""Minimum length of a key in characters: shorter ones can be guessed."""


def run(arguments: Arguments) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    for package in ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "fastapi_swagger"):
        if not find_spec(package):
            raise MissingExtraError("mftn serve", "serve")
    from mftn.engines import find_model
    from mftn.serve.server import open_socket, serve
    from mftn.serve.settings import Limits, Settings

    _check(arguments)
    find_model(arguments.model)
    upload, video = _bytes("--max-upload", arguments.max_upload), _bytes("--max-video", arguments.max_video)
    limits = Limits(
        upload=upload,
        video=video,
        pixels=arguments.max_pixels,
        waiting=arguments.max_waiting,
        held=max(Limits.held, 2 * upload, 2 * video),
    )
    settings = Settings(
        model=arguments.model,
        detector=arguments.detector,
        min_score=arguments.min_score,
        detect_size=arguments.detect_size,
        engine=arguments.engine,
        threads=arguments.threads,
        workers=arguments.workers,
        api_key=_key(arguments.api_key_file) if arguments.api_key_file else None,
        cors=arguments.cors,
        root_path=arguments.root_path,
        limits=limits,
    )
    listener = open_socket(arguments.host, arguments.port)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    LOG.info(f"http://{shown}:{port}{arguments.root_path}/ – stop with Ctrl-C")
    if not settings.api_key and host not in ("127.0.0.1", "::1"):
        LOG.warning(f"anyone who can reach {host} may use it; require a key with --api-key-file")
    serve(settings, listener)
    return 0


def _check(arguments: Arguments) -> None:
    check_range("--port", arguments.port, 0, 65535)
    check_range("--threads", arguments.threads, 0, 1024)
    check_range("--workers", arguments.workers, 0, 1024)
    check_range("--max-pixels", arguments.max_pixels, 1)
    check_range("--max-waiting", arguments.max_waiting, 1)
    if arguments.min_score is not None:
        check_range("--min-score", arguments.min_score, 0, 1)
    for origin in arguments.cors:
        if not re.fullmatch(r"\*|https?://[^/\s]+", origin):
            raise ConfigError(f"--cors {origin}: give an origin without a path, such as https://example.org")
    if arguments.root_path and not re.fullmatch(r"(/[\w.~-]+)+", arguments.root_path):
        raise ConfigError(f"--root-path {arguments.root_path}: begin with / and do not end with it, as in /mftn")


def _bytes(option: str, text: str) -> int:
    """Parse a size such as 20MB."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Z]*)", text.strip().upper())
    if not match or match[2] not in UNITS or (size := int(float(match[1]) * UNITS[match[2]])) < 1:
        raise ConfigError(f"{option} {text}: give a size such as 20MB")
    return size


def _key(path: Path) -> str:
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--api-key-file {path}: cannot be read ({error})") from error
    if len(key) < MIN_KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise ConfigError(f"--api-key-file {path}: give a key of {MIN_KEY_LENGTH} or more ASCII characters on one line")
    return key
