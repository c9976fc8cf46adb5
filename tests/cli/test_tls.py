"""Certificates that cannot be served are told before anything is started."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from tests.e2e.certificates import Authority

from interpose.cli.listen import Listen, reserved
from interpose.cli.tls import check_certificate
from interpose.errors import InterposeError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates and keys, good and bad."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("good", "other"):
        cert, begin, key = Authority(folder / name).leaf(["localhost"]).read_text().partition("-----BEGIN PRIVATE")
        (folder / f"{name}.pem").write_text(cert)
        (folder / f"{name}.key").write_text(begin + key)
    key = serialization.load_pem_private_key((folder / "good.key").read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"FAKE-password")
    form = serialization.PrivateFormat.PKCS8
    (folder / "locked.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, locked))
    (folder / "text.pem").write_text("no certificate")
    return folder


def test_a_certificate_with_its_key_is_good(folder: Path) -> None:
    """Nothing is said."""
    check_certificate(folder / "good.pem", folder / "good.key")


WRONG = [
    ("none.pem", "good.key", r"--tls-cert .*none\.pem cannot be read: No such file"),
    ("good.pem", ".", r"--tls-key .* cannot be read: Is a directory"),
    ("text.pem", "good.key", r"--tls-cert .*text\.pem is no PEM"),
    ("good.pem", "text.pem", r"--tls-key .*text\.pem is no PEM"),
    ("good.pem", "other.key", r"--tls-key .*other\.key is not the key of --tls-cert .*good\.pem"),
    ("good.pem", "locked.key", r"--tls-key .*locked\.key has a password"),
]


@pytest.mark.parametrize(("cert", "key", "told"), WRONG)
def test_what_is_wrong_is_said_of_the_right_file(folder: Path, cert: str, key: str, told: str) -> None:
    """In one line, and no terminal is asked for a password."""
    with pytest.raises(InterposeError, match=told):
        check_certificate(folder / cert, folder / key)


def test_an_address_is_kept_for_us() -> None:
    """A free port in the place of 0, numbers in that of a name; nobody else gets it meanwhile."""
    with reserved(Listen("localhost", 0)) as place:
        assert (place.host, place.port > 0) == ("127.0.0.1", True)
        with (
            pytest.raises(
                InterposeError, match=rf"cannot listen on 127\.0\.0\.1:{place.port}: .* in use; name another"
            ),
            reserved(place),
        ):
            pass


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::"])
def test_an_address_that_others_share_is_refused(host: str) -> None:
    """Whoever listens there with the option to share it would get half of our calls."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind((host, 0))
        other.listen()
        place = Listen(host, other.getsockname()[1])
        with pytest.raises(InterposeError, match="in use"), reserved(place):
            pass


@pytest.mark.parametrize(
    ("listen", "told"),
    [("203.0.113.9:80", "assign requested address"), ("nobody.invalid:80", "on nobody.invalid:80: ")],
)
def test_an_address_that_is_not_ours_is_refused(listen: str, told: str) -> None:
    """With the reason of the system."""
    with pytest.raises(InterposeError, match=told), reserved(Listen.parse(listen)):
        pass
