"""Modes in which the system leads connections to the proxy, and their clients know nothing of it.

Each runs in namespaces of its own, where the firewall and the control groups may be set: nothing of this machine
changes.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import ROOT
from tests.e2e.led import ANSWER, CLIENT, GATEWAY, NOWHERE
from tests.e2e.proxy import Proxy
from tests.e2e.settings import OPENAI, real

pytestmark = pytest.mark.asyncio(loop_scope="session")

# An eBPF program can be loaded by root alone.
ROOT_HERE = os.geteuid() == 0


async def world(mode: str, folder: Path, *namespaces: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        "unshare", *namespaces, sys.executable, "-m", "tests.e2e.led", mode, str(folder),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(120):
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    found: dict[str, Any] = json.loads(out)
    return found


def is_caught(found: dict[str, Any]) -> None:
    """The call had its credential, the client its answer, and the ledger knows the program."""
    assert found["out"].encode() == ANSWER, found
    assert found["sent"] == [f"Bearer {real('openai')}"]
    (call,) = found["calls"]
    assert (call["host"], call["path"], call["outcome"]) == (OPENAI, "/v1/chat/completions", "ok")
    (connection,) = found["connections"]
    assert (call["app"], connection["app"], connection["kind"]) == (CLIENT, CLIENT, "ai")
    assert CLIENT in connection["command"]
    # The gateway at its name, whatever address the client has for that.
    assert [out.encode() for out in found["at_gateway"]] == [ANSWER, ANSWER]
    assert {(call["host"], call["entrance"], call["client"]) for call in found["gateway_calls"]} == {
        (GATEWAY, "gateway", "ci")
    }
    assert found["status"] == 0, found["errors"]
    assert "Traceback" not in found["errors"]


async def test_transparent_mode_catches_what_the_firewall_leads_here(tmp_path: Path) -> None:
    """The client dials an address where nobody is; the handshake names the host, and the engine dials that."""
    found = await world("transparent", tmp_path, "--map-root-user", "--net")
    is_caught(found)
    assert found["calls"][0]["ip"] == NOWHERE


@pytest.mark.parametrize("allowed", [ROOT_HERE])
async def test_local_mode_catches_a_program_by_its_name_or_says_why_not(tmp_path: Path, *, allowed: bool) -> None:
    """Where the system lets us; where it does not, one line says what it takes."""
    if allowed:
        is_caught(await world("local", tmp_path, "--mount"))
        return
    proxy = Proxy(tmp_path / "proxy")
    await proxy.launch(None, None, "--mode", f"local:{CLIENT}")
    assert await proxy.ended() == 1
    assert "--mode local cannot" in proxy.errors


async def test_local_mode_that_fails_after_its_start_ends_with_one_line(tmp_path: Path) -> None:
    """Without sudo there is no helper process: its trace of a hundred lines is not passed on."""
    folder = tmp_path / "bin"
    folder.mkdir()
    proxy = Proxy(tmp_path / "proxy")
    await proxy.launch(None, {"PATH": str(folder)}, "--mode", f"local:{CLIENT}")
    assert await proxy.ended() == 1
    (line,) = proxy.errors.splitlines()
    assert line.startswith("interpose: --mode local cannot go on: Failed to run sudo: No such file")
    assert "it needs root" in line
