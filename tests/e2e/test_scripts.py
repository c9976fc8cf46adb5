"""The scripts for stock mitmproxy: real `mitmdump -s addons/X.py`, from a checkout, interpose not installed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.e2e.certificates import Authority
from tests.e2e.clients import Response
from tests.e2e.mitmtools import Tool, request, running
from tests.e2e.settings import ENVIRON, HOUSE, OPENAI, PLACEHOLDER, acting_rules, rules_text
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = ENVIRON["FAKE_OPENAI_KEY"].encode()
EVENTS = [b'data: {"choices": [{"delta": {"content": "word"}}]}\n\n'] * 3 + [b"data: [DONE]\n\n"]


async def answer(exchange: Exchange) -> None:
    if b'"stream": true' in bytes(exchange.request.body):
        await exchange.stream("text/event-stream")
        for each in EVENTS:
            await exchange.chunk(each)
        await exchange.end()
    else:
        await exchange.json(b'{"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}')


def marks(response: Response) -> list[bytes]:
    return [name for name, _ in response.headers if name.lower().startswith(b"x-interpose")]


async def test_intercept_does_all_that_the_rules_ask(
    bare: Path, tmp_path: Path, authority: Authority, dial: dict[str, str], upstream: Upstream
) -> None:
    """The key is injected, a stream streams and is in the flow file, each call is recorded; no key is in any file."""
    async with running(bare, tmp_path, "intercept.py", rules=acting_rules(authority, dial)) as proxy:
        with upstream.answering(answer):
            plain = await proxy.ask(PLACEHOLDER)
            assert upstream.request.values("authorization") == [b"Bearer " + KEY]
            stream = await proxy.ask(PLACEHOLDER, b'{"model": "gpt-4o", "stream": true, "messages": []}')
    assert (plain.status, stream.status, bytes(stream.body)) == (200, 200, b"".join(EVENTS))
    assert marks(plain)
    first, second = proxy.flows()
    assert first.request.headers["authorization"] == f"Bearer {PLACEHOLDER}"
    assert first.response.content == bytes(plain.body)
    assert second.response.content == b"".join(EVENTS)
    rows = proxy.rows()
    assert [(row["outcome"], row["credential"], row["stream"]) for row in rows] == [
        ("ok", "env:FAKE_OPENAI_KEY", 0),
        ("ok", "env:FAKE_OPENAI_KEY", 1),
    ]


@pytest.mark.parametrize("script", ["audit_only.py", "log_usage.py"])
async def test_observing_changes_nothing(
    bare: Path, tmp_path: Path, authority: Authority, dial: dict[str, str], upstream: Upstream, script: str
) -> None:
    """Even with rules that would: not a byte of the request, no header on the reply; and the call is recorded."""
    async with running(bare, tmp_path, script, rules=acting_rules(authority, dial)) as proxy:
        with upstream.answering(answer):
            response = await proxy.ask(PLACEHOLDER, b'{"model":  "house-1"}')
    assert upstream.request.values("authorization") == [f"Bearer {PLACEHOLDER}".encode()]
    assert upstream.request.values("host") == [OPENAI.encode()]
    assert bytes(upstream.request.body) == b'{"model":  "house-1"}'
    assert marks(response) == []
    (row,) = proxy.rows()
    assert (row["route"], row["credential"], row["input_tokens"], row["provider"]) == (None, None, 5, "openai")


async def test_credentials_alone(
    bare: Path, tmp_path: Path, authority: Authority, dial: dict[str, str], upstream: Upstream
) -> None:
    """Keys are put in where the call was going anyway; no route leads it elsewhere."""
    async with running(bare, tmp_path, "inject_credentials.py", rules=acting_rules(authority, dial)) as proxy:
        with upstream.answering(answer):
            await proxy.ask(PLACEHOLDER, b'{"model": "house-1"}')
            assert upstream.request.values("host") == [OPENAI.encode()]
            assert upstream.request.values("authorization") == [b"Bearer " + KEY]
            assert (await proxy.ask("vk-unknown-fake")).status == 401


async def test_routes_alone_never_lend_a_clients_key_to_another_host(
    bare: Path, tmp_path: Path, authority: Authority, dial: dict[str, str], upstream: Upstream
) -> None:
    """A route within the addressed host is taken; one that leads elsewhere is refused: law 6."""
    rules = json.loads(acting_rules(authority, dial))
    rules["routes"].append(
        {"name": "cheap", "match": {"model": "gpt-4o"}, "to": {"provider": "openai", "model": "gpt-x"}}
    )
    async with running(bare, tmp_path, "route_calls.py", rules=json.dumps(rules)) as proxy:
        with upstream.answering(answer):
            assert (await proxy.ask("sk-own-fake")).status == 200
            assert bytes(upstream.request.body) == b'{"model": "gpt-x", "messages": []}'
            assert upstream.request.values("authorization") == [b"Bearer sk-own-fake"]
            before = len(upstream.requests)
            refused = await proxy.ask("sk-own-fake", b'{"model": "house-1"}')
            assert len(upstream.requests) == before
    assert refused.status == 500
    assert HOUSE not in bytes(refused.body).decode()


async def test_two_scripts_share_one_engine(
    bare: Path, tmp_path: Path, authority: Authority, dial: dict[str, str], upstream: Upstream
) -> None:
    """It does what either asks, and records each call once."""
    async with running(
        bare, tmp_path, "inject_credentials.py", "route_calls.py", "log_usage.py", rules=acting_rules(authority, dial)
    ) as proxy:
        with upstream.answering(answer):
            await proxy.ask(PLACEHOLDER, b'{"model": "house-1"}')
    assert upstream.request.values("host") == [HOUSE.encode()]
    (row,) = proxy.rows()
    assert (row["route"], row["provider"]) == ("to-house", "house")


@pytest.mark.parametrize("script", ["apply_limits.py", "convert_formats.py"])
async def test_every_script_runs(
    bare: Path, tmp_path: Path, authority: Authority, dial: dict[str, str], upstream: Upstream, script: str
) -> None:
    """Also with rules in which there is nothing for it to do."""
    async with running(bare, tmp_path, script, rules=acting_rules(authority, dial)) as proxy:
        with upstream.answering(answer):
            assert (await proxy.ask("sk-own-fake")).status == 200


@pytest.mark.parametrize(
    ("rules", "more", "told"),
    [
        ("version: 1\nproviderss: {}\n", (), "providerss"),
        (None, ("--set", "interpose_rules=/nowhere/rules.yaml"), "/nowhere/rules.yaml"),
        ("acting", ("--set", "ssl_insecure=true"), "ssl_insecure is set"),
        ("acting", ("--listen-host", ""), "whoever reaches it could use your keys"),
        ("acting", ("--listen-host", "0.0.0.0"), "add --listen-host 127.0.0.1"),
    ],
    ids=["a mistake", "no file", "insecure", "as mitmproxy listens by itself", "on every address"],
)
async def test_what_is_wrong_ends_mitmdump_with_one_clear_error(
    bare: Path,
    tmp_path: Path,
    authority: Authority,
    dial: dict[str, str],
    rules: str | None,
    more: tuple[str, ...],
    told: str,
) -> None:
    """It does not go on without the engine."""
    tool = Tool(bare, tmp_path)
    text = acting_rules(authority, dial) if rules == "acting" else rules
    await tool.start("intercept.py", rules=text, more=more)
    assert await tool.end(by=None) == 1, tool.output
    assert told in tool.output
    assert "Traceback" not in tool.output


async def test_replay_goes_through_the_engine_again(
    bare: Path, tmp_path: Path, authority: Authority, dial: dict[str, str], upstream: Upstream
) -> None:
    """From a file, in a mitmdump of its own: the provider gets the credential, the flow keeps the placeholder."""
    rules = acting_rules(authority, dial)
    async with running(bare, tmp_path / "first", "intercept.py", rules=rules) as proxy:
        with upstream.answering(answer):
            await proxy.ask(PLACEHOLDER)
    again, more = tmp_path / "second", ("-C", str(proxy.saved), "--set", "keepserving=true")
    with upstream.answering(answer):
        async with running(bare, again, "intercept.py", rules=rules, more=more) as replaying:
            await replaying.ledger.rows("", 1)
    assert upstream.request.values("authorization") == [b"Bearer " + KEY]
    assert len(upstream.requests) == 1
    (row,) = replaying.rows()
    assert (row["outcome"], row["app"]) == ("ok", "replay")
    (flow,) = replaying.flows()
    assert flow.response.status_code == 200


async def test_what_other_addons_do_to_flows_is_done(
    bare: Path, tmp_path: Path, upstream: Upstream, authority: Authority, dial: dict[str, str]
) -> None:
    """modify_headers on requests and replies, modify_body on a JSON reply: as with mitmproxy's own upstream."""
    more = (
        "--modify-headers", "/~q/x-asked/yes",
        "--modify-headers", "/~s/x-seen/yes",
        "--modify-body", "/~s/completion_tokens/edited_tokens",
    )  # fmt: skip
    rules = rules_text(upstream=json.loads(acting_rules(authority, dial))["upstream"])
    async with running(bare, tmp_path, "intercept.py", rules=rules, more=more) as proxy:
        with upstream.answering(answer):
            response = await proxy.ask("sk-own-fake")
    assert upstream.request.values("x-asked") == [b"yes"]
    assert response.value("x-seen") == b"yes"
    assert b"edited_tokens" in bytes(response.body)


