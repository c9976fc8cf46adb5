"""With everything turned on that sees, keeps, tells and exports calls, no key is in any of it, whatever a client does
with its key and a provider with ours.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import brotli
import httpx
import pytest
import zstandard
from tests.e2e.certificates import Authority
from tests.e2e.clients import client_tls
from tests.e2e.conftest import Farm
from tests.e2e.proxy import Ledger, Proxy
from tests.e2e.settings import (
    ENVIRON,
    GEMINI,
    OPENAI,
    OWN,
    PLACEHOLDER,
    VIRTUAL,
    acting_rules,
    canary,
    real,
)
from tests.e2e.upstream import Exchange, Upstream
from tests.e2e.webapi import logged_in
from tests.telemetry.collector import collecting

from interpose.ledger.captures import captured
from interpose.rules.sinks import SinkFile

pytestmark = pytest.mark.asyncio(loop_scope="session")

TOKEN = canary("otlp")
CHAT = "/v1/chat/completions"
CODINGS = {"": bytes, "gzip": gzip.compress, "br": brotli.compress, "zstd": zstandard.ZstdCompressor().compress}
# What the rules' `scrub` names.
NUMBER = "078-05-1120"
VIEWS = ("Conversation", "Reassembled", "Usage & cost", "Asked vs sent")


def events(said: str) -> bytes:
    """A streamed answer that says it twice, a few letters at a time: as a text and as a tool's argument."""
    pieces = [said[at : at + 5] for at in range(0, len(said), 5)]
    first = {"index": 0, "id": "t1", "type": "function", "function": {"name": "mail", "arguments": ""}}
    deltas: list[dict[str, Any]] = [
        *({"content": piece} for piece in pieces),
        {"tool_calls": [first]},
        *({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in pieces),
    ]
    told = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    told.append({"index": 0, "delta": {}, "finish_reason": "tool_calls"})
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
    chunks = [json.dumps({**head, "choices": [choice]}) for choice in told]
    return b"".join(b"data: " + chunk.encode() + b"\n\n" for chunk in (*chunks, "[DONE]"))


async def echo(exchange: Exchange) -> None:
    """Says back the key that came, as the header x-play wants it: in headers, and in JSON, an error or a stream."""
    sent = [value for name in ("authorization", "x-goog-api-key") for value in exchange.request.values(name)]
    key = sent[0].decode().rpartition(" ")[2]
    way, coding = (exchange.request.values("x-play") or [b"json,"])[0].decode().split(",")
    head = [
        (b"X-Echo", key.encode()),
        (b"Content-Type", b"text/event-stream" if way == "stream" else b"application/json"),
    ]
    if coding:
        head.append((b"Content-Encoding", coding.encode()))
    text = f"Your key is {key}, or {quote(key)}, and your number {NUMBER}."
    answer = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    whole = {"id": "c1", "object": "chat.completion", "created": 1, "model": f"m-{key}", "choices": [answer]}
    said = {
        "stream": events(text),
        "error": json.dumps({"error": {"message": text, "code": "invalid_api_key"}}).encode(),
    }.get(way, json.dumps(whole).encode())
    await exchange.reply(CODINGS[coding](said), 401 if way == "error" else 200, head)


async def ask_everything(proxy: Proxy) -> int:
    """Every echo, and every place where a client can put its key. How many calls that were."""
    calls = 0

    async def ask(client: httpx.AsyncClient, host: str, path: str, key: str, play: str = "json,", **body: Any) -> None:
        nonlocal calls
        calls += 1
        asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": f"I am {NUMBER}"}], **body}
        headers = {"x-play": play, **({"authorization": f"Bearer {key}"} if key else {})}
        await client.post(f"https://{host}{path}", headers=headers, json=asked)

    tls = client_tls(proxy.ca)
    async with httpx.AsyncClient(proxy=proxy.url, verify=tls, trust_env=False) as client:
        for way in ("json", "error", "stream"):
            for coding in CODINGS:
                await ask(client, OPENAI, CHAT, PLACEHOLDER, f"{way},{coding}", stream=way == "stream")
        for key in (OWN, VIRTUAL):
            for model in (key, f"house-{key}", f"keyless-{key}"):
                await ask(client, OPENAI, CHAT, key, model=model)
            await ask(client, OPENAI, f"/v1/files/{key}", key)
            await ask(client, OPENAI, f"{CHAT}?key={key}", key)
            await ask(client, GEMINI, f"/v1beta/models/{key}:generateContent?key={key}", "")
            await ask(client, OPENAI, CHAT, key, messages=[{"role": "user", "content": f"my key is {key}"}])
    login = httpx.Proxy(proxy.url, auth=("ci", VIRTUAL))
    async with httpx.AsyncClient(proxy=login, verify=tls, trust_env=False) as client:
        await ask(client, OPENAI, CHAT, "", model=VIRTUAL)
    return calls


async def look_at_the_pages(proxy: Proxy) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What mitmweb shows of the flows and saves, in which a client's own key stands; and the live page."""
    async with logged_in(proxy.web_url) as api:
        shown = {"/flows": await api.get("/flows"), "flows.mitm": await api.get("/flows/dump")}
        for flow in await api.flows():
            for part in ("request", "response"):
                for view in VIEWS:
                    path = f"/flows/{flow['id']}/{part}/content/{quote(view, safe='')}.json"
                    shown[f"{view} of the {part} of {flow['id']}"] = await api.get(path)
        await api.command("save.har", "@all", str(proxy.folder / "flows.har"))
        har = proxy.folder / "flows.har"
        shown["flows.har"] = har.read_bytes()
        har.unlink()
        return shown, {path: await api.get(path) for path in ("/interpose", "/interpose.json")}


async def interpose(folder: Path, *arguments: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "interpose", *arguments),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err
    return out + err


async def report(proxy: Proxy, flows: bytes, folder: Path) -> dict[str, bytes]:
    """What the commands make of the ledger and of a file of flows."""
    (folder / "flows.mitm").write_bytes(flows)
    ledger = ("--ledger", str(proxy.folder / "usage.db"))
    rules = str(proxy.folder / "rules.yaml")
    made = {
        "export": await interpose(folder, "export", "--since", "1d", "--format", "json", "-o", "-", *ledger),
        "usage": await interpose(folder, "usage", "--by", "model,app", "--format", "html", *ledger),
        "verify": await interpose(folder, "usage", "verify", *ledger),
        "replay": await interpose(folder, "replay", rules, str(proxy.folder / "usage.db")),
        "replay of flows": await interpose(folder, "replay", rules, "flows.mitm"),
    }
    await interpose(folder, "export", "--from", "flows.mitm", "-o", "flows.html")
    return {**made, "export of flows": (folder / "flows.html").read_bytes()}


def rules(authority: Authority, dial: dict[str, str], collector: str) -> str:
    made = json.loads(acting_rules(authority, dial))
    made["ledger"] = {
        "to": ["sqlite:usage.db", "jsonl:calls.jsonl", f"otlp:{collector}?header=authorization:Bearer+${{OTLP}}"],
        "capture": "bodies",
        "scrub": [r"\b\d{3}-\d{2}-\d{4}\b"],
        "checkpoints": {"to": "checkpoints.jsonl"},
    }
    made["telemetry"] = {
        "otlp": collector, "headers": {"authorization": "Bearer ${OTLP}"}, "interval": "1s", "content": True,
    }  # fmt: skip
    return json.dumps(made)


async def test_no_key_is_in_anything_that_looks_on(
    farm: Farm, authority: Authority, dial: dict[str, str], upstream: Upstream, tmp_path: Path
) -> None:
    """Captures, pages, files of flows, exports, telemetry, reports: each is read as it is meant to be read."""
    with collecting() as collector:
        text = rules(authority, dial, collector.url)
        proxy = await farm.launch("audit-canary", text, {**ENVIRON, "OTLP": TOKEN}, "--web", "127.0.0.1:0")
        with upstream.answering(echo):
            calls = await ask_everything(proxy)
        await Ledger(proxy.folder / "usage.db").rows("", calls)
        shown, told = await look_at_the_pages(proxy)
        assert await proxy.stop() == 0
        for number, seen in enumerate(collector.seen):
            packed = seen.headers.get("content-encoding") == "gzip"
            told[f"{number} {seen.path}"] = gzip.decompress(seen.body) if packed else seen.body
    told |= proxy.left_behind()
    for call in captured(SinkFile("sqlite", proxy.folder / "usage.db")):
        for part in call.parts:
            told[f"{part.part} of {call.id}"] = repr(part).encode() + (part.body or b"")
    told |= (made := await report(proxy, shown["flows.mitm"], tmp_path))
    assert b"Your key is ***" in shown["flows.mitm"], "the echo did not work, so that nothing was tried"
    events = b"".join(data for name, data in told.items() if name.endswith(" /v1/logs"))
    assert b"Your key is ***" in events, "no content was told, so that nothing was tried"
    ours = {TOKEN, *(real(name) for name in ("openai", "gemini", "house"))}
    found = [f"{name} holds {key}" for name, data in (told | shown).items() for key in ours if key.encode() in data]
    found += [f"{name} holds {key}" for name, data in told.items() for key in (OWN, VIRTUAL) if key.encode() in data]
    kept = {name: data for name, data in told.items() if name not in ("export of flows", "replay of flows")}
    found += [f"{name} holds what scrub names" for name, data in kept.items() if NUMBER.encode() in data]
    packed = base64.b64encode(real("openai").encode()).rstrip(b"=")[:-2]
    found += [f"{name} holds a key in base64" for name, data in kept.items() if packed in data]
    assert not found, "\n".join(found)
    assert b"gpt-4o" in made["usage"]
