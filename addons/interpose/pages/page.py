"""The frame of a page: its head, its style, and what it may load, said by the hashes of what stands in it.

Source: https://www.w3.org/TR/CSP3/ (`style-src` and `script-src` by hash).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import BaseLoader, Environment, StrictUndefined
from markupsafe import Markup


def policy(styles: Iterable[str], scripts: Iterable[str] = (), *, connect: bool = False) -> str:
    """A Content-Security-Policy: those inline styles and scripts, images that stand in the page, and nothing else;
    with `connect` also questions to the server that the page comes from.
    """
    allowed = {
        "style-src": " ".join(map(_hashed, styles)),
        "script-src": " ".join(map(_hashed, scripts)),
        "img-src": "data:",
        "connect-src": "'self'" if connect else "",
    }
    said = (f"{name} {value}" for name, value in allowed.items() if value)
    return "; ".join(("default-src 'none'", *said, "base-uri 'none'", "form-action 'none'"))


def _hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def templates(loader: BaseLoader) -> Environment:
    """Templates whose texts are escaped, and in which what is missing is an error: `{% extends frame %}` puts one into
    the frame of `base.html`.
    """
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["frame"] = environment.from_string(_file("base.html"))
    return environment


@cache
def _file(name: str) -> str:
    return files(__package__ or "").joinpath(name).read_text("utf-8")


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around the content of a page: `{% extends frame %}` in its template, with `page` being this.

    `style` is what the page adds to the style sheet of all, `script` what runs in it, if anything does. `connect` says
    that it asks its server.
    """

    title: str
    style: str = ""
    script: str = ""
    connect: bool = False

    @property
    def styles(self) -> Markup:
        """All of its style, as it stands in the one `<style>` element."""
        return Markup(_file("base.css") + self.style)  # noqa: S704 - files of ours

    @property
    def scripts(self) -> Markup:
        return Markup(self.script)  # noqa: S704 - a file of ours

    @property
    def policy(self) -> str:
        return policy([self.styles], [self.script] if self.script else [], connect=self.connect)
