"""An assembly whose rules are swapped: credentials first, then all of it or nothing."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.e2e.certificates import Authority

from interpose.call import Call, Origin, Peer, Url
from interpose.errors import Refusal
from interpose.hosts import assembly as assembly_module
from interpose.hosts.assembly import CLOCK, Assembly, assemble
from interpose.ledger import Ledger, Record, utc_text
from interpose.limits import Demand, Period
from interpose.prices.catalogue import Book, Catalogue
from interpose.rules.compiled import Rules
from interpose.rules.load import parse
from interpose.rules.problem import RulesError
from interpose.secret import Scrubber

FAKES = {"FAKE_A": "sk-FAKE-a-0000000000", "FAKE_B": "sk-FAKE-b-0000000000"}


def rules(folder: Path, variable: str, more: str = "") -> Rules:
    return parse(
        "version: 1\nproviders:\n  openai:\n    format: openai\n    base_url: https://api.openai.com/v1\n"
        f"    credential: {{env: {variable}}}\n{more}",
        "rules.yaml",
        folder,
    )


@pytest.fixture
def scrubber() -> Scrubber:
    return Scrubber()


@pytest_asyncio.fixture
async def assembly(tmp_path: Path, scrubber: Scrubber) -> AsyncIterator[Assembly]:
    async with assemble(
        rules(tmp_path, "FAKE_A"), state=tmp_path, environ=FAKES, scrubber=scrubber, writer="w"
    ) as assembly:
        yield assembly


async def test_new_credentials_are_known_before_they_are_used(
    assembly: Assembly, tmp_path: Path, scrubber: Scrubber
) -> None:
    """The scrubber knows the new value from the first call on, and still the old one, which may stand in a log."""
    await assembly.reload(rules(tmp_path, "FAKE_B"))
    assert scrubber.scrub(" ".join(FAKES.values())) == "*** ***"
    (source,) = assembly.engine.rules.credentials
    assert (await assembly.credentials.resolve(source)).reveal() == FAKES["FAKE_B"]


async def test_values_that_no_rules_ask_for_are_let_go(assembly: Assembly, tmp_path: Path) -> None:
    """What is not needed is not kept in memory; a call in flight that still needs it finds it again."""
    (old,) = assembly.engine.rules.credentials
    await assembly.reload(rules(tmp_path, "FAKE_B"))
    assert old not in assembly.credentials._kept
    assert (await assembly.credentials.resolve(old)).reveal() == FAKES["FAKE_A"]


async def test_a_credential_that_cannot_be_had_changes_nothing(assembly: Assembly, tmp_path: Path) -> None:
    """The rules of before stay, with their credentials; the problem is told at its place."""
    before = assembly.engine.rules
    with pytest.raises(RulesError, match=r"rules\.yaml:6:\d+: providers\.openai\.credential: .*FAKE_NONE is not set"):
        await assembly.reload(rules(tmp_path, "FAKE_NONE"))
    assert assembly.engine.rules is before
    (source,) = before.credentials
    assert (await assembly.credentials.resolve(source)).reveal() == FAKES["FAKE_A"]


async def test_a_ca_that_cannot_be_used_changes_nothing(assembly: Assembly, tmp_path: Path) -> None:
    """It was there when the rules were read, and has gone since."""
    file = Authority(tmp_path / "authority").pem
    new = rules(tmp_path, "FAKE_B", f"upstream: {{ca: {file}}}\n")
    file.unlink()
    before = assembly.engine.rules
    with pytest.raises(RulesError, match="a file of CAs cannot be used"):
        await assembly.reload(new)
    assert assembly.engine.rules is before


async def test_what_is_settled_at_the_start_stays_and_is_named(
    assembly: Assembly, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Records go on into the ledger that was opened; everything else of the new rules is in force."""
    with caplog.at_level(logging.WARNING):
        await assembly.reload(rules(tmp_path, "FAKE_B", "ledger: {to: 'sqlite:other.db', capture: bodies}\n"))
    (record,) = caplog.records
    assert record.getMessage().startswith("ledger.to has changed in the rules: it stays as it was until")
    now = assembly.engine.rules
    assert (now.ledger.to, now.ledger.bodies, now.credentials[0].name) == ((), True, "env:FAKE_B")
    caplog.clear()
    await assembly.reload(rules(tmp_path, "FAKE_A", f"state: {{store: 'unix://{tmp_path}/none'}}\n"))
    (record,) = caplog.records
    assert record.getMessage().startswith("state has changed in the rules")
    assert assembly.engine.rules.state.store is None
    caplog.clear()
    await assembly.reload(rules(tmp_path, "FAKE_A"))
    assert caplog.records == []


