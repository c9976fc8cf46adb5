"""What a model is known to refuse is not written to it from another format: it is fitted, and told."""

from copy import deepcopy
from typing import Any

import pytest

from interpose.formats.capabilities import Capabilities, capabilities_of, nearest
from interpose.formats.codecs import CODECS, Asked, Target
from interpose.ir import Losses

Body = dict[str, Any]
USER = "user_" + "0" * 64 + "_account__session_" + "1" * 36


def converted(source: str, target: str, body: Body, model: str) -> tuple[Body, list[tuple[str, str]]]:
    losses = Losses()
    request = CODECS[source].read_request(deepcopy(body), Asked())
    written = CODECS[target].write_request(request, Target(model, capabilities_of(model)), losses)
    return written.body, [(str(loss.severity), loss.path) for loss in losses]


def claude(**settings: Any) -> Body:
    return {"model": "m", "max_tokens": 1000, "messages": [{"role": "user", "content": "Hello"}], **settings}


def chat(**settings: Any) -> Body:
    return {"model": "m", "messages": [{"role": "user", "content": "Hello"}], **settings}


@pytest.mark.parametrize(
    ("target", "field"), [("openai-chat", "max_tokens"), ("openai-responses", "max_output_tokens")]
)
def test_no_more_is_asked_for_than_the_model_writes(target: str, field: str) -> None:
    """OpenAI refuses a limit above the model's own, which agents made for Claude send."""
    body, losses = converted("anthropic", target, claude(max_tokens=32_000), "gpt-4o")
    assert body[field] == 16_384
    assert ("approximated", "max_tokens") in losses


@pytest.mark.parametrize("target", ["openai-chat", "openai-responses"])
def test_a_long_name_of_a_user_becomes_one_that_openai_takes(target: str) -> None:
    """OpenAI takes 64 characters; Claude Code tells 150. One name becomes the same each time, a short one stays."""
    body, losses = converted("anthropic", target, claude(metadata={"user_id": USER}), "gpt-4o")
    again, _ = converted("anthropic", target, claude(metadata={"user_id": USER}), "gpt-4o")
    other, _ = converted("anthropic", target, claude(metadata={"user_id": USER + "2"}), "gpt-4o")
    short, unheard = converted("anthropic", target, claude(metadata={"user_id": "u"}), "gpt-4o")
    assert len(body["user"]) <= 64
    assert body["user"] == again["user"] != other["user"]
    assert ("approximated", "user") in losses
    assert short["user"] == "u"
    assert ("approximated", "user") not in unheard


@pytest.mark.parametrize(
    ("asked", "model", "effort"),
    [
        ("max", "gpt-5.1", "high"),
        ("max", "gpt-5.2", "xhigh"),
        ("xhigh", "o3", "high"),
        ("low", "gpt-5-pro", "high"),
        ("low", "gpt-5", "low"),
        ("max", "gpt-5.1-codex-max", "xhigh"),
        ("max", "gpt-5.6", "max"),
    ],
)
@pytest.mark.parametrize("target", ["openai-chat", "openai-responses"])
def test_an_effort_that_the_model_lacks_is_the_nearest_that_it_has(
    asked: str, model: str, effort: str, target: str
) -> None:
    """An unknown word is a 400 of OpenAI's; what is changed is told, and nothing else."""
    body, losses = converted("anthropic", target, claude(output_config={"effort": asked}), model)
    assert (body["reasoning_effort"] if target == "openai-chat" else body["reasoning"]["effort"]) == effort
    assert (("approximated", "reasoning") in losses) is (asked != effort)


def test_a_claude_takes_its_own_efforts() -> None:
    """Opus 4.6 knows no xhigh, Opus 4.7 does."""
    for model, effort in (("claude-opus-4-6", "high"), ("claude-opus-4-7", "xhigh")):
        body, _ = converted("openai-chat", "anthropic", chat(reasoning_effort="xhigh"), model)
        assert body["output_config"] == {"effort": effort}


@pytest.mark.parametrize(
    ("effort", "taken", "expected"),
    [
        ("none", ("low", "high"), "low"),
        ("minimal", ("none", "low"), "low"),
        ("xhigh", ("high", "max"), "high"),
        ("high", (), "high"),
        ("furious", ("low",), "furious"),
    ],
)
def test_the_nearest_effort(effort: str, taken: tuple[str, ...], expected: str) -> None:
    """The lesser of two, never none for who asked for some; where nothing is known, all is taken."""
    assert nearest(effort, taken) == expected


@pytest.mark.parametrize("target", ["openai-chat", "openai-responses"])
def test_a_temperature_goes_to_gpt_5_1_only_where_it_does_not_think(target: str) -> None:
    """From 5.1 to 5.4 temperature and top_p go with effort none, the default; with any other they are refused."""
    thinking, losses = converted(
        "anthropic", target, claude(temperature=0.5, output_config={"effort": "low"}), "gpt-5.1"
    )
    idle, _ = converted("anthropic", target, claude(temperature=0.5), "gpt-5.1")
    assert "temperature" not in thinking
    assert ("dropped", "temperature") in losses
    assert idle["temperature"] == 0.5


