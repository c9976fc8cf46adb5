"""Every recorded URL, classified: the endpoints and wires of each family, and what stays unknown, with the reason."""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from urllib.parse import urlsplit

import pytest
from tests.corpus import Line, lines

from interpose.formats.endpoints import Match, classify, suspicious
from interpose.formats.hosts import generic_row, lookup

# What the recordings' redaction put in the place of a region or a project.
REDACTED = {"<AWS_REGION>": "us-east-1", "<GOOGLE_CLOUD_PROJECT>": "p", "<GOOGLE_CLOUD_LOCATION>": "global"}

# By family: "format endpoint wire" of every URL that is known.
KNOWN = {
    "anthropic_count_tokens": {
        "anthropic count_tokens none": 8,
    },
    "anthropic_messages": {
        "anthropic chat anthropic": 1187,
    },
    "anthropic_other": {
        "anthropic files none": 22,
        "anthropic batches none": 7,
        "anthropic models none": 4,
        "anthropic completions none": 3,
    },
    "bedrock_converse": {
        "bedrock chat bedrock-converse": 279,
    },
    "bedrock_invoke": {
        "bedrock chat bedrock-invoke": 134,
        "bedrock embeddings bedrock-invoke": 29,
        "bedrock rerank bedrock-invoke": 1,
    },
    "chat_compat": {
        "openai chat openai-chat": 1017,
    },
    "cohere_chat": {
        "cohere chat cohere": 117,
    },
    "cohere_other": {
        "cohere embeddings cohere": 22,
        "cohere completions cohere": 3,
        "cohere other none": 2,
        "cohere rerank cohere": 2,
    },
    "completions_legacy": {
        "openai completions openai-completions": 87,
        "openai other openai-chat": 2,
    },
    "embeddings": {
        "openai embeddings openai-embeddings": 134,
        "mistral embeddings openai-embeddings": 17,
    },
    "gemini_generate": {
        "gemini chat gemini": 1051,
    },
    "gemini_other": {
        "gemini other none": 41,
        "gemini chat gemini-interactions": 16,
        "gemini embeddings gemini": 27,
        "gemini files none": 13,
        "gemini count_tokens none": 9,
        "gemini models none": 4,
        "gemini embeddings none": 3,
        "openai models none": 2,
        "gemini images none": 1,
    },
    "mistral_chat": {
        "mistral chat mistral": 221,
    },
    "models": {
        "openai models none": 15,
        "mistral models none": 4,
        "cohere models none": 3,
        "openai other none": 1,
    },
    "ollama": {
        "ollama chat ollama": 44,
        "ollama completions ollama": 6,
        "ollama models none": 3,
        "ollama embeddings ollama": 2,
        "ollama other none": 1,
    },
    "openai_chat": {
        "openai chat openai-chat": 1653,
    },
    "openai_responses": {
        "openai-responses chat openai-responses": 1284,
        "openai-responses realtime none": 1,
    },
    "openai_responses_other": {
        "openai-responses count_tokens none": 9,
        "openai-responses other none": 4,
        "openai-responses other openai-responses": 4,
    },
    "other": {
        # Vector stores, conversations, threads and files run no model when they answer.
        "openai other none": 155,
        "openai other openai-other": 78,
        "openai images openai-other": 37,
        "openai files none": 36,
        "openai audio openai-other": 15,
        "openai batches none": 11,
        "openai realtime none": 7,
        "openai moderations openai-other": 5,
        "openai chat openai-chat": 5,
        "bedrock count_tokens none": 4,
        "bedrock moderations none": 2,
        "mistral other openai-other": 2,
        "openai rerank openai-other": 2,
        "mistral audio openai-other": 2,
        "openai models none": 1,
        "mistral files none": 1,
    },
}

# Host and beginning of the path of every other one, and why it is unknown.
UNKNOWN = {
    # Paths that Azure tolerates and two servers could read differently: an empty segment.
    "example-resource.openai.azure.com //openai/deployments/": 4,
    # Requests that their provider answered with 404.
    "example-resource.openai.azure.com /chat/completions": 3,
    # A recording whose host was assumed: the path is OpenRouter's.
    "api.anthropic.com /api/v1/messages": 1,
    # Administration: usage and costs of an organisation.
    "api.openai.com /v1/organization/": 5,
    # Other protocols, on hosts that are not in the table.
    "huggingface.co /api/models/": 9,
    "api-inference.huggingface.co /models/": 2,
    "w8qtunpthvh1r7a0.us-east-1.aws.endpoints.huggingface.cloud /": 1,
    "us-south.ml.cloud.ibm.com /ml/": 11,
    "bedrock-agent-runtime.us-east-1.amazonaws.com /agents/": 7,
    "bedrock-agent-runtime.ap-south-1.amazonaws.com /agents/": 5,
}


def requests() -> Iterator[tuple[Line, str, str, Match]]:
    """(line, host, target, match) of every recorded request, its fragment left out, as HTTP clients do."""
    for line in lines():
        if not line.url:
            continue
        url = line.url
        for mark, value in REDACTED.items():
            url = url.replace(mark, value)
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or {"https": 443, "http": 80}[parts.scheme]
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        row = lookup(host, port) or generic_row(host, port)
        yield line, host, target, classify(row, line.method, target)


@cache
def classified() -> tuple[tuple[Line, str, str, Match], ...]:
    return tuple(requests())


def test_every_family_has_its_endpoints_and_wires() -> None:
    """All chat families are chat in their own wire; the counts add up to every recorded URL but the unknown ones."""
    counted: dict[str, Counter[str]] = {}
    for line, _, _, match in classified():
        if match.known:
            counted.setdefault(line.family, Counter())[f"{match.format} {match.endpoint} {match.wire}"] += 1
    assert {family: dict(counts) for family, counts in counted.items()} == KNOWN
    assert sum(map(sum, (counts.values() for counts in KNOWN.values()))) + sum(UNKNOWN.values()) == len(classified())


def test_what_stays_unknown_is_named() -> None:
    """Each URL that is not known has its reason in the table above; none is unknown by accident."""
    counted: Counter[str] = Counter()
    for _, host, target, match in classified():
        if not match.known:
            reasons = [reason for reason in UNKNOWN if f"{host} {target}".startswith(reason)]
            assert reasons, f"{host} {target} is unknown for no stated reason"
            counted[reasons[0]] += 1
            assert (match.endpoint, match.wire) == ("other", "none")
    assert dict(counted) == UNKNOWN


def test_no_recorded_target_is_suspicious_without_reason() -> None:
    """Of all the targets that real clients sent, only the four with an empty segment are ambiguous."""
    flaws = Counter(suspicious(target) for _, _, target, _ in classified())
    assert {flaw: count for flaw, count in flaws.items() if flaw} == {"an empty segment": 4}


def test_a_stream_announced_by_the_url_is_one() -> None:
    """Where the URL says whether the reply is a stream, the recording agrees."""
    said = [(line.streaming, match.stream) for line, _, _, match in classified() if match.stream is not None]
    assert len(said) == 1500
    assert all(streaming == stream for streaming, stream in said)


@pytest.mark.parametrize("family", ["gemini_generate", "bedrock_converse", "bedrock_invoke"])
def test_a_model_in_the_url_is_read(family: str) -> None:
    """Every call of a family that names its model in the URL has one, and it stands at its span."""
    count = 0
    for line, _, target, match in classified():
        if line.family == family:
            count += 1
            assert match.model
            assert match.model_span is not None
            start, end = match.model_span
            assert target[start - 1] == "/"
            assert target[end] in ":/"
    assert count == sum(KNOWN[family].values())
