"""Where prices come from: genai-prices' data, and what the rules say in their place.

Importing the data takes some tenths of a second, so it is done in a thread (`start`), once a process; whoever asks
meanwhile is told nothing yet (`ready`), or waits (`wait`). After that a price is a look into a table. Nothing here
asks the network: the data are those of the installed release of genai-prices, whose own updates are never started.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Protocol

from cachetools import LRUCache

from interpose.ir import Terms

from .tariff import Line, Price, Rate, Tariff

logger = logging.getLogger(__name__)

QUARTER = 900
"""Seconds for which a price holds once it was looked up: those that change in the course of a day do it on the hour or
at half past."""
# A model's name is the client's to choose.
LONGEST = 256


@dataclass(frozen=True, slots=True)
class Overrides:
    """The rules' own prices, by the exact name of the model that is sent, whoever sells it."""

    prices: Mapping[str, Price] = field(default_factory=lambda: MappingProxyType({}))
    digest: str = field(init=False, compare=False)
    _tariffs: Mapping[str, Tariff] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_tariffs", {model: price.tariff() for model, price in self.prices.items()})
        listed = {
            model: [str(each) for each in (price.input, price.cache_read, price.cache_write, price.output)]
            for model, price in self.prices.items()
        }
        digest = hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()[:8] if listed else ""
        object.__setattr__(self, "digest", digest)

    def tariff(self, model: str) -> Tariff | None:
        return self._tariffs.get(model)


NO_OVERRIDES = Overrides()


class Book(Protocol):
    """A price list of many vendors. `version` names it."""

    version: str

    def tariff(self, vendor: str, model: str, at: datetime, terms: Terms) -> Tariff | None: ...
    def window(self, vendor: str, model: str) -> int | None: ...


