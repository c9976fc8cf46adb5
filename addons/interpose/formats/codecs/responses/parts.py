"""The parts of a message's content, and of a tool's output: read into blocks and written from them.

https://platform.openai.com/docs/api-reference/responses/create#responses-create-input
"""

from __future__ import annotations

import mimetypes
from collections.abc import Callable

from interpose.formats.codecs.codec import Json
from interpose.ir import Block, CacheMark, Citation, Foreign, Media, Own, Refused, Source, Text

from .names import CHAT, ITEM, NAME, PART, STRING, Out, foreign, own_of

# https://platform.openai.com/docs/api-reference/responses/input-audio: these two.
AUDIO = {"mp3": "audio/mpeg", "wav": "audio/wav"}
AUDIO_FORMATS = {"audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav"}


# Reading


def read_part(part: object, spoken: str, at: str) -> Block:
    """One part; `spoken` is the type that text has there: input_text, or output_text of an assistant."""
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(part, dict) and isinstance(kind, str):
        read = READERS.get(kind)
        if read is not None and (block := read(part, spoken, at)) is not None:
            return block
    name = kind if isinstance(kind, str) else "content part"
    return Foreign(NAME, name, part, at=at, own=Own(NAME, marks=frozenset((PART,))))


def read_content(content: list[object], spoken: str, at: str) -> list[Block]:
    return [read_part(part, spoken, f"{at}[{place}]") for place, part in enumerate(content)]


def plain(text: str, at: str) -> Text:
    """Content that is a text and no list."""
    return Text(text, at=at, own=Own(NAME, marks=frozenset((STRING,))))


def _text(part: Json, spoken: str, at: str) -> Text | None:
    text = part.get("text")
    if type(text) is not str or _clashes(part):
        return None
    del part["text"]
    kind = part.pop("type")
    own = Own(NAME, part)
    if kind != spoken:
        own.marks = frozenset((f"type:{kind}",))
    block = Text(text, at=at, own=own)
    annotations = part.get("annotations")
    if annotations and isinstance(annotations, list) and all(isinstance(one, dict) for one in annotations):
        block.citations = [read_citation(one) for one in part.pop("annotations")]
    if "prompt_cache_breakpoint" in part:
        block.cache = _cache(part)
    return block


def _refusal(part: Json, spoken: str, at: str) -> Refused | None:
    text = part.get("refusal")
    if type(text) is not str or _clashes(part):
        return None
    del part["refusal"], part["type"]
    return Refused(text, at, Own(NAME, part))


def _image(part: Json, spoken: str, at: str) -> Media | None:
    url, file = part.get("image_url"), part.get("file_id")
    if _clashes(part):
        return None
    if type(url) is str:
        media_type, source = _source(url)
        del part["image_url"]
    elif type(file) is str:
        media_type, source = "", Source("file", file)
        del part["file_id"]
    else:
        return None
    del part["type"]
    block = Media("image", source, media_type, at=at, own=Own(NAME, part))
    if type(part.get("detail")) is str:
        block.detail = part.pop("detail")
    if "prompt_cache_breakpoint" in part:
        block.cache = _cache(part)
    return block


def _file(part: Json, spoken: str, at: str) -> Media | None:
    key = next((key for key in ("file_data", "file_url", "file_id") if type(part.get(key)) is str), None)
    if key is None or _clashes(part):
        return None
    del part["type"]
    value = part.pop(key)
    own = Own(NAME, part)
    name = part.pop("filename") if type(part.get("filename")) is str else None
    media_type = ""
    if key == "file_data":
        media_type, source = _source(value)
        if source.kind == "url":
            # Bare base64, without a data URL around it.
            own.marks = frozenset(("bare",))
            source = Source("base64", value)
            media_type = mimetypes.guess_type(name or "")[0] or ""
    else:
        source = Source("url" if key == "file_url" else "file", value)
    block = Media("document", source, media_type, name, at=at, own=own)
    if "prompt_cache_breakpoint" in part:
        block.cache = _cache(part)
    return block


