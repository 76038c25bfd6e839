"""The page's files, held in memory: a request names one of them, never a path."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file of the page.

    Attributes:
        content: Its bytes.
        kind: Its media type.
        tag: Its ETag, which changes with its content.
    """

    content: bytes
    kind: str
    tag: str


def page_files() -> dict[str, PageFile]:
    """All files of the page by name."""
    found = {}
    for item in (files("mftn.serve") / "page").iterdir():
        suffix = f".{item.name.rpartition('.')[2]}"
        if suffix in TYPES:
            found[item.name] = page_file(item.read_bytes(), suffix)
    return found


def swagger_files() -> dict[str, PageFile]:
    """Swagger UI, which shows the API description, from the package that contains its files."""
    folder = files("fastapi_swagger") / "resources"
    names = ("swagger-ui-bundle.js", "swagger-ui.css")
    return {name: page_file((folder / name).read_bytes(), f".{name.rpartition('.')[2]}") for name in names}


def page_file(content: bytes, suffix: str) -> PageFile:
    """A file of the page with this content."""
    return PageFile(content, TYPES[suffix], f'"{hashlib.sha256(content).hexdigest()[:16]}"')
