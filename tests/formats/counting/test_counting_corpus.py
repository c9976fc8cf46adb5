"""Every recorded count of tokens, read and written back, and asked of every other provider."""

from __future__ import annotations

import base64
import copy
import json
from collections import Counter
from collections.abc import Iterator

import pytest
from tests.corpus import Line, lines
from tests.formats.codecs.laws import same

from interpose.formats.codecs import Asked, Client, Target
from interpose.formats.counting import PROVIDERS
from interpose.ir import Losses

FAMILIES = ("anthropic_count_tokens", "gemini_other", "openai_responses_other", "other")
SUFFIXES = {
    "/messages/count_tokens": "anthropic",
    "/responses/input_tokens": "openai-responses",
    ":countTokens": "gemini",
    "/count-tokens": "bedrock",
}


def recorded() -> Iterator[tuple[str, str, Line]]:
    """(provider as in PROVIDERS, path within its API, line)."""
    for family in FAMILIES:
        for line in lines(family):
            found = next((name for suffix, name in SUFFIXES.items() if line.path.endswith(suffix)), None)
            if found is None or not isinstance(line.request, dict):
                continue
            if found == "bedrock" and "invokeModel" in line.request["input"]:
                found = "anthropic/bedrock"
            if found == "gemini":
                found = "gemini/vertex" if line.provider == "vertex" else found
                yield found, "/v1beta/models/" + line.path.rpartition("/")[2], line
            else:
                yield found, line.path.removeprefix("/v1") if found == "openai-responses" else line.path, line


def test_requests_come_back() -> None:
    """A -> neutral -> A gives an equal request at an equal path, without a loss."""
    count = Counter[str]()
    for name, path, line in recorded():
        codec = PROVIDERS[name]
        request = codec.read_request(copy.deepcopy(line.request), Asked(path))
        losses = Losses()
        written = codec.write_request(request, Target(request.model), losses)
        assert written.path.replace("%3A", ":") == path.replace("%3A", ":")
        if name == "anthropic/bedrock":
            found, asked = (
                json.loads(base64.b64decode(each["input"]["invokeModel"]["body"]))
                for each in (written.body, line.request)
            )
            # The limit is Bedrock's to demand, and any will do.
            same({**found, "max_tokens": 0}, {**asked, "max_tokens": 0}, line.id)
        else:
            same(written.body, line.request, line.id)
        assert not list(losses), list(losses)
        count[name] += 1
    bedrock = {"bedrock": 3, "anthropic/bedrock": 1}
    assert count == {"anthropic": 8, "gemini": 7, "gemini/vertex": 2, "openai-responses": 9, **bedrock}


def test_replies_come_back() -> None:
    """A -> neutral -> A gives an equal reply, without a loss."""
    count = Counter[str]()
    for name, path, line in recorded():
        if line.ok:
            codec = PROVIDERS[name]
            request = codec.read_request(copy.deepcopy(line.request), Asked(path))
            losses = Losses("reply")
            read = codec.read_reply(copy.deepcopy(line.reply_json))
            written = codec.write_reply(read, Client(request, request.model, "call", 0), losses)
            same(written, line.reply_json, line.id)
            assert not list(losses), list(losses)
            count[name] += 1
    assert count.total() == 28, count


@pytest.mark.parametrize("target", sorted(PROVIDERS))
def test_every_count_can_be_asked_of_every_provider(target: str) -> None:
    """What is to be counted arrives, and nothing that asks for an answer."""
    provider, count = PROVIDERS[target], 0
    for name, path, line in recorded():
        if not line.ok:
            continue
        request = PROVIDERS[name].read_request(copy.deepcopy(line.request), Asked(path))
        losses = Losses()
        written = provider.write_request(request, Target("claude-sonnet-4-5"), losses)
        if losses.impossibilities:
            assert all(loss.path for loss in losses.impossibilities)
            continue
        there = provider.read_request(copy.deepcopy(written.body), Asked(written.path))
        texts = [block.text for each in request.messages for block in each.blocks if hasattr(block, "text")]
        found = [block.text for each in there.messages for block in each.blocks if hasattr(block, "text")]
        assert [text for text in texts if text] == [text for text in found if text], line.id
        assert [tool.name for tool in there.tools] == [tool.name for tool in request.tools], line.id
        assert not {loss.path for loss in losses} & {"max_tokens", "temperature"}
        count += 1
    assert count >= 23, count
