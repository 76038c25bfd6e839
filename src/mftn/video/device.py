"""Opens files, cameras and addresses."""

from __future__ import annotations

import os
import sys
from typing import IO, Any

from mftn.errors import ImageError, MissingExtraError
from mftn.sources import Kind, Source

OPEN_TIMEOUT_S, READ_TIMEOUT_S = 15.0, 15.0
"""Seconds without a connection, or without data, after which an address counts as lost."""

CLIENT_OPTIONS = {
    "format_whitelist": "mov,matroska,avi,mpeg,mpegts,asf",
    "protocol_whitelist": "none",
}
"""FFmpeg's options for an untrusted clip: no playlists, which could open other files and addresses."""


def load_av() -> Any:
    """Import PyAV.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        raise MissingExtraError("video", "video") from error
    return av


def open_container(source: Source, file: IO[bytes] | None = None) -> Any:
    """PyAV's container for a file, a camera or an address, or for untrusted content.

    Args:
        source: The file, camera or address; with `file`, only its name is used.
        file: Untrusted content, open for reading in binary mode and seekable.

    Raises:
        ImageError: It cannot be opened, contains no video, or its codec has no decoder.
        MissingExtraError: PyAV is not installed.
    """
    av = load_av()
    try:
        if file:
            container = av.open(file, options=CLIENT_OPTIONS)
        elif source.kind is Kind.CAMERA:
            container = _open_camera(source.path)
        elif "://" in source.path:
            options = {"rtsp_transport": "tcp"} if source.path.lower().startswith("rtsp") else {}
            container = av.open(source.path, options=options, timeout=(OPEN_TIMEOUT_S, READ_TIMEOUT_S))
        else:
            container = av.open(os.path.abspath(source.path))  # noqa: PTH100 (to FFmpeg, 12:30.mp4 is a protocol)
    except (av.FFmpegError, OSError) as error:
        reason = error.strerror or type(error).__name__  # its full text could contain a password from the address
        raise ImageError(f"{source.name}: cannot be opened as a video ({reason}); check that it plays") from error
    if not container.streams.video:
        container.close()
        raise ImageError(f"{source.name}: contains no video; is it audio only?")
    if container.streams.video[0].codec_context is None:
        container.close()
        raise ImageError(f"{source.name}: its codec cannot be decoded; convert it to H.264")
    return container


def _open_camera(path: str) -> Any:
    """Open a webcam by its number, or on Linux by its device file."""
    av = load_av()
    if sys.platform == "darwin":
        return av.open(path, format="avfoundation", options={"framerate": "30"})
    if sys.platform == "win32":
        cameras = [each.name for each in av.enumerate_input_devices("dshow") if "video" in each.media_types]
        if int(path) >= len(cameras):
            raise ImageError(f"{path}: there is no such camera; this computer has {', '.join(cameras) or 'none'}")
        return av.open(f"video={cameras[int(path)]}", format="dshow")
    return av.open(f"/dev/video{path}" if path.isdigit() else path, format="v4l2")
