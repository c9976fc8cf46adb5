"""A function's arguments put together from pieces: values at JSON paths, texts in several pieces.

https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/Content#PartialArg
"""

from __future__ import annotations

import re
from typing import Any

from interpose.formats.codecs.codec import Json, Malformed

_STEP = re.compile(r"""\.([^.\[\]]+)|\[(\d{1,9})\]|\[(?:'([^']*)'|"([^"]*)")\]""")
_VALUES = ("stringValue", "numberValue", "boolValue", "nullValue")


class PartialArguments:
    """`arguments` is what there is so far."""

    __slots__ = ("_going_on", "arguments")

    def __init__(self) -> None:
        self.arguments: Json = {}
        self._going_on: str | None = None  # the path of a text of which more comes

    def add(self, call: Json) -> None:
        """Raises Malformed."""
        if type(whole := call.get("args")) is dict:
            self.arguments.update(whole)
        pieces = call.get("partialArgs")
        for piece in pieces if type(pieces) is list else ():
            if type(piece) is dict and type(path := piece.get("jsonPath", piece.get("json_path"))) is str:
                self._put(path, piece)

    def _put(self, path: str, piece: Json) -> None:
        for key in _VALUES:
            if key in piece:
                value = None if key == "nullValue" else piece[key]
                break
        else:
            return  # only that the text before goes on, or ends
        steps = _steps(path)
        *before, last = steps
        place: Any = self.arguments
        for step, following in zip(before, steps[1:], strict=True):
            place = _inside(place, step, [] if isinstance(following, int) else {}, path)
        if self._going_on == path and isinstance(value, str):
            value = _inside(place, last, "", path) + value
        _set(place, last, value, path)
        self._going_on = path if piece.get("willContinue", piece.get("will_continue")) is True else None


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    at = 1 if path.startswith("$") else 0
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            raise Malformed("functionCall.partialArgs", f"{path[:100]} is no path")
        name, index, one, other = step.groups()
        steps.append(int(index) if index is not None else next(text for text in (name, one, other) if text is not None))
        at = step.end()
    if not steps:
        raise Malformed("functionCall.partialArgs", "a path must lead somewhere")
    return steps


def _inside(place: Any, step: str | int, empty: Any, path: str) -> Any:
    """What is there; `empty`, put there, if nothing is."""
    if isinstance(step, int):
        if isinstance(place, list) and step < len(place):
            return place[step]
    elif isinstance(place, dict) and step in place:
        return place[step]
    _set(place, step, empty, path)
    return empty


def _set(place: Any, step: str | int, value: Any, path: str) -> None:
    """A list grows by one item at a time, lest a number alone makes it large."""
    if isinstance(step, int) and isinstance(place, list) and step <= len(place):
        place[step : step + 1] = [value]
    elif isinstance(step, str) and isinstance(place, dict):
        place[step] = value
    else:
        raise Malformed("functionCall.partialArgs", f"nothing can be put at {path[:100]}")
