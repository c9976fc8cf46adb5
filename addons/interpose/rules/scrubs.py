"""Patterns of what must not be kept of bodies (`ledger.scrub`): regular expressions that cost no more than their text
is long, whatever it is.

By RE2, which knows no backtracking. The library is imported where there are patterns, and nowhere else in the rules.
"""

from __future__ import annotations

from .problem import BadValue, printable

SYNTAX = "https://github.com/google/re2/wiki/Syntax"
# More of them, or longer ones, are a list of words: for those a regular expression is the wrong tool.
LONGEST = 1000
MOST = 100


def pattern(text: str) -> str:
    """The pattern itself, if it is one. Raises BadValue."""
    import re2  # type: ignore[import-untyped]  # it has no type information

    if len(text) > LONGEST:
        raise BadValue(f"is longer than {LONGEST} characters", "write several patterns")
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(text, options)
    except re2.error as error:
        raise BadValue(f"is no regular expression: {_said(error)}", f"its syntax is RE2's: {SYNTAX}") from None
    except UnicodeEncodeError:
        raise BadValue("holds half a character", "write the character itself") from None
    if compiled.search("") is not None:
        raise BadValue("matches nothing at all, and so everywhere", "say what it matches: + in the place of *")
    return text


def _said(error: Exception) -> str:
    reason = error.args[0] if error.args else ""
    return printable(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason))
