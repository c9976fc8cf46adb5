"""Where each client format says a setting: the JSON paths by which losses are told to it.

Codecs tell a loss of a setting by its neutral name (`max_tokens`, `reasoning.effort`); the client knows it by its own.
What a codec tells of messages, tools and leftovers has the client's path already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from interpose.ir.losses import Loss

_CONFIG = "generationConfig"
_INFERENCE = "inferenceConfig"
_MORE = "additionalModelRequestFields"
# By codec: neutral name -> path. What stands in none has the same name in both.
PATHS: Mapping[str, Mapping[str, str]] = {
    "openai-completions": {"messages": "prompt"},
    "openai-chat": {"reasoning.effort": "reasoning_effort", "output": "response_format"},
    "openai-responses": {
        "max_tokens": "max_output_tokens",
        "response_format": "text.format",
        "output": "text.format",
    },
    "anthropic": {
        "stop": "stop_sequences",
        "reasoning.effort": "output_config.effort",
        "reasoning": "thinking",
        "response_format": "output_config.format",
        "output": "output_config.format",
        "user": "metadata.user_id",
        "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    },
    "gemini": {
        **{
            name: f"{_CONFIG}.{own}"
            for name, own in (
                ("max_tokens", "maxOutputTokens"),
                ("temperature", "temperature"),
                ("top_p", "topP"),
                ("top_k", "topK"),
                ("seed", "seed"),
                ("stop", "stopSequences"),
                ("n", "candidateCount"),
                ("frequency_penalty", "frequencyPenalty"),
                ("presence_penalty", "presencePenalty"),
                ("logprobs", "responseLogprobs"),
                ("reasoning", "thinkingConfig"),
                ("response_format", "responseMimeType"),
                ("output", "responseMimeType"),
            )
        },
        "tool_choice": "toolConfig.functionCallingConfig",
        "metadata": "labels",
        "service_tier": "serviceTier",
    },
    "bedrock-converse": {
        **{
            name: f"{_INFERENCE}.{own}"
            for name, own in (
                ("max_tokens", "maxTokens"),
                ("temperature", "temperature"),
                ("top_p", "topP"),
                ("stop", "stopSequences"),
            )
        },
        "top_k": _MORE,
        "reasoning": _MORE,
        "tool_choice": "toolConfig.toolChoice",
        "response_format": "outputConfig.textFormat",
        "output": "outputConfig.textFormat",
        "metadata": "requestMetadata",
        "service_tier": "serviceTier",
    },
    "mistral": {"seed": "random_seed", "reasoning.effort": "reasoning_effort", "output": "response_format"},
    "cohere": {
        "top_p": "p",
        "top_k": "k",
        "stop": "stop_sequences",
        "reasoning": "thinking",
        "output": "response_format",
    },
    "ollama": {
        **{
            name: f"options.{name}"
            for name in ("temperature", "top_p", "top_k", "seed", "stop", "frequency_penalty", "presence_penalty")
        },
        "max_tokens": "options.num_predict",
        "reasoning": "think",
        "response_format": "format",
        "output": "format",
    },
}


def located(loss: Loss, client: str) -> Loss:
    """The loss with the path that clients of that codec know."""
    paths = PATHS.get(client)
    if not paths:
        return loss
    begin = loss.path
    while begin:
        if begin in paths:
            return replace(loss, path=paths[begin] + loss.path[len(begin) :])
        begin = begin.rpartition(".")[0]
    return loss
