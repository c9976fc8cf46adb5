"""Ollama's error bodies: https://docs.ollama.com/api/errors"""

from __future__ import annotations

from interpose.formats.codecs.codec import Json
from interpose.ir import Failed


def write_error(failed: Failed) -> Json:
    """A message is all there is."""
    return {"error": failed.message or "the model failed to generate a response"}
