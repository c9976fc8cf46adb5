"""The API reference and the gateway that it describes: seen in a browser, typed as it says, held to what it says."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect
from tests.e2e.browser import PATIENCE, chromium
from tests.e2e.certificates import Authority
from tests.e2e.proxy import Gateway
from tests.e2e.runtimes import CLIENTS, runtime
from tests.e2e.settings import ANTHROPIC, ENVIRON, GEMINI, OPENAI, VIRTUAL, connect_to, rules_text
from tests.e2e.upstream import Exchange, Upstream

from interpose.formats.operations import OPERATIONS
from interpose.gateway.reference.data import errors, operations
from interpose.gateway.reference.samples import KEY

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
# name, host, format, base path, the variable of its key, whose calls go there
PROVIDERS = (
    ("claude", ANTHROPIC, "anthropic", "", "FAKE_ANTHROPIC_KEY", "/v1/messages*"),
    ("gemini", GEMINI, "gemini", "", "FAKE_GEMINI_KEY", "/v1beta/*"),
    # Not /v1/models: by a route, what the gateway has no method for is the provider's to answer.
    ("openai", OPENAI, "openai", "/v1", "FAKE_OPENAI_KEY", ["/v1/chat/*", "/v1/completions", "/v1/emb*", "/v1/resp*"]),
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def published(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, upstream: Upstream
) -> AsyncIterator[Gateway]:
    """A gateway before a provider of each format, which leads a format's clients there, whatever model they name."""
    gateway = Gateway(tmp_path_factory.mktemp("published"))
    await gateway.start(rules(authority, upstream), ENVIRON)
    yield gateway
    assert await gateway.stop() == 0, gateway.errors


def rules(authority: Authority, upstream: Upstream) -> str:
    return rules_text(
        providers={
            name: {"format": form, "base_url": f"https://{host}{base}", "credential": {"env": key}}
            for name, host, form, base, key, _ in PROVIDERS
        },
        routes=[
            {"name": name, "match": {"path": path, "method": "POST"}, "to": {"provider": name}}
            for name, *_, path in PROVIDERS
        ],
        models=[{"id": "gpt-4", "provider": "openai", "context_length": 8192}],
        clients={"keys": [{"name": "ci", "sha256": hashlib.sha256(VIRTUAL.encode()).hexdigest()}]},
        upstream={"ca": str(authority.pem), "connect_to": connect_to(upstream, (OPENAI, ANTHROPIC, GEMINI))},
    )


async def answer(exchange: Exchange) -> None:
    """Each operation's answer, as the reference gives it."""
    method, path = exchange.request.method.decode(), exchange.request.path
    operation = next((each for each in OPERATIONS if each.method == method and each.answers_at(path)), None)
    if operation is None:
        await exchange.json(b'{"error": {"message": "unknown", "type": "x", "param": null, "code": null}}', 404)
        return
    described = operations()[operation.name]
    told: Any = described["answer"]
    asked = json.loads(exchange.request.body) if exchange.request.body else {}
    if asked.get("stream") is True or b"alt=sse" in exchange.request.target:
        await exchange.stream("text/event-stream")
        await exchange.chunk(described["streamed"].encode())
        await exchange.end()
    elif operation.name == "createEmbedding" and b'"base64"' in exchange.request.body:
        vectors = [each | {"embedding": coded(each["embedding"])} for each in told["data"]]
        await exchange.json(json.dumps(told | {"data": vectors}).encode())
    else:
        await exchange.json(json.dumps(told).encode())


