"""The page, which is the same for everybody: what it shows, its script asks for. All that comes of calls is put into it
as text, never as markup.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import DictLoader

from interpose.pages import Frame, templates


@dataclass(frozen=True, slots=True)
class Page:
    """HTML, and the Content-Security-Policy that goes with it as a header; it says who may frame it, too."""

    html: bytes
    policy: str


@cache
def page() -> Page:
    frame = Frame("interpose, live", style=_file("page.css"), script=_file("page.js"), connect=True)
    template = templates(DictLoader({"page.html": _file("page.html")})).get_template("page.html")
    return Page(template.render(page=frame).encode(), f"{frame.policy}; frame-ancestors 'none'")


def _file(name: str) -> str:
    return files(__package__ or "").joinpath(name).read_text("utf-8")
