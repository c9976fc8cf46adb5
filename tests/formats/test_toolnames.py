"""Names of tools that a provider refuses: fitted on the way there, the client's own on the way back."""

import re
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpose.formats.codecs import CODECS, Asked, Client, Target
from interpose.formats.toolnames import RULES, fit, give_back, restore, restored
from interpose.ir import Losses, Message, Request, Text, Tool, ToolCall, ToolChoice, ToolResult, events_of

DOTTED = "mcp.files.read"
LONG = "mcp__a_server_with_a_long_name__and_a_tool_whose_name_is_even_longer_than_that"


def conversation(name: str) -> Request:
    return Request(
        "gemini",
        "m",
        [
            Message("user", [Text("Hi")]),
            Message("assistant", [ToolCall("c", name, "{}")]),
            Message("tool", [ToolResult("c", [Text("done")], name)]),
        ],
        tools=[Tool(name, parameters={"type": "object", "properties": {}}, at="tools[0]")],
        tool_choice=ToolChoice("any", (name,)),
    )


@pytest.mark.parametrize("provider", list(RULES))
@pytest.mark.parametrize("name", [DOTTED, LONG, "9lives", "sch\u00f6n", "a b", "x" * 200])
def test_a_tool_has_one_name_in_all_places(provider: str, name: str) -> None:
    """The provider's rule takes it; the reply has the client's own, whole and in pieces; the request is as it was."""
    rule = RULES[provider]
    request, losses = replace(conversation(name), format="ollama"), Losses()
    names = fit(request, provider, losses)
    (tool,), (call,), (result,) = request.tools, request.messages[1].blocks, request.messages[2].blocks
    assert isinstance(call, ToolCall)
    assert isinstance(result, ToolResult)
    assert request.tool_choice is not None
    made = tool.name
    assert {call.name, result.name, *request.tool_choice.names} == {made}
    assert len(made) <= rule.longest
    assert rule.pattern.fullmatch(made)
    assert [(loss.severity, loss.path) for loss in losses] == ([] if made == name else [("carried", "tools[0].name")])
    assert names == ({} if made == name else {made: name})
    give_back(request, names)
    assert replace(request, format="gemini") == conversation(name)


@pytest.mark.parametrize("to", ["openai-chat", "openai-responses", "anthropic", "bedrock-converse", "mistral"])
def test_what_is_written_is_taken_and_what_comes_back_is_known(to: str) -> None:
    """A Gemini application's dotted name, through each codec and back, whole and streamed."""
    source = CODECS["gemini"]
    body: dict[str, Any] = {
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "tools": [{"functionDeclarations": [{"name": DOTTED, "parametersJsonSchema": {"type": "object"}}]}],
    }
    request = source.read_request(body, Asked("/v1beta/models/m:generateContent"))
    losses = Losses()
    names = fit(request, to, losses)
    written = CODECS[to].write_request(request, Target("m"), losses).body
    assert DOTTED.encode() not in orjson.dumps(written)
    (made,) = names
    assert made.encode() in orjson.dumps(written)
    client = Client(request, "m", "id", 0)
    answer = CODECS["ollama"].read_reply(
        {
            "model": "m", "done": True, "done_reason": "stop",
            "message": {
                "role": "assistant", "content": "", "tool_calls": [{"function": {"name": made, "arguments": {}}}],
            },
        }
    )  # fmt: skip
    writer = source.writer(client, Losses("reply"))
    streamed = writer.write(restored(events_of(answer), names)) + writer.finish()
    whole = orjson.dumps(source.write_reply(restore(answer, names), client, Losses("reply")))
    for told in (streamed, whole):
        assert DOTTED.encode() in told
        assert made.encode() not in told


def test_a_format_keeps_its_own_names() -> None:
    """What Claude takes is sent to Claude, whatever another format says; and nobody says anything of Ollama's."""
    request = replace(conversation("a.b"), format="anthropic")
    assert fit(request, "anthropic", Losses()) == {}
    assert fit(request, "ollama", Losses()) == {}
    assert request.tools[0].name == "a.b"


@given(st.lists(st.text(max_size=200), unique=True, max_size=6))
def test_names_stay_apart_and_the_same(names: list[str]) -> None:
    """Two tools never become one, and a longer conversation names them as its beginning did."""
    first = Request("x", "m", [], tools=[Tool(name) for name in names])
    again = Request("x", "m", [Message("user", [Text("more")])], tools=[Tool(name) for name in names])
    fit(first, "openai-chat", Losses())
    fit(again, "openai-chat", Losses())
    made = [tool.name for tool in first.tools]
    assert made == [tool.name for tool in again.tools]
    assert len(set(made)) == len(names)
    assert all(not name or re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in made)
