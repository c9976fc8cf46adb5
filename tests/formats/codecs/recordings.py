"""Recordings, as the tests of codecs want them: those of one format, and those of other formats as their codecs read
them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from tests.corpus import Line, lines

from interpose.formats.codecs import CODECS, Asked, Malformed
from interpose.ir import Reply, Request


@dataclass(frozen=True)
class Recordings:
    """What is recorded of one format, at some `paths` alone if any are given."""

    families: tuple[str, ...]
    paths: tuple[str, ...] = ()

    @cached_property
    def lines(self) -> list[Line]:
        every = (line for family in self.families for line in lines(family))
        return [line for line in every if not self.paths or line.path in self.paths]

    @cached_property
    def streams(self) -> list[tuple[Line, bytes]]:
        return [(line, line.reply_bytes()) for line in self.lines if line.ok and line.reply_text is not None]

    @property
    def requests(self) -> Iterator[Line]:
        return (line for line in self.lines if line.request_kind == "json")

    @property
    def replies(self) -> Iterator[Line]:
        return (line for line in self.lines if line.ok and isinstance(line.reply_json, dict))


def requests_of(families: Mapping[str, str], most: int) -> Iterator[Request]:
    """Up to `most` requests of each family, read by the codec that is named for it."""
    for family, name in families.items():
        for line in islice((line for line in lines(family) if line.ok and line.request_kind == "json"), most):
            try:
                yield CODECS[name].read_request(copy.deepcopy(line.request), Asked(line.path, line.query))
            except Malformed:
                continue


def replies_of(families: Mapping[str, str], most: int) -> Iterator[Reply]:
    """Up to `most` whole replies of each family that answer anything, likewise."""
    for family, name in families.items():
        for line in islice((line for line in lines(family) if line.ok and isinstance(line.reply_json, dict)), most):
            body: Any = copy.deepcopy(line.reply_json)
            try:
                reply = CODECS[name].read_reply(body)
            except Malformed:
                continue
            if reply.answers:
                yield reply
