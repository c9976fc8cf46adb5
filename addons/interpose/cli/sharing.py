"""What commands say to the store of the rules: keys that are made or revoked are told, and those of others heard."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from interpose.hosts import sharing
from interpose.issued import Keys
from interpose.rules.compiled import Rules
from interpose.rules.load import load
from interpose.rules.problem import RulesError
from interpose.rules.secrets import SecretStore
from interpose.secret import Scrubber

from .terminal import say_plain

if TYPE_CHECKING:
    from interpose.limits.valkey import Login


class Sharing:
    """The rules that a command was given, if any, and the store that they name, if any."""

    def __init__(self, rules: Path | None, keys: Keys) -> None:
        self.rules: Rules | None = load(rules) if rules is not None else None
        self._keys = keys
        self.failed = ""

    @contextmanager
    def around(self) -> Iterator[None]:
        """Hears of others' keys before, and tells of ours afterwards."""
        self.exchange()
        yield
        self.exchange()

    def exchange(self) -> None:
        """Once; what has failed is in `failed`. Raises RulesError if a password is not to be had."""
        if self.rules is not None and self.rules.state.store is not None:
            self.failed = asyncio.run(self._exchange(self.rules))

    async def _exchange(self, rules: Rules) -> str:
        from interpose.shared.board import BoardError

        async with AsyncExitStack() as stack:
            login = await login_of(rules)
            board = sharing.board(rules.state, login, self._keys, time.monotonic)
            assert board is not None
            stack.push_async_callback(board.aclose)
            try:
                async with asyncio.timeout(sharing.START):
                    await board.exchange()
            except (BoardError, TimeoutError) as error:
                return str(error) or "it does not answer"
        return ""

    def told(self) -> bool:
        """Says if the others have not heard of it; whether they have, if there are others."""
        if not self.failed:
            return True
        assert self.rules is not None
        say_plain(
            f"The store {self.rules.state.store} has not heard of it: {self.failed}. Do it again, or leave it to an "
            "interceptor that runs with this state folder: it tells when the store is back."
        )
        return False


async def login_of(rules: Rules) -> Login | None:
    """Raises RulesError for a password that is not to be had."""
    secrets = SecretStore(os.environ, clock=time.monotonic)
    if rules.state.password is not None and (problem := await secrets.check(rules.state.password)) is not None:
        raise RulesError([problem])
    return await sharing.login(rules.state, secrets, Scrubber())
