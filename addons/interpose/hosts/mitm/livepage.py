"""The live page inside mitmweb, and the JSON behind it: at `/interpose` and `/interpose.json` of mitmweb's port.

Whoever may see mitmweb may see these: they are handlers of its application, with its authentication, and answer
strangers as it does. They read; nothing can be changed by them.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from mitmproxy import ctx
from mitmproxy.flow import Flow
from mitmproxy.tools.web.app import RequestHandler
from mitmproxy.tools.web.master import WebMaster

from interpose.call import bracketed
from interpose.hosts.pages import Served
from interpose.live import Counts, Question, QuestionError
from interpose.live.answer import answer
from interpose.live.around import Around
from interpose.live.page import page
from interpose.secret import Scrubber

from .remarks import known

PATH = "/interpose"
# Of so many calls it is known which flow they are; more are not on the page.
MOST_FLOWS = 2000


class LivePage:
    """An addon: the page of a master whose engine is open. It counts from then on."""

    name = "interpose_live"

    def __init__(self, master: WebMaster, served: Served, scrubber: Scrubber) -> None:
        assembly = served.assembly
        self._view = master.view
        self._counts = Counts(now=assembly.engine.clock.now, scrub=scrubber.scrub)
        self._around = Around(assembly.engine, assembly.ledger, assembly.alerts, served.stale, self._counts)
        self._flows: OrderedDict[str, str] = OrderedDict()
        # One answer is made at a time, however many ask.
        self._turn = asyncio.Lock()
        assembly.engine.gate.watch()
        assembly.listeners.append(self._counts.record)
        master.app.add_handlers(".*", [(PATH, _Page), (f"{PATH}\\.json", _Json, {"live": self})])

    def update(self, flows: Sequence[Flow]) -> None:
        """Which flow a call is: its record stands there when it is settled."""
        for flow in flows:
            record = known(flow).get("record")
            if isinstance(record, dict) and isinstance(call := record.get("id"), str):
                self._flows[call] = flow.id
                self._flows.move_to_end(call)
        while len(self._flows) > MOST_FLOWS:
            self._flows.popitem(last=False)

    async def told(self, question: Question) -> bytes:
        """The answer, as JSON."""
        async with self._turn:
            around = await self._around.told(question, self._counts.now())
            around["proxy"] = [f"http://{bracketed(host)}:{port}" for host, port in listening()]
            # Made in a thread: beside hundreds of groups, calls go on meanwhile.
            calls = await asyncio.to_thread(answer, self._counts, question)
            for call in calls["calls"]:
                call["flow"] = self._flow(call["id"])
            return await asyncio.to_thread(_written, {**calls, **around})

    def _flow(self, call: str) -> str | None:
        """Where mitmweb shows that call, if it still does."""
        flow = self._flows.get(call)
        return flow if flow is not None and self._view.get_by_id(flow) is not None else None


def listening() -> list[tuple[str, int]]:
    return [address[:2] for address in ctx.master.addons.get("proxyserver").listen_addrs()]


def _written(told: Mapping[str, Any]) -> bytes:
    return json.dumps(told, allow_nan=False, separators=(",", ":")).encode()


def address(web_url: str) -> str:
    """The page's address, from that of mitmweb's with its token."""
    return urlunsplit(urlsplit(web_url)._replace(path=PATH))


class _Page(RequestHandler):
    def auth_fail(self, invalid_password: bool) -> None:
        """mitmweb's own form."""
        self.render("login.html", invalid_password=invalid_password)

    async def get(self) -> None:
        # The first time it is made, which takes a moment.
        made = await asyncio.to_thread(page)
        self.set_header("Content-Security-Policy", made.policy)
        self.set_header("Cache-Control", "no-store")
        self.set_header("Referrer-Policy", "no-referrer")
        self.finish(made.html)

    def post(self) -> None:
        """The form has been filled in."""
        asked = [(name, value) for name in self.request.query_arguments for value in self.get_query_arguments(name)]
        self.redirect(f"{PATH}?{urlencode(asked)}" if asked else PATH, status=303)


class _Json(RequestHandler):
    def initialize(self, live: LivePage) -> None:
        self._live = live

    async def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        names = self.request.query_arguments
        try:
            question = Question.parse({name: self.get_query_arguments(name, strip=False) for name in names})
        except QuestionError as error:
            self.set_status(400)
            self.finish({"error": str(error)})
            return
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.finish(await self._live.told(question))
