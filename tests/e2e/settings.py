"""Names shared by the end-to-end tests: the hosts that the upstream plays, fake secrets, rules files as text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from .certificates import Authority
from .upstream import Upstream

OPENAI = "api.openai.com"
ANTHROPIC = "api.anthropic.com"
GEMINI = "generativelanguage.googleapis.com"
BEDROCK = "bedrock-runtime.us-east-1.amazonaws.com"
AZURE = "example.openai.azure.com"
COHERE = "api.cohere.com"
MISTRAL = "api.mistral.ai"
OLLAMA_CLOUD = "ollama.com"
OLLAMA = "localhost:11434"

# Providers of our own, at names that exist nowhere.
HOUSE = "house.test"
KEYLESS = "keyless.test"

HOSTS = (OPENAI, ANTHROPIC, GEMINI, BEDROCK, AZURE, HOUSE, KEYLESS)

# What the upstream's certificate is good for.
NAMES = (
    *HOSTS,
    COHERE,
    MISTRAL,
    OLLAMA_CLOUD,
    "*.amazonaws.com",
    "*.openai.azure.com",
    "us-central1-aiplatform.googleapis.com",
    "*.test",
    "*.provider.test",
    "xn--bcher-kva.test",
    "127.0.0.1",
    "localhost",
)

# Every fake secret of these tests; none may be found in anything that a proxy writes.
CANARIES: set[str] = set()


def canary(name: str, prefix: str = "sk-") -> str:
    """A fake secret that is looked for in everything that the proxies leave behind."""
    value = f"{prefix}canary-fake-{name}-0000000000"
    CANARIES.add(value)
    return value


def connect_to(upstream: Upstream, hosts: Iterable[str] = HOSTS, port: int = 443) -> dict[str, str]:
    return {f"{host}:{port}": upstream.address for host in hosts}


def rules_text(**sections: object) -> str:
    """A rules file. JSON is YAML, so what is written is exact."""
    return json.dumps({"version": 1, **sections}, indent=1)


def gateway_rules(authority: Authority, upstream: Upstream, **sections: object) -> str:
    """OpenAI and Claude with a credential each, a name for a model, and one virtual key; `sections` go before these."""
    usual: dict[str, object] = {
        "providers": {
            "openai": {
                "format": "openai",
                "base_url": f"https://{OPENAI}/v1",
                "credential": {"env": "FAKE_OPENAI_KEY"},
            },
            "claude": {
                "format": "anthropic",
                "base_url": f"https://{ANTHROPIC}",
                "credential": {"env": "FAKE_ANTHROPIC_KEY"},
            },
        },
        "models": [{"id": "fast", "provider": "claude", "model": "claude-x"}],
        "clients": {"keys": [{"name": "ci", "sha256": hashlib.sha256(VIRTUAL.encode()).hexdigest()}]},
        "upstream": {"ca": str(authority.pem), "connect_to": connect_to(upstream, (OPENAI, ANTHROPIC))},
    }
    return rules_text(**{**usual, **sections})


def audit_rules(authority: Authority, upstream: Upstream, plain: Upstream | None = None) -> str:
    """Rules that change nothing: only where the hosts are dialled, and whose certificates are trusted."""
    dial = connect_to(upstream)
    if plain is not None:
        dial[OLLAMA] = plain.address
    return rules_text(intercept={"hosts": [*HOSTS, OLLAMA]}, upstream={"ca": str(authority.pem), "connect_to": dial})


# The providers' credentials, by the environment variable in which a proxy finds them.
ENVIRON = {
    f"FAKE_{name.upper()}_KEY": canary(f"provider-{name}", "real-")
    for name in ("openai", "anthropic", "gemini", "azure", "house", "sealed")
}
# Listed in the rules, hence neither secret nor looked for.
PLACEHOLDER = "sk-placeholder-for-any-key"
OWN = canary("own")
VIRTUAL = canary("virtual", "vk-")
EXPIRED = canary("expired", "vk-")
NARROW = canary("narrow", "vk-")
UNKNOWN = canary("unknown", "vk-")


def real(provider: str) -> str:
    """The credential of that provider."""
    return ENVIRON[f"FAKE_{provider.upper()}_KEY"]


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


# Origins whose certificates are wrong, and what is wrong with them.
BAD = ("expired", "misnamed", "stranger")
IDN = "xn--bcher-kva.test"


def acting_rules(authority: Authority, dial: Mapping[str, str], *, required: bool = False) -> str:
    """Rules that act: providers with and without credentials, routes to other origins, client keys, a placeholder.

    A model "house-*" is rerouted to a provider with a credential, "keyless-*" to one without.
    """

    def provider(name: str, form: str, url: str, **more: object) -> dict[str, object]:
        return {"format": form, "base_url": url, "credential": {"env": f"FAKE_{name.upper()}_KEY"}, **more}

    providers = {
        "openai": provider("openai", "openai", f"https://{OPENAI}/v1"),
        "anthropic": provider("anthropic", "anthropic", f"https://{ANTHROPIC}"),
        "gemini": provider("gemini", "gemini", f"https://{GEMINI}"),
        "azure": provider("azure", "openai", f"https://{AZURE}/openai/v1", dialect="azure"),
        "house": provider("house", "openai", f"https://{HOUSE}/v1"),
        "idn": provider("house", "openai", f"https://{IDN}/v1"),
        "keyless": {"format": "openai", "base_url": f"https://{KEYLESS}/v1"},
        **{bad: provider("sealed", "openai", f"https://{bad}.test/v1") for bad in BAD},
    }
    hosts = [*HOSTS, OLLAMA, IDN, *(f"{bad}.test" for bad in BAD)]
    return rules_text(
        providers=providers,
        intercept={"hosts": hosts, "placeholders": [PLACEHOLDER]},
        clients={
            "required": required,
            "keys": [
                {"name": "ci", "sha256": digest(VIRTUAL)},
                {"name": "past", "sha256": digest(EXPIRED), "expires": "2020-01-01"},
                {"name": "narrow", "sha256": digest(NARROW), "models": ["gpt-4o*"]},
            ],
        },
        routes=[
            {"name": "to-house", "match": {"model": "house-*"}, "to": {"provider": "house"}},
            {"name": "to-keyless", "match": {"model": "keyless-*"}, "to": {"provider": "keyless"}},
            {"name": "files", "match": {"host": OPENAI, "path": "/v1/files/*"}, "to": {"provider": "openai"}},
        ],
        upstream={"ca": str(authority.pem), "connect_to": dict(dial)},
    )
