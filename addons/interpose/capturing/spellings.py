"""How a secret may be spelled in a body: as it is, escaped as in JSON or a URL (also in part, also twice), in base64 at
each of its three alignments, in hexadecimal digits.

As regular expressions of RE2, which take the same time for a text whatever it is. What else a body can do to a secret
(compress it inside, encrypt it, spell it backwards) is beyond this: docs/ledger.md says so.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from functools import lru_cache

import re2  # type: ignore[import-untyped]  # it has no type information

# Of base64 and hex, a shorter run would mask ordinary text.
SHORTEST_RUN = 10
# A longer secret is known by its beginning, and is masked with all that may belong to it: its spellings would take
# longer to compile than its bodies to be looked through.
LONGEST = 160
_REST = r"[A-Za-z0-9._~+/=%\\-]*"

# What is a key by its look: virtual ones, and those that OpenAI makes for a session of Realtime.
# https://platform.openai.com/docs/api-reference/realtime-sessions
KEYS = r"\b(?:vk-|ek_)[A-Za-z0-9_-]{16,}"


@lru_cache(maxsize=512)
def spelled(secret: str) -> re2._Regexp:
    """What finds a secret in bytes, however it is spelled."""
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    known = secret[:LONGEST]
    raw = known.encode("utf-8", "surrogateescape")
    itself, digits = "".join(map(_character, known)), "|".join((*_base64(raw), *_hex(raw)))
    if len(secret) > LONGEST:
        itself, digits = itself + _REST, f"(?:{digits}){_REST_OF_DIGITS}"
    return re2.compile(f"(?:{itself}|{digits})" if digits else itself, options)


@lru_cache(maxsize=64)
def pattern(text: str) -> re2._Regexp:
    """One of the rules' own, which have been checked, or of those here."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile(text, options)


def _character(character: str) -> str:
    """One character: itself, or what JSON or a URL has in its place."""
    if not character.isascii():
        return re.escape(character)
    digits = _digits(f"{ord(character):02x}")
    itself = re.escape(character)
    # In JSON within JSON a backslash is escaped itself; / may be in either.
    escapable = rf"\\*{itself}" if character in '"\\/' else itself
    return rf"(?:{escapable}|\\+u00{digits}|%(?:25)?{digits})"


def _digits(text: str) -> str:
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in text)


def _base64(raw: bytes) -> Iterable[str]:
    """What of it stands in base64 whatever is before and behind it, by where it begins."""
    for before in range(3):
        text = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        # The first digits hold bits of what is before, the last one perhaps of what is behind.
        first = -(-before * 8 // 6)
        run = text[first : (before + len(raw)) * 8 // 6]
        if len(run) >= SHORTEST_RUN:
            yield _BREAKS.join(_DIGIT.get(digit, digit) for digit in run)


# What writes digits begins a new line after some 60 to 76 of them: a newline, in JSON also within JSON.
_BREAK = r"(?:(?:[\r\n]|\\+[rn])[ \t]*)"
_BREAKS = f"{_BREAK}*"
_REST_OF_DIGITS = f"(?:[A-Za-z0-9+/_=%-]|{_BREAK})*"
# In URLs, and where JSON escapes a slash.
_DIGIT = {"+": r"(?:[+-]|%2[Bb]|\\+u002[Bb])", "/": r"(?:\\*[/_]|%2[Ff])"}


def _hex(raw: bytes) -> Iterable[str]:
    text = raw.hex()
    if len(text) >= SHORTEST_RUN:
        yield _BREAKS.join(map(_digits, text))
