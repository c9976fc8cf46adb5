"""Where records go, as rules write it: what is understood, what is refused, and that no password is repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from interpose.rules.check import check as problems_of
from interpose.rules.load import parse
from interpose.rules.problem import BadValue, RulesError
from interpose.rules.sinks import DatabaseUrl, SinkCollector, SinkDatabase, SinkFile, check, database

FAKE = "sk-FAKE-database-password"

URLS = [
    ("postgresql://h/d", DatabaseUrl("h", 5432, None, "d")),
    ("postgres://me:${PG_PW}@DB.lan:5433/usage", DatabaseUrl("db.lan", 5433, None, "usage", "me", "PG_PW")),
    ("postgresql://me:a%40b@h/d", DatabaseUrl("h", 5432, None, "d", "me", password="a@b")),
    ("postgresql://[::1]/d", DatabaseUrl("::1", 5432, None, "d")),
    ("postgresql:///d?host=/run/postgresql", DatabaseUrl(None, 5432, "/run/postgresql", "d")),
    ("postgresql://me@:5433/d?host=/run/pg", DatabaseUrl(None, 5433, "/run/pg", "d", "me")),
    (
        "postgresql://h/d?sslmode=verify-full&ca=ca.pem&spool=64MiB",
        DatabaseUrl("h", 5432, None, "d", sslmode="verify-full", ca="ca.pem", spool=64 << 20),
    ),
]


@pytest.mark.parametrize(("text", "url"), URLS, ids=[text for text, _ in URLS])
def test_what_a_url_says(text: str, url: DatabaseUrl) -> None:
    """Host or socket, port, database, login, and options that are ours."""
    assert database(text) == url


WRONG = [
    ("usage.db", "is no place for a ledger; write sqlite:FILE, jsonl:FILE, postgresql://… or otlp:http://…"),
    ("sqlte:usage.db", 'is no place for a ledger; did you mean "sqlite"?'),
    ("mysql://h/d", "is no place for a ledger"),
    ("sqlite:", "names no file"),
    ("jsonl:", "names no file"),
    ("sqlite:///usage.db", "is written like a URL; write sqlite:FILE, or sqlite:/FILE from the root"),
    ("postgresql:h/d", "is not a URL"),
    ("postgresql://h", "names no database; write for example postgresql://user:${PG_PASSWORD}@host:5432/database"),
    ("postgresql://h/a/b", "names no database"),
    ("postgresql:///d", "names no server"),
    ("postgresql://h/d?host=/run/pg", "names a host and the folder of a socket; leave out one of them"),
    ("postgresql:///d?host=run", "has a host= that is no folder"),
    ("postgresql://a,b/d", "names several hosts"),
    ("postgresql://h:0/d", "has the port 0"),
    ("postgresql://h:65536/d", "is not a URL"),
    ("postgresql://h/d#1", "has a fragment"),
    ("postgresql://h h/d", "contains a space"),
    ("postgresql://h/d?sslmode=verify_full", 'has an sslmode of "verify_full"; did you mean "verify-full"?'),
    ("postgresql://h/d?ssl_mode=require", 'has an option "ssl_mode" that is not known; did you mean "sslmode"?'),
    ("postgresql://h/d?sslmode=", "has no value for sslmode"),
    ("postgresql://h/d?spool=1kB", "has a spool of 1kB; it is 1MiB or more: spool=1GiB"),
    ("postgresql://h/d?spool=lots", "is not a size"),
    ("postgresql://h/d?ca=c.pem", "names certificates by ca=, and verifies none; write sslmode=verify-full beside it"),
    ("postgresql://me:a${B}@h/d", "has a $ in its password"),
    ("otlp:", "names no collector"),
    ("otlp:collector:4318", "does not begin with https:// or http://"),
    ("otlp://collector:4318", "leaves out http or https"),
    ("otlp:http://collector:4317", "has gRPC's port 4317"),
    ("otlp:http://collector/v1/logs", "names one kind of telemetry"),
    ("otlp:http://me:secret@collector", "has a user or a password"),
    ("otlp:http://collector?heder=a:b", 'has an option "heder" that is not known'),
    ("otlp:http://collector?header=a", "has a header= that is none"),
    ("otlp:http://collector?header=a:$b", "has a $ that begins no ${NAME}"),
    ("otlp:http://collector?header=content-type:b", "has a header= that is none"),
    ("otlp:http://collector?header=a:b&header=A:c", "names a header twice"),
    ("otlp:http://collector?ca=a.pem", "names certificates by ca=, and is http"),
    ("postgresql://169.254.169.254/d", "is an address that no provider has"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[text for text, _ in WRONG])
def test_what_is_no_place_for_a_ledger(text: str, said: str) -> None:
    """Each is refused by what is wrong with it, with what to write instead."""
    with pytest.raises(BadValue) as caught:
        check(text)
    assert said in "; ".join(filter(None, (str(caught.value), caught.value.hint))) or said in str(caught.value)


@pytest.mark.parametrize("text", [f"postgresql://me:{FAKE}@h/d", f"postgresql://me:{FAKE}@:1/d?host=/run/pg"])
def test_a_password_is_shown_nowhere(text: str) -> None:
    """Neither by the URL nor by the rules that hold it."""
    url = database(text)
    rules = parse(f"version: 1\nledger: {{to: '{text}'}}\n", "r.yaml", Path.cwd())
    for shown in (str(url), repr(url), str(rules.ledger.to[0]), repr(rules), *map(str, rules.warnings)):
        assert FAKE not in shown
    assert ":***@" in str(url)


@pytest.mark.parametrize("bad", ["postgresql://me:{}@h", "postgresql://me:{}@h/d?x=1", "postgres:{}@h", "p:{}@h/d"])
def test_no_problem_repeats_a_password(bad: str) -> None:
    """It may stand in whatever cannot be understood."""
    with pytest.raises(RulesError) as caught:
        parse(f"version: 1\nledger: {{to: '{bad.format(FAKE)}'}}\n", "r.yaml", Path.cwd())
    assert FAKE not in str(caught.value)


def test_a_collector_has_headers_by_variables(tmp_path: Path) -> None:
    """What they are is known by name alone; a blank is written as a plus."""
    to = "otlp:https://h:4318/otlp/?header=authorization:Bearer+${TOKEN}&header=x-team:a&spool=2GiB"
    rules = parse(f"version: 1\nledger: {{to: '{to}'}}\n", "r.yaml", tmp_path)
    (sink,) = rules.ledger.to
    assert isinstance(sink, SinkCollector)
    assert (str(sink), sink.url.spool) == ("otlp:https://h:4318/otlp", 2 << 30)
    assert [(header.name, header.text) for header in sink.headers] == [
        ("authorization", "Bearer ${TOKEN}"), ("x-team", "a"),
    ]  # fmt: skip
    assert [source.name for source in rules.ledger.credentials] == ["env:TOKEN"]
    assert rules.warnings == ()


def test_several_sinks_are_kept_in_their_order(tmp_path: Path) -> None:
    """Files from the rules file, the password by its variable's name."""
    text = "version: 1\nledger: {to: ['postgresql://me:${PG}@h/d', 'sqlite:usage.db', 'jsonl:/x/calls.jsonl']}\n"
    rules = parse(text, "r.yaml", tmp_path)
    first, *files = rules.ledger.to
    assert isinstance(first, SinkDatabase)
    assert first.password is not None
    assert (str(first), first.password.name) == ("postgresql://me:${PG}@h:5432/d", "env:PG")
    assert files == [SinkFile("sqlite", tmp_path / "usage.db"), SinkFile("jsonl", Path("/x/calls.jsonl"))]
    assert rules.ledger.credentials == (first.password,)


