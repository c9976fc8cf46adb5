"""Anthropic's models, by the names of its own API; `lookup` turns the names of clouds and routers into these."""

from __future__ import annotations

from dataclasses import replace

from .shape import DOCUMENTS, Capabilities, Row

_DOCS = "https://platform.claude.com/docs/en"
_OVERVIEW = f"{_DOCS}/models/overview"
_BUDGET = f"{_DOCS}/build-with-claude/extended-thinking"
_ADAPTIVE = f"{_DOCS}/build-with-claude/adaptive-thinking"
_PREFILL = f"{_DOCS}/api/errors#prefill-not-supported"
_INSIDE = f"{_DOCS}/build-with-claude/mid-conversation-system-messages"
_MIGRATION = f"{_DOCS}/about-claude/models/migration-guide"
_MARKS = "https://openrouter.ai/docs/features/prompt-caching"

# Servers of Chat Completions that offer Claude take its own marks.
_CLAUDE = Capabilities(cache_field="cache_control")
_OLD = replace(_CLAUDE, thinking="none")
# https://platform.claude.com/docs/en/build-with-claude/effort
_4_6 = replace(
    _CLAUDE, max_output=128_000, thinking="adaptive", efforts=("low", "medium", "high", "max"), prefill=False
)
_4_7 = replace(_4_6, sampling=False, efforts=("low", "medium", "high", "xhigh", "max"))
_4_8 = replace(_4_7, system_inside=True)
# These refuse to be told not to think, so that effort is all there is to say.
_ALWAYS = replace(_4_8, thinking="effort")
# A choice that forces a tool is a 400.
_5_5 = replace(_ALWAYS, forced=False)

ROWS: tuple[Row, ...] = (
    Row(("claude*",), _CLAUDE, (_MARKS,)),
    # Bedrock, where they are left, reads documents for them.
    Row(
        ("claude-2*", "claude-v2*", "claude-instant*"),
        replace(_OLD, max_output=4096, media=DOCUMENTS, tools=False),
        (_OVERVIEW,),
    ),
    Row(("claude-3-opus*", "claude-3-sonnet*", "claude-3-haiku*"), replace(_OLD, max_output=4096), (_OVERVIEW,)),
    Row(("claude-3-5-*",), replace(_OLD, max_output=8192), (_OVERVIEW,)),
    Row(("claude-3-7-sonnet*",), replace(_CLAUDE, max_output=64_000), (_OVERVIEW, _BUDGET)),
    Row(
        ("claude-opus-4", "claude-opus-4-0", "claude-opus-4-2*", "claude-opus-4-1*"),
        replace(_CLAUDE, max_output=32_000),
        (_OVERVIEW, _BUDGET),
    ),
    Row(
        (
            "claude-sonnet-4",
            "claude-sonnet-4-0",
            "claude-sonnet-4-2*",
            "claude-sonnet-4-5*",
            "claude-haiku-4-5*",
            "claude-opus-4-5*",
        ),
        replace(_CLAUDE, max_output=64_000),
        (_OVERVIEW, _BUDGET),
    ),
    Row(
        ("claude-opus-4-6*", "claude-sonnet-4-6*"),
        _4_6,
        (f"{_DOCS}/models/opus-4-6/overview", f"{_DOCS}/models/sonnet-4-6/overview", _ADAPTIVE, _PREFILL),
    ),
    Row(("claude-mythos-preview*",), replace(_4_6, thinking="effort", efforts=()), (_ADAPTIVE, _PREFILL)),
    Row(("claude-opus-4-7*",), _4_7, (_ADAPTIVE, _MIGRATION, _PREFILL)),
    Row(("claude-opus-4-8*",), _4_8, (_ADAPTIVE, _MIGRATION, _INSIDE)),
    Row(("claude-opus-5*", "claude-sonnet-5*"), _4_8, (_OVERVIEW, _MIGRATION, _INSIDE)),
    Row(
        ("claude-fable-5*", "claude-mythos-5*"),
        _ALWAYS,
        (f"{_DOCS}/models/fable-5/migration-guide", _OVERVIEW, _INSIDE),
    ),
    Row(("claude-fable-5-1*", "claude-mythos-5-1*"), _5_5, (f"{_DOCS}/models/fable-5-1/migration-guide", _INSIDE)),
    Row(("claude-opus-5-5*",), _5_5, (f"{_DOCS}/models/opus-5-5/migration-guide", _INSIDE)),
    Row(("claude-sonnet-5-5*",), _5_5, (f"{_DOCS}/models/sonnet-5-5/migration-guide", _INSIDE)),
    Row(("claude-haiku-5-5*",), _4_8, (f"{_DOCS}/models/haiku-5-5/migration-guide", _INSIDE)),
)
