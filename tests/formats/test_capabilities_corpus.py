"""The tables of capabilities against recorded calls: what a provider has accepted is not said to be impossible."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from tests.corpus import Line, lines

from interpose.formats.capabilities import Capabilities, capabilities_of

# Families whose providers refuse what a model does not do. The servers of `chat_compat` and `ollama` pass over much.
FAMILIES = (
    *("openai_chat", "openai_responses", "anthropic_messages", "gemini_generate"),
    *("bedrock_converse", "bedrock_invoke", "cohere_chat", "mistral_chat"),
)
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens", "maxTokens")
SAMPLING = ("temperature", "top_p", "top_k", "topP", "topK")
CLAUDE = ("anthropic_messages", "bedrock_invoke")
# How each format writes media; Cohere's documents are texts to be cited.
MEDIA = (
    ("image", re.compile(r'"type":"(?:image|image_url|input_image)"|"mime_?[tT]ype":"image/|\{"image":\{"format"')),
    ("audio", re.compile(r'"type":"input_audio"|"mime_?[tT]ype":"audio/')),
    (
        "document",
        re.compile(r'"type":"(?:input_file|file)"|"type":"document","source"|"mime_?[tT]ype":"application/pdf'),
    ),
    ("document", re.compile(r'\{"document":\{"(?:format|name)"')),
)


def model_of(line: Line) -> str | None:
    model = line.request.get("model")
    if isinstance(model, str):
        return model
    found = re.search(r"/(?:models?|deployments)/([^/:]+)", unquote(line.path))
    return found[1] if found else None


def asked() -> Iterator[tuple[Line, str, dict[str, Any], Capabilities]]:
    """Every recorded request that names a model, with its settings and what the tables say of it."""
    for family in FAMILIES:
        for line in lines(family):
            if not isinstance(line.request, dict) or (model := model_of(line)) is None:
                continue
            settings = line.request.get("generationConfig") or line.request.get("inferenceConfig") or line.request
            yield line, model, settings, capabilities_of(model)


def test_what_was_accepted_is_not_said_to_be_refused() -> None:
    """Limits, sampling, tools, media, prefill, system messages and thinking of every call that was answered 2xx."""
    seen: Counter[str] = Counter()
    for line, model, settings, can in asked():
        if not line.ok:
            continue
        where = f"{line.id}: {model}"
        for name in LIMITS:
            if isinstance(limit := settings.get(name), int):
                seen["limit"] += 1
                assert can.max_output is None or limit <= can.max_output, where
        if any(settings.get(name) not in (None, 1) for name in SAMPLING):
            # OpenAI takes a temperature of 1, which is its default, where it takes no other.
            seen["sampling"] += 1
            assert can.sampling, where
        if line.request.get("tools") or line.request.get("toolConfig"):
            seen["tools"] += 1
            assert can.tools, where
        text = json.dumps(line.request, separators=(",", ":"))
        for kind, pattern in MEDIA:
            if line.family != "cohere_chat" and pattern.search(text):
                seen[kind] += 1
                assert kind in can.media, f"{where}: {kind}"
        if line.family in CLAUDE:
            _claude(line.request, can, where, seen)
        if _effort(line.request) not in (None, "none"):
            seen["effort"] += 1
            assert can.thinking != "none", where
    named = "limit sampling tools image audio document prefill inside budget adaptive disabled effort"
    assert not set(named.split()) - set(seen), seen


def _claude(request: dict[str, Any], can: Capabilities, where: str, seen: Counter[str]) -> None:
    messages = request.get("messages")
    roles = [message.get("role") for message in messages] if isinstance(messages, list) else []
    if roles and roles[-1] == "assistant":
        seen["prefill"] += 1
        assert can.prefill, where
    if "system" in roles[1:]:
        seen["inside"] += 1
        assert can.system_inside, where
    thinking = request.get("thinking")
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    # A model that is asked adaptively may still take a budget, which is deprecated; none takes what it is asked not by.
    refused = {"enabled": ("none", "effort"), "adaptive": ("none", "budget"), "disabled": ("effort",)}
    if kind in refused:
        seen["budget" if kind == "enabled" else kind] += 1
        assert can.thinking not in refused[kind], where


def _effort(request: dict[str, Any]) -> object:
    reasoning = request.get("reasoning")
    return request.get("reasoning_effort") or (reasoning.get("effort") if isinstance(reasoning, dict) else None)


# What a refusal says, and what the tables must have known of the model.
REFUSALS = (
    (re.compile(r"does not support assistant message prefill"), lambda can: not can.prefill),
    (re.compile(r"'max_tokens' is not supported with this model"), lambda can: can.thinking == "effort"),
    (re.compile(r"video content block that you provided"), lambda can: "video" not in can.media),
    (re.compile(r"Content blocks are expected to be either text or image_url"), lambda can: "audio" not in can.media),
)


def test_what_was_refused_is_known() -> None:
    """Where a provider answered 400 for what its model does not do, the tables say so."""
    met = set()
    for line, model, _, can in asked():
        for place, (pattern, known) in enumerate(REFUSALS):
            if line.status == 400 and pattern.search(line.reply_bytes().decode("utf-8", "replace")):
                met.add(place)
                assert known(can), f"{line.id}: {model}"
    assert met == set(range(len(REFUSALS)))


def test_text_models_are_not_sent_images() -> None:
    """DeepSeek's own API answered an image with 400: the tables give its models no media."""
    refused = [
        line
        for line in lines("chat_compat")
        if line.status == 400 and line.provider == "deepseek" and b"unknown variant `image_url`" in line.reply_bytes()
    ]
    assert refused
    assert all(not capabilities_of(line.request["model"]).media for line in refused)


def test_mistral_and_its_own_list_agree() -> None:
    """Vision, audio and functions of each chat model are as Mistral's own list of models has them."""
    compared = 0
    for line in lines("models"):
        if line.provider != "mistral" or not line.ok:
            continue
        for row in json.loads(line.reply_bytes())["data"]:
            told, can = row["capabilities"], capabilities_of(row["id"])
            if not told["completion_chat"] or can == Capabilities():
                continue
            compared += 1
            assert told["function_calling"] == can.tools, row["id"]
            # Aliases move to newer models, which see: what one list denies a later one may grant.
            assert not told["vision"] or "image" in can.media, row["id"]
            assert not told["audio"] or "audio" in can.media, row["id"]
    assert compared > 50