def test_without_a_name_it_is_the_file_in_the_state_folder(tmp_path: Path) -> None:
    """As ever."""
    rules = parse("version: 1\n", "r.yaml", tmp_path)
    assert rules.ledger.sinks(tmp_path) == (SinkFile("sqlite", tmp_path / "usage.db"),)


PROBLEMS = [
    ("[sqlite:a.db, sqlite:./a.db]", "r.yaml:2:28: ledger.to[1]: is the same place as one before; remove it"),
    ("'postgresql://h/d?sslmode=verify-full&ca=none.pem'", "cannot be read: No such file"),
    (f"'postgresql://me:{FAKE}@h/d'", "warning: holds a password, which everybody sees who sees this file"),
    ("'postgresql://me:${A}@h/d?sslmode=disable'", "warning: goes to another machine without TLS"),
    ("'otlp:http://h.test:4318?header=x-key:${A}'", "warning: goes to another machine without TLS"),
    (f"'otlp:https://h?header=x-key:{FAKE}'", "warning: may hold a secret"),
    ("'otlp:https://h?ca=none.pem'", "cannot be read: No such file"),
    ("['otlp:http://h:4318', 'otlp:http://h:4318?header=a:b']", "ledger.to[1]: is the same place as one before"),
]


@pytest.mark.parametrize(("to", "said"), PROBLEMS, ids=[said for _, said in PROBLEMS])
def test_check_tells_what_is_wrong_with_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, said: str
) -> None:
    """With its line, in the words that every problem has."""
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(f"version: 1\nledger: {{to: {to}}}\n")
    assert any(said in str(problem) for problem in problems_of("r.yaml"))


NEED_A_LEDGER = [
    (
        "ledger: {to: 'otlp:http://h:4318', capture: bodies}",
        "ledger.capture: keeps bodies, and ledger.to names collectors",
    ),
    ("ledger: {to: ['otlp:http://h:4318'], keep: {records: 30d}}", "ledger.keep: concerns ledgers that can be read"),
    (
        "ledger: {to: 'otlp:http://h:4318', checkpoints: {to: c.jsonl}}",
        "ledger.checkpoints: are of a ledger that can be",
    ),
    (
        "ledger: {to: 'otlp:http://h:4318'}\nlimits: [{name: l, budget: $1/day}]",
        "limits[0].budget: warning: begins anew at each start",
    ),
]


@pytest.mark.parametrize(("text", "said"), NEED_A_LEDGER, ids=[said for _, said in NEED_A_LEDGER])
def test_check_tells_what_a_collector_alone_cannot_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    """With a file beside it there is nothing to say."""
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(f"version: 1\n{text}\n")
    told = [str(problem) for problem in problems_of("r.yaml")]
    assert len(told) == 1
    assert said in told[0]
    assert "name sqlite:usage.db beside it" in told[0]
    beside = text.replace("to: 'otlp:http://h:4318'", "to: ['otlp:http://h:4318', sqlite:usage.db]")
    Path("r.yaml").write_text(f"version: 1\n{beside.replace("4318'], keep", "4318', sqlite:usage.db], keep")}\n")
    assert problems_of("r.yaml") == []
