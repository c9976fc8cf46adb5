"""ASGI applications under a real server (uvicorn), in the loop of the tests."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from tests.e2e.certificates import Authority
from tests.e2e.settings import ANTHROPIC, OPENAI, PLACEHOLDER, VIRTUAL, connect_to, rules_text
from tests.e2e.upstream import Upstream


@asynccontextmanager
async def hosted(app: Callable[..., Any], lifespan: str = "auto") -> AsyncIterator[str]:
    """The application's URL. It is stopped as by a signal, and must end in good order."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, lifespan=lifespan, log_config=None, access_log=False, ws="wsproto")  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        host, port = listening.getsockname()[:2]
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        await serving
        listening.close()


def both_providers(authority: Authority, upstream: Upstream, **sections: object) -> str:
    """Rules with OpenAI and Claude, an alias, one virtual key and a placeholder, as text."""
    providers = {
        "openai": {"format": "openai", "base_url": f"https://{OPENAI}/v1", "credential": {"env": "FAKE_OPENAI_KEY"}},
        "claude": {
            "format": "anthropic",
            "base_url": f"https://{ANTHROPIC}",
            "credential": {"env": "FAKE_ANTHROPIC_KEY"},
        },
    }
    return rules_text(
        **{
            "providers": providers,
            "models": [{"id": "fast", "provider": "claude", "model": "claude-x"}],
            "intercept": {"placeholders": [PLACEHOLDER]},
            "clients": {"keys": [{"name": "ci", "sha256": hashlib.sha256(VIRTUAL.encode()).hexdigest()}]},
            "upstream": {"ca": str(authority.pem), "connect_to": connect_to(upstream, (OPENAI, ANTHROPIC))},
            **sections,
        }
    )


def changed(rules: str, **sections: object) -> str:
    """The same rules with other sections."""
    return json.dumps({**json.loads(rules), **sections}, indent=1)
