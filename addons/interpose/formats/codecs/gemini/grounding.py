"""What an answer rests on: https://ai.google.dev/api/generate-content#GroundingMetadata, as citations and back.

Gemini tells it beside the text, by offsets in bytes; the neutral model at the text. The metadata itself stays with the
answer: it has more than citations say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from interpose.formats.codecs.codec import Json
from interpose.ir import Citation, Losses, Own

from .spelling import NAME

_SOURCES = ("web", "retrievedContext", "maps")
_OFFSETS = ("partIndex", "startIndex", "endIndex")


def citations_in(candidate: Json) -> list[Citation]:
    """Of a candidate's groundingMetadata and citationMetadata, which stay as they are."""
    found: list[Citation] = []
    grounding = candidate.get("groundingMetadata")
    if type(grounding) is dict:
        sources = [_source(chunk) for chunk in _objects(grounding.get("groundingChunks"))]
        supports = list(_objects(grounding.get("groundingSupports")))
        for support in supports:
            segment = support.get("segment")
            segment = segment if type(segment) is dict else {}
            places = support.get("groundingChunkIndices")
            found += [
                _citation(sources[place], segment)
                for place in (places if type(places) is list else ())
                if type(place) is int and 0 <= place < len(sources)
            ]
        if not supports:
            found += [_citation(source, {}) for source in sources if source]
    recited = candidate.get("citationMetadata")
    if type(recited) is dict:
        found += [_citation(one, one) for one in _objects(recited.get("citations", recited.get("citationSources")))]
    return found


def _objects(value: Any) -> Iterator[Json]:
    return (one if type(one) is dict else {} for one in value) if type(value) is list else iter(())


def _source(chunk: Json) -> Json:
    return next((chunk[kind] for kind in _SOURCES if type(chunk.get(kind)) is dict), {})


def _citation(source: Json, segment: Json) -> Citation:
    url, title, quoted = source.get("uri"), source.get("title"), segment.get("text")
    offsets = {key: segment[key] for key in _OFFSETS if key in segment}
    return Citation(
        url if type(url) is str else None,
        title if type(title) is str else None,
        quoted if type(quoted) is str else None,
        Own(NAME, silent=offsets or None),
    )


def metadata_of(cited: list[tuple[int, str, list[Citation]]], losses: Losses, at: str) -> Json | None:
    """groundingMetadata from the citations of texts, by the texts' places among the parts. Gemini's own are in it."""
    chunks: list[Json] = []
    places: dict[tuple[str | None, str | None], int] = {}
    supports: list[Json] = []
    for part, text, citations in cited:
        indices: list[int] = []
        for citation in citations:
            if citation.own is not None and citation.own.format == NAME:
                continue
            key = (citation.url, citation.title)
            if key not in places:
                places[key] = len(chunks)
                chunks.append(_chunk(citation))
            if places[key] not in indices:
                indices.append(places[key])
        if indices:
            segment = {
                "partIndex": part,
                "startIndex": 0,
                "endIndex": len(text.encode("utf-8", "replace")),
                "text": text,
            }
            supports.append({"segment": segment, "groundingChunkIndices": indices})
    if not supports:
        return None
    losses.approximated(at, "citations are told of whole texts, without what they quote")
    return {"groundingChunks": chunks, "groundingSupports": supports}


def _chunk(citation: Citation) -> Json:
    told = {"uri": citation.url, "title": citation.title}
    source = {key: value for key, value in told.items() if value is not None}
    if citation.url is not None:
        return {"web": source}
    return {"retrievedContext": {**source, "text": citation.quoted} if citation.quoted is not None else source}