@pytest.mark.parametrize("model", ["claude-opus-5-5", "claude-sonnet-5-5", "claude-fable-5-1", "claude-opus-4-8"])
def test_no_tool_is_forced_on_a_claude_that_refuses_it(model: str) -> None:
    """Pitfall 5: the newest answer 400 to any forced choice, which is downgraded and told; others keep it."""
    tools = [{"type": "function", "function": {"name": "f"}}]
    body, losses = converted("openai-chat", "anthropic", chat(tools=tools, tool_choice="required"), model)
    forced = model == "claude-opus-4-8"
    assert body["tool_choice"] == {"type": "any" if forced else "auto"}
    assert (("approximated", "tool_choice") in losses) is not forced


@pytest.mark.parametrize(
    ("thinking", "model", "budget"),
    [
        ({"type": "enabled", "budget_tokens": 31_999}, "gemini-2.5-flash", 24_576),
        ({"type": "enabled", "budget_tokens": 31_999}, "gemini-2.5-pro", 31_999),
        ({"type": "disabled"}, "gemini-2.5-pro", 128),
        ({"type": "disabled"}, "gemini-2.5-flash", 0),
    ],
)
def test_a_budget_is_one_that_gemini_takes(thinking: Body, model: str, budget: int) -> None:
    """Flash refuses more than 24,576 tokens, and Pro none at all; an effort is held to the same."""
    body, losses = converted("anthropic", "gemini", claude(max_tokens=32_000, thinking=thinking), model)
    assert body["generationConfig"]["thinkingConfig"]["thinkingBudget"] == budget
    asked = thinking.get("budget_tokens", 0)
    assert (("approximated", "reasoning") in losses) is (asked != budget)


@pytest.mark.parametrize(("model", "both"), [("gemini-2.5-flash", False), ("gemini-3-pro-preview", True)])
def test_functions_go_before_the_form_of_an_answer(model: str, *, both: bool) -> None:
    """Before Gemini 3, a request with functions and a JSON answer is refused: the functions stay, and that is told."""
    form = {"type": "json_schema", "json_schema": {"name": "o", "schema": {"type": "object"}}}
    tools = [{"type": "function", "function": {"name": "f"}}]
    body, losses = converted("openai-chat", "gemini", chat(tools=tools, response_format=form), model)
    assert ("responseMimeType" in body.get("generationConfig", {})) is both
    assert ("responseJsonSchema" in body.get("generationConfig", {})) is both
    assert (("dropped", "response_format") in losses) is not both
    alone, _ = converted("openai-chat", "gemini", chat(response_format=form), model)
    assert alone["generationConfig"]["responseMimeType"] == "application/json"


def test_what_responses_and_chat_both_have_is_kept() -> None:
    """The key of the cache, the end user's for safety, verbosity and store have the same names in Chat."""
    body, losses = converted(
        "openai-responses",
        "openai-chat",
        {
            "model": "m",
            "input": "Hello",
            "store": True,
            "prompt_cache_key": "k",
            "safety_identifier": "s",
            "text": {"verbosity": "low"},
        },
        "gpt-5.1",
    )
    assert (body["store"], body["prompt_cache_key"], body["safety_identifier"]) == (True, "k", "s")
    assert body["verbosity"] == "low"
    assert losses == []


@pytest.mark.parametrize("target", ["anthropic", "gemini", "openai-responses"])
def test_a_search_that_is_asked_for_does_not_vanish(target: str) -> None:
    """An empty `web_search_options` has the model search the web: that it does not is told."""
    body, losses = converted("openai-chat", target, chat(web_search_options={}), "some-model")
    assert ("dropped", "web_search_options") in losses
    assert "tools" not in body


def test_a_search_goes_back_to_chat_as_it_came() -> None:
    """Chat -> neutral -> Chat keeps it beside the tools."""
    asked = chat(web_search_options={"search_context_size": "low"})
    body, losses = converted("openai-chat", "openai-chat", chat(web_search_options={"search_context_size": "low"}), "m")
    assert body == asked
    assert losses == []


def test_calls_of_one_legacy_function_have_ids_of_their_own() -> None:
    """Claude refuses a request in which two calls have one id; each result answers the call before it."""
    turn = [
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "x"},
    ]
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}, *turn, *(dict(node) for node in turn)]}
    body["messages"][3]["function_call"] = {"name": "f", "arguments": "{}"}
    written, _ = converted("openai-chat", "anthropic", body, "claude-sonnet-4-5")
    calls = [turn["content"][0]["id"] for turn in written["messages"] if turn["role"] == "assistant"]
    results = [turn["content"][0]["tool_use_id"] for turn in written["messages"][1:] if turn["role"] == "user"]
    assert calls == results
    assert len(set(calls)) == 2


def test_a_model_of_which_nothing_is_known_is_left_alone() -> None:
    """The default refuses nothing."""
    assert Capabilities().forced
    assert Capabilities().sampling_thinking
    assert Capabilities().efforts == ()
