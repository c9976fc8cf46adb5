"""Credentials that clouds lend: AWS's keys and Google's tokens, had by the clouds' own libraries from real sources."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from interpose.rules.secrets import CredentialSource, SecretError, SecretStore
from interpose.secret import AwsKeys, Scrubber, Secret

ACCESS, SECRET, TOKEN = "AKIAFAKEFAKEFAKEFAKE", "fake/secret/key/0123456789", "fake-session-token-0123456789"
AWS_DEFAULT = CredentialSource("aws", ("default", "us-east-1"))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine that has no credentials of AWS or Google, and no metadata service."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return tmp_path


async def test_aws_keys_come_from_where_its_tools_look(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment by default, a profile by its name; key and session token are known to the scrubber."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    (nowhere / "aws_shared_credentials_file").write_text(
        "[team]\naws_access_key_id = AKIAFAKETEAM\naws_secret_access_key = fake-team-secret\n"
    )
    scrubber = Scrubber()
    store = SecretStore({}, clock=Clock(), learn=scrubber.learn)
    keys = await store.resolve(AWS_DEFAULT)
    assert isinstance(keys, AwsKeys)
    assert (keys.access_key, keys.reveal(), keys.token) == (ACCESS, SECRET, TOKEN)
    assert keys.name == "aws:default"
    assert scrubber.scrub(f"{SECRET} {TOKEN}") == "*** ***"
    assert repr(keys) == "Secret(aws:default: ***)"
    team = await store.resolve(CredentialSource("aws", ("team", "us-east-1")))
    assert isinstance(team, AwsKeys)
    assert (team.access_key, team.token) == ("AKIAFAKETEAM", None)


async def test_keys_that_cannot_be_had_are_said_so(nowhere: Path) -> None:
    """No credentials, no such profile: one sentence each, at once and without a word of any value."""
    store = SecretStore({}, clock=Clock())
    for source, said in (
        (AWS_DEFAULT, "there are no AWS credentials for default"),
        (CredentialSource("aws", ("none", "us-east-1")), "AWS gave no credentials for none: ProfileNotFound"),
        (CredentialSource("google", ("default",)), "Google gave no token for default: DefaultCredentialsError"),
        (CredentialSource("google", (str(nowhere / "none.json"),)), "FileNotFoundError"),
    ):
        with pytest.raises(SecretError, match=said):
            await store.resolve(source)


class TokenServer(ThreadingHTTPServer):
    """What Google's token endpoint is to a service account: https://oauth.net/2/jwt-bearer-grant"""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Tokens)
        self.asked: list[str] = []
        self.seconds = 3600
        self.status = 200
        self._thread = threading.Thread(target=self.serve_forever)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self.shutdown()
        self._thread.join()


class _Tokens(BaseHTTPRequestHandler):
    server: TokenServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        (assertion,) = parse_qs(body)["assertion"]
        self.server.asked.append(assertion)
        token = f"fake-token-{len(self.server.asked)}-0123456789"
        reply = json.dumps({"access_token": token, "expires_in": self.server.seconds, "token_type": "Bearer"}).encode()
        self.send_response(self.server.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing: the test looks at what was asked."""


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    with TokenServer() as server:
        server.begin()
        yield server
        server.end()


def service_account(path: Path, server: TokenServer) -> CredentialSource:
    """A service account's file, with a key that nobody else has."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "fake",
                "private_key_id": "fake",
                "private_key": pem,
                "client_email": "fake@fake.iam.gserviceaccount.com",
                "token_uri": f"http://127.0.0.1:{server.server_port}/token",
            }
        )
    )
    return CredentialSource("google", (str(path),))


async def test_a_google_token_is_asked_for_once_and_renewed_in_time(nowhere: Path, tokens: TokenServer) -> None:
    """Calls that come together wait for one answer; what is near its end is asked for anew."""
    clock, learnt = Clock(), list[Secret]()
    source = service_account(nowhere / "account.json", tokens)
    store = SecretStore({}, clock=clock, learn=learnt.append)
    found = await asyncio.gather(*(store.resolve(source) for _ in range(20)))
    assert {secret.reveal() for secret in found} == {"fake-token-1-0123456789"}
    assert len(tokens.asked) == 1
    clock.now += 301  # beyond ttl: the library is asked, which still has its token
    assert (await store.resolve(source)).reveal() == "fake-token-1-0123456789"
    assert len(tokens.asked) == 1
    assert {secret.reveal() for secret in learnt} == {"fake-token-1-0123456789"}


async def test_a_google_token_of_short_life_is_renewed(nowhere: Path, tokens: TokenServer) -> None:
    """A token is kept no longer than it is good for."""
    tokens.seconds = 60
    clock = Clock()
    source = service_account(nowhere / "account.json", tokens)
    store = SecretStore({}, clock=clock)
    first = await store.resolve(source)
    clock.now += 20
    assert await store.resolve(source) is first
    clock.now += 15
    assert (await store.resolve(source)).reveal() == "fake-token-2-0123456789"


async def test_a_token_server_that_refuses_is_named_without_what_it_said(nowhere: Path, tokens: TokenServer) -> None:
    """Its answer may quote what it was sent."""
    tokens.status = 401
    store = SecretStore({}, clock=Clock())
    with pytest.raises(SecretError, match=r"Google gave no token for .*account\.json: RefreshError") as caught:
        await store.resolve(service_account(nowhere / "account.json", tokens))
    assert "fake-token" not in str(caught.value)


def test_keys_that_no_header_can_carry_are_refused() -> None:
    """An access key or a token with a line break would end a header."""
    for access, token in (("A\r\nX: 1", None), ("A", "t\n")):
        with pytest.raises(ValueError, match="line break"):
            AwsKeys(access, "s", token, "aws:default")
