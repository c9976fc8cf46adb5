"""What `intercept.virtual_host` means for the rest of a rules file: a name that answers here reaches nothing else, so
that it must be nobody's. What is no host name at all is reported by the schema.
"""

from __future__ import annotations

from interpose.formats.hosts import known

from . import urls
from .document import Document
from .problem import BadValue, Path
from .support import at

EXAMPLE = "write a name that nobody has, for example ai.internal"


def check(document: Document) -> None:
    """Reports a virtual host that is a provider's."""
    for path, text in at(document.data, ("intercept", "virtual_host")):
        if not isinstance(text, str):
            continue
        try:
            name = urls.virtual_host(text)
        except BadValue:
            continue
        if known(name) is not None:
            document.report(path, "is a provider's own host, which nothing would reach any more", EXAMPLE)
        else:
            _configured(document, path, name)


def _configured(document: Document, path: Path, name: str) -> None:
    for where, url in at(document.data, ("providers", "*", "base_url")):
        try:
            taken = isinstance(url, str) and urls.base_url(url).origin.host == name
        except BadValue:
            continue
        if taken:
            line = document.place(where).line
            document.report(path, f"is the host of the provider in line {line}, which nothing would reach", EXAMPLE)
            return