def coded(vector: list[float]) -> str:
    """Little-endian floats of 32 bits in base64, which OpenAI's JavaScript client asks for by itself."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


# --- what it says, typed ----------------------------------------------------------------------------------------------


async def samples(gateway: Gateway, language: str) -> list[str]:
    """What the document says to type, with a key that is good."""
    async with httpx.AsyncClient() as client:
        document = (await client.get(f"{gateway.url}/openapi.json")).json()
    return [
        sample["source"].replace(KEY, VIRTUAL)
        for methods in document["paths"].values()
        for operation in methods.values()
        for sample in operation.get("x-codeSamples", ())
        if sample["lang"] == language
    ]


async def output(upstream: Upstream, command: list[str], told: str, folder: Path) -> str:
    """What a program prints that ends well."""
    with upstream.answering(answer):
        program = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, complaints = await program.communicate(told.encode())
    assert program.returncode == 0, complaints.decode() + out.decode()
    return out.decode()


SAID = "It scatters blue light most."
# What a program prints by each operation, in the order of the document.
PRINTED = [SAID, "2", "gpt-4", "openai", SAID, SAID, "15", " time", SAID, SAID]


async def test_what_it_says_of_curl_works(published: Gateway, upstream: Upstream, tmp_path: Path) -> None:
    """Every command, typed as it stands there."""
    script = "".join(
        f"{sample.replace('curl ', 'curl -sSf ', 1)}echo\n" for sample in await samples(published, "shell")
    )
    out = await output(upstream, ["bash", "-eu"], script, tmp_path)
    for word in (SAID, '"embedding"', '"owned_by"', '"input_tokens": 15', '" time"', "data: "):
        assert word in out, word


async def test_what_it_says_of_python_works(published: Gateway, upstream: Upstream, tmp_path: Path) -> None:
    """Every sample, as a program of its own would run it."""
    runner = "import json, sys\nfor sample in json.load(sys.stdin):\n    exec(sample, {})\n    print(end='\\x1e')\n"
    told = json.dumps(await samples(published, "python"))
    printed = (await output(upstream, [sys.executable, "-c", runner], told, tmp_path)).split("\x1e")
    assert [each.strip("\n").split("\n")[-1] for each in printed[:-1]] == PRINTED


async def test_what_it_says_of_javascript_works(published: Gateway, upstream: Upstream, tmp_path: Path) -> None:
    """Every sample, as a module of its own."""
    (tmp_path / "node_modules").symlink_to(CLIENTS / "node" / "node_modules")
    sources = await samples(published, "javascript")
    for place, source in enumerate(sources):
        (tmp_path / f"{place}.mjs").write_text(source)
    runner = "".join(
        f'await import("{tmp_path}/{place}.mjs"); process.stdout.write("\\x1e");' for place in range(len(sources))
    )
    printed = (await output(upstream, [runtime("node"), "--input-type=module"], runner, tmp_path)).split("\x1e")
    assert [each.strip("\n").split("\n")[-1] for each in printed[:-1]] == PRINTED


# --- the page, seen ---------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_is_read_in_a_browser(published: Gateway, browser: Browser, scheme: Any, width: int) -> None:
    """In the light and in the dark, on a desk and on a telephone: all of it, from us alone, without a complaint."""
    context = await browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
    page = await context.new_page()
    page.set_default_timeout(PATIENCE)
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(f"{published.url}/docs")
    for operation in OPERATIONS:
        article = page.locator(f"#{operation.name}")
        await expect(article.locator("h3")).to_be_visible()
        await expect(article.locator(".target")).to_contain_text(operation.path)
    for error in errors():
        await expect(page.locator(f"#error-{error['status']}")).to_be_visible()
    await expect(page.locator("#limits")).to_contain_text("100")
    # The style sheet is in force, hence its hash is the policy's.
    shade = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert shade == {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 20, 26)"}[scheme]
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    assert asked[0] == f"{published.url}/docs"
    assert {url.split("/")[2] for url in asked} == {published.url.split("/")[2]}
    assert complaints == []
    await context.close()


async def test_the_page_shows_one_language_at_a_time(published: Gateway, browser: Browser) -> None:
    """The one that is chosen, by a click or by the keyboard, and for that operation."""
    page = await browser.new_page()
    page.set_default_timeout(PATIENCE)
    await page.goto(f"{published.url}/docs")
    tabs = page.locator("#createChatCompletion .tabs")
    shown = tabs.locator("pre:visible")
    await expect(shown).to_contain_text("curl")
    await tabs.locator("label", has_text="Python").click()
    await expect(shown).to_contain_text("from openai import OpenAI")
    await page.keyboard.press("ArrowRight")
    await expect(shown).to_contain_text('import OpenAI from "openai"')
    await expect(page.locator("#createEmbedding .tabs pre:visible")).to_contain_text("curl")
    await page.close()


# --- the gateway, held to it ------------------------------------------------------------------------------------------


async def test_the_gateway_is_what_the_document_says(published: Gateway, upstream: Upstream, tmp_path: Path) -> None:
    """Schemathesis makes requests of all kinds from the document, right and wrong: each is answered as it says, by a
    status that the gateway itself has, and what is wrong is refused.
    """
    async with httpx.AsyncClient() as client:
        document = (await client.get(f"{published.url}/openapi.json")).json()
    for methods in document["paths"].values():
        for operation in methods.values():
            # A provider's own refusals: there are none here, so that every other status has to be named.
            operation["responses"].pop("4XX", None)
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    with upstream.answering(answer):
        running = await asyncio.create_subprocess_exec(
            *(str(SCHEMATHESIS), "run", "openapi.json", "--url", published.url, "--no-color"),
            *("--header", f"Authorization: Bearer {VIRTUAL}"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "5", "--generation-deterministic"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await running.communicate()
        assert running.returncode == 0, told.decode()
        assert f"Tested: {sum(map(len, document['paths'].values()))}" in told.decode()
        assert len(upstream.requests) > 100
