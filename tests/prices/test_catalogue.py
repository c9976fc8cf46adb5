"""Where prices come from: the installed data, the rules, and the thread that reads."""

from __future__ import annotations

import datetime
import random
import socket
import threading
from datetime import UTC
from decimal import Decimal
from importlib.metadata import version

import genai_prices
import pytest
from genai_prices.data import providers

from interpose.ir import Terms, Usage
from interpose.prices import Catalogue, Overrides, Price, Tariff
from interpose.prices.catalogue import PRICES, GenaiPrices

AT = datetime.datetime(2026, 11, 26, 12, tzinfo=UTC)
NOW = AT.timestamp()
USED = Usage(input_tokens=1_000, cache_read_tokens=600, cache_write_tokens=0, output_tokens=100)
MODELS = [(provider.id, model.id) for provider in providers for model in provider.models]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    catalogue = Catalogue(GenaiPrices)
    catalogue.wait()
    return catalogue


def test_every_model_costs_what_genai_prices_itself_computes(catalogue: Catalogue) -> None:
    """For each model of the data, and usages of every size, our arithmetic is that of genai-prices."""
    rng = random.Random(5)
    compared = 0
    for vendor, model in MODELS:
        tariff = catalogue.tariff(vendor, model, NOW)
        if tariff is None:
            continue
        size = rng.choice((10, 10_000, 150_000, 250_000, 1_200_000))
        read, write, rest = (rng.randrange(size) for _ in range(3))
        output = rng.randrange(1, 5_000)
        usage = Usage(read + write + rest, read, write, output, rng.randrange(output))
        cost = tariff.cost(usage)
        if cost is None:
            continue
        theirs = genai_prices.calc_price(
            genai_prices.Usage(
                input_tokens=usage.input_tokens,
                cache_read_tokens=read,
                cache_write_tokens=write,
                output_tokens=output,
                output_reasoning_tokens=usage.reasoning_tokens,
            ),
            model,
            provider_id=vendor,
            genai_request_timestamp=AT,
        )
        assert cost == theirs.total_price, (vendor, model, usage)
        compared += 1
    assert compared > 1_900, compared


