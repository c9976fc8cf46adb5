"""ASGI applications under a real server (uvicorn), in the loop of the tests."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from tests.e2e.certificates import Authority
from tests.e2e.settings import PLACEHOLDER, gateway_rules
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
    """The usual rules of a gateway, with a placeholder: programs that name a provider's host send one."""
    return gateway_rules(authority, upstream, **{"intercept": {"placeholders": [PLACEHOLDER]}, **sections})


def changed(rules: str, **sections: object) -> str:
    """The same rules with other sections."""
    return json.dumps({**json.loads(rules), **sections}, indent=1)
