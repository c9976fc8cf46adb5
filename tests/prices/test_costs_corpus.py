"""What recorded calls cost by our meters and tariffs, against genai-prices' own reading of the same replies.

The other side shares the price lists and nothing else: genai-prices extracts the usage from the whole JSON of a reply,
where we meter bytes, and computes the price by itself. Where the two differ, the recording says why.
"""

from __future__ import annotations

import datetime
import re
from collections import Counter
from datetime import UTC
from decimal import Decimal
from typing import Any

import genai_prices
from tests.corpus import Line
from tests.formats.test_meters_corpus import Recording, at, fed, recordings

from interpose.prices import vendor
from interpose.prices.catalogue import PRICES

AT = datetime.datetime(2026, 11, 26, 12, tzinfo=UTC)
# How genai-prices calls the shapes of usage, by our wires; the first that a vendor has is taken.
FLAVOURS = {
    "anthropic": ("default", "anthropic"),
    "bedrock-converse": ("default",),
    "cohere": ("default",),
    "gemini": ("default",),
    "mistral": ("default", "chat"),
    "openai-chat": ("chat", "default"),
    "openai-embeddings": ("embeddings", "default"),
    "openai-other": ("images",),
    "openai-responses": ("responses", "default"),
}
# So many costs of each wire are equal, to the last digit.
EQUAL = {
    "anthropic": 829,
    "bedrock-converse": 187,
    "cohere": 55,
    "gemini": 816,
    "mistral": 106,
    "openai-chat": 1690,
    "openai-embeddings": 119,
    "openai-other": 3,
    "openai-responses": 813,
}


def model_of(line: Line, named: str | None) -> str | None:
    """The model of a call: as the reply, the request's body or its URL names it."""
    asked = line.request.get("model") if isinstance(line.request, dict) else None
    in_url = re.search(r"models?/([^/:]+)", line.path)
    return named or asked or (in_url[1] if in_url else None)


def theirs(recording: Recording, whose: str, model: str) -> Decimal | None:
    """The cost as genai-prices reads it; None where it cannot."""
    for flavour in FLAVOURS[recording.wire]:
        try:
            used = genai_prices.extract_usage(recording.line.reply_json, provider_id=whose, api_flavor=flavour)
            price = genai_prices.calc_price(used.usage, model, provider_id=whose, genai_request_timestamp=AT)
        except (LookupError, ValueError, AttributeError):  # the last on modalities that a client asked for as numbers
            continue
        return price.total_price
    return None


def reason(recording: Recording) -> str | None:
    """Why ours may differ: what genai-prices leaves out of its reading."""
    reply: Any = recording.line.reply_json
    usage = at(reply, "usage") or {}
    known = {
        "iterations": "compaction and advisors are billed in iterations beside the totals",
        "num_cached_tokens": "what Mistral has read from its cache costs less",
        "prompt_audio_seconds": "sound is counted in tokens beside the prompt",
    }
    told = next((why for name, why in known.items() if usage.get(name)), None)
    if told is None and recording.wire == "mistral" and (usage.get("prompt_tokens_details") or {}):
        told = "what Mistral has read from its cache costs less"
    return told


def test_recorded_calls_cost_what_genai_prices_says() -> None:
    """Equal for 4,600 calls; where not, the recording has something that the other side does not read."""
    PRICES.wait()
    equal: Counter[str] = Counter()
    wrong: list[str] = []
    explained: Counter[str] = Counter()
    for recording in recordings():
        line = recording.line
        whose = vendor(line.host) if line.host else None
        if whose is None or recording.wire not in FLAVOURS or not isinstance(line.reply_json, dict):
            continue
        reading = fed(recording)
        model = model_of(line, reading.model)
        if model is None or (expected := theirs(recording, whose, model)) is None:
            continue
        tariff = PRICES.tariff(whose, model, AT.timestamp())
        cost = tariff.cost(reading.usage, reading.units) if tariff is not None else None
        if cost == expected:
            equal[recording.wire] += 1
        elif cost is None and expected == 0:
            explained["a subscription or a free model: no price, and not zero"] += 1
        elif (why := reason(recording)) is not None:
            explained[why] += 1
        else:
            wrong.append(f"{line.family} {line.id} {whose} {model}: {cost}, not {expected}: {reading.usage}")
    assert wrong == []
    assert sum(explained.values()) <= 40, explained
    assert {wire: equal[wire] >= count for wire, count in EQUAL.items()} == dict.fromkeys(EQUAL, True), equal
