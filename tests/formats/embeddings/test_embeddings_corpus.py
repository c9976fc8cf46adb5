"""Every recorded call for vectors, read and written back and for every other format: nothing is lost untold."""

from __future__ import annotations

import copy
import re
from collections import Counter
from functools import cache
from typing import Any

import pytest
from tests.corpus import Line, lines
from tests.formats.codecs.laws import same

from interpose.formats.codecs import Asked, Client, Codec, Malformed, Target
from interpose.formats.embeddings import CLIENTS, PROVIDERS
from interpose.formats.embeddings.neutral import Request
from interpose.ir import Losses

FAMILIES = ("embeddings", "gemini_other", "cohere_other", "bedrock_invoke", "ollama")
# A path within the API of each format, out of a recorded URL's; what fits none is another API's.
PATHS = (
    ("gemini", re.compile(r".*(/models/[^/]+:(?:embedContent|batchEmbedContents|predict))"), "/v1beta"),
    ("cohere", re.compile(r".*(/v[12]/embed)"), ""),
    ("bedrock", re.compile(r".*(/model/[^/]*(?:cohere\.|titan-)embed[^/]*/invoke)"), ""),
    ("ollama", re.compile(r".*(/api/embed(?:dings)?)"), ""),
    ("openai", re.compile(r".*(/embeddings)"), ""),
)


@cache
def recorded() -> list[tuple[str, str, Line]]:
    """(format, path within its API, line) of every recorded call for vectors that came with a JSON body."""
    found = []
    for family in FAMILIES:
        for line in lines(family):
            if line.method != "POST" or line.request_kind != "json":
                continue
            for format_, path, prefix in PATHS:
                match = path.fullmatch(line.path)
                if match is not None:
                    mistral = line.provider == "mistral"
                    asked = "/v1/embeddings" if mistral else prefix + match[1]
                    found.append(("mistral" if mistral else format_, asked, line))
                    break
    return found


def codec_of(format_: str, path: str) -> Codec[Any, Any]:
    return next(each.codec for each in CLIENTS if each.takes(format_, "POST", path))


def test_requests_come_back() -> None:
    """A -> neutral -> A gives an equal request at an equal path, without a loss."""
    count = Counter[str]()
    for format_, path, line in recorded():
        codec = codec_of(format_, path)
        request = codec.read_request(copy.deepcopy(line.request), Asked(path))
        losses = Losses()
        written = codec.write_request(request, Target(request.model), losses)
        same(written.body, line.request, line.id)
        assert written.path.replace("%3A", ":") == path.replace("%3A", ":")
        assert not list(losses), list(losses)
        count[format_] += 1
    assert count.total() > 180, count
    assert set(count) == {"openai", "mistral", "gemini", "cohere", "bedrock", "ollama"}


def test_replies_come_back() -> None:
    """A -> neutral -> A gives an equal reply, to the last digit, without a loss."""
    count = Counter[str]()
    for format_, path, line in recorded():
        if not line.ok or not isinstance(line.reply_json, dict):
            continue
        codec = codec_of(format_, path)
        request = codec.read_request(copy.deepcopy(line.request), Asked(path))
        reply = codec.read_reply(copy.deepcopy(line.reply_json))
        losses = Losses("reply")
        written = codec.write_reply(reply, Client(request, reply.model, "call", 0), losses)
        same(written, line.reply_json, line.id)
        assert not list(losses), list(losses)
        count[format_] += 1
    assert count.total() > 170, count


def test_what_keeps_its_own_is_no_raw_copy() -> None:
    """What a codec understands is in the neutral request alone: no recorded text is in what it had left over."""
    for format_, path, line in recorded():
        if line.ok:
            request: Request = codec_of(format_, path).read_request(copy.deepcopy(line.request), Asked(path))
            left = str([request.own, [(each.own, each.around) for each in request.inputs]])
            for each in request.inputs:
                if each.text and len(each.text) > 8:
                    assert each.text not in left, line.id


@pytest.mark.parametrize("target", sorted(PROVIDERS))
def test_every_request_is_written_for_every_provider(target: str) -> None:
    """Whatever was asked of one API can be asked of another, or is refused by its path; nothing is dropped untold."""
    provider, count = PROVIDERS[target], Counter[str]()
    model = {"bedrock": "amazon.titan-embed-text-v2:0"}.get(target, "some-model")
    for format_, path, line in recorded():
        if not line.ok:
            continue
        request: Request = codec_of(format_, path).read_request(copy.deepcopy(line.request), Asked(path))
        losses = Losses()
        written = provider.write_request(request, Target(model), losses)
        if losses.impossibilities:
            assert all(loss.path for loss in losses.impossibilities)
            count["impossible"] += 1
            continue
        there = provider.read_request(copy.deepcopy(written.body), Asked(written.path))
        assert [each.text for each in there.inputs] == [each.text for each in request.inputs], line.id
        assert [each.dimensions for each in there.inputs] == [each.dimensions for each in request.inputs], line.id
        count["written"] += 1
    assert count["written"] > 90, count
    assert count["impossible"] < 90, count


def test_every_reply_is_written_for_every_client() -> None:
    """The vectors of any recording reach the clients of any format, as many and in their order."""
    count = Counter[tuple[str, str]]()
    for format_, path, line in recorded():
        if not line.ok or not isinstance(line.reply_json, dict):
            continue
        codec = codec_of(format_, path)
        asked: Request = codec.read_request(copy.deepcopy(line.request), Asked(path))
        for entry in CLIENTS:
            if entry.format == "bedrock" and (len(asked.inputs) > 1 or format_ == "bedrock"):
                continue  # Titan's clients ask for one vector, and get Cohere's as it is if they ask for it
            reply = codec.read_reply(copy.deepcopy(line.reply_json))
            request = Request(entry.codec.name, asked.model, asked.inputs)
            client = Client(request, "asked", "call", 0)
            unreadable = line.provider == "perplexity" or not {"float", "base64"} & reply.vectors[0].values.keys()
            if unreadable and entry.codec.name != reply.format:
                # Bytes in base64, or in an encoding of the model's own: no numbers in single precision.
                with pytest.raises(Malformed):
                    entry.codec.write_reply(reply, client, Losses("reply"))
                continue
            written = entry.codec.write_reply(reply, client, Losses("reply"))
            there = entry.codec.read_reply(copy.deepcopy(written))
            assert len(there.vectors) == len(reply.vectors)
            if "float" in reply.vectors[0].values:
                assert [each.values["float"] for each in there.vectors] == [
                    each.values["float"] for each in reply.vectors
                ]
            # OpenAI's clients want a number: what was not told is 0, and said to be.
            untold = 0 if entry.format in ("openai", "mistral") and reply.format != entry.codec.name else None
            apart = entry.path.endswith("predict") and len(reply.vectors) > 1  # counts each text's tokens
            if not apart and (entry.path != r"/api/embed(?:dings)?" or reply.tokens is not None):
                assert there.tokens == (untold if reply.tokens is None else reply.tokens), (line.id, entry.format)
            count[format_, entry.format] += 1
    assert len(count) == 35, count
