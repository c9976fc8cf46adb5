"""One contestant of `scripts/bench gateway` in a process of its own: `bench_gateway_server.py SERVER APP PORT`.

APP is `engine` (the application that `interpose serve` runs, told by the environment what it serves) or `static`: the
same replies without an engine, which is what a server costs by itself. SERVER is a name of SERVERS.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from bench_interceptor import CHUNKS, JSON_REPLY, SSE_CHUNK, SSE_END

from interpose.hosts.asgi import Receive, Scope, Send
from interpose.hosts.serving import application


async def static(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads what is asked and answers what the played provider would."""
    if scope["type"] == "lifespan":
        for done in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{done}.complete"})
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if b'"stream":true' in body:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for chunk in [*[SSE_CHUNK] * CHUNKS, SSE_END]:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            # A provider's chunks come one by one.
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(JSON_REPLY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": JSON_REPLY})


def static_application() -> Any:
    return static


APPS: dict[str, Callable[[], Any]] = {"engine": application, "static": static_application}
# How a server finds them by itself.
TARGETS = {
    "engine": "interpose.hosts.serving:application",
    "static": f"{Path(__file__).stem}:static_application",
}


def granian(app: str, port: int, *, loop: str) -> None:
    from granian import Granian
    from granian.constants import Interfaces, Loops

    Granian(
        TARGETS[app], factory=True, address="127.0.0.1", port=port, interface=Interfaces.ASGI, websockets=False,
        log_enabled=False, loop=Loops(loop), working_dir=Path(__file__).parent,
    ).serve()  # fmt: skip


def uvicorn(app: str, port: int, *, loop: str, http: str) -> None:
    import uvicorn

    uvicorn.run(
        TARGETS[app], factory=True, host="127.0.0.1", port=port, loop=loop, http=http, ws="none",
        log_level="error", access_log=False, app_dir=str(Path(__file__).parent),
    )  # fmt: skip


def aiohttp_server(app: str, port: int, *, loop: str) -> None:
    """aiohttp's own server, by the smallest adapter to ASGI that streams and tells of clients that leave."""
    from aiohttp import web

    asgi = APPS[app]()

    async def handle(request: web.Request) -> web.StreamResponse:
        response: web.StreamResponse | None = None
        asked = False

        async def receive() -> dict[str, Any]:
            nonlocal asked
            if asked:
                # aiohttp cancels a handler whose client has left: there is nothing else to tell.
                await asyncio.Event().wait()
            asked = True
            return {"type": "http.request", "body": await request.read(), "more_body": False}

        async def send(message: Any) -> None:
            nonlocal response
            if message["type"] == "http.response.start":
                headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]
                response = web.StreamResponse(status=message["status"], headers=headers)
                await response.prepare(request)
                return
            assert response is not None
            if body := message.get("body"):
                await response.write(body)
            if not message.get("more_body"):
                await response.write_eof()

        scope = {
            "type": "http", "method": request.method, "path": request.path, "raw_path": request.raw_path.encode(),
            "query_string": request.query_string.encode(), "scheme": request.scheme, "headers": request.raw_headers,
            "client": (request.remote, 0),
        }  # fmt: skip
        await asgi(scope, receive, send)
        assert response is not None
        return response

    async def main() -> None:
        events: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        told = asyncio.Event()

        async def say(message: Any) -> None:
            if message["type"] != "lifespan.startup.complete":
                raise SystemExit(f"scripts/bench: {message}")
            told.set()

        living = asyncio.create_task(asgi({"type": "lifespan"}, events.get, say))
        await events.put({"type": "lifespan.startup"})
        await told.wait()
        server = web.Server(handle, access_log=None)
        runner = web.ServerRunner(server, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await living

    if loop == "uvloop":
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())


SERVERS: dict[str, Callable[[str, int], None]] = {
    "granian": partial(granian, loop="asyncio"),
    "granian, uvloop": partial(granian, loop="uvloop"),
    "uvicorn, h11": partial(uvicorn, loop="asyncio", http="h11"),
    "uvicorn, httptools": partial(uvicorn, loop="asyncio", http="httptools"),
    "uvicorn, httptools, uvloop": partial(uvicorn, loop="uvloop", http="httptools"),
    "aiohttp": partial(aiohttp_server, loop="asyncio"),
    "aiohttp, uvloop": partial(aiohttp_server, loop="uvloop"),
}


if __name__ == "__main__":
    name, app, port = sys.argv[1:]
    SERVERS[name](app, int(port))
