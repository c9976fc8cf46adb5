"""TLS to a database: what each `sslmode` takes and refuses, by real certificates and real handshakes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.e2e.certificates import Authority
from tests.ledger.conftest import START, invented
from tests.postgres import PASSWORD, Postgres
from tests.tlsrelay import TlsRelay, encrypted

from interpose.ledger import Ledger, LedgerError
from interpose.ledger.address import Database
from interpose.ledger.lane import Pace
from interpose.ledger.postgres.sink import PostgresSink
from interpose.ledger.pruning import Keep
from interpose.ledger.retention import prune
from interpose.ledger.spool import Spool
from interpose.ledger.sums import usage
from interpose.ledger.verify import verify
from interpose.ledger.writer import Way
from interpose.rules.load import parse
from interpose.rules.sinks import SinkDatabase


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"), "The company's own")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("foreign"), "Somebody else's")


@pytest.fixture(params=["right", "another name", "expired", "foreign"])
def certificate(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def relay(certificate: str, ours: Authority, foreign: Authority, postgres: Postgres) -> Iterator[TlsRelay]:
    """What the server shows."""
    context = {
        "right": lambda: ours.server_context(["127.0.0.1"]),
        "another name": lambda: ours.server_context(["db.example"]),
        "expired": lambda: ours.server_context(["127.0.0.1"], expired=True),
        "foreign": lambda: foreign.server_context(["127.0.0.1"]),
    }[certificate]()
    with encrypted(postgres.port, context) as relay:
        yield relay


def database(relay: TlsRelay, postgres: Postgres, *options: str) -> Database:
    """As the rules name it, the certificates of `ca=` included."""
    url = postgres.url(postgres.database(), *options).replace(f":{postgres.port}/", f":{relay.port}/")
    (sink,) = parse(f"version: 1\nledger: {{to: '{url}'}}\n", "r.yaml", Path("/")).ledger.to
    assert isinstance(sink, SinkDatabase)
    return Database(sink.url, PASSWORD, sink.ca)


def opened(at: Database) -> Ledger:
    return Ledger.start([Way(PostgresSink(at))], writer="w1", pace=Pace(clock=lambda: START))


ANY = frozenset(("right", "another name", "expired", "foreign"))
TAKES = {
    "prefer": ANY,
    "require": ANY,
    "verify-ca": frozenset(("right", "another name")),
    "verify-full": frozenset(("right",)),
}
SAID = {
    "another name": "IP address mismatch, certificate is not valid for '127.0.0.1'",
    "expired": "certificate has expired",
    "foreign": "unable to get local issuer certificate",
}


@pytest.mark.parametrize("mode", TAKES)
def test_each_mode_takes_what_it_says(
    mode: str, certificate: str, relay: TlsRelay, ours: Authority, postgres: Postgres
) -> None:
    """Writers and readers alike; what is refused keeps from starting, and no password was sent."""
    options = [f"sslmode={mode}"] + [f"ca={ours.pem}"] * mode.startswith("verify")
    at = database(relay, postgres, *options)
    if certificate in TAKES[mode]:
        ledger = opened(at)
        ledger.record(invented(1))
        assert ledger.close() == 0
        assert (sum(row.calls for row in usage(at)), verify(at)) == (1, [])
        assert prune(at, Keep(1.0), clock=lambda: START + 10**6, pause=lambda: False).records == {"calls": 1}
        assert (relay.encrypted, relay.plain) == (4, 0)
        return
    for refused, verb in ((opened, "opened"), (verify, "read")):
        with pytest.raises(
            LedgerError, match=f"cannot be {verb}: .*certificate verify failed: {SAID[certificate]}"
        ) as e:
            refused(at)  # type: ignore[operator]
        assert PASSWORD not in str(e.value)
    assert relay.plain == 0


@pytest.mark.parametrize("certificate", ["right"], indirect=True)
def test_a_database_of_another_authority_is_refused_by_the_systems(relay: TlsRelay, postgres: Postgres) -> None:
    """Without `ca=` those of the system are believed: ours is none of them."""
    with pytest.raises(LedgerError, match="certificate verify failed: unable to get local issuer certificate"):
        opened(database(relay, postgres, "sslmode=verify-full"))


def test_a_server_without_tls_is_refused_where_it_is_required(postgres: Postgres, ours: Authority) -> None:
    """Nothing is sent in the clear for want of something better."""
    for options in (["sslmode=require"], ["sslmode=verify-full", f"ca={ours.pem}"]):
        at = Database(replace(_plain(postgres, *options)), PASSWORD, ours.pem)
        with pytest.raises(LedgerError, match="rejected SSL upgrade"):
            opened(at)


def _plain(postgres: Postgres, *options: str):
    (sink,) = parse(
        f"version: 1\nledger: {{to: '{postgres.url(postgres.database(), *options)}'}}\n", "r.yaml", Path("/")
    ).ledger.to
    assert isinstance(sink, SinkDatabase)
    return sink.url


@pytest.mark.parametrize("certificate", ["right"], indirect=True)
def test_what_hangs_up_in_the_middle_is_an_outage(
    certificate: str, relay: TlsRelay, ours: Authority, postgres: Postgres, tmp_path: Path
) -> None:
    """Records wait on disk and come by a new connection, encrypted again."""
    at = database(relay, postgres, "sslmode=verify-full", f"ca={ours.pem}")
    ledger = Ledger.start(
        [Way(PostgresSink(at), lambda: Spool(tmp_path / "spool", limit=1 << 30))],
        writer="w1",
        pace=Pace(clock=lambda: START),
    )
    ledger.record(invented(1))
    assert ledger.wait(30)
    postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'interpose'")
    for number in range(2, 100):
        ledger.record(invented(number))
    assert ledger.wait(60)
    assert ledger.caught_up(60)
    assert ledger.close() == 0
    assert verify(at) == []
    assert relay.encrypted >= 3
    assert sum(row.calls for row in usage(at)) == 99
