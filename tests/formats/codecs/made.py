"""A conversation with everything in it that formats have, as another format's codec would have read it."""

from __future__ import annotations

from hypothesis import strategies as st

from interpose.ir import (
    Block,
    CacheMark,
    Citation,
    Foreign,
    Media,
    Message,
    Opaque,
    Output,
    Own,
    Reasoning,
    Refused,
    Request,
    Sampling,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

SIGNED = Opaque("anthropic", "signature", "c2ln")
PICTURE = Media("image", Source("base64", "iVBORw0KGgo="), "image/png", detail="low", at="picture")
LONG_ID = "toolu_" + "x" * 50
SAID: list[Block] = [
    Thinking("Hm.", opaque=SIGNED, at="thinking"),
    Text("Let me see.", [Citation("https://example.com", "Example")], at="said"),
    ToolCall(LONG_ID, "one", '{"x":1}', at="one"),
    ToolCall("", "free", "text", kind="custom", at="free"),
    Foreign("anthropic", "server_tool_use", {"type": "server_tool_use"}, at="foreign"),
]
RESULTS: list[Block] = [
    ToolResult(LONG_ID, [Text("1"), PICTURE], error=True, at="first"),
    ToolResult("", [], "free", kind="custom", at="second"),
    Text("Go on.", at="go"),
]


def everything() -> Request:
    """Made anew, since writers may put parts of it into what they write."""
    return Request(
        "elsewhere",
        "theirs",
        [
            Message("system", [Text("Be kind.", cache=CacheMark("1h"), at="system"), Text("Be short.")], at="system"),
            Message("user", [Text("Look:"), PICTURE], name="Ada", at="user"),
            Message("assistant", SAID, at="assistant"),
            Message("user", RESULTS, at="results"),
            Message("assistant", [Refused("No.", at="refused")], at="refusing"),
            Message("developer", [Text("In mid-conversation.", at="inside")], at="inside"),
            Message("user", [Text("And now?")], at="last"),
        ],
        tools=[
            Tool("one", "First.", {"type": "object", "properties": {"x": {"type": "integer"}}}, strict=True, at="one"),
            Tool("free", kind="custom", grammar={"type": "grammar"}, at="free"),
            Tool("web_search", kind="server", own=Own("anthropic", {"type": "web_search"}), at="search"),
        ],
        tool_choice=ToolChoice("any", ("one", "free"), parallel=False),
        max_tokens=100,
        sampling=Sampling(1.8, 0.5, 4, 7, 0.1, 0.2, {"5": 1.0}, logprobs=True, top_logprobs=2),
        stop=["a", "b"],
        reasoning=Reasoning(budget=4000),
        output=Output("schema", {"type": "object", "properties": {"x": {"type": "integer"}}}),
        answers=1,
        stream=True,
        include_usage=True,
        user="someone",
        metadata={"who": "me"},
        service_tier="auto",
        own=Own("elsewhere", {"store": True}),
    )


# Conversations that go on: each turn is whole, so that any number of them is a conversation.

_TEXTS = st.text(max_size=8)
_BLOCKS = st.one_of(
    _TEXTS.map(Text),
    st.just(PICTURE),
    st.builds(Thinking, _TEXTS, opaque=st.sampled_from([None, SIGNED])),
)


@st.composite
def _turns(draw: st.DrawFn) -> list[Message]:
    ids = draw(st.lists(st.sampled_from(["", "a", "b", LONG_ID]), max_size=3))
    calls: list[Block] = [ToolCall(id_, f"f{place}", "{}") for place, id_ in enumerate(ids)]
    results: list[Block] = [
        ToolResult(id_, draw(st.lists(_BLOCKS, max_size=2)), f"f{place}", draw(st.sampled_from([None, True])))
        for place, id_ in enumerate(ids)
    ]
    turn = [Message("assistant", [*draw(st.lists(_BLOCKS, max_size=2)), *calls])]
    if results:
        turn.append(Message("user", [*results, *draw(st.lists(_BLOCKS, max_size=1))]))
    said = draw(st.sampled_from(["user", "system", "developer", None]))
    if said is not None:
        turn.append(Message(said, draw(st.lists(_BLOCKS, max_size=2))))
    return turn


def growing() -> st.SearchStrategy[list[list[Message]]]:
    """Turns, of which any first ones are a conversation that the rest goes on with."""
    return st.lists(_turns(), min_size=1, max_size=4)
