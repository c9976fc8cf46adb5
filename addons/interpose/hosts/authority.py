"""The certificate authority whose leaf certificates clients see: made, checked, renewed and removed.

One per state folder, in its `ca` folder. The private key is readable by its owner alone, or nothing starts; a CA that
is broken, expired or not yet valid is refused by name, with what to do. It does not change under an interceptor that
runs (`tenancy`). Which certificates it signs is the business of `hosts/mitm/leaves.py`.
"""

from __future__ import annotations

import datetime
import logging
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from interpose.errors import InterposeError

from . import tenancy

log = logging.getLogger(__name__)

# mitmproxy finds its CA by this name; the certificate alone, for people and programs to trust, has ours.
KEY = "mitmproxy-ca.pem"
CERTIFICATE = "interpose-ca-cert.pem"
RETIRED = "retired-"
# What is made from the CA, here and by `cli/trust.py`: all of it goes when the CA goes.
BUNDLES = "ca-bundle-*.pem"
TRUSTSTORES = "truststore-*"
# What a crash has left of a key that was being written, here or by an earlier version.
PIECES = (f".{KEY}-*", ".new-*/*", ".new-*")
DERIVED = (CERTIFICATE, "mitmproxy-dhparam.pem", BUNDLES, TRUSTSTORES, f"{RETIRED}*.pem")

