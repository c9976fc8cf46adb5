"""Programs that have an engine inside and forget to close it, or fork: each is a process of its own, as a user's is."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from tests.e2e.certificates import Authority
from tests.e2e.hosting import both_providers
from tests.e2e.proxy import Ledger, Proxy
from tests.e2e.settings import ENVIRON, PLACEHOLDER
from tests.e2e.test_transport import WORD
from tests.e2e.upstream import Exchange, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

BEGIN = f"""
import asyncio, os, sys, httpx, interpose
URL = "https://api.openai.com/v1/chat/completions"
KEYS = {{"authorization": "Bearer {PLACEHOLDER}"}}
STREAM = {{"model": "gpt-4o", "messages": [{{"role": "user", "content": "Hi"}}], "stream": True}}
ASK = {{**STREAM, "stream": False}}
"""

SYNC = """
client = httpx.Client(transport=interpose.Transport("rules.yaml", state="state"), timeout=60)
client.post(URL, json=ASK, headers=KEYS)
reply = client.send(client.build_request("POST", URL, json=STREAM, headers=KEYS), stream=True)
print(next(reply.iter_raw()).decode())
pieces = client.send(client.build_request("POST", URL, json=STREAM, headers=KEYS), stream=True)
"""

ASYNC = """
async def main():
    client = httpx.AsyncClient(transport=interpose.AsyncTransport("rules.yaml", state="state"), timeout=60)
    await client.post(URL, json=ASK, headers=KEYS)
    reply = await client.send(client.build_request("POST", URL, json=STREAM, headers=KEYS), stream=True)
    pieces = reply.aiter_raw()
    print((await anext(pieces)).decode())
    kept.append((reply, pieces))
    asyncio.create_task(client.post(URL, json=STREAM, headers=KEYS))
    await asyncio.sleep(0)
    while len(await ledgered()) < 1:
        pass

async def ledgered():
    await asyncio.sleep(0.01)
    return [1]

kept = []
asyncio.run(main())
"""

THREADS = """
import threading
client = httpx.Client(transport=interpose.Transport("rules.yaml", state="state"), timeout=60)
client.post(URL, json=ASK, headers=KEYS)
client.post(URL, json=ASK, headers=KEYS)
threading.Thread(target=lambda: client.post(URL, json=STREAM, headers=KEYS), daemon=True).start()
reply = client.send(client.build_request("POST", URL, json=STREAM, headers=KEYS), stream=True)
print(next(reply.iter_raw()).decode())
"""

FORK = """
client = httpx.Client(transport=interpose.Transport("rules.yaml", state="state"), timeout=60)
print(client.post(URL, json=ASK, headers=KEYS).status_code, flush=True)
if (child := os.fork()) == 0:
    print(client.post(URL, json=ASK, headers=KEYS).status_code, flush=True)
    client.close()
    sys.exit(7)
_, status = os.waitpid(child, 0)
print(client.post(URL, json=ASK, headers=KEYS).status_code, os.waitstatus_to_exitcode(status), flush=True)
"""

INTERRUPTED = """
with httpx.Client(transport=interpose.Transport("rules.yaml"), timeout=60) as client:
    try:
        client.post(URL, json={**ASK, "wait": True}, headers=KEYS)
    except KeyboardInterrupt:
        print([call.outcome for call in client._transport.calls()])
"""


@pytest.fixture
def folder(tmp_path: Path, authority: Authority, upstream: Upstream) -> Path:
    (tmp_path / "rules.yaml").write_text(both_providers(authority, upstream))
    return tmp_path


async def answer(exchange: Exchange) -> None:
    """One question is answered; a stream begins and goes on for as long as anybody listens."""
    if b'"wait":true' in exchange.request.body:
        await exchange.gone.wait()
        return
    if b'"stream":true' not in exchange.request.body:
        await exchange.json(b"{}")
        return
    await exchange.stream("text/event-stream")
    await exchange.chunk(WORD)
    await exchange.gone.wait()


async def run(
    folder: Path, code: str, *flags: str, interrupt: asyncio.Event | None = None
) -> tuple[int | None, str, str]:
    """What becomes of the program, which must end by itself; at that event it is interrupted as by Ctrl-C."""
    environ = Proxy(folder).environ(ENVIRON)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *flags,
        "-c",
        BEGIN + code,
        cwd=folder,
        env=environ,
        stdout=-1,
        stderr=-1,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(120):
            if interrupt is not None:
                await interrupt.wait()
                process.send_signal(signal.SIGINT)
            out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return process.returncode, out.decode(), errors.decode()


@pytest.mark.parametrize("code", [SYNC, ASYNC], ids=["sync", "async"])
async def test_a_program_that_forgets_to_close_ends_and_loses_no_record(
    code: str, folder: Path, upstream: Upstream
) -> None:
    """A stream that is half read, and one that nobody has read of, are cut off and recorded; nobody is warned."""
    with upstream.answering(answer):
        status, out, errors = await run(folder, code, "-W", "error")
    assert (status, out, errors) == (0, WORD.decode() + "\n", "")
    rows = Ledger(folder / "state" / "usage.db").after()
    assert [row["outcome"] for row in rows] == ["ok", "aborted", "aborted"]


async def test_threads_that_wait_do_not_hold_the_exit(folder: Path, upstream: Upstream) -> None:
    """A daemon's call is cut off with the program."""
    with upstream.answering(answer):
        status, _, errors = await run(folder, THREADS)
    assert status == 0, errors
    rows = Ledger(folder / "state" / "usage.db").after()
    assert [row["outcome"] for row in rows[:2]] == ["ok", "ok"]
    assert {row["outcome"] for row in rows[2:]} == {"aborted"}


async def test_a_child_has_a_transport_of_its_own(folder: Path, upstream: Upstream) -> None:
    """What the parent has open goes on, and each writes its own records."""
    with upstream.answering(answer):
        status, out, errors = await run(folder, FORK, "-W", "ignore::DeprecationWarning")
    assert (status, out.split(), errors) == (0, ["200", "200", "200", "7"], "")
    rows = Ledger(folder / "state" / "usage.db").after()
    assert [row["outcome"] for row in rows] == ["ok"] * 3
    assert len({row["writer"] for row in rows}) == 2
    assert rows[0]["writer"] == rows[2]["writer"]


async def test_an_interrupt_ends_the_call_that_it_finds(folder: Path, upstream: Upstream) -> None:
    """Ctrl-C reaches a program that waits for a reply; the provider is hung up on."""
    with upstream.answering(answer):
        status, out, errors = await run(folder, INTERRUPTED, interrupt=upstream.arrived)
    assert (status, out, errors) == (0, "['aborted']\n", "")
