"""`interpose export` of what mitmproxy's tools have saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.io import FlowWriter, tnetstring
from mitmproxy.test import tflow
from mitmproxy.version import FLOW_FORMAT_VERSION
from typer.testing import CliRunner, Result

import interpose.hosts.mitm.flowfile  # noqa: F401 - what mitmproxy's own imports warn of is no test's matter
from interpose.cli.commands import app

OWN = "sk-FAKE-" + "0123456789abcdef"
REPLY = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": f"Your key is {OWN}."}}],
}  # fmt: skip


def flow(question: str) -> http.HTTPFlow:
    made = tflow.tflow(resp=True)
    body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": question}]}).encode()
    headers = {"authorization": f"Bearer {OWN}", "content-type": "application/json"}
    made.request = http.Request.make("POST", "https://api.openai.com/v1/chat/completions", body, headers)
    made.response = http.Response.make(200, json.dumps(REPLY).encode(), {"content-type": "application/json"})
    made.response.encode("gzip")
    return made


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["export", *arguments])

    return run


def saved(name: str, *flows: http.HTTPFlow) -> bytes:
    with Path(name).open("wb") as file:
        writer = FlowWriter(file)
        for each in flows:
            writer.add(each)
    return Path(name).read_bytes()


def test_saved_flows_are_exported(export: Any) -> None:
    """By the id that a flow has, and without the key that it holds, in a compressed body neither."""
    first, second = flow("How are you?"), flow("And you?")
    saved("two.mitm", first, second)
    done = export("--from", "two.mitm")
    assert done.exit_code == 0, done.output
    html = Path("two.html").read_text()
    assert "How are you?" in html
    assert "Your key is ***." in html
    assert OWN not in html
    done = export("--from", "two.mitm", second.id[:8], "--format", "md", "-o", "-")
    assert "And you?" in done.stdout
    assert "How are you?" not in done.stdout


def test_flows_of_another_version_are_told(export: Any) -> None:
    """With what to do; those that can be read are exported."""
    whole = saved("good.mitm", flow("How are you?"))
    state = tnetstring.loads(whole)
    newer = tnetstring.dumps({**state, "version": FLOW_FORMAT_VERSION + 1})
    Path("mixed.mitm").write_bytes(newer + whole)
    done = export("--from", "mixed.mitm")
    assert done.exit_code == 0, done.output
    assert "a newer mitmproxy" in done.stderr
    assert "save them as HAR" in Path("mixed.html").read_text()
    Path("newer.mitm").write_bytes(newer)
    done = export("--from", "newer.mitm")
    assert done.exit_code == 1
    assert "a newer mitmproxy" in done.stderr


def test_flows_that_break_off_are_exported_as_far_as_they_go(export: Any) -> None:
    """What is left of a disk that was full."""
    whole = saved("whole.mitm", flow("How are you?"), flow("And you?"))
    Path("cut.mitm").write_bytes(whole[:-100])
    done = export("--from", "cut.mitm")
    assert done.exit_code == 0, done.output
    assert "cut.mitm: breaks off after 1 flow," in done.stderr
    assert "And you?" not in Path("cut.html").read_text()
