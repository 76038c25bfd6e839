"""Self-contained HTML pages, from Jinja templates and embedded images."""

from __future__ import annotations

import base64
from collections.abc import Callable
from importlib.resources import files
from typing import Any


def render_page(package: str, template: str, filters: dict[str, Callable[..., str]], **values: Any) -> str:
    """Fill in a package's template; values are escaped."""
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= filters
    return environment.from_string((files(package) / template).read_text(encoding="utf-8")).render(values)


def data_uri(image: bytes, kind: str = "png") -> str:
    """An encoded image as an address that contains it."""
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
