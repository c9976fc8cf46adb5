"""The pytest plugin: `interpose_proxy` runs the interceptor for a test and tells which AI calls the test has made.

Loaded by every pytest that finds interpose installed, so it imports nothing until a test asks for a fixture. One
interceptor a process, hence one for the session; under pytest-xdist each worker has its own.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .embedded import SyncInterception
    from .hosts.embedding import RulesLike
    from .ledger import Record


class InterposeProxy:
    """The session's interceptor as one test sees it."""

    def __init__(self, session: SyncInterception, since: str) -> None:
        self._session = session
        self._since = since

    @property
    def url(self) -> str:
        """The proxy's URL."""
        return self._session.url

    @property
    def ca_certificate(self) -> Path:
        """The PEM file of the CA that clients must trust."""
        return self._session.ca_certificate

    def environ(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment for a program that the test starts."""
        return self._session.environ(base)

    def ssl_context(self) -> ssl.SSLContext:
        """A client's TLS context that trusts our CA, too."""
        return self._session.ssl_context()

    def calls(self) -> list[Record]:
        """The calls that have begun since the test began, in that order, once those in flight have ended."""
        return self._session.calls(since=self._since)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("interpose_rules", "The rules file of the interpose_proxy fixture, relative to this file.", "string")


@pytest.fixture(scope="session")
def interpose_rules(pytestconfig: pytest.Config) -> RulesLike:
    """The rules: the file that the ini option names, else none. Override it to give a path, a text or a dict."""
    named = pytestconfig.getini("interpose_rules")
    folder = pytestconfig.inipath.parent if pytestconfig.inipath is not None else pytestconfig.rootpath
    return folder / named if named else None


@pytest.fixture(scope="session")
def interpose_session(interpose_rules: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SyncInterception]:
    """The interceptor of this process, from the first test that needs it to the end. It sets no variables."""
    from .embedded import intercept_sync

    with intercept_sync(interpose_rules, state=tmp_path_factory.mktemp("interpose")) as session:
        yield session


@pytest.fixture
def interpose_proxy(interpose_session: SyncInterception) -> Iterator[InterposeProxy]:
    """The interceptor, with the proxy and CA variables of this process set until the test ends: clients that the test
    makes, and programs that it starts, go through it. `calls()` are those of the test alone.
    """
    from .ledger import utc_text

    before = dict(os.environ)
    wanted = interpose_session.environ(before)
    with pytest.MonkeyPatch.context() as patch:
        for name in sorted({*before, *wanted}):
            if name not in wanted:
                patch.delenv(name)
            elif wanted[name] != before.get(name):
                patch.setenv(name, wanted[name])
        yield InterposeProxy(interpose_session, utc_text(time.time()))
