"""OpenAI's models, of api.openai.com and of Azure. Those with open weights too."""

from __future__ import annotations

from dataclasses import replace

from .shape import AUDIO, IMAGES, PAGES, TEXT, Capabilities, Row

_MODELS = "https://developers.openai.com/api/docs/models"
_REASONING = "https://developers.openai.com/api/docs/guides/reasoning"
# Temperature, top_p and logprobs go with effort `none` alone, which is the default from 5.1 to 5.4.
_LATEST = "https://developers.openai.com/api/docs/guides/latest-model"
_CACHING = "https://developers.openai.com/api/docs/guides/prompt-caching"
_FILES = "https://developers.openai.com/api/docs/guides/pdf-files"
_AUDIO = "https://developers.openai.com/api/docs/guides/audio"
_REFERENCE = "https://developers.openai.com/api/reference/resources/chat"

# A developer's message may stand anywhere in a conversation: there is no other place for it.
_CHAT = Capabilities(thinking="none", system_inside=True, media=PAGES)
_THINKS = replace(_CHAT, thinking="effort", sampling=False)
_GPT5 = replace(_THINKS, max_output=128_000)
# https://developers.openai.com/api/docs/guides/reasoning: what an older model does not know, it refuses.
_LOW_TO_HIGH = ("low", "medium", "high")
_TO_XHIGH = (*_LOW_TO_HIGH, "xhigh")
_O = replace(_THINKS, max_output=100_000, efforts=_LOW_TO_HIGH)
_IDLE = replace(_GPT5, sampling=True, sampling_thinking=False)
_GPT56 = replace(_GPT5, cache_field="prompt_cache_breakpoint")


def _page(model: str) -> str:
    return f"{_MODELS}/{model}"


ROWS: tuple[Row, ...] = (
    # All of OpenAI's take the newer name of the limit; whatever comes next will think as the latest do.
    Row(("gpt-*",), replace(_CHAT, thinking="effort"), (_REFERENCE, _REASONING)),
    Row(
        ("gpt-3.5-turbo*", "gpt-35-turbo*"),
        replace(_CHAT, max_output=4096, media=TEXT),
        (_page("gpt-3.5-turbo"),),
    ),
    Row(("gpt-3.5-turbo-16k*", "gpt-35-turbo-16k*"), replace(_CHAT, media=TEXT), (_page("gpt-3.5-turbo"),)),
    Row(("gpt-4", "gpt-4-0*"), replace(_CHAT, max_output=8192, media=TEXT), (_page("gpt-4"),)),
    Row(("gpt-4-32k*",), replace(_CHAT, media=TEXT), (_page("gpt-4"),)),
    Row(
        ("gpt-4-0125-preview", "gpt-4-1106-preview", "gpt-4-turbo-preview"),
        replace(_CHAT, max_output=4096, media=TEXT),
        (_page("gpt-4-turbo-preview"),),
    ),
    Row(("gpt-4-turbo*", "gpt-4-vision*"), replace(_CHAT, max_output=4096, media=IMAGES), (_page("gpt-4-turbo"),)),
    Row(("gpt-4o*", "chatgpt-4o-latest"), replace(_CHAT, max_output=16_384), (_page("gpt-4o"), _FILES)),
    Row(("gpt-4o-2024-05-13",), replace(_CHAT, max_output=4096), (_page("gpt-4o"),)),
    Row(
        ("gpt-4o-audio*", "gpt-4o-mini-audio*", "gpt-audio*"),
        replace(_CHAT, max_output=16_384, media=AUDIO),
        (_page("gpt-audio"), _AUDIO),
    ),
    Row(("gpt-4.1*",), replace(_CHAT, max_output=32_768), (_page("gpt-4.1"), _FILES)),
    Row(("o1", "o1-*", "o3", "o3-*", "o4-*"), _O, (_page("o3"), _REASONING)),
    Row(("o3-mini*",), replace(_O, media=TEXT), (_page("o3-mini"), _REASONING)),
    # The first two think always, and can be told neither how much nor with which tools.
    Row(
        ("o1-preview*",),
        replace(_CHAT, max_output=32_768, thinking="none", sampling=False, tools=False, media=TEXT),
        (_page("o1-preview"), _REASONING),
    ),
    Row(
        ("o1-mini*",),
        replace(_CHAT, max_output=65_536, thinking="none", sampling=False, tools=False, media=TEXT),
        (_page("o1-mini"), _REASONING),
    ),
    Row(("codex-mini*",), replace(_O, media=IMAGES), (_page("codex-mini-latest"),)),
    Row(
        ("computer-use-preview*",),
        replace(_CHAT, thinking="effort", max_output=1024, media=IMAGES),
        (_page("computer-use-preview"),),
    ),
    Row(("gpt-5*",), _GPT5, (_page("gpt-5"), _REASONING)),
    Row(
        ("gpt-5", "gpt-5-2*", "gpt-5-mini*", "gpt-5-nano*"),
        replace(_GPT5, efforts=("minimal", *_LOW_TO_HIGH)),
        (_page("gpt-5"), _REASONING),
    ),
    Row(("gpt-5-codex*", "gpt-5.1-codex*"), replace(_GPT5, efforts=_LOW_TO_HIGH), (_page("gpt-5.1-codex"),)),
    Row(
        ("gpt-5.1-codex-max*", "gpt-5.2-codex*", "gpt-5.3-codex*"),
        replace(_GPT5, efforts=_TO_XHIGH),
        (_page("gpt-5.1-codex-max"), _page("gpt-5.3-codex")),
    ),
    Row(("gpt-5-pro*",), replace(_GPT5, max_output=272_000, efforts=("high",)), (_page("gpt-5-pro"),)),
    Row(("gpt-5-chat*",), replace(_CHAT, max_output=16_384), (_page("gpt-5-chat-latest"),)),
    Row(
        ("gpt-5.1", "gpt-5.1-2*"),
        replace(_IDLE, efforts=("none", *_LOW_TO_HIGH)),
        (_page("gpt-5.1"), _LATEST),
    ),
    Row(
        ("gpt-5.2", "gpt-5.2-2*"),
        replace(_IDLE, efforts=("none", *_TO_XHIGH)),
        (_page("gpt-5.2"), _LATEST),
    ),
    Row(
        ("gpt-5.4", "gpt-5.4-2*", "gpt-5.4-mini*", "gpt-5.4-nano*"),
        replace(_IDLE, efforts=("none", *_TO_XHIGH)),
        (_page("gpt-5.4"), _LATEST),
    ),
    Row(
        ("gpt-5.1-chat*", "gpt-5.2-chat*"),
        replace(_THINKS, max_output=16_384),
        (_page("gpt-5.2-chat-latest"),),
    ),
    Row(("gpt-5.3-chat*",), replace(_THINKS, max_output=16_384, sampling=True), (_page("gpt-5.3-chat-latest"),)),
    Row(
        ("gpt-5.3-codex-spark*",), replace(_GPT5, max_output=32_000, efforts=_TO_XHIGH), (_page("gpt-5.3-codex-spark"),)
    ),
    Row(("gpt-5.6*", "gpt-6*"), _GPT56, (_MODELS, _LATEST, _CACHING)),
    # Whoever serves these sets their limits.
    Row(("gpt-oss*",), replace(_CHAT, thinking="effort", efforts=_LOW_TO_HIGH, media=TEXT), (_page("gpt-oss-120b"),)),
)