@pytest.mark.parametrize("password", ["${FAKE_A}", FAKES["FAKE_A"]])
async def test_the_password_of_a_store_is_shown_nowhere(
    password: str, tmp_path: Path, scrubber: Scrubber, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is a start held up by a store that is not there: it is told of, by its URL without the password."""
    by = parse(f"version: 1\nstate: {{store: 'unix://me:{password}@{tmp_path}/none'}}\n", "rules.yaml", tmp_path)
    async with assemble(by, state=tmp_path, environ=FAKES, scrubber=scrubber, writer="w") as assembly:
        assert assembly.engine.rules is by
    assert scrubber.scrub(FAKES["FAKE_A"]) == "***"
    assert f"unix://me:{'${FAKE_A}' if '$' in password else '***'}@{tmp_path}/none is away" in caplog.text
    assert FAKES["FAKE_A"] not in caplog.text


async def test_a_password_of_a_store_that_is_not_set_keeps_from_starting(tmp_path: Path, scrubber: Scrubber) -> None:
    """Named at its place."""
    by = parse("version: 1\nstate: {store: 'redis://:${FAKE_NONE}@localhost'}\n", "rules.yaml", tmp_path)
    with pytest.raises(RulesError, match=r"rules\.yaml:2:16: state\.store: .*FAKE_NONE is not set"):
        async with assemble(by, state=tmp_path, environ=FAKES, scrubber=scrubber, writer="w"):
            raise AssertionError("it has started")


async def test_a_store_that_is_away_keeps_no_budget_from_starting(tmp_path: Path, scrubber: Scrubber) -> None:
    """What the ledger says was spent is known here, and a start or a reload goes on without the server."""
    now = CLOCK.now()
    ledger = Ledger.open(tmp_path / "usage.db", writer="w0", clock=CLOCK.now)
    for number, client in enumerate(("a", "b")):
        ledger.record(
            Record(
                id=f"call-{number}", started_at=utc_text(now), finished_at=utc_text(now), entrance="intercept",
                client=client, ip="192.0.2.1", method="POST", host="api.openai.com", path="/v1/chat/completions",
                endpoint="chat", status=200, outcome="ok", input_tokens=1, cost_usd=3.0,
            )
        )  # fmt: skip
    assert ledger.close() == 0
    text = (
        f"version: 1\nstate: {{store: 'unix://{tmp_path}/none', on_store_error: local_share}}\n"
        "limits: [{name: day, budget: $2/year, per: client}]\n"
    )
    by = parse(text, "rules.yaml", tmp_path)
    async with assemble(by, state=tmp_path, environ=FAKES, scrubber=scrubber, writer="w") as assembly:
        await assembly.reload(parse(text + "# another\n", "rules.yaml", tmp_path))
        for client in ("a", "b"):
            demand = Demand(f"day/budget/client={client}", "budget", 2_000_000, 1, period=Period("year"))
            with pytest.raises(Refusal, match="is spent"):
                await assembly.engine.gate.enter((demand,), 0.0, "openai")


async def test_records_that_wait_for_the_prices_are_waited_for(
    tmp_path: Path, scrubber: Scrubber, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for all that was recorded in the first moments is told of it."""
    there = threading.Event()

    def read() -> Book:
        there.wait(5)
        return NoPrices()

    monkeypatch.setattr(assembly_module, "PRICES", Catalogue(read))
    given = rules(tmp_path, "FAKE_A")
    async with assemble(given, state=tmp_path, environ=FAKES, scrubber=scrubber, writer="w") as assembly:
        call = Call("GET", Url(Origin("https", "unknown.test", 443), "/"), (), b"", Peer(""))
        await (await assembly.engine.handle(call)).body.aclose()
        asyncio.get_running_loop().call_later(0.1, there.set)
        assert await assembly.committed(60)
        assert assembly.ledger.acknowledged == 1


class NoPrices:
    """A price list without a price."""

    version = "none"

    def tariff(self, *_: object) -> None:
        return None
