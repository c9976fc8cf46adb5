"""Ids of tool calls, fitted to what a format takes: by a stable hash, never cut off, the same on call and result."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class IdRule:
    """Which ids a format takes (`pattern`, matched as a whole), and what one that is made looks like."""

    pattern: re.Pattern[str]
    prefix: str
    length: int
    """Of the part behind the prefix."""


# Chat: at most 40 characters. Responses: 64. Claude: ^[a-zA-Z0-9_-]+$. Bedrock: [a-zA-Z0-9_.:-]{1,64}. Mistral: 9.
CHAT = IdRule(re.compile(r"[\s\S]{1,40}"), "call_", 24)
RESPONSES = IdRule(re.compile(r"[\s\S]{1,64}"), "call_", 24)
CLAUDE = IdRule(re.compile(r"[a-zA-Z0-9_-]+"), "toolu_", 24)
BEDROCK = IdRule(re.compile(r"[a-zA-Z0-9_.:-]{1,64}"), "tooluse_", 22)
# An end user of OpenAI's: "string too long. Expected a string with maximum length 64"
USER = IdRule(re.compile(r"[\s\S]{1,64}"), "user_", 32)
MISTRAL = IdRule(re.compile(r"[a-zA-Z0-9]{9}"), "", 9)


def fit(id_: str, rule: IdRule) -> str:
    """`id_` if the rule takes it, else one made from it. An empty id is the caller's to `make`."""
    return id_ if rule.pattern.fullmatch(id_) else make(id_, rule)


def make(seed: str, rule: IdRule) -> str:
    """An id made from `seed` alone."""
    number = int.from_bytes(hashlib.sha256(seed.encode("utf-8", "surrogatepass")).digest())
    text = ""
    while len(text) < rule.length:
        number, digit = divmod(number, 62)
        text += _BASE62[digit]
    return rule.prefix + text
