"""What the Gemini codec writes against Vertex AI's published description, and the conversations that are recorded."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.corpus import Line, lines
from tests.formats.codecs import laws
from tests.formats.codecs.gemini_samples import MESSAGES, SCHEMA
from tests.formats.codecs.published import flaws

from interpose.formats.capabilities import Capabilities
from interpose.formats.codecs import Asked, Target
from interpose.formats.codecs.gemini import CODEC
from interpose.ir import Losses, Message, Output, Reasoning, Request, Sampling, Tool, ToolChoice


@settings(max_examples=200, deadline=None)
@given(
    MESSAGES,
    st.sampled_from(["gemini-2.5-flash", "gemini-3-pro-preview", "gemini-1.5-pro"]),
    st.sampled_from(["none", "budget", "effort", "adaptive"]),
    st.sampled_from([None, "none", "minimal", "low", "medium", "high", "xhigh", "max"]),
    st.sampled_from(
        [None, ToolChoice("auto"), ToolChoice("any", ("f",)), ToolChoice("auto", ("f",)), ToolChoice("none")]
    ),
)
def test_what_is_written_of_others_is_as_described(
    messages: list[Message], model: str, thinking: Any, effort: str | None, choice: ToolChoice | None
) -> None:
    """Requests of any other format's are written as Vertex describes them."""
    request = Request(
        "openai",
        model,
        messages,
        [Tool("f", "d", SCHEMA), Tool("c", kind="custom")],
        choice,
        100,
        Sampling(1.0, 0.5, 10, 1, 0.1, 0.1, None, logprobs=True, top_logprobs=1),
        ["a"],
        Reasoning(effort=effort, shown="auto") if effort else None,
        Output("schema", SCHEMA, "n"),
        2,
    )
    body = CODEC.write_request(request, Target(model, Capabilities(thinking=thinking)), Losses()).body
    assert flaws("gemini", body) == []


REQUESTS = [line for line in lines("gemini_generate") if line.request_kind == "json"]


def read(line: Line) -> Request:
    return CODEC.read_request(copy.deepcopy(line.request), Asked(line.path, line.query))


def test_recorded_requests_as_described() -> None:
    """What is written of recorded requests is as flawless as what was recorded."""
    counted = 0
    for line in REQUESTS:
        before = flaws("gemini", line.request)
        request = read(line)
        after = flaws("gemini", CODEC.write_request(request, Target(request.model), Losses()).body)
        assert sorted(after) == sorted(before)
        counted += not after
    assert counted >= 400


def test_law_2_on_recorded_conversations() -> None:
    """Where a recorded conversation goes on in another request, what is read and written of its beginning stays."""
    counted = 0
    known: dict[str, Line] = {}
    for line in REQUESTS:
        contents = line.request["contents"]
        for end in range(1, len(contents)):
            shorter = known.get(laws.canonical(contents[:end]))
            if shorter is None:
                continue
            one, other = read(shorter), read(line)
            head = [message for message in one.messages if message.role != "system"]
            assert head == [message for message in other.messages if message.role != "system"][: len(head)]
            written = [CODEC.write_request(r, Target(r.model), Losses()).body["contents"] for r in (one, other)]
            assert laws.is_prefix(written[0], written[1])
            foreign = [
                CODEC.write_request(as_foreign(read(of)), Target("gemini-3-pro"), Losses()).body
                for of in (shorter, line)
            ]
            parts = [[part for content in body["contents"] for part in content["parts"]] for body in foreign]
            assert laws.is_prefix(parts[0], parts[1])
            counted += 1
        known[laws.canonical(contents)] = line
    assert counted >= 100


def as_foreign(request: Request) -> Request:
    """As if another format's client had sent it."""
    request.format = "openai"
    return request
