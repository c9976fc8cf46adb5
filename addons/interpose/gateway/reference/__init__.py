"""The API reference: `/openapi.json`, an OpenAPI 3.1 document of all that the gateway answers, and `/docs`, a page.

Both are made of the same data: the operations and request schemas of `formats`, and beside this module what is
answered, what goes wrong, and examples. They are made once, when somebody first asks for one: neither a start nor an
application that never shows them waits for that. Nothing here decides anything.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from html import escape

from interpose.call import Call, Headers, Reply
from interpose.gateway.front import Page, said

__all__ = ["described"]

OPENAPI = "/openapi.json"
DOCS = "/docs"
# What stands for the address by which a client has called us, until that is known.
BASE = "http://address.invalid"


def described(pages: Mapping[str, Page]) -> dict[str, Page]:
    """Those pages, and the two that describe them and the API."""
    paths = frozenset({*pages, OPENAPI, DOCS})

    def page(make: Callable[[frozenset[str]], _Made]) -> Page:
        async def answer(call: Call) -> Reply:
            made = await asyncio.to_thread(make, paths)
            body = made.text.replace(BASE, made.written(f"{call.url.origin}{call.mount}")).encode("utf-8", "replace")
            return said(200, body, made.content_type, *made.headers)

        return answer

    return {**pages, OPENAPI: page(_openapi), DOCS: page(_docs)}


@dataclass(frozen=True, slots=True)
class _Made:
    """A page but for our address. `written` escapes that as the page's language has it."""

    text: str
    content_type: str
    written: Callable[[str], str]
    headers: Headers


@lru_cache(4)
def _openapi(paths: frozenset[str]) -> _Made:
    from .document import document

    text = json.dumps(document(BASE, paths), ensure_ascii=False, indent=1)
    # Whoever reads it may be a page of another host; it says nothing that is not the same everywhere.
    anybody = (b"access-control-allow-origin", b"*")
    return _Made(text, "application/json", lambda base: json.dumps(base)[1:-1], (anybody,))


@lru_cache(4)
def _docs(paths: frozenset[str]) -> _Made:
    from .document import document
    from .page import POLICY, page

    return _Made(page(document(BASE, paths)), "text/html; charset=utf-8", escape, POLICY)