ORGANIZATION = "interpose"
KEY_SIZE = 2048
LIFETIME = datetime.timedelta(days=10 * 365)
# A clock may be slow.
BACKDATED = datetime.timedelta(days=2)
# A CA that ends sooner is told of at every start.
SOON = datetime.timedelta(days=30)
LONGEST_NAME = 64

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class AuthorityError(InterposeError):
    """The CA cannot be used: the message says where, why and what to do."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA that can be used: its folder, its certificate, its key."""

    folder: Path
    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)

    @property
    def key_path(self) -> Path:
        return self.folder / KEY

    @property
    def certificate_path(self) -> Path:
        """The PEM file that clients must trust."""
        return self.folder / CERTIFICATE

    @property
    def name(self) -> str:
        return str(self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def fingerprint(self, algorithm: hashes.HashAlgorithm | None = None) -> str:
        """The certificate's hash, SHA-256 unless said otherwise, as `AB:CD:…`."""
        return self.certificate.fingerprint(algorithm or hashes.SHA256()).hex(":").upper()


def prepare(folder: Path) -> Path:
    """Makes the CA in `folder` unless it is there; returns the PEM file of its certificate. Raises AuthorityError."""
    with told(folder), tenancy.gate(_made(folder)):
        return _ready(folder).certificate_path


@contextmanager
def occupied(folder: Path) -> Iterator[Authority]:
    """The CA, made if need be, which nobody may change until the end. Raises AuthorityError."""
    with told(folder), tenancy.gate(_made(folder)):
        authority = _ready(folder)
        tenant = tenancy.move_in(folder)
    with tenant:
        yield authority


def inspect(folder: Path) -> tuple[Authority, list[int]]:
    """The CA, made if need be, and the pids of the interceptors that run on it. Raises AuthorityError."""
    with told(folder), tenancy.gate(_made(folder)):
        return _ready(folder), tenancy.tenants(folder)


def rotate(folder: Path) -> tuple[Authority, Path | None]:
    """Makes a new CA in the place of the one in `folder`, usable or not; the old one's key is gone then.

    Returns the new one, and where the old one's certificate is kept, if it had a readable one: whoever put it into a
    store needs it to take it out. Bundles that were written for programs hold the new one from then on: a shell that
    names one needs no new setting. Raises AuthorityError, also while an interceptor runs on it.
    """
    with told(folder), tenancy.gate(_made(folder)):
        _refuse_if_used(folder, "rotate")
        retired = None
        old = _certificate_of(folder / KEY) or _certificate_of(folder / CERTIFICATE)
        if old is not None:
            retired = folder / f"{RETIRED}{old.fingerprint(hashes.SHA256()).hex()[:12]}.pem"
            replace_file(retired, old.public_bytes(serialization.Encoding.PEM))
        _make(folder)
        authority = load(folder)
        replace_file(authority.certificate_path, authority.pem)
        # All that ever were: an earlier rotation may not have come to its end, on a full disk, say.
        past = [path.read_bytes() for path in folder.glob(f"{RETIRED}*.pem")]
        for bundle in folder.glob(BUNDLES):
            pem = bundle.read_bytes()
            for each in past:
                pem = pem.replace(each, authority.pem)
            replace_file(bundle, pem)
        # A truststore is made anew, under a name of its own, for the next program that wants one.
        _delete(folder, TRUSTSTORES, *PIECES)
        return authority, retired


def remove(folder: Path) -> list[Path]:
    """Deletes the CA and all that was made from it; returns the files. Raises AuthorityError while it is in use."""
    if not folder.is_dir():
        return []
    with told(folder), tenancy.gate(folder) as gate:
        _refuse_if_used(folder, "remove")
        gone = _delete(folder, KEY, *DERIVED, *PIECES)
        gate.unlink()
        try:
            folder.rmdir()
        except OSError:
            pass  # somebody keeps files of their own there
        return gone


def load(folder: Path) -> Authority:
    """The CA in `folder`, checked. Raises AuthorityError, and OSError if its file cannot be read."""
    path = folder / KEY
    mode = stat.S_IMODE(path.stat().st_mode)
    if os.name == "posix" and mode & 0o077:
        raise AuthorityError(
            f"{path}: the CA's private key can be read by others (mode {mode:04o}). Run `chmod 600 {path}`; if "
            "somebody may have copied it, run `interpose ca rotate` as well, and a new CA takes its place."
        )
    pem = path.read_bytes()
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise _unusable(path, "holds no private key that can be read") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise _unusable(path, "holds a private key of a kind that TLS clients do not take")
    certificate = _certificate_of(path)
    if certificate is None:
        raise _unusable(path, "holds no certificate that can be read")
    if certificate.public_key() != key.public_key():
        raise _unusable(path, "holds a private key and a certificate that do not belong together")
    if not _signs(certificate):
        raise _unusable(path, "holds a certificate that is no certificate authority's")
    now = datetime.datetime.now(datetime.UTC)
    if now > certificate.not_valid_after_utc:
        raise _unusable(path, f"has expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    if now < certificate.not_valid_before_utc:
        raise AuthorityError(
            f"{path}: the CA is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}, and this machine's clock "
            f"says {now:%Y-%m-%d}. Set the clock; if it is right, `interpose ca rotate` makes a new CA."
        )
    return Authority(folder, certificate, key)


def _delete(folder: Path, *patterns: str) -> list[Path]:
    gone = [path for pattern in patterns for path in folder.glob(pattern)]
    for path in gone:
        path.rmdir() if path.is_dir() else path.unlink()
    return gone


def _unusable(path: Path, what: str) -> AuthorityError:
    return AuthorityError(f"{path}: the CA cannot be used: it {what}. `interpose ca rotate` makes a new one.")


def _signs(certificate: x509.Certificate) -> bool:
    try:
        return (
            certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
            and certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier) is not None
        )
    except (x509.ExtensionNotFound, ValueError):
        return False


def _certificate_of(path: Path) -> x509.Certificate | None:
    """The first certificate of a PEM file, if there is one that can be read."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())[0]
    except (OSError, ValueError):
        return None


def _ready(folder: Path) -> Authority:
    """The CA, made if need be, its certificate beside it; a warning if it is about to end."""
    if not (folder / KEY).exists():
        _make(folder)
    authority = load(folder)
    replace_file(authority.certificate_path, authority.pem)
    left = authority.certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    if left < SOON:
        log.warning(
            "the CA %s expires on %s, in %d days: run `interpose ca rotate` when nothing runs on it",
            authority.certificate_path,
            f"{authority.certificate.not_valid_after_utc:%Y-%m-%d}",
            left.days,
        )
    return authority


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _refuse_if_used(folder: Path, verb: str) -> None:
    if pids := tenancy.tenants(folder):
        listed = ", ".join(map(str, pids))
        raise AuthorityError(
            f"{folder}: an interceptor runs with this CA (pid {listed}). End it, then `interpose ca {verb}` again."
        )


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Turns what the system refuses into an AuthorityError that names the folder."""
    try:
        yield
    except OSError as error:
        raise AuthorityError(
            f"{folder}: the CA cannot be kept there: {error.strerror or error}. Mend that, or name another folder with "
            "--state."
        ) from error


# --- making one ------------------------------------------------------------------------------------------------------


def _make(folder: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_SIZE)
    now = datetime.datetime.now(datetime.UTC)
    # Who finds it in a store should know whence it came.
    name = f"interpose local CA ({socket.gethostname()[:30]}, {now:%Y-%m-%d})"[:LONGEST_NAME]
    subject = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION)]
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now - BACKDATED + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_signing_alone(), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    replace_file(folder / KEY, private + certificate.public_bytes(serialization.Encoding.PEM), mode=0o600)


def _signing_alone() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def replace_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Writes a file as a whole: whoever reads it meanwhile, or finds it after a crash, sees the old or the new one."""
    if path.exists() and path.read_bytes() == data:
        return
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(aside, mode)
        os.replace(aside, path)
    except BaseException:
        os.unlink(aside)
        raise