def _audio(part: Json, spoken: str, at: str) -> Media | None:
    audio = part.get("input_audio")
    if not isinstance(audio, dict) or audio.keys() != {"data", "format"} or _clashes(part):
        return None
    data, format_ = audio["data"], audio["format"]
    if type(data) is not str or type(format_) is not str or format_ not in AUDIO:
        return None
    del part["input_audio"], part["type"]
    return Media("audio", Source("base64", data), AUDIO[format_], at=at, own=Own(NAME, part))


READERS: dict[str, Callable[[Json, str, str], Block | None]] = {
    "input_text": _text,
    "output_text": _text,
    "refusal": _refusal,
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
}


def _clashes(part: Json) -> bool:
    """Whether a key of the part could be taken for one of its item's: such a part is left whole."""
    return any(key.startswith(ITEM) for key in part)


def _source(url: str) -> tuple[str, Source]:
    """The media type, and the source that a data URL or any other is."""
    if url.startswith("data:"):
        head, found, data = url[5:].partition(";base64,")
        if found and "/" in head and ";" not in head:
            return head, Source("base64", data)
    return "", Source("url", url)


def read_citation(annotation: Json) -> Citation:
    citation = Citation(own=Own(NAME, annotation))
    if annotation.get("type") == "url_citation" and type(annotation.get("url")) is str:
        del annotation["type"]
        citation.url = annotation.pop("url")
        if type(annotation.get("title")) is str:
            citation.title = annotation.pop("title")
    return citation


def _cache(part: Json) -> CacheMark | None:
    mark = part["prompt_cache_breakpoint"]
    if not isinstance(mark, dict) or mark.get("mode") != "explicit":
        return None
    del part["prompt_cache_breakpoint"], mark["mode"]
    ttl = mark.pop("ttl") if type(mark.get("ttl")) is str else None
    return CacheMark(ttl, Own(NAME, mark))


# Writing


def write_part(block: Block, spoken: str, out: Out) -> Json | None:
    """The part that says the block; None, and a loss, if none does."""
    if isinstance(block, Foreign):
        if block.format != NAME:
            foreign(block, out)
            return None
        value: Json = block.value
        return value
    write = WRITERS.get(type(block))
    return None if write is None else write(block, spoken, out)


def _fields(own: Own) -> Json:
    """The fields of a part, without those of its item."""
    return {key: value for key, value in own.fields.items() if not key.startswith(ITEM)}


def _write_text(block: Text, spoken: str, out: Out) -> Json | None:
    own = own_of(block)
    if own is None and not block.text and out.seed is None:
        return None  # it says nothing
    if own is not None:
        kind = next((mark[5:] for mark in own.marks if mark.startswith("type:")), spoken)
        part = {"type": kind, "text": block.text, **_fields(own)}
        if block.citations:
            part["annotations"] = write_citations(block, out)
    else:
        part = {"type": spoken, "text": block.text}
        if spoken == "output_text":
            part["annotations"] = write_citations(block, out)
            if out.seed is not None:
                part["logprobs"] = []
        out.losses.own(block.own, block.at, NAME)
    if block.cache is not None:
        out.breakpoint(block.cache, block.at, part)
    if block.opaque is not None and out.seed is None:
        out.losses.dropped(block.at, "opaque state is bound to its origin")
    return part


def _write_refusal(block: Refused, spoken: str, out: Out) -> Json:
    own = own_of(block)
    if own is not None:
        return {"type": "refusal", "refusal": block.text, **_fields(own)}
    out.losses.own(block.own, block.at, NAME)
    if spoken == "output_text":
        return {"type": "refusal", "refusal": block.text}
    return {"type": spoken, "text": block.text}


