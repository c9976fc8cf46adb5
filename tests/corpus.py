"""The recorded provider traffic, read where it lies: one typed `Line` per recorded call.

The recordings are no part of this repository. They are looked for at INTERPOSE_CORPUS, else at ../shared/corpus beside
the project's root; where there are none, `tests/conftest.py` leaves the modules that need them out, and says so. The
providers' published descriptions are looked for at INTERPOSE_SPECS, else beside the recordings.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

ROOT = Path(__file__).resolve().parent.parent
CORPUS = Path(os.environ.get("INTERPOSE_CORPUS") or ROOT.parent / "shared" / "corpus")
SPECS = Path(os.environ.get("INTERPOSE_SPECS") or CORPUS.parent / "specs")
SUFFIX = ".jsonl.gz"


def available() -> bool:
    """Whether there are recordings to read, and descriptions to hold against what is made of them."""
    return CORPUS.is_dir() and any(CORPUS.glob(f"*{SUFFIX}")) and SPECS.is_dir()


def families() -> list[str]:
    """The endpoint families that are recorded: openai_chat, anthropic_messages, …, responseonly_openai_chat, …"""
    return sorted(path.name.removesuffix(SUFFIX) for path in CORPUS.glob(f"*{SUFFIX}"))


def serialise(document: Any) -> bytes:
    """JSON as compact UTF-8, keys in their recorded order: the one serialisation used for parsed bodies."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


@dataclass(frozen=True)
class Line:
    """One recorded call. Headers are as recorded: lower-case names, one value each.

    `request_kind` is json, multipart, empty, other or absent (a reply without its request). `url` is "" when absent.
    """

    family: str
    id: str
    source: str
    license: str
    provider: str
    endpoint: str
    method: str
    url: str
    streaming: bool
    request_headers: dict[str, str]
    request: Any
    request_kind: str
    status: int
    reply_headers: dict[str, str]
    reply_json: Any
    reply_text: str | None
    reply_b64: str | None
    flags: frozenset[str]

    @cached_property
    def parts(self) -> SplitResult:
        return urlsplit(self.url)

    @property
    def host(self) -> str:
        return self.parts.hostname or ""

    @property
    def path(self) -> str:
        return self.parts.path

    @property
    def query(self) -> str:
        return self.parts.query

    @property
    def content_type(self) -> str | None:
        """The reply's recorded content type; None where it was not recorded or was redacted."""
        value = self.reply_headers.get("content-type")
        return None if value is None or "REDACTED" in value else value

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def request_bytes(self) -> bytes:
        """The request's body: its JSON serialised once; b"" where there was none or it is no JSON."""
        return serialise(self.request) if self.request_kind == "json" else b""

    def reply_bytes(self) -> bytes:
        """The reply's body: raw text or decoded base64 as recorded, a parsed body serialised."""
        if self.reply_b64 is not None:
            return base64.b64decode(self.reply_b64)
        if self.reply_text is not None:
            return self.reply_text.encode("utf-8", "surrogatepass")
        return b"" if self.reply_json is None else serialise(self.reply_json)

    @classmethod
    def read(cls, family: str, raw: str) -> Line:
        """One line of a family's file. Raises KeyError or ValueError where that is not what the README describes."""
        row = json.loads(raw)
        reply = row["response"]
        return cls(
            family=family,
            id=row["id"],
            source=row["source"],
            license=row["license"],
            provider=row["provider"],
            endpoint=row["endpoint"],
            method=row["method"],
            url=row["url"] or "",
            streaming=bool(row["stream"]),
            request_headers=_headers(row["request_headers"]),
            request=row["request"],
            request_kind=row["request_kind"],
            status=reply["status"],
            reply_headers=_headers(reply["headers"]),
            reply_json=reply["body"],
            reply_text=reply["text"],
            reply_b64=reply["b64"],
            flags=frozenset(row.get("flags") or ()),
        )


def _headers(recorded: dict[str, Any] | None) -> dict[str, str]:
    return {name.lower(): value for name, value in (recorded or {}).items() if isinstance(value, str)}


def lines(family: str | None = None) -> Iterator[Line]:
    """Every line of a family, or of all of them, in the order of the files."""
    for name in families() if family is None else [family]:
        with gzip.open(CORPUS / f"{name}{SUFFIX}", "rt", encoding="utf-8") as file:
            for raw in file:
                yield Line.read(name, raw)
