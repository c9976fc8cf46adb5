"""CA bundles: everyone who was trusted before, and our CA."""

import datetime
import os
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from interpose.cli.environment import TRUST_VARIABLES
from interpose.cli.trust import certificates, system_certificates, write_bundles
from interpose.errors import InterposeError


def authority(name: str) -> str:
    """A self-signed CA certificate of that name, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


def names(path: Path) -> list[str]:
    """The common names in a bundle, read by OpenSSL rather than by the code under test."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(path)
    return sorted(dict(pair[0] for pair in found["subject"])["commonName"] for found in context.get_ca_certs())  # type: ignore[misc]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with ours.pem, corp.pem, system.pem, extra.pem: one CA each."""
    for name in ("ours", "corp", "system", "extra"):
        (tmp_path / f"{name}.pem").write_text(f"# {name}\n{authority(name)}\n")
    return tmp_path


def bundles(folder: Path, **environ: str) -> dict[str, Path]:
    (folder / "ca").mkdir(exist_ok=True)
    return write_bundles(folder / "ca", folder / "ours.pem", environ)


def test_the_base_is_what_ssl_cert_file_named(folder: Path) -> None:
    """Whoever replaced the system's store for OpenSSL gets that, and ours, in every bundle without its own."""
    made = bundles(folder, SSL_CERT_FILE=str(folder / "system.pem"))
    assert set(made) == {variable.name for variable in TRUST_VARIABLES}
    assert names(made["SSL_CERT_FILE"]) == names(made["CURL_CA_BUNDLE"]) == ["ours", "system"]


def test_each_variable_keeps_its_own_trust(folder: Path) -> None:
    """A CA that was trusted by one client alone is not forced upon the others."""
    made = bundles(folder, SSL_CERT_FILE=str(folder / "system.pem"), REQUESTS_CA_BUNDLE=str(folder / "corp.pem"))
    assert names(made["REQUESTS_CA_BUNDLE"]) == ["corp", "ours"]
    assert names(made["SSL_CERT_FILE"]) == ["ours", "system"]


def test_an_additive_variable_gets_no_system_store(folder: Path) -> None:
    """Node and Deno add the file to their own store: it holds the user's extras and ours."""
    assert names(bundles(folder, SSL_CERT_FILE=str(folder / "system.pem"))["NODE_EXTRA_CA_CERTS"]) == ["ours"]
    made = bundles(folder, NODE_EXTRA_CA_CERTS=str(folder / "extra.pem"))
    assert names(made["NODE_EXTRA_CA_CERTS"]) == ["extra", "ours"]


def test_ssl_cert_dir_is_read_into_the_bundle(folder: Path) -> None:
    """Folders, separated as OpenSSL separates them, count like a file."""
    for name in ("one", "two"):
        (folder / name).mkdir()
    (folder / "one" / "corp.pem").write_text((folder / "corp.pem").read_text())
    (folder / "two" / "0a1b2c3d.0").write_text((folder / "extra.pem").read_text())
    (folder / "two" / "README").write_text("not a certificate")
    (folder / "two" / "sub").mkdir()
    made = bundles(folder, SSL_CERT_DIR=f"{folder / 'one'}{os.pathsep}{folder / 'two'}")
    assert names(made["SSL_CERT_FILE"]) == ["corp", "extra", "ours"]


def test_a_variable_that_leads_nowhere_falls_back_to_the_system(folder: Path) -> None:
    """A missing file, an empty one and a private key are no store."""
    (folder / "empty.pem").write_text("")
    for value in (str(folder / "missing.pem"), str(folder / "empty.pem"), "\udcff", "a\nb"):
        made = bundles(folder, SSL_CERT_FILE=str(folder / "system.pem"), REQUESTS_CA_BUNDLE=value)
        assert names(made["REQUESTS_CA_BUNDLE"]) == ["ours", "system"]


def test_a_certificate_stands_once(folder: Path) -> None:
    """Also one that is ours already, or differs in line breaks alone."""
    text = (folder / "system.pem").read_text()
    (folder / "twice.pem").write_bytes((text + text + (folder / "ours.pem").read_text()).replace("\n", "\r\n").encode())
    made = bundles(folder, SSL_CERT_FILE=str(folder / "twice.pem"))
    assert made["SSL_CERT_FILE"].read_text().count("BEGIN CERTIFICATE") == 2


def test_broken_certificates_are_left_out_and_the_others_kept(folder: Path) -> None:
    """Junk between and inside of blocks does not take the rest away."""
    good = (folder / "corp.pem").read_text()
    block = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"
    (folder / "mixed.pem").write_bytes(
        b"\xff\xfe junk\n"
        + block.format("!!!").encode()
        + block.format("AAAA").encode()
        + "-----BEGIN CERTIFICATE-----\nä\n-----END CERTIFICATE-----\n".encode()
        + b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
        + good.encode()
        + b"-----BEGIN CERTIFICATE-----\nMIIB"
    )
    assert len(certificates(folder / "mixed.pem")) == 1


def test_a_fifo_and_a_device_are_no_store(folder: Path) -> None:
    """Reading them would block or never end."""
    os.mkfifo(folder / "fifo")
    assert certificates(folder / "fifo") == []
    assert certificates(Path("/dev/zero")) == []


def test_without_variables_the_system_is_trusted() -> None:
    """The same CAs that this Python's OpenSSL would trust, and at least one."""
    assert len(system_certificates({})) > 0


def test_the_file_is_readable_by_all_and_written_once(folder: Path) -> None:
    """A name stands for a content: a second run finds the file, and a changed store gets another name."""
    first = bundles(folder, SSL_CERT_FILE=str(folder / "system.pem"))["SSL_CERT_FILE"]
    assert stat.S_IMODE(first.stat().st_mode) == 0o644
    inode = first.stat().st_ino
    assert bundles(folder, SSL_CERT_FILE=str(folder / "system.pem"))["SSL_CERT_FILE"] == first
    assert first.stat().st_ino == inode
    other = bundles(folder, SSL_CERT_FILE=str(folder / "corp.pem"))["SSL_CERT_FILE"]
    assert other != first
    assert first.exists()


def test_a_damaged_bundle_is_repaired(folder: Path) -> None:
    """A name promises a content: what was cut off is written again."""
    path = bundles(folder, SSL_CERT_FILE=str(folder / "system.pem"))["SSL_CERT_FILE"]
    path.write_text("cut off")
    assert names(bundles(folder, SSL_CERT_FILE=str(folder / "system.pem"))["SSL_CERT_FILE"]) == ["ours", "system"]


def test_a_folder_that_cannot_be_written_is_told(folder: Path) -> None:
    """One message with the path, and no file left behind."""
    (folder / "file").write_text("")
    with pytest.raises(InterposeError, match="cannot write the CA bundle"):
        write_bundles(folder / "file", folder / "ours.pem", {"SSL_CERT_FILE": str(folder / "system.pem")})


def test_without_our_own_certificate_nothing_is_written(folder: Path) -> None:
    """A bundle without our CA would break the program it is for."""
    with pytest.raises(InterposeError, match="no certificate"):
        write_bundles(folder, folder / "missing.pem", {})