class Catalogue:
    """Prices by vendor, model and time. `open` reads the book; it is called once, in a thread."""

    def __init__(self, open: Callable[[], Book]) -> None:  # noqa: A002  (what it does)
        self._open = open
        self._book: Book | None = None
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._waiting: list[Callable[[], None]] = []
        self._known: LRUCache[tuple[str, str, int, Terms], Tariff | None] = LRUCache(8192)
        self._windows: LRUCache[tuple[str, str], int | None] = LRUCache(8192)

    @classmethod
    def empty(cls) -> Catalogue:
        """One that knows no price but the rules'."""
        catalogue = cls(_Empty)
        catalogue._book = _Empty()
        catalogue._done.set()
        return catalogue

    @property
    def ready(self) -> bool:
        return self._done.is_set()

    def start(self) -> None:
        """Begins to read in a thread, unless that was done before."""
        with self._lock:
            if self._done.is_set() or self._thread is not None:
                return
            self._thread = threading.Thread(target=self._read, name="prices", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Reads, and comes back when it is done. It blocks: not for an event loop."""
        self.start()
        self._done.wait()

    def then(self, work: Callable[[], None]) -> None:
        """Does that now if the prices are there, else in their thread as soon as they are. It must not raise."""
        with self._lock:
            if not self._done.is_set():
                self._waiting.append(work)
                return
        work()

    def settle(self) -> None:
        """Waits until nothing that `then` was given is left undone. It blocks."""
        with self._lock:
            waited_for = bool(self._waiting)
        if waited_for:
            self.wait()
        if (thread := self._thread) is not None and self._done.is_set():
            thread.join()

    def tariff(
        self,
        vendor: str | None,
        model: str | None,
        at: float,
        overrides: Overrides = NO_OVERRIDES,
        terms: Terms = (),
    ) -> Tariff | None:
        """The tariff of a model at the Unix time `at`; None if it is not known (or not yet)."""
        if model is None or len(model) > LONGEST:
            return None
        if (own := overrides.tariff(model)) is not None:
            return own
        book = self._book
        if vendor is None or book is None:
            return None
        key = (vendor, model, int(at // QUARTER), terms)
        with self._lock:
            if key in self._known:
                return self._known[key]
        found = book.tariff(vendor, model, datetime.fromtimestamp(at, UTC), terms)
        with self._lock:
            self._known[key] = found
        return found

    def window(self, vendor: str | None, model: str) -> int | None:
        """How many tokens the context of a model holds; None if it is not known (or not yet)."""
        book = self._book
        if vendor is None or book is None or len(model) > LONGEST:
            return None
        with self._lock:
            if (vendor, model) in self._windows:
                return self._windows[vendor, model]
        found = book.window(vendor, model)
        with self._lock:
            self._windows[vendor, model] = found
        return found

    def version(self, overrides: Overrides = NO_OVERRIDES) -> str:
        """Which prices these are: the release of genai-prices, and a digest of the rules' own if there are any."""
        book = self._book.version if self._book is not None else "none"
        return f"{book}+{overrides.digest}" if overrides.digest else book

    def _read(self) -> None:
        try:
            self._book = self._open()
        except Exception:
            # Calls go on without a price, and are counted as such.
            logger.exception("the prices cannot be read: no call has a cost")
            self._book = _Empty()
        with self._lock:
            self._done.set()
            waiting, self._waiting = self._waiting, []
        for work in waiting:
            try:
                work()
            except Exception:
                logger.exception("what waited for the prices failed")


class _Empty:
    version = "none"

    def tariff(self, vendor: str, model: str, at: datetime, terms: Terms) -> Tariff | None:
        return None

    def window(self, vendor: str, model: str) -> int | None:
        return None


class GenaiPrices:
    """The data of the installed release: https://github.com/pydantic/genai-prices. Making one imports it."""

    def __init__(self) -> None:
        from genai_prices import __version__
        from genai_prices.data import providers
        from genai_prices.data_snapshot import DataSnapshot
        from genai_prices.data_units import unit_data
        from genai_prices.units import UnitRegistry

        self.version = f"genai-prices {__version__}"
        # A snapshot of our own: whatever else this process does with the package, these are the installed data.
        self._snapshot = DataSnapshot(providers=providers, from_auto_update=False)
        self._units = UnitRegistry(unit_data)

    def tariff(self, vendor: str, model: str, at: datetime, terms: Terms) -> Tariff | None:
        try:
            provider, info = self._snapshot.find_provider_model(model, None, vendor, None)
        except LookupError:
            return None
        # Another's model sold here has its maker's price, but none of its maker's special ones.
        own = any(info is each for each in provider.models)
        prices: Mapping[str, Any] = info.get_prices(at, dict(terms) if own else None).__dict__
        return self._compiled(prices, free=info.id.endswith(":free"))

    def window(self, vendor: str, model: str) -> int | None:
        try:
            _, info = self._snapshot.find_provider_model(model, None, vendor, None)
        except LookupError:
            return None
        return info.context_window

    def _compiled(self, prices: Mapping[str, Any], *, free: bool) -> Tariff | None:
        units = [(self._units.unit_for_price_key(key), price) for key, price in prices.items() if price is not None]
        if not units:
            return Tariff((), free=True) if free else None
        # The narrowest first: what is left of a unit is what none within it has taken.
        units.sort(key=lambda pair: -len(pair[0].dimensions))
        lines = tuple(
            Line(
                unit.usage_key,
                _rate(price, unit.per),
                tuple(
                    place
                    for place, (other, _) in enumerate(units)
                    if other is not unit and unit.dimensions.items() <= other.dimensions.items()
                ),
            )
            for unit, price in units
        )
        return Tariff(lines)


def _rate(price: Any, per: int) -> Rate:
    if isinstance(price, Decimal):
        return Rate(price / per)
    return Rate(price.base / per, tuple((tier.start, tier.price / per) for tier in reversed(price.tiers)))


PRICES = Catalogue(GenaiPrices)
"""The one of this process."""
