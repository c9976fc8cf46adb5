"""What the GenAI conventions demand of messages (their version 1.41), as checks of what a collector got.

https://github.com/open-telemetry/semantic-conventions/tree/v1.41.0/docs/gen-ai
"""

from __future__ import annotations

from typing import Any

# Of each kind of part: what it must have, and of what type.
PARTS: dict[str, dict[str, tuple[type, ...]]] = {
    "text": {"content": (str,)},
    "reasoning": {"content": (str,)},
    "tool_call": {"name": (str,), "id": (str, type(None))},
    "tool_call_response": {"response": (str, list, dict, int, float, bool), "id": (str, type(None))},
    "server_tool_call": {"name": (str,), "id": (str, type(None)), "server_tool_call": (dict,)},
    "server_tool_call_response": {"id": (str, type(None)), "server_tool_call_response": (dict,)},
    "blob": {"modality": (str,), "content": (str,), "mime_type": (str, type(None))},
    "uri": {"modality": (str,), "uri": (str,), "mime_type": (str, type(None))},
    "file": {"modality": (str,), "file_id": (str,), "mime_type": (str, type(None))},
}


def _part(part: Any) -> None:
    assert isinstance(part, dict)
    assert isinstance(part["type"], str)
    assert part["type"]
    for name, kinds in PARTS.get(part["type"], {}).items():
        assert isinstance(part.get(name), kinds), (name, part)
        if isinstance(part[name], dict) and part["type"].startswith("server_"):
            assert isinstance(part[name]["type"], str)


def _message(message: Any) -> None:
    assert isinstance(message, dict)
    assert isinstance(message["role"], str)
    for part in message["parts"]:
        _part(part)


def check(attributes: dict[str, Any]) -> None:
    """All of them, as far as they are there."""
    for message in attributes.get("gen_ai.input.messages", []):
        _message(message)
    for message in attributes.get("gen_ai.output.messages", []):
        _message(message)
        assert isinstance(message["finish_reason"], str)
        assert message["finish_reason"]
    for part in attributes.get("gen_ai.system_instructions", []):
        _part(part)
    for tool in attributes.get("gen_ai.tool.definitions", []):
        assert isinstance(tool["type"], str)
        assert isinstance(tool["name"], str)
        assert isinstance(tool.get("parameters", {}), dict)
