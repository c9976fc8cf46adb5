"""What `interpose serve` refuses before it starts anything."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from interpose.cli.serve import Options, serve
from interpose.errors import InterposeError
from interpose.rules.problem import RulesError

NONE = Options(None, "127.0.0.1:0", 1, None, None, None, quiet=False)


def rules(folder: Path, **sections: object) -> Path:
    file = folder / "rules.yaml"
    provider = {"format": "openai", "base_url": "https://api.openai.com/v1", "credential": {"env": "FAKE_NOT_SET"}}
    file.write_text(json.dumps({"version": 1, "providers": {"openai": provider}, **sections}))
    return file


def test_an_open_address_wants_keys(tmp_path: Path) -> None:
    """Of rules that ask for none; those that say nothing ask for one here."""
    asking = Options(rules(tmp_path), "0.0.0.0:0", 1, tmp_path, None, None, quiet=False)
    with pytest.raises(RulesError, match="FAKE_NOT_SET is not set"):
        serve(asking)
    open_ = replace(asking, rules=rules(tmp_path, clients={"required": False}))
    with pytest.raises(InterposeError, match=r"can be reached from other machines.*required: true"):
        serve(open_)


def test_rules_must_be_readable_by_each_worker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe is empty after the first of them."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(typer.Exit):
        serve(replace(NONE, rules=pipe))
    assert "can be read once, and each worker has to read it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (replace(NONE, tls_cert=Path("c.pem")), "--tls-cert and --tls-key go together"),
        (replace(NONE, tls_key=Path("k.pem")), "--tls-cert and --tls-key go together"),
        (replace(NONE, listen="1:2:3"), "write an IPv6 address in brackets"),
    ],
)
def test_options_that_make_no_sense(
    options: Options, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-FAKE-openai")
    with pytest.raises(typer.Exit):
        serve(options)
    assert told in capsys.readouterr().err


def test_a_certificate_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is said before the address is taken, and without a traceback."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-FAKE-openai")
    missing = tmp_path / "c.pem"
    with pytest.raises(InterposeError, match=r"--tls-cert .*c\.pem cannot be read: No such file"):
        serve(replace(NONE, state=tmp_path, tls_cert=missing, tls_key=missing))