@pytest.mark.parametrize(
    ("vendor", "model", "terms", "dollars"),
    [
        ("openai", "gpt-4o", (), "0.00275"),
        ("openai", "gpt-4o-2024-08-06", (), "0.00275"),
        ("azure", "gpt-4o", (), "0.00275"),
        ("openai", "gpt-4o", (("processing", "batch"),), "0.00175"),
        ("anthropic", "claude-sonnet-4-5", (), "0.00288"),
        ("google", "claude-sonnet-4-5@20250929", (), "0.00288"),
        ("aws", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", (), "0.003168"),
        ("openrouter", "meta-llama/llama-4-scout:free", (), "0"),
    ],
)
def test_a_model_has_its_vendors_price(
    catalogue: Catalogue, vendor: str, model: str, terms: Terms, dollars: str
) -> None:
    """1,000 tokens in, 600 of them from the cache, and 100 out: as the vendors' own price lists say."""
    tariff = catalogue.tariff(vendor, model, NOW, terms=terms)
    assert tariff is not None
    assert tariff.cost(USED) == Decimal(dollars)


@pytest.mark.parametrize(
    ("vendor", "model"),
    [
        (None, "gpt-4o"),
        ("openai", None),
        ("openai", "my-own-model"),
        ("openai", "g" * 1_000),
        ("nobody", "gpt-4o"),
        ("anthropic", "gpt-4o"),
    ],
)
def test_what_is_not_known_has_no_tariff(catalogue: Catalogue, vendor: str | None, model: str | None) -> None:
    """No vendor, no model, or not one of that vendor's: no price is guessed."""
    assert catalogue.tariff(vendor, model, NOW) is None


def test_a_price_changes_on_its_day(catalogue: Catalogue) -> None:
    """A call costs what its model cost when it was made."""
    before, after = (
        catalogue.tariff("openai", "o3", datetime.datetime(2025, 6, day, 12, tzinfo=UTC).timestamp()) for day in (9, 11)
    )
    assert before is not None
    assert after is not None
    usage = Usage(input_tokens=1_000_000, output_tokens=0)
    assert (before.cost(usage), after.cost(usage)) == (10, 2)


def test_the_rules_price_holds_for_that_model_whoever_sells_it(catalogue: Catalogue) -> None:
    """An exact name in the rules comes before the data, at any vendor and where there is none."""
    overrides = Overrides({"gpt-4o": Price(Decimal(1), output=Decimal(2)), "my-own-model": Price(Decimal(1))})
    for vendor in ("openai", "azure", None):
        tariff = catalogue.tariff(vendor, "gpt-4o", NOW, overrides)
        assert tariff is not None
        assert tariff.cost(USED) == Decimal("0.0012")
    assert catalogue.tariff(None, "my-own-model", NOW, overrides) is not None
    assert catalogue.tariff("openai", "gpt-4o-mini", NOW, overrides) == catalogue.tariff("openai", "gpt-4o-mini", NOW)


def test_the_version_names_the_release_and_what_the_rules_change(catalogue: Catalogue) -> None:
    """The same prices have the same version in every order, others another."""
    release = f"genai-prices {version('genai-prices')}"
    assert catalogue.version() == release
    one, two = Price(Decimal(1)), Price(Decimal(2))
    first = catalogue.version(Overrides({"a": one, "b": two}))
    assert first == catalogue.version(Overrides({"b": two, "a": one}))
    assert first.startswith(f"{release}+")
    assert first != catalogue.version(Overrides({"a": two, "b": two}))


def test_reading_and_asking_open_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prices are the installed ones: nothing is fetched, neither at the start nor for a model that is not known."""

    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    catalogue = Catalogue(GenaiPrices)
    catalogue.wait()
    assert catalogue.tariff("openai", "no-such-model", NOW) is None


class Slow:
    """A book that is ready when it is told so."""

    version = "slow"

    def __init__(self, go: threading.Event) -> None:
        go.wait(60)

    def window(self, vendor: str, model: str) -> int | None:
        return None

    def tariff(self, vendor: str, model: str, at: datetime.datetime, terms: Terms) -> Tariff | None:
        return Price(Decimal(1)).tariff()


def test_what_comes_before_the_prices_waits_for_them_and_nobody_else_does() -> None:
    """`then` never blocks: work is done in the prices' thread once they are there, and at once from then on."""
    go = threading.Event()
    catalogue = Catalogue(lambda: Slow(go))
    catalogue.start()
    seen: list[tuple[str, bool]] = []
    catalogue.then(lambda: seen.append((threading.current_thread().name, catalogue.ready)))
    assert catalogue.tariff("openai", "gpt-4o", NOW) is None
    assert seen == []
    go.set()
    catalogue.settle()
    assert seen == [("prices", True)]
    catalogue.then(lambda: seen.append((threading.current_thread().name, catalogue.ready)))
    assert seen[1:] == [(threading.current_thread().name, True)]
    assert catalogue.tariff("openai", "gpt-4o", NOW) is not None


def test_prices_that_cannot_be_read_cost_the_cost_and_no_call() -> None:
    """A broken installation is told in the log; what waits is done, without prices."""

    def broken() -> Slow:
        raise ImportError("no such package")

    catalogue = Catalogue(broken)
    done = threading.Event()
    catalogue.then(done.set)
    catalogue.wait()
    catalogue.settle()
    assert done.is_set()
    assert catalogue.tariff("openai", "gpt-4o", NOW) is None


def test_a_process_reads_its_prices_once() -> None:
    """Whoever starts the process's catalogue again finds it as it is."""
    PRICES.wait()
    before = PRICES.tariff("openai", "gpt-4o", NOW)
    PRICES.start()
    assert PRICES.ready
    assert PRICES.tariff("openai", "gpt-4o", NOW) is before


@pytest.mark.parametrize(
    ("vendor", "model", "units", "dollars"),
    [
        ("anthropic", "claude-sonnet-4-6", {"cache_write_1h_tokens": 1_000}, "0.006"),
        ("anthropic", "claude-sonnet-4-6", {"cache_write_1h_tokens": 400}, "0.00465"),
        ("anthropic", "claude-sonnet-4-6", {"web_searches": 2}, "0.02375"),
        ("google", "gemini-2.5-flash", {"input_audio_tokens": 1_000}, "0.001"),
        ("openai", "gpt-4o", {"input_audio_tokens": 1_000}, "0.0025"),
    ],
)
def test_parts_with_a_price_of_their_own_are_charged_by_it(
    catalogue: Catalogue, vendor: str, model: str, units: dict[str, int], dollars: str
) -> None:
    """Cache writes that last an hour, searches, sound: at the models that price them; elsewhere plain input."""
    tariff = catalogue.tariff(vendor, model, NOW)
    assert tariff is not None
    written = 1_000 if vendor == "anthropic" else 0
    assert tariff.cost(Usage(input_tokens=1_000, cache_write_tokens=written), units) == Decimal(dollars)
