"""Google's models: Gemini by both of its APIs, and Gemma where Google serves it."""

from __future__ import annotations

from dataclasses import replace

from .shape import EVERYTHING, IMAGES, PAGES, TEXT, Capabilities, Row

_DOCS = "https://ai.google.dev/gemini-api/docs"
_MODELS = f"{_DOCS}/models"
_THINKING = f"{_DOCS}/thinking"
_3_6 = f"{_DOCS}/whats-new-gemini-3.6"
_4 = f"{_DOCS}/latest-model"

_OLD = Capabilities(max_output=8192, thinking="none", media=EVERYTHING)
_BUDGET = Capabilities(max_output=65_536, media=EVERYTHING)
_LEVEL = replace(_BUDGET, thinking="effort")
# Sampling parameters are ignored, and a conversation cannot end with the model's turn.
_NEWER = replace(_LEVEL, sampling=False, prefill=False)
_SPEECH = Capabilities(max_output=16_384, thinking="none", tools=False, media=TEXT)

ROWS: tuple[Row, ...] = (
    Row(("gemini*",), Capabilities(media=EVERYTHING), (_MODELS,)),
    Row(("gemini-1.5*",), _OLD, ("https://cloud.google.com/vertex-ai/generative-ai/docs/models/gemini/1-5-flash",)),
    Row(("gemini-2.0*",), _OLD, (f"{_MODELS}/gemini-2.0-flash",)),
    # The names without a version go from model to model; each so far takes a budget, the newer ones beside levels.
    Row(("gemini-flash-latest", "gemini-flash-lite-latest", "gemini-pro-latest"), _BUDGET, (_MODELS, _THINKING)),
    Row(("gemini-2.5*",), _BUDGET, (f"{_MODELS}/gemini-2.5-flash", _THINKING)),
    # The first cannot be told not to think: https://ai.google.dev/gemini-api/docs/thinking#set-budget
    Row(
        ("gemini-2.5-pro", "gemini-2.5-pro:*", "gemini-2.5-pro-preview-0*", "gemini-2.5-pro-exp*"),
        replace(_BUDGET, budgets=(128, 32_768)),
        (f"{_MODELS}/gemini-2.5-pro", _THINKING),
    ),
    Row(
        ("gemini-2.5-flash", "gemini-2.5-flash:*", "gemini-2.5-flash-preview-0*", "gemini-2.5-flash-lite*"),
        replace(_BUDGET, budgets=(0, 24_576)),
        (f"{_MODELS}/gemini-2.5-flash", _THINKING),
    ),
    Row(
        ("gemini-2.5-flash-image*",),
        Capabilities(max_output=32_768, thinking="none", tools=False, media=IMAGES),
        (f"{_MODELS}/gemini-2.5-flash-image",),
    ),
    Row(("gemini-2.5-*-tts*",), _SPEECH, (f"{_DOCS}/speech-generation",)),
    Row(("gemini-*-tts*",), replace(_SPEECH, max_output=None), (f"{_DOCS}/speech-generation",)),
    Row(("gemini-3*",), _LEVEL, (f"{_DOCS}/gemini-3", _THINKING)),
    Row(
        ("gemini-3-*image*", "gemini-3.?-*image*", "gemini-nano-banana*"),
        replace(_LEVEL, max_output=None, tools=False, media=PAGES),
        (f"{_DOCS}/image-generation",),
    ),
    Row(("gemini-3.5-flash-lite*", "gemini-3.6*"), _NEWER, (_3_6, _THINKING)),
    Row(("gemini-3.7*", "gemini-3.8*"), _NEWER, (_4, f"{_MODELS}/gemini-3.8-flash")),
    # One synchronous request writes that much; more takes an API of its own.
    Row(("gemini-4*",), _NEWER, (_4,)),
    Row(
        ("gemma-3*", "gemma-4*"), Capabilities(media=IMAGES), (f"{_DOCS.removesuffix('/gemini-api/docs')}/gemma/docs",)
    ),
)