def write_citations(block: Text, out: Out) -> list[Json]:
    """Annotations. One from elsewhere rests the whole text on its URL: offsets differ in unit and are not known."""
    written = []
    for citation in block.citations:
        own = citation.own
        if own is not None and own.format == NAME:
            annotation: Json = {} if "type" in own.fields else {"type": "url_citation"}
            if citation.url is not None:
                annotation["url"] = citation.url
            if citation.title is not None:
                annotation["title"] = citation.title
            written.append({**annotation, **own.fields})
            continue
        if citation.url is None:
            out.losses.dropped(block.at, "a citation of what has no URL has no place in annotations")
            continue
        written.append(
            {
                "type": "url_citation",
                "url": citation.url,
                "title": citation.title or citation.url,
                "start_index": 0,
                "end_index": len(block.text),
            }
        )
        out.losses.own(own, block.at, NAME)
    return written


def _write_media(block: Media, spoken: str, out: Out) -> Json | None:
    own = own_of(block)
    if own is None:
        out.losses.own(block.own, block.at, NAME)
        if spoken == "output_text":
            out.losses.impossible(block.at, "an assistant's message takes text alone")
            return None
        if block.kind not in out.capabilities.media and block.source.kind != "text":
            out.losses.impossible(block.at, f"the model takes no {block.kind}")
            return None
        if block.source.kind == "file" and out.origin not in (NAME, CHAT):
            out.losses.impossible(block.at, "a file of another provider's store cannot be read")
            return None
        if block.opaque is not None:
            out.losses.dropped(block.at, "opaque state is bound to its origin")
    part = MEDIA[block.kind](block, own, out)
    if part is None:
        return None
    if own is not None:
        part.update(_fields(own))
    if block.cache is not None:
        out.breakpoint(block.cache, block.at, part)
    return part


def _write_image(block: Media, own: Own | None, out: Out) -> Json | None:
    source = block.source
    part: Json = {"type": "input_image"}
    if source.kind == "text":
        out.losses.impossible(block.at, "an image is no text")
        return None
    if source.kind == "file":
        part["file_id"] = source.value
    else:
        part["image_url"] = _url(block, "image/png")
    if block.detail is not None:
        part["detail"] = block.detail
    elif own is None:
        part["detail"] = "auto"  # required by the description, and the default
    return part


def _write_document(block: Media, own: Own | None, out: Out) -> Json | None:
    source = block.source
    part: Json = {"type": "input_file"}
    if source.kind == "text":
        out.losses.approximated(block.at, "a document of plain text is said as text")
        title = f"{block.name}\n\n" if block.name else ""
        return {"type": "input_text", "text": title + source.value}
    if source.kind == "base64":
        bare = own is not None and "bare" in own.marks
        part["file_data"] = source.value if bare else _url(block, "application/pdf")
    else:
        part["file_url" if source.kind == "url" else "file_id"] = source.value
    if block.name is not None:
        part["filename"] = block.name
    elif own is None and source.kind == "base64":
        # Bytes without a name are refused.
        ending = mimetypes.guess_extension(block.media_type or "application/pdf") or ""
        part["filename"] = f"document{ending}"
        out.losses.synthesised(block.at, "a file's bytes need a name")
    return part


def _write_audio(block: Media, own: Own | None, out: Out) -> Json | None:
    format_ = AUDIO_FORMATS.get(block.media_type)
    if block.source.kind != "base64" or format_ is None:
        out.losses.impossible(block.at, "sound is taken as the bytes of an MP3 or WAV alone")
        return None
    return {"type": "input_audio", "input_audio": {"data": block.source.value, "format": format_}}


def _write_video(block: Media, own: Own | None, out: Out) -> Json | None:
    out.losses.impossible(block.at, "moving pictures are not taken")
    return None


MEDIA: dict[str, Callable[[Media, Own | None, Out], Json | None]] = {
    "image": _write_image,
    "document": _write_document,
    "audio": _write_audio,
    "video": _write_video,
}

WRITERS: dict[type, Callable[..., Json | None]] = {Text: _write_text, Refused: _write_refusal, Media: _write_media}


def _url(block: Media, default: str) -> str:
    if block.source.kind == "base64":
        return f"data:{block.media_type or default};base64,{block.source.value}"
    return block.source.value
