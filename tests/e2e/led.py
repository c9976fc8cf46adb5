"""A small world of its own, in which the system leads connections to the proxy: run by `test_led_modes` in namespaces.

    unshare --map-root-user --net python -m tests.e2e.led transparent FOLDER
    unshare --mount python -m tests.e2e.led local FOLDER

Everything is in it: the upstream, the proxy, the client. What came of one call is printed as JSON.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from interpose.call import DEFAULT_PORTS

from .certificates import Authority
from .proxy import Proxy
from .settings import ENVIRON, HOSTS, NAMES, OPENAI, PLACEHOLDER, VIRTUAL, acting_rules, connect_to
from .upstream import Exchange, Upstream

# Nobody is there: https://www.rfc-editor.org/rfc/rfc5737
NOWHERE = "192.0.2.1"
CLIENT = "led-client"
GATEWAY = "ai.internal"
ANSWER = b'{"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}'


async def answer(exchange: Exchange) -> None:
    await exchange.json(ANSWER)


def system(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def lead_by_firewall(port: int) -> None:
    """As an administrator would: connections to that address end at our port."""
    system("ip", "address", "add", f"{NOWHERE}/32", "dev", "lo")
    for led in ("443", "80"):
        system(
            "iptables", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-d", NOWHERE, "--dport", led,
            "-j", "REDIRECT", "--to-ports", str(port),
        )  # fmt: skip


async def run(client: Path, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        client, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    return out.decode()


async def world(mode: str, folder: Path) -> dict[str, Any]:
    """A call of an unconfigured client, which does not know of any proxy, and two to the virtual host."""
    curl = shutil.which("curl")
    assert curl is not None
    client = folder / CLIENT
    shutil.copy(curl, client)
    authority = Authority(folder / "authority")
    async with Upstream(authority.server_context(NAMES)) as upstream:
        proxy = Proxy(folder / "proxy")
        rules = acting_rules(authority, connect_to(upstream, HOSTS))
        rules = rules.replace('"intercept": {', f'"intercept": {{"virtual_host": "{GATEWAY}",', 1)
        if mode == "transparent":
            system("ip", "link", "set", "lo", "up")
            await proxy.start(rules, ENVIRON, "--mode", "transparent")
            lead_by_firewall(proxy.port)
        else:
            system("mount", "-t", "cgroup2", "none", "/sys/fs/cgroup")
            await proxy.start(rules, ENVIRON, "--mode", f"local:{CLIENT}")
        try:
            with upstream.answering(answer):
                out = await run(
                    client, "-sS", "-m", "20", "--resolve", f"{OPENAI}:443:{NOWHERE}", "--cacert", str(proxy.ca),
                    "-H", f"Authorization: Bearer {PLACEHOLDER}", "--json", '{"model": "gpt-4o", "messages": []}',
                    f"https://{OPENAI}/v1/chat/completions",
                )  # fmt: skip
                sent = [value.decode() for request in upstream.requests for value in request.values("authorization")]
            calls = await proxy.ledger.rows("", 1)
            connections = await proxy.ledger.connections("", 1)
            mark = proxy.ledger.mark()
            with upstream.answering(answer):
                at_gateway = [
                    await run(
                        client, "-sS", "-m", "20", "--resolve", f"{GATEWAY}:{port}:{NOWHERE}",
                        "--cacert", str(proxy.ca), "-H", f"Authorization: Bearer {VIRTUAL}",
                        "--json", '{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}', f"{scheme}://{GATEWAY}/v1/chat/completions",
                    )
                    for scheme, port in DEFAULT_PORTS.items()
                ]  # fmt: skip
            gateway_calls = await proxy.ledger.rows(mark, len(at_gateway))
        finally:
            status = await proxy.stop()
        return {
            "out": out,
            "sent": sent,
            "calls": calls,
            "connections": connections,
            "at_gateway": at_gateway,
            "gateway_calls": gateway_calls,
            "status": status,
            "errors": proxy.errors,
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(world(sys.argv[1], Path(sys.argv[2])))))
