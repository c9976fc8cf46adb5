"""What a recorded exchange cost, computed the plain way: the whole recording's own counters, and genai-prices' own sum.

An independent second opinion on the ledger's `cost_usd`: it shares the price list and nothing else. Whose list holds is
found by genai-prices from the URL, the counters are those of `recorded_usage`, and what has a price of its own (sound,
cache writes that last an hour, searches, a service tier) is looked up in the reply here.
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from urllib.parse import unquote

import genai_prices
from tests.corpus import Line
from tests.e2e.recorded_usage import Json, Tokens, at, documents, last_usage, number


class Unpriced(Exception):
    """No price is known, or the reply's own counters contradict each other: the message says which."""


def models_of(line: Line) -> list[str]:
    """The model of a call as it was asked for, and as its reply names it: a deployment or an alias has no price."""
    paths = (("model",), ("message", "model"), ("response", "model"), ("modelVersion",))
    named = (at(document, *path) for document in documents(line) for path in paths)
    asked = line.request.get("model") if isinstance(line.request, dict) else None
    in_url = re.search(r"(?:models?|deployments)/([^/]+?)(?::[a-zA-Z]+)?(?:/|$)", unquote(line.path))
    # A deployment of Azure's is what its URL says, whatever stands in the body.
    found = (in_url[1] if in_url else asked, next((name for name in named if name), None))
    return [name for name in found if isinstance(name, str) and name]


def parts(line: Line) -> dict[str, int]:
    """What has a price of its own, by genai-prices' names."""
    found = documents(line)
    usage = last_usage(found, ("usage",), ("response", "usage")) or {}
    merged: Json = {}
    for document in found:
        for told in (at(document, "message", "usage"), at(document, "usage"), document.get("usageMetadata")):
            merged.update({name: value for name, value in (told or {}).items() if value is not None})

    def kind(names: tuple[str, ...], *modalities: str) -> int | None:
        rows = [row for name in names for row in merged.get(name) or () if row.get("modality") in modalities]
        return sum(row.get("tokenCount", 0) for row in rows) if rows else None

    heard = number(usage, "prompt_tokens_details", "audio_tokens")
    said = number(usage, "completion_tokens_details", "audio_tokens")
    asked, answered, kept = (
        ("promptTokensDetails", "toolUsePromptTokensDetails"),
        ("candidatesTokensDetails",),
        ("cacheTokensDetails",),
    )
    told = {
        "cache_write_1h_tokens": number(merged, "cache_creation", "ephemeral_1h_input_tokens"),
        "web_searches": number(merged, "server_tool_use", "web_search_requests"),
        "input_audio_tokens": heard or kind(asked, "AUDIO"),
        "input_image_tokens": kind(asked, "IMAGE", "DOCUMENT"),
        "input_video_tokens": kind(asked, "VIDEO"),
        "output_audio_tokens": said or kind(answered, "AUDIO"),
        "output_image_tokens": kind(answered, "IMAGE", "DOCUMENT"),
        "output_video_tokens": kind(answered, "VIDEO"),
        "cache_audio_read_tokens": kind(kept, "AUDIO"),
        "cache_image_read_tokens": kind(kept, "IMAGE", "DOCUMENT"),
    }
    return {name: count for name, count in told.items() if count}


def terms(line: Line) -> dict[str, str]:
    """The tier that the reply says it was served in, the last one told."""
    tier: object = None
    for document in documents(line):
        for path in (("service_tier",), ("response", "service_tier"), ("usageMetadata", "trafficType")):
            tier = at(document, *path) or tier
    named = str(tier).lower().removeprefix("on_demand_")
    return {"service_tier": named} if named in ("flex", "priority") else {}


def billed(line: Line, tokens: Tokens) -> dict[str, int | None]:
    """What is charged for, where that is not what was used: Cohere charges what it calls billed units."""
    if line.family.removeprefix("responseonly_") == "cohere_chat":
        usage = last_usage(documents(line), ("usage",), ("meta",), ("delta", "usage"), ("response", "meta"))
        units = at(usage, "billed_units")
        if units:
            return {"input_tokens": number(units, "input_tokens"), "output_tokens": number(units, "output_tokens")}
    return {
        "input_tokens": tokens.input,
        "cache_read_tokens": tokens.cache_read,
        "cache_write_tokens": tokens.cache_write,
        "output_tokens": tokens.output,
    }


def recorded_cost(line: Line, url: str, tokens: Tokens, moment: datetime) -> Decimal:
    """Dollars. Raises Unpriced."""
    usage = genai_prices.Usage(**billed(line, tokens), **parts(line))
    for model in models_of(line):
        try:
            return genai_prices.calc_price(
                usage, model, provider_api_url=url, genai_request_timestamp=moment, price_context=terms(line)
            ).total_price
        except LookupError:
            continue
        except ValueError:
            raise Unpriced("the counters contradict each other") from None
    raise Unpriced("no price is known")
