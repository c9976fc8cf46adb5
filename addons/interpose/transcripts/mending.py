"""JSON that was cut off, closed where it ends: what had come of it is to be read like the rest.

What is not whole and cannot be made so (half a number, a key without its value) is left out.
"""

from __future__ import annotations

import re

# Strings, structure, and everything else that JSON has: https://www.rfc-editor.org/rfc/rfc8259
_TOKEN = re.compile(r'\s*(?:("[^"\\]*(?:\\.[^"\\]*)*")|([{}\[\],:])|([^\s{}\[\],:"]+))', re.DOTALL)
# As much of a string as can be closed: no half of an escape, nor of a pair of surrogates.
_BEGUN = re.compile(r'"[^"\\]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\]*)*')
_HALF = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\Z")
_CLOSES = {"{": "}", "[": "]"}
# A stack of more is no body of anybody's.
DEEPEST = 500


def mended(body: bytes) -> bytes:
    """The body as JSON, closed where it was cut; as it is if it is whole, or was none to begin with."""
    text = body.decode("utf-8", "ignore")
    stack: list[str] = []
    # Where it could be cut: behind a whole value, and what is open there.
    end, opened = 0, ""
    place = 0
    valued = True  # a value comes next, and not a key, a colon or a comma
    while (token := _TOKEN.match(text, place)) is not None:
        string, sign, scalar = token.groups()
        place = token.end()
        if string is not None and not valued and stack and stack[-1] == "{":
            continue  # a key
        if string is not None or (scalar is not None and place < len(text)):
            end, opened, valued = place, "".join(stack), False
        elif sign in ("{", "["):
            stack.append(sign)
            if len(stack) > DEEPEST:
                return body
            end, opened, valued = place, "".join(stack), sign == "["
        elif sign in ("}", "]"):
            if not stack or _CLOSES[stack.pop()] != sign:
                return body
            end, opened, valued = place, "".join(stack), False
            if not stack:
                return body  # it is whole
        elif sign == ",":
            valued = bool(stack) and stack[-1] == "["
        elif sign == ":":
            valued = True
    if not end:
        return body
    begun = _BEGUN.match(text, place + len(text[place:]) - len(text[place:].lstrip())) if valued else None
    if begun is not None:
        return (text[: begun.start()] + _HALF.sub("", begun[0]) + '"' + _closing("".join(stack))).encode()
    return (text[:end] + _closing(opened)).encode()


def _closing(opened: str) -> str:
    return "".join(_CLOSES[each] for each in reversed(opened))
