"""The words of `capabilities` in a rules file: `max_output=8192`, `no-sampling`, `media=image+audio` …

A list of such words says what is to hold of a model in place of the built-in data; what it leaves out stays as it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from interpose.formats.capabilities import EFFORTS, Change

from .problem import BadValue, did_you_mean, printable

MOST_OUTPUT = 100_000_000


def _count(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,9}", text) is None or not 0 < int(text) <= MOST_OUTPUT:
        raise BadValue(f'"{printable(text)}" is no number of tokens', "write for example max_output=8192")
    return int(text)


def _one_of(known: Mapping[str, object]) -> Callable[[str], object]:
    def chosen(text: str) -> object:
        if text not in known:
            raise BadValue(f'"{printable(text)}" is not known here', did_you_mean(text, known) or _known(known))
        return known[text]

    return chosen


def _some_of(known: Sequence[str]) -> Callable[[str], object]:
    one = _one_of({word: word for word in known})
    return lambda text: frozenset() if text == "none" else frozenset(str(one(word)) for word in text.split("+"))


def _efforts(text: str) -> object:
    one = _one_of({word: word for word in EFFORTS})
    return tuple(str(one(word)) for word in text.split("+"))


def _range(text: str) -> object:
    least, dash, most = text.partition("-")
    if not dash or re.fullmatch(r"[0-9]{1,9}", least) is None or int(least) > int(str(_count(most))):
        raise BadValue(f'"{printable(text)}" is no range of tokens', "write for example budgets=0-24576")
    return int(least), _count(most)


def _known(words: Mapping[str, object] | Sequence[str]) -> str:
    return f"known are {', '.join(words)}"


THINKING = ("none", "budget", "adaptive", "effort")
MEDIA = ("image", "document", "audio", "video")
CACHE_FIELDS = ("cache_control", "prompt_cache_breakpoint")

# Words with a value, `name=value`.
VALUED: Mapping[str, Callable[[str], object]] = {
    "max_output": _count,
    "thinking": _one_of({word: word for word in THINKING}),
    "efforts": _efforts,
    "budgets": _range,
    "media": _some_of(MEDIA),
    "cache_field": _one_of({"none": None, **{word: word for word in CACHE_FIELDS}}),
}
# What is so or not: `sampling`, `no-sampling`.
FLAGS: Mapping[str, tuple[str, bool]] = {
    f"{prefix}{name}": (name, not prefix)
    for name in ("sampling", "sampling_thinking", "forced", "system_inside", "prefill", "tools")
    for prefix in ("", "no-")
}
# For editors, which complete and check by it.
PATTERN = "^(?:{})$".format(
    "|".join(
        (
            "max_output=[1-9][0-9]{0,8}",
            f"thinking=(?:{'|'.join(THINKING)})",
            f"efforts=(?:{'|'.join(EFFORTS)})(?:\\+(?:{'|'.join(EFFORTS)}))*",
            "budgets=[0-9]{1,9}-[1-9][0-9]{0,8}",
            f"media=(?:none|(?:{'|'.join(MEDIA)})(?:\\+(?:{'|'.join(MEDIA)}))*)",
            f"cache_field=(?:none|{'|'.join(CACHE_FIELDS)})",
            *FLAGS,
        )
    )
)


def ability(word: str) -> tuple[str, object]:
    """One word as a field of `Capabilities` and its value. Raises BadValue."""
    name, equals, value = word.partition("=")
    if name in VALUED:
        if not equals:
            raise BadValue(f'"{name}" has no value', f"write {name}=…")
        return name, VALUED[name](value)
    if word in FLAGS:
        return FLAGS[word]
    if name in FLAGS:
        raise BadValue(f'"{printable(name)}" takes no value', f"write {FLAGS[name][0]} or no-{FLAGS[name][0]}")
    near = did_you_mean(name, (*VALUED, *FLAGS))
    known = _known((*(f"{field}=…" for field in VALUED), *FLAGS))
    raise BadValue(f'"{printable(word)}" is no capability', near or known)


def change(words: Sequence[str]) -> Change:
    """All words of a model. Raises BadValue where two of them speak of the same."""
    said: dict[str, str] = {}
    fields = []
    for word in words:
        name, value = ability(word)
        if name in said:
            raise BadValue(f'says "{printable(said[name])}" and "{printable(word)}"', "leave one of them out")
        said[name] = word
        fields.append((name, value))
    return Change(tuple(fields))
