"""Which events of a Chat Completions stream are there for nothing but the usage.

With `stream_options: {"include_usage": true}` a last chunk comes whose `choices` are empty and whose `usage` is not:
https://platform.openai.com/docs/api-reference/chat-streaming/streaming
"""

from __future__ import annotations

import orjson


def tells_usage_alone(event: bytes) -> bool:
    """Whether a raw event of such a stream is that chunk; every host writes it in one `data:` line."""
    line = event.strip()
    if not line.startswith(b"data:") or b'"usage"' not in line or b'"choices"' not in line:
        return False
    try:
        chunk = orjson.loads(line[5:])
    except orjson.JSONDecodeError:
        return False
    return isinstance(chunk, dict) and chunk.get("choices") == [] and isinstance(chunk.get("usage"), dict)
