"""Which pages the gateway has, as a table: a path, and what makes its page for an engine that is open.

Every way to the gateway (a server, an application that it is mounted into, a client in the same program) has them all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from interpose.call import Call
from interpose.errors import Refusal
from interpose.gateway import Front, Page, metrics, page_of_json
from interpose.gateway.browsers import barred
from interpose.gateway.reference import described
from interpose.metrics.sheet import State

from .assembly import Assembly


@dataclass(frozen=True, slots=True)
class Served:
    """What a page may tell of. `stale` says why the rules in force are not those of their file, if they are not."""

    assembly: Assembly
    stale: Callable[[], object | None] = lambda: None
    # Whether it is the gateway itself that listens, and no application of somebody's, who knows its own pages.
    alone: bool = False

    def front(self) -> Front:
        """The engine with the pages in front of it, and those that describe them."""
        pages = described({path: page(self) for path, page in PAGES.items()})
        return Front(self.assembly.engine, pages, self._barred)

    def _barred(self, call: Call) -> Refusal | None:
        return barred(call, self.assembly.engine.rules) if self.alone else None


def healthz(_: Served) -> Page:
    return page_of_json(lambda: (200, {"status": "ok"}))


def readyz(served: Served) -> Page:
    def told() -> tuple[int, Mapping[str, object]]:
        stale = served.stale()
        # Stale rules still serve: that is for people to know, not for a balancer to act upon.
        return 200, {"status": "ok", "stale": None if stale is None else str(stale)}

    return page_of_json(told)


def measured(served: Served) -> Page:
    counted = served.assembly.metrics
    counted.watch(lambda: [State("rules_stale", float(served.stale() is not None))])
    engine = served.assembly.engine
    return metrics.page(counted, engine.holder, lambda: engine.rules.intercept.virtual_host)


PAGES: Mapping[str, Callable[[Served], Page]] = {"/healthz": healthz, "/readyz": readyz, "/metrics": measured}
