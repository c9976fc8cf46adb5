"""Secrets that are known by the name of what holds them: members of JSON, headers within a text. As regular expressions
that RE2 and Python's `re` read alike, in time that grows with the text alone; a value is the first group.
"""

from __future__ import annotations

# Whose token, whose key: Anthropic's MCP connectors have an authorization_token, Vertex' searches an apiKeyString.
_NAMES = (
    r"(?:x-)?api[_-]?key(?:[_-]?string)?",
    r"(?:access|refresh|id|session|security|auth|authorization|bearer|oauth)[_-]?token",
    r"client[_-]?secret",
    r"secret[_-]?access[_-]?key",
    r"private[_-]?key",
    r"authorization",
    # Headers that a provider is to send to a server of tools.
    r"[a-z0-9]+(?:-[a-z0-9]+)*-(?:token|secret|auth|password|authorization|api-?key)",
)
_VALUE = r'\s*:\s*"((?:[^"\\]|\\.)+)"'
MEMBER = rf'(?i)"(?:{"|".join(_NAMES)})"{_VALUE}'
# The same of headers as people write them, in a curl command or in the parts of a batch.
HEADER = r"(?i)\b(?:authorization:\s*(?:bearer|basic|token)\s+|(?:x-)?(?:goog-)?api-key:\s*)([A-Za-z0-9._~+/=-]{8,})"
# Objects that hold a secret under a name which says nothing: Mistral's connectors, the containers of OpenAI's shell.
# https://docs.mistral.ai/api, https://platform.openai.com/docs/guides/tools-shell
HOLDER = r'(?i)"(?:authorization|credentials?|domain_secrets)"\s*:\s*(?:\{[^{}]*\}|\[[^\[\]]*\])'
HELD = rf'(?i)"(?:value|token|password)"{_VALUE}'
