"""Every recorded call as a transcript: all that was said in it is there, as an independent reading has it."""

from __future__ import annotations

import json
import re

import pytest
from tests.corpus import Line, families, lines
from tests.transcripts.said import streamed, texts

from interpose.transcripts import Material, Transcript, read, render

CONVERSATIONS = (
    "anthropic_messages", "bedrock_converse", "bedrock_invoke", "chat_compat", "cohere_chat", "gemini_generate",
    "mistral_chat", "ollama", "openai_chat", "openai_responses",
)  # fmt: skip
# A medium's bytes are told by their size.
BASE64 = re.compile(r"(?:data:[\w/+.;=-]*,)?[A-Za-z0-9+/_=-]{256,}")
BLANKS = re.compile(r"\s+")
PLACEHOLDERS = str.maketrans("", "", "<>")


def material(line: Line) -> Material:
    return Material(
        method=line.method,
        url=line.url.translate(PLACEHOLDERS),
        request=line.request_bytes(),
        request_headers=line.request_headers,
        status=line.status,
        reply=line.reply_bytes(),
        reply_headers=line.reply_headers,
    )


def bare(text: str) -> str:
    """Without blanks, where lines may be broken."""
    return BLANKS.sub("", text)


def missing(said: list[str], shown: str) -> list[str]:
    found = []
    for text in said:
        # What is shown as JSON is escaped, and a JSON text in it once more.
        once = json.dumps(text, ensure_ascii=False)[1:-1]
        twice = json.dumps(once, ensure_ascii=False)[1:-1]
        if not (BASE64.fullmatch(text) or any(bare(each) in shown for each in (text, once, twice))):
            found.append(text[:200])
    return found


def said_of(transcript: Transcript) -> str:
    return bare(render(transcript, 0, 10**9))


@pytest.mark.parametrize("family", CONVERSATIONS)
def test_all_that_was_said_is_in_the_transcript(family: str) -> None:
    """Each text of the request, and of the answer, be it whole or streamed."""
    lost: list[str] = []
    counted = 0
    for line in (*lines(family), *(lines(f"responseonly_{family}") if f"responseonly_{family}" in families() else ())):
        shown = said_of(read(material(line)))
        said = [*texts(line.request), *(streamed(line) if line.ok else ())]
        counted += len(said)
        lost += [f"{line.id}: {text!r}" for text in missing(said, shown)]
    assert counted > 100
    assert lost == []


@pytest.mark.parametrize("family", families())
def test_every_recording_is_read(family: str) -> None:
    """None is shown as nothing at all: what there is of a body is there, as turns, as JSON or as text."""
    for line in lines(family):
        transcript = read(material(line))
        asked = transcript.turns or transcript.parameters or transcript.tools or transcript.model
        assert asked or not line.request_bytes() or line.request in ({}, []), line.id
        told = transcript.answers or transcript.failure is not None
        assert told or not line.reply_bytes().strip(), line.id
        assert (transcript.failure is not None) or line.status < 400, line.id
