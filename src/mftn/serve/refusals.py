"""Refused requests: one format for every error."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse


class RefusedError(Exception):
    """A request is refused.

    Args:
        status: HTTP status.
        code: One word for programs, such as too_large.
        message: What is wrong and what to do, for people.
        headers: Additional response headers.
    """

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, dict(headers or {})

    def response(self, request_id: str) -> JSONResponse:
        """The response: {"error": {"code": …, "message": …, "request_id": …}}."""
        error = {"code": self.code, "message": self.message, "request_id": request_id}
        return JSONResponse({"error": error}, self.status, self.headers)


def busy(message: str) -> RefusedError:
    """503: try again in a second."""
    return RefusedError(503, "busy", message, {"Retry-After": "1"})


def too_large(message: str) -> RefusedError:
    """413: larger than a limit."""
    return RefusedError(413, "too_large", message)
