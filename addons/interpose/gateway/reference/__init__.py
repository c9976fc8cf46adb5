"""The API reference: `/openapi.json`, an OpenAPI 3.1 document of all that the gateway answers, and `/docs`, a page.

Both are made of the same data: the operations and request schemas of `formats`, and beside this module what is
answered, what goes wrong, and examples. Nothing here decides anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache

from interpose.call import Call, Reply
from interpose.gateway.front import Page, said

from .document import document
from .page import POLICY, page

__all__ = ["described", "document"]

OPENAPI = "/openapi.json"
DOCS = "/docs"


def described(pages: Mapping[str, Page]) -> dict[str, Page]:
    """Those pages, and the two that describe them and the API."""
    paths = frozenset({*pages, OPENAPI, DOCS})

    async def openapi(call: Call) -> Reply:
        return said(
            200, _openapi(str(call.url.origin), paths), "application/json", (b"access-control-allow-origin", b"*")
        )

    async def docs(call: Call) -> Reply:
        return said(200, _docs(str(call.url.origin), paths), "text/html; charset=utf-8", *POLICY)

    return {**pages, OPENAPI: openapi, DOCS: docs}


# By the name that a client has for us: a few, but whoever likes may make up more.
@lru_cache(16)
def _openapi(origin: str, paths: Iterable[str]) -> bytes:
    return json.dumps(document(origin, paths), ensure_ascii=False, indent=1).encode()


@lru_cache(16)
def _docs(origin: str, paths: Iterable[str]) -> bytes:
    return page(document(origin, paths)).encode()
