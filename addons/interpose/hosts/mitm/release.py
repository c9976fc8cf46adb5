"""Lets go of flows that are killed while they are intercepted: mitmproxy marks them, and leaves them waiting for ever.

See https://github.com/mitmproxy/mitmproxy/issues/4711. What is on its way is ended by `carriage`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mitmproxy import flow as mitm_flow

from .calls import killed

# A flow that is killed ends within this.
LOOK_EVERY = 0.1


class Release:
    """Looks after intercepted flows. mitmproxy tells of them by `update`, but not of every way to kill one."""

    name = "interpose_release"

    def __init__(self) -> None:
        self._waiting: dict[str, mitm_flow.Flow] = {}
        self._timer: asyncio.TimerHandle | None = None

    def update(self, flows: Sequence[mitm_flow.Flow]) -> None:
        self._waiting.update((each.id, each) for each in flows if each.intercepted)
        if self._waiting and self._timer is None:
            self._look_later()

    def done(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look)

    def _look(self) -> None:
        self._timer = None
        for each in [each for each in self._waiting.values() if not each.intercepted]:
            del self._waiting[each.id]
            if killed(each):
                # Only what is intercepted can be resumed.
                each.intercepted = True
                each.resume()
        if self._waiting:
            self._look_later()
