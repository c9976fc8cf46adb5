"""What hypothesis draws for codecs: wrong values at any place of a document, and streams that are parted anywhere."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

WRONG = st.sampled_from([None, True, 0, 10**30, 1.5, "", "\ud800", [], [None], {}, {"type": "text"}, [{"type": 1}]])


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every path into a JSON value, its own not."""
    items: Any = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def broken(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of the document with another value there."""
    document = copy.deepcopy(document)
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = copy.deepcopy(value)
    return document


def parted(data: st.DataObject, stream: bytes) -> list[bytes]:
    """The stream in up to thirteen pieces."""
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=12)))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
