"""Models of Mistral, Cohere, DeepSeek, xAI, Meta and Amazon, whoever serves them.

Of open weights only what holds everywhere is said: how much they write is their server's choice.
"""

from __future__ import annotations

from dataclasses import replace

from .shape import AUDIO, DOCUMENTS, IMAGES, PAGES, TEXT, Capabilities, Row

_PLAIN = Capabilities(thinking="none", media=TEXT)
_EFFORT = replace(_PLAIN, thinking="effort")

_MISTRAL = "https://docs.mistral.ai/getting-started/models"
_MISTRAL_LIST = "https://docs.mistral.ai/api/endpoint/models"
_MISTRAL_REASONING = "https://docs.mistral.ai/capabilities/reasoning"
_MISTRAL_SEES = replace(_PLAIN, media=PAGES)

_COHERE = "https://docs.cohere.com/docs/models"
_COHERE_REASONING = "https://docs.cohere.com/docs/reasoning"
_COHERE_PLAIN = replace(_PLAIN, system_inside=True)

_DEEPSEEK = "https://api-docs.deepseek.com/quick_start/pricing"
_DEEPSEEK_THINKING = "https://api-docs.deepseek.com/guides/thinking_mode"

_XAI = "https://docs.x.ai/docs/models"
_XAI_REASONING = "https://docs.x.ai/docs/guides/reasoning"

_LLAMA = "https://www.llama.com/docs/model-cards-and-prompt-formats"
_NOVA = "https://docs.aws.amazon.com/nova/latest/userguide/what-is-nova.html"
_NOVA_SEES = replace(_PLAIN, media=frozenset(("image", "document", "video")))
_CONVERSE = "https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-supported-models-features.html"

