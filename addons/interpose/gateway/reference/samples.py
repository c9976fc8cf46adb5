"""What people type: each operation by curl, Python and JavaScript, ready to be copied but for the key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from interpose.formats.operations import Operation

KEY = "YOUR_KEY"
_SDKS = {"openai": "openai", "openai-responses": "openai", "anthropic": "anthropic", "gemini": "gemini"}
_PYTHON = {
    "openai": 'from openai import OpenAI\n\nclient = OpenAI(base_url="{base}/v1", api_key="{key}")\n',
    "anthropic": 'from anthropic import Anthropic\n\nanthropic = Anthropic(base_url="{base}", api_key="{key}")\n',
    "gemini": (
        'from google import genai\n\ngemini = genai.Client(api_key="{key}", http_options={{"base_url": "{base}"}})\n'
    ),
}
_JAVASCRIPT = {
    "openai": (
        'import OpenAI from "openai";\n\nconst client = new OpenAI({{ baseURL: "{base}/v1", apiKey: "{key}" }});\n'
    ),
    "anthropic": (
        'import Anthropic from "@anthropic-ai/sdk";\n\n'
        'const anthropic = new Anthropic({{ baseURL: "{base}", apiKey: "{key}" }});\n'
    ),
    "gemini": (
        'import {{ GoogleGenAI }} from "@google/genai";\n\n'
        'const gemini = new GoogleGenAI({{ apiKey: "{key}", httpOptions: {{ baseUrl: "{base}" }} }});\n'
    ),
}
_HEADERS = {"openai": "Authorization: Bearer {key}", "anthropic": "X-API-Key: {key}", "gemini": "x-goog-api-key: {key}"}


def samples(base: str, operation: Operation, told: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
    """Language, label and source, as `x-codeSamples` has them: https://redocly.com/docs-legacy/api-reference-docs/specification-extensions/x-code-samples"""
    sdk = _SDKS[operation.format]
    return [
        {"lang": "shell", "label": "curl", "source": _curl(base, operation, told, _HEADERS[sdk].format(key=KEY))},
        {"lang": "python", "label": "Python", "source": f"{_PYTHON[sdk].format(base=base, key=KEY)}\n{told['python']}"},
        {
            "lang": "javascript",
            "label": "JavaScript",
            "source": f"{_JAVASCRIPT[sdk].format(base=base, key=KEY)}\n{told['javascript']}",
        },
    ]


def _curl(base: str, operation: Operation, told: Mapping[str, Any], key: str) -> str:
    path = operation.path.replace("{model}", told.get("model", "gpt-4"))
    query = "?alt=sse" if "query" in told else ""
    lines = [f"curl '{base}{path}{query}'" if query else f"curl {base}{path}", f"  -H '{key}'"]
    if operation.body is not None:
        body = json.dumps(told["example"], ensure_ascii=False, indent=2).replace("\n", "\n  ")
        lines += ["  -H 'Content-Type: application/json'", f"  -d '{body}'"]
    return " \\\n".join(lines) + "\n"
