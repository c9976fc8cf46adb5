"""mitmweb's API, asked as its own page asks: with the session's cookie and the token against forgery."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
from tests.e2e.settings import ENVIRON


class WebApi:
    """The API behind one page, logged in."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def get(self, path: str) -> bytes:
        return (await self.client.get(path)).raise_for_status().content

    async def flows(self) -> list[dict[str, Any]]:
        found = (await self.client.get("/flows")).raise_for_status().json()
        assert isinstance(found, list)
        return found

    async def flow(self, **wanted: object) -> dict[str, Any]:
        """Waits for the one flow which is like that."""
        try:
            return await asyncio.wait_for(self._flow(wanted), 15)
        except TimeoutError:
            raise AssertionError(f"no flow is {wanted}: {await self.flows()}") from None

    async def _flow(self, wanted: dict[str, object]) -> dict[str, Any]:
        while True:
            found = [each for each in await self.flows() if all(told(each, name) == wanted[name] for name in wanted)]
            if len(found) == 1:
                return found[0]
            await asyncio.sleep(0.02)

    async def content(self, flow: dict[str, Any], part: str) -> bytes:
        return await self.get(f"/flows/{flow['id']}/{part}/content.data")

    async def post(self, path: str) -> None:
        (await self.client.post(path)).raise_for_status()

    async def edit(self, flow: dict[str, Any], **parts: object) -> None:
        (await self.client.put(f"/flows/{flow['id']}", json=parts)).raise_for_status()

    async def options(self, **values: object) -> None:
        (await self.client.put("/options", json=values)).raise_for_status()

    async def command(self, name: str, *arguments: str) -> Any:
        """The value that a command returns. Fails with what mitmproxy says is wrong."""
        said = (await self.client.post(f"/commands/{name}", json={"arguments": arguments})).raise_for_status().json()
        assert "error" not in said, said
        return said["value"]

    async def secrets_told(self, also: dict[str, bytes] | None = None) -> list[str]:
        """Asks for all that there is to tell; which of it holds a credential of the rules."""
        told = dict(also or {})
        flows = await self.flows()
        assert flows, "there is nothing to search"
        for path in ("/flows", "/flows/dump", "/events", "/options", "/state", "/commands"):
            told[path] = await self.get(path)
        for flow in flows:
            for part in ("request", "response"):
                if flow.get(part):
                    told[f"{part} of {flow['id']}"] = await self.content(flow, part)
                    told[f"shown {part}"] = await self.get(f"/flows/{flow['id']}/{part}/content/auto.json")
        keys = [key.encode() for key in ENVIRON.values()]
        return [f"{where} holds {key!r}" for where, data in told.items() for key in keys if key in data]


def told(flow: dict[str, Any], name: str) -> object:
    """What mitmweb says of a flow; `status_code` is its response's."""
    return (flow.get("response") or {}).get(name) if name == "status_code" else flow.get(name)


@asynccontextmanager
async def logged_in(url: str) -> AsyncIterator[WebApi]:
    """The API of the page at `url`, which has the token."""
    parts = urlsplit(url)
    async with httpx.AsyncClient(base_url=f"{parts.scheme}://{parts.netloc}", trust_env=False, timeout=30) as client:
        # The form for the token brings the other one.
        assert (await client.get("/")).status_code == 403
        (await client.get(f"/?{parts.query}")).raise_for_status()
        client.headers["X-XSRFToken"] = client.cookies["_mitmproxy_xsrf"]
        yield WebApi(client)