SETTER = """
import asyncio
from pathlib import Path
from mitmproxy import ctx

async def set_when_asked():
    for name in ("second", "third"):
        while not (asked := Path(name)).exists():
            await asyncio.sleep(0.01)
        ctx.options.update(interpose_rules=asked.read_text())

def running():
    asyncio.get_running_loop().tasks = [asyncio.create_task(set_when_asked())]
"""


def names_model(model: str, authority: Authority, dial: dict[str, str], **more: object) -> str:
    """Rules by which every chat gets that model."""
    provider = {
        "format": "openai",
        "base_url": f"https://{OPENAI}/v1",
        "credential": {"env": "FAKE_OPENAI_KEY"},
    }
    return rules_text(
        providers={"openai": provider},
        routes=[{"name": model, "match": {"endpoint": "chat"}, "to": {"provider": "openai", "model": model}}],
        upstream={"ca": str(authority.pem), "connect_to": dial},
        **more,
    )


async def test_rules_are_read_again_when_their_file_or_its_name_changes(
    bare: Path, tmp_path: Path, authority: Authority, dial: dict[str, str], upstream: Upstream
) -> None:
    """On connections that go on; a file that cannot be used changes nothing; without one, calls are only observed."""
    setter = tmp_path / "setter.py"
    setter.write_text(SETTER)
    first = names_model("one", authority, dial)
    async with running(bare, tmp_path, "intercept.py", rules=first, more=("-s", str(setter))) as proxy:

        async def said(words: str) -> None:
            async with asyncio.timeout(60):
                while words not in proxy.output:
                    await asyncio.sleep(0.01)

        def put(name: str, text: str) -> None:
            new = tmp_path / "new"
            new.write_text(text)
            new.replace(tmp_path / name)

        with upstream.answering(answer):
            async with await proxy.client() as client:

                async def route() -> bytes | None:
                    await client.send(request(PLACEHOLDER))
                    response = await client.response()
                    assert response.status == 200
                    return response.value("x-interpose-route")

                assert await route() == b"one"
                put("rules.yaml", names_model("two", authority, dial))
                await said("rules.yaml: reloaded, version ")
                assert await route() == b"two"
                put("rules.yaml", "version: 1\nroutess: []\n")
                await said("rules.yaml:2:1: routess: ")
                assert await route() == b"two"
                put("other.yaml", names_model("three", authority, dial))
                put("second", str(tmp_path / "other.yaml"))
                await said("other.yaml: reloaded, version ")
                assert await route() == b"three"
                assert proxy.process is not None
                put("third", "")
                await said("interpose: observing only")
    assert [row["route"] for row in proxy.rows()] == ["one", "two", "two", "three"]
