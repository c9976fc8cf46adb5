"""The server that the rules name for shared state, opened: what counts limits there, guarded against its failures, and
the board by which processes know of each other's keys and cooldowns.

What is asked of it is in `limits` and `shared`; here are only the address, the login and the policy of the rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from interpose.call import bracketed
from interpose.errors import InterposeError
from interpose.issued import Keys
from interpose.limits.store import Store
from interpose.rules.secrets import SecretStore
from interpose.rules.stores import StateRules, StoreUrl
from interpose.secret import Scrubber, Secret

if TYPE_CHECKING:
    from interpose.limits.valkey import Login, ValkeyStore
    from interpose.shared.board import Board

# A start may wait so long for the server; then it is away.
START = 2.0


def counted(state: StateRules, login: Login | None) -> ValkeyStore | None:
    """Where limits are counted, as it is: it may not answer. None for memory."""
    if (url := state.store) is None or login is None:
        return None
    # Here, not above: nobody should pay for the import who has no server.
    from interpose.limits.valkey import ValkeyStore, connection

    return ValkeyStore(connection(address(url), login), lease=url.lease, name=url.prefix)


async def opened(state: StateRules, login: Login | None, now: Callable[[], float]) -> Store | None:
    """The store of limits, None for memory. A server that does not answer is away: its policy holds from the start."""
    store, url = counted(state, login), state.store
    if store is None or url is None:
        return None
    from interpose.limits.guarded import GuardedStore

    guarded = GuardedStore(store, state.on_store_error, now, patience=url.patience, told=str(url))
    await guarded.open(START)
    return guarded


def board(state: StateRules, login: Login | None, keys: Keys, clock: Callable[[], float]) -> Board | None:
    """The board of those who share the store, None for memory. `clock` gives monotonic seconds."""
    if (url := state.store) is None or login is None:
        return None
    from interpose.limits.valkey import connection
    from interpose.shared.board import Board

    return Board(connection(address(url), login, most=1), keys, clock, name=url.prefix, told=str(url))


async def login(state: StateRules, secrets: SecretStore, scrubber: Scrubber) -> Login | None:
    """None for memory. Raises SecretError if the password is in a variable that is not set, InterposeError if there is
    no client installed.
    """
    url = state.store
    if url is None:
        return None
    try:
        from interpose.limits.valkey import Login
    except ImportError:
        message = "redis is not installed, which state.store needs: pip install 'redis>=6.2'"
        raise InterposeError(message) from None
    password = url.password
    if state.password is not None:
        password = (await secrets.resolve(state.password)).reveal()
    elif password is not None:
        scrubber.learn(Secret(password, "state.store"))
    return Login(url.user, password, state.ca)


def address(url: StoreUrl) -> str:
    """The URL without its login, which goes another way: no error of a client can show it."""
    if url.socket is not None:
        return f"unix://{url.socket}?db={url.db}"
    return f"{'rediss' if url.tls else 'redis'}://{bracketed(url.host or '')}:{url.port}/{url.db}"
