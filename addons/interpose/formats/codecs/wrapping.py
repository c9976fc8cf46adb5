"""A call's arguments on their way into a stream whose clients expect the text of a JSON object.

Pieces of an object are passed as they come; anything else is wrapped into one, as `codec.arguments_object` does with
arguments that are whole, and what a custom tool takes is `input`.
"""

from __future__ import annotations

from interpose.ir import Losses, ToolCall

from .codec import dumps


class ObjectText:
    """Each method gives what is to be said now, "" for nothing. `said` is whether there have been any arguments."""

    __slots__ = ("_at", "_close", "_held", "_losses", "said")

    def __init__(self, losses: Losses, at: str) -> None:
        self._losses = losses
        self._at = at
        self._close = ""
        self._held = ""
        self.said = False

    def begin(self, call: ToolCall) -> str:
        return self._wrap("input") if call.kind == "custom" else ""

    def feed(self, text: str) -> str:
        wrapping = ""
        if not self.said:
            text = self._held + text
            begun = text.lstrip()
            if not begun:
                self._held = text
                return ""
            self.said = True
            if begun[0] != "{":
                self._losses.approximated(self._at, "the arguments are no JSON object; they are passed as text")
                wrapping = self._wrap("arguments")
        return wrapping + dumps(text)[1:-1] if self._close else text

    def end(self) -> str:
        return self._close

    def _wrap(self, key: str) -> str:
        self.said = True
        self._close = '"}'
        return f'{{"{key}":"'
