"""Recorded and made conversations of other formats as the Responses codec writes them: they grow at their end, and are
what OpenAI's published description says.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.formats.codecs import laws, published
from tests.formats.codecs.responses_made import (
    REASONS,
    answered,
    asks,
    assistant,
    client,
    elsewhere,
    text,
    user,
)
from tests.formats.codecs.responses_recorded import bare, requests

from interpose.formats.codecs import Asked, Target
from interpose.formats.codecs.responses import CODEC
from interpose.ir import Answer, Losses, Reply, Request, Stop, Usage

# Law 2


def items_of(request: Request, reasons: Any = REASONS) -> list[Any]:
    found: list[Any] = CODEC.write_request(request, Target("gpt-5", reasons), Losses()).body["input"]
    return found


def test_conversations_that_extend_each_other_are_written_so() -> None:
    """Law 2: the items of turn n are the beginning of those of turn n + 1, also where nothing is this format's own."""
    by_source: dict[str, list[Any]] = defaultdict(list)
    for line in requests():
        if isinstance(line.request.get("input"), list):
            by_source[line.id.partition("#")[0]].append(line.request)
    counted = 0
    for bodies in by_source.values():
        for shorter in bodies:
            for longer in bodies:
                size = len(shorter["input"])
                if len(longer["input"]) <= size or longer["input"][:size] != shorter["input"]:
                    continue
                if longer.get("instructions") != shorter.get("instructions"):
                    continue
                one, other = (bare(CODEC.read_request(copy.deepcopy(body), Asked())) for body in (shorter, longer))
                assert laws.is_prefix(items_of(one), items_of(other))
                counted += 1
    assert counted >= 475


BLOCKS = st.sampled_from(answered()[:6] + [block for message in elsewhere().messages for block in message.blocks])
TURNS = st.lists(
    st.tuples(st.sampled_from([user, assistant]), st.lists(BLOCKS, min_size=1, max_size=4)), min_size=1, max_size=6
)


@given(TURNS)
@settings(deadline=None)
def test_made_conversations_grow_at_their_end(turns: list[Any]) -> None:
    """Law 2: of any blocks in any order, what is written for the beginning stays."""
    messages = [speak(*copy.deepcopy(blocks)) for speak, blocks in turns]
    whole = items_of(asks(*messages))
    for size in range(len(messages)):
        assert laws.is_prefix(items_of(asks(*messages[:size])), whole)


# Published description


def valid(body: dict[str, Any]) -> list[str]:
    """What OpenAI's description says against a request.

    It wants an id and a status of an assistant's message of parts, without which the API takes it all the same (24
    recorded requests); they are put in for it.
    """
    body = copy.deepcopy(body)
    for item in body["input"]:
        if item.get("role") == "assistant" and isinstance(item["content"], list):
            item |= {"id": "msg_1", "status": "completed"}
            for part in item["content"]:
                part.setdefault("logprobs", [])
        if item["type"] == "reasoning":
            item.setdefault("id", "rs_1")
    return published.flaws("openai-responses", body)


@given(TURNS)
@settings(deadline=None)
def test_requests_are_what_openais_description_says(turns: list[Any]) -> None:
    """Whatever is said in whatever order, from elsewhere."""
    messages = [speak(*copy.deepcopy(blocks)) for speak, blocks in turns]
    assert valid(CODEC.write_request(asks(*messages), Target("gpt-5", REASONS), Losses()).body) == []


def test_recorded_conversations_from_elsewhere_are_what_openais_description_says() -> None:
    """The recorded requests, as if another format had read them."""
    counted = 0
    for line in requests():
        request = bare(CODEC.read_request(copy.deepcopy(line.request), Asked()))
        body = CODEC.write_request(request, Target("gpt-5", REASONS), Losses()).body
        assert valid(body) == [], line.id
        counted += 1
    assert counted >= 1280


def test_replies_are_what_openais_description_says() -> None:
    """A reply to a client; `user` is null there in the API's own replies too, against its description."""
    for blocks in ([], answered(), [text("Hi")]):
        reply = Reply("anthropic", answers=[Answer(blocks, Stop("end"))], usage=Usage(1, 0, 0, 1))
        body = CODEC.write_reply(reply, client(), Losses("reply"))
        assert body.pop("user") is None
        assert list(published.openai("Response")(body)) == []
