"""Codecs: each wire format read into the neutral conversation (`interpose.ir`) and written from it.

`codec` is what every one of them is, and the conventions that make any of them understand any other. They are sans-I/O:
parsed JSON and bytes in, the same out.
"""

from __future__ import annotations

from collections.abc import Mapping

from .codec import Asked, Client, Codec, Malformed, StreamReader, StreamWriter, Target, Written

__all__ = ["CODECS", "Asked", "Client", "Codec", "Malformed", "StreamReader", "StreamWriter", "Target", "Written"]

CODECS: Mapping[str, Codec] = {}
