"""What the URLs of a store and of a database have in common: how they are read, and what is said of one that cannot be.

What only one of them has is in `stores.py` and `sinks.py`. No message repeats what may be a password.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from interpose.call import bracketed

from . import urls
from .problem import BadValue, did_you_mean, printable

Options = Mapping[str, Callable[[str], object]]


def parted(text: str, example: str) -> SplitResult:
    """The parts of a URL, whose port is one. Raises BadValue."""
    if not text.isascii() or re.search(r"[\s\\\x00-\x1f\x7f]", text):
        raise BadValue("contains a space, a backslash or another character that no URL has", example)
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise BadValue("is not a URL", "in a password, write /, ?, #, [, ] and @ with % and two digits") from None
    if "#" in text:
        raise BadValue("has a fragment", "leave out what follows #; in a password, write %23")
    return parts


def host_of(name: str) -> str:
    return urls.host(bracketed(name))


def password_of(given: str | None) -> tuple[str | None, str | None]:
    """A password, or the name of the variable that holds it."""
    if not given:
        return None, None
    if (match := re.fullmatch(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", given)) is not None:
        return None, match[1]
    if "$" in given:
        raise BadValue("has a $ in its password", "write all of it as ${NAME}, or a $ that belongs to it as %24")
    return unquote(given), None


def options_of(query: str, known: Options) -> dict[str, Any]:
    """What stands behind the question mark, read as `known` says. Raises BadValue."""
    found: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            hint = did_you_mean(name, known) or f"known are {', '.join(known)}"
            raise BadValue(f'has an option "{printable(name)}" that is not known', hint)
        if name in found or not value:
            raise BadValue(f"has {'two values' if name in found else 'no value'} for {name}", f"write ?{name}=… once")
        found[name] = known[name](value)
    return found
