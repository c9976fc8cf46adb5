"""Numbers, times, money and names as people read them, in a table or on a page.

Names that clients chose (a model, an app) are shown so that they can neither steer a terminal nor start a formula in a
spreadsheet.
"""

from __future__ import annotations

# What spreadsheets take for the beginning of a formula: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str) -> str:
    """The text without what could steer a terminal: control and formatting characters stand as escapes."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def human_count(count: int) -> str:
    """12345678 as `12 345 678`, with narrow no-break spaces."""
    return f"{count:,}".replace(",", "\u202f")


def short_count(count: float) -> str:
    """Three digits at most: 999, 12.3k, 4M."""
    for unit in ("", "k", "M", "G"):
        if count < 999.5:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g}T" if count < 999.5 else f"{count:.0f}T"


def human_time(ms: float | None) -> str:
    """`–`, `84 ms`, `1.2 s` or `2 min 03 s`."""
    if ms is None:
        return "–"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    if ms < 59_950:
        return f"{ms / 1000:.1f} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    return f"{minutes} min {seconds:02d} s"


def human_cost(cost: float | None) -> str:
    """Dollars: cents for what costs dollars, four places below that, so that a cheap call is not $0.00."""
    if cost is None:
        return "–"
    return f"${cost:,.2f}" if cost >= 1 or cost == 0 else f"${cost:.4f}" if cost >= 0.00005 else "<$0.0001"


def human_share(share: float | None) -> str:
    """A part of 1 in per cent: what is little is not nothing, and what is nearly all is not all."""
    if share is None:
        return "–"
    text = f"{share:.1%}" if 0 < share < 0.0995 else f"{share:.0%}"
    if text == "0.0%":
        return "<0.1%"
    return ">99%" if text == "100%" and share < 1 else text


def spreadsheet_safe(text: str) -> str:
    """The text as a CSV cell that no spreadsheet takes for a formula."""
    return "'" + text if text.startswith(_FORMULA) else text
