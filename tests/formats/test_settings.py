"""Losses of settings are told by the path at which the client wrote them."""

import copy
from typing import Any

import pytest

from interpose.formats.codecs import CODECS, Asked, Target
from interpose.formats.settings import PATHS, located
from interpose.ir import Losses
from interpose.ir.losses import Loss, Severity
from interpose.stages.translation import written_for

HI = [{"role": "user", "content": "Hi"}]
TOLD = [
    ("openai-chat", {"messages": HI, "n": 2}, "anthropic", "n"),
    ("openai-chat", {"messages": HI, "temperature": 1.7}, "anthropic", "temperature"),
    ("openai-responses", {"input": "Hi", "text": {"format": {"type": "json_object"}}}, "anthropic", "text.format"),
    ("openai-responses", {"input": "Hi"}, "anthropic", "max_output_tokens"),
    ("anthropic", {"messages": HI, "max_tokens": 9, "stop_sequences": ["a"]}, "openai-responses", "stop_sequences"),
    ("anthropic", {"messages": HI, "max_tokens": 9, "top_k": 5}, "openai-chat", "top_k"),
    (
        "gemini",
        {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}], "generationConfig": {"candidateCount": 2}},
        "anthropic",
        "generationConfig.candidateCount",
    ),
    (
        "gemini",
        {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}], "generationConfig": {"temperature": 1.5}},
        "anthropic",
        "generationConfig.temperature",
    ),
    (
        "bedrock-converse",
        {"messages": [{"role": "user", "content": [{"text": "Hi"}]}], "inferenceConfig": {"stopSequences": ["a"]}},
        "openai-responses",
        "inferenceConfig.stopSequences",
    ),
    ("cohere", {"model": "m", "messages": HI, "k": 5}, "openai-chat", "k"),
    ("ollama", {"model": "m", "messages": HI, "options": {"temperature": 1.5}}, "anthropic", "options.temperature"),
]
PLACES = {"gemini": "/v1beta/models/m:generateContent", "bedrock-converse": "/model/m/converse"}


@pytest.mark.parametrize(("client", "body", "provider", "path"), TOLD)
def test_a_setting_is_told_by_the_clients_own_path(client: str, body: dict[str, Any], provider: str, path: str) -> None:
    """What a 400 names as its param, and what the ledger and `interpose explain` say."""
    named = {} if client in PLACES else {"model": "m"}
    request = CODECS[client].read_request({**named, **copy.deepcopy(body)}, Asked(PLACES.get(client, "")))
    losses = Losses()
    written_for(request, CODECS[provider], Target("m"), losses)
    assert path in {loss.path for loss in losses}


@pytest.mark.parametrize("client", [*PATHS, "openai-completions"])
def test_other_paths_are_left_alone(client: str) -> None:
    """Those of messages, of tools, of what a client says beyond the neutral settings."""
    for path in ("messages[0].content", "tools[1].name", "contents[0]", "", "max_tokens_to_sample"):
        loss = Loss(Severity.DROPPED, path, "why")
        assert located(loss, client) is loss


def test_what_stands_below_a_setting_goes_with_it() -> None:
    """The longest name that is known counts."""
    loss = Loss(Severity.DROPPED, "reasoning.effort", "why")
    assert located(loss, "anthropic").path == "output_config.effort"
    loss = Loss(Severity.DROPPED, "reasoning.shown", "why")
    assert located(loss, "gemini").path == "generationConfig.thinkingConfig.shown"
