"""mitmweb over the same engine: its master, its options, and a bound on what it keeps."""

from __future__ import annotations

from collections import deque

from mitmproxy import flow as mitm_flow
from mitmproxy import http
from mitmproxy.options import Options
from mitmproxy.tools.web.master import WebMaster

# mitmweb keeps every flow for ever: 13 KB each, and with them whatever bodies are shown.
KEPT_FLOWS = 5000
KEPT_BYTES = 256 * 1024 * 1024


class Forgetful:
    """Lets go of the oldest flows: those that are over, unmarked, and beyond what is kept."""

    name = "interpose_forgetful"

    def __init__(self, master: WebMaster, *, flows: int = KEPT_FLOWS, size: int = KEPT_BYTES) -> None:
        self._view = master.view
        self._flows = flows
        self._size = size
        self._ended: deque[tuple[mitm_flow.Flow, int]] = deque()
        self._total = 0

    def response(self, flow: http.HTTPFlow) -> None:
        self.ended(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        self.ended(flow)

    def ended(self, flow: http.HTTPFlow) -> None:
        """A flow is over; the oldest go, one at a time, while there is too much."""
        size = sum(len(message.raw_content or b"") for message in (flow.request, flow.response) if message is not None)
        self._ended.append((flow, size))
        self._total += size
        going = []
        while len(self._ended) > self._flows or (self._total > self._size and len(self._ended) > 1):
            old, held = self._ended.popleft()
            self._total -= held
            if not old.marked and not old.intercepted and not old.live:
                going.append(old)
        if going:
            self._view.remove(going)


def make(options: Options, host: str, port: int) -> WebMaster:
    """A master with mitmweb's addons, which listens for browsers when it runs. Its page asks for the token that is
    in its `web_url`.
    """
    master = WebMaster(options, with_termlog=False)
    master.options.update(web_host=host, web_port=port, web_open_browser=False)
    master.addons.add(Forgetful(master))
    return master