ROWS: tuple[Row, ...] = (
    Row(
        (
            *("mistral-large-2512*", "mistral-large-latest", "mistral-large-3*", "mistral-medium-2505*"),
            *("mistral-medium-2508*", "mistral-small-2503*", "mistral-small-2506*", "mistral-small-3-*"),
            *("mistral-small-3.*", "ministral-*-2512*", "ministral-*-latest", "magistral-*-2509*", "pixtral-*"),
            *("mistral-large-pixtral-*", "devstral-small-latest", "labs-devstral-small-2512"),
        ),
        _MISTRAL_SEES,
        (_MISTRAL, _MISTRAL_LIST),
    ),
    Row(
        (
            *("mistral-small-2603*", "mistral-small-latest", "mistral-small-4*", "magistral-small-latest"),
            *(
                "mistral-medium",
                "mistral-medium-latest",
                "mistral-medium-2604*",
                "mistral-medium-3",
                "mistral-medium-3-5",
            ),
            *("mistral-medium-3.5*", "mistral-large-4*"),
        ),
        replace(_MISTRAL_SEES, thinking="effort"),
        (_MISTRAL_LIST, _MISTRAL_REASONING, "https://docs.mistral.ai/models/mistral-large-4-0"),
    ),
    # It thinks always: nothing tells it how much.
    Row(("magistral-*",), _MISTRAL_SEES, (_MISTRAL_LIST, _MISTRAL_REASONING)),
    Row(
        (
            *("mistral-tiny*", "open-mistral-*", "open-mixtral-*", "mistral-7b*", "mixtral-*", "mistral-nemo*"),
            *("mistral-large-2402*", "mistral-large-2407*", "mistral-large-2411*", "mistral-small-2402*"),
            *("mistral-small-2409*", "mistral-small-2501*", "ministral-*-2410*", "codestral-*", "devstral-*"),
        ),
        _PLAIN,
        (_MISTRAL, _MISTRAL_LIST),
    ),
    Row(
        ("voxtral-small*",), replace(_PLAIN, media=AUDIO), (_MISTRAL_LIST, "https://docs.mistral.ai/capabilities/audio")
    ),
    Row(
        ("voxtral-mini*",),
        replace(_PLAIN, media=AUDIO, tools=False),
        (_MISTRAL_LIST, "https://docs.mistral.ai/capabilities/audio"),
    ),
    Row(
        ("command-a", "command-a-03-2025", "c4ai-command-a-03-2025", "command-a-translate*"),
        replace(_COHERE_PLAIN, max_output=8000),
        (_COHERE,),
    ),
    Row(
        ("command-a-reasoning*",),
        replace(_COHERE_PLAIN, thinking="budget", max_output=32_000),
        ("https://docs.cohere.com/docs/command-a-reasoning", _COHERE_REASONING),
    ),
    Row(
        ("command-a-plus*",),
        replace(_COHERE_PLAIN, thinking="budget", max_output=64_000, media=IMAGES),
        (_COHERE, _COHERE_REASONING),
    ),
    Row(
        ("command-a-vision*",),
        replace(_COHERE_PLAIN, tools=False, max_output=8000, media=IMAGES),
        ("https://docs.cohere.com/docs/command-a-vision",),
    ),
    Row(("command-r*", "c4ai-command-r*"), replace(_COHERE_PLAIN, max_output=4000), (_COHERE,)),
    Row(("command", "command-light*", "command-nightly", "command-text*"), replace(_PLAIN, tools=False), (_COHERE,)),
    Row(("c4ai-aya-expanse*",), replace(_PLAIN, tools=False, max_output=4000), (_COHERE,)),
    Row(("c4ai-aya-vision*",), replace(_PLAIN, tools=False, max_output=4000, media=IMAGES), (_COHERE,)),
    Row(("deepseek*",), replace(_PLAIN, system_inside=True), (_DEEPSEEK,)),
    # The older names, too, are names of the fourth version today.
    Row(("deepseek-v4*",), replace(_EFFORT, system_inside=True), (_DEEPSEEK, _DEEPSEEK_THINKING)),
    # Bedrock's: no tools in Converse, which refuses them.
    Row(
        ("r1-v1*",),
        replace(_PLAIN, tools=False),
        (
            "https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-deepseek.html",
            "https://github.com/langchain-ai/langchain-aws/issues/447",
        ),
    ),
    Row(("grok-2*", "grok-3*", "grok-code*"), _PLAIN, (_XAI, _XAI_REASONING)),
    Row(("grok-2-vision*",), replace(_PLAIN, media=IMAGES), (_XAI,)),
    Row(("grok-3-mini*",), _EFFORT, (_XAI_REASONING,)),
    # Whether they think is in their names; how much cannot be asked of them.
    Row(("grok-4*",), replace(_PLAIN, media=IMAGES), (_XAI, _XAI_REASONING)),
    Row(("grok-4.3*", "grok-4.20-multi-agent*", "grok-latest"), replace(_EFFORT, media=PAGES), (_XAI, _XAI_REASONING)),
    Row(("llama-2*", "llama2*"), replace(_PLAIN, tools=False), (f"{_LLAMA}/meta-llama-2/",)),
    Row(("llama-3*", "llama3*", "meta-llama-3*"), _PLAIN, (f"{_LLAMA}/llama3_1/",)),
    Row(
        tuple(f"llama{dash}3{dot}2-{size}b*" for dash in ("-", "") for dot in (".", "-") for size in (11, 90)),
        replace(_PLAIN, media=IMAGES),
        (f"{_LLAMA}/llama3_2/",),
    ),
    Row(("llama-4*", "llama4*"), replace(_PLAIN, media=PAGES), (f"{_LLAMA}/llama4/",)),
    # As Bedrock names and serves the first of the third, and the smallest of 3.2.
    Row(
        (
            *("llama3-8b-instruct-v1*", "llama3-70b-instruct-v1*"),
            *("llama3-2-1b-instruct-v1*", "llama3-2-3b-instruct-v1*"),
        ),
        replace(_PLAIN, tools=False),
        (_CONVERSE, "https://github.com/epam/ai-dial-adapter-bedrock/issues/181"),
    ),
    Row(("j2-*", "ai21.j2-*"), replace(_PLAIN, tools=False), (_CONVERSE,)),
    Row(("jamba-1-5-*", "ai21.jamba-1-5-*"), replace(_PLAIN, media=DOCUMENTS), (_CONVERSE,)),
    Row(("nova-micro*",), _PLAIN, (_NOVA,)),
    Row(("nova-lite*", "nova-pro*", "nova-premier*"), _NOVA_SEES, (_NOVA,)),
    Row(
        ("nova-2-lite*", "nova-2-pro*"),
        replace(_NOVA_SEES, thinking="effort"),
        (
            "https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html",
            "https://docs.aws.amazon.com/nova/latest/nova2-userguide/using-converse-api.html",
        ),
    ),
    Row(
        ("titan-text*", "titan-tg1*"),
        replace(_PLAIN, tools=False, media=DOCUMENTS),
        (_CONVERSE,),
    ),
    Row(("titan-text-premier*",), replace(_PLAIN, tools=False), (_CONVERSE,)),
)
