"""Telemetry as an assembly opens it: what is missing is said, at the start."""

from __future__ import annotations

import sys
from pathlib import Path
from secrets import token_hex

import pytest

from interpose.hosts.assembly import assemble
from interpose.rules.compiled import Rules
from interpose.rules.load import parse
from interpose.rules.problem import RulesError
from interpose.secret import Scrubber


def rules(text: str = "telemetry: {}") -> Rules:
    return parse(f"version: 1\n{text}\n", "rules.yaml", Path())


async def start(folder: Path, by: Rules, **environ: str) -> None:
    async with assemble(by, state=folder, environ=environ, scrubber=Scrubber(), writer=token_hex(8)):
        pass


async def test_without_the_sdk_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its extra. Without the section nobody needs it."""
    for name in [name for name in sys.modules if name.startswith("interpose.telemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(RulesError, match=r"telemetry: .*is not installed: pip install 'interpose\[otel\]'"):
        await start(tmp_path, rules())
    await start(tmp_path, rules("alerts: []"))


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "is grpc, and telemetry is sent by http/protobuf"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "nowhere"}, "is no URL of http or https"),
    ],
)
async def test_an_environment_that_cannot_be_gone_by_is_told(
    tmp_path: Path, environ: dict[str, str], words: str
) -> None:
    """With the section, as a problem of the rules; without it these variables mean nothing."""
    with pytest.raises(RulesError, match=words):
        await start(tmp_path, rules(), **environ)
    await start(tmp_path, rules("alerts: []"), **environ)


async def test_a_header_whose_variable_is_not_set_is_told(tmp_path: Path) -> None:
    """As every secret is."""
    with pytest.raises(RulesError, match="OTLP_TOKEN is not set"):
        await start(tmp_path, rules("telemetry: {headers: {x-key: '${OTLP_TOKEN}'}}"))


async def test_the_environment_may_turn_it_off(tmp_path: Path) -> None:
    """Then there is nothing to be told, and nobody to tell it."""
    async with assemble(
        rules(), state=tmp_path, environ={"OTEL_SDK_DISABLED": "true"}, scrubber=Scrubber(), writer="w"
    ) as assembly:
        assert assembly.engine.tracer is None
