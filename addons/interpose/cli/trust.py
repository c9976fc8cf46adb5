"""Whom a program under `interpose run` trusts: everyone it trusted before, and our CA.

For each CA variable a bundle is written that holds what the variable named before (else the system's CAs) plus ours,
so that hosts we do not decrypt verify as ever. A bundle's name is made of its content: two runs with different
environments never pull one away from under the other.
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from interpose.errors import InterposeError

from .environment import TRUST_VARIABLES

# Where Linux distributions, BSDs and macOS keep their bundle: https://go.dev/src/crypto/x509/root_linux.go and
# root_bsd.go beside it. Asked when OpenSSL's compiled-in paths lead nowhere, as in relocated Python builds.
SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
)

# No bundle in use is near this; a variable that names a disk image should not fill memory.
MAX_FILE = 32 * 1024 * 1024

# X509 is the label's old name: https://www.rfc-editor.org/rfc/rfc7468#section-5
_PEM = re.compile(rb"-----BEGIN (X509 )?CERTIFICATE-----(.{1,65536}?)-----END (X509 )?CERTIFICATE-----", re.DOTALL)


def certificates(path: Path) -> list[str]:
    """The certificates of a PEM file, or of every file of a folder, as normalised PEM text.

    What cannot be read or is no certificate is left out: clients do the same.
    """
    try:
        if path.is_dir():
            files = sorted(entry for entry in path.iterdir() if not entry.is_dir())
            return _unique(text for file in files for text in _certificates_of_file(file))
        return _unique(_certificates_of_file(path))
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return []


def _certificates_of_file(path: Path) -> list[str]:
    try:
        # A FIFO or device would block or never end.
        if not path.is_file() or path.stat().st_size > MAX_FILE:
            return []
        data = path.read_bytes()
    except OSError:
        return []
    found = []
    for match in _PEM.finditer(data):
        try:
            der = ssl.PEM_cert_to_DER_cert(
                "-----BEGIN CERTIFICATE-----" + match[2].decode("ascii") + "-----END CERTIFICATE-----"
            )
        except ValueError:  # not base64, or not ASCII
            continue
        # DER of a certificate begins with a SEQUENCE.
        if der[:1] == b"\x30":
            found.append(ssl.DER_cert_to_PEM_cert(der))
    return found


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def system_certificates(environ: Mapping[str, str]) -> list[str]:
    """What OpenSSL's clients trust: what SSL_CERT_FILE and SSL_CERT_DIR name, else the system's store, else certifi.

    An empty list only where there is no CA to be found at all.
    """
    named = [Path(value) for value in (environ.get("SSL_CERT_FILE"), *_folders(environ)) if value]
    if found := _all_of(named):
        return found
    compiled_in = ssl.get_default_verify_paths()
    if found := certificates(Path(compiled_in.openssl_cafile)):
        return found
    for known in SYSTEM_BUNDLES:
        if found := certificates(Path(known)):
            return found
    if found := certificates(Path(compiled_in.openssl_capath)):
        return found
    return _certifi()


def _folders(environ: Mapping[str, str]) -> Sequence[str]:
    # OpenSSL takes a list of folders: https://docs.openssl.org/3.0/man3/SSL_CTX_load_verify_locations/
    return environ.get("SSL_CERT_DIR", "").split(os.pathsep)


def _all_of(paths: Iterable[Path]) -> list[str]:
    return _unique(text for path in paths for text in certificates(path))


def _certifi() -> list[str]:
    try:
        import certifi  # comes with mitmproxy; a store of last resort
    except ImportError:
        return []
    return certificates(Path(certifi.where()))


def write_bundles(folder: Path, authority: Path, environ: Mapping[str, str]) -> dict[str, Path]:
    """A CA file for each of TRUST_VARIABLES, written below `folder` (which exists) where it is not there already.

    `authority` is the PEM file of our CA. Raises InterposeError if a file cannot be written.
    """
    ours = certificates(authority)
    if not ours:
        raise InterposeError(f"{authority}: no certificate of interpose's CA in it")
    system = system_certificates(environ)
    bundles: dict[str, Path] = {}
    for variable in TRUST_VARIABLES:
        named = environ.get(variable.name)
        base = certificates(Path(named)) if named else []
        if not base and not variable.adds:
            base = system
        bundles[variable.name] = _write(folder, "".join(_unique((*base, *ours))))
    return bundles


def _write(folder: Path, text: str) -> Path:
    data = text.encode("ascii")
    return write_once(folder / f"ca-bundle-{hashlib.sha256(data).hexdigest()[:12]}.pem", data)


def write_once(path: Path, data: bytes) -> Path:
    """Puts `data` at `path`, whole or not at all, unless it is there. Raises InterposeError if that cannot be done."""
    try:
        if path.is_file() and path.read_bytes() == data:
            return path
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".ca-bundle-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), 0o644)
                file.write(data)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise InterposeError(f"cannot write the CA bundle {path}: {error.strerror or error}") from error
    return path
