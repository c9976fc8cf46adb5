"""Java's truststore for a program under `interpose run`: what that Java trusted before, and our CA, as PKCS 12.

Java reads no CA variable and takes one truststore in place of its own, so the new one must hold what the old one has.
Reads trusted certificates alone; keys in a store are never touched.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import struct
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, pkcs12

from interpose.errors import InterposeError

from .options import TRUSTSTORE_PASSWORD, java_properties
from .trust import MAX_FILE, certificates, system_certificates, write_once

# Where a Java has its own, below its home: since 9, and before.
CACERTS = ("lib/security/cacerts", "jre/lib/security/cacerts")

# JKS, which is what cacerts was before Java 18: big-endian, strings and certificates with their length before them.
# https://github.com/openjdk/jdk/blob/master/src/java.base/share/classes/sun/security/provider/JavaKeyStore.java
_JKS = b"\xfe\xed\xfe\xed"
_KEY, _CERTIFICATE = 1, 2


def truststore_for_java(folder: Path, authority: Path, environ: Mapping[str, str]) -> Path | None:
    """Java's truststore, where there is a Java to use it. Raises InterposeError if it cannot be written."""
    home = java_home(environ)
    return None if home is None else write_truststore(folder, authority, home, environ)


def write_truststore(folder: Path, authority: Path, home: Path, environ: Mapping[str, str]) -> Path:
    """The truststore for the Java in `home`, below `folder`; `authority` is the PEM file of our CA.

    Raises InterposeError if it cannot be written.
    """
    ours = [ssl.PEM_cert_to_DER_cert(text) for text in certificates(authority)]
    if not ours:
        raise InterposeError(f"{authority}: no certificate of interpose's CA in it")
    found = trusted_by_java(home, environ) or [ssl.PEM_cert_to_DER_cert(text) for text in system_certificates(environ)]
    return _write(folder, list(dict.fromkeys((*found, *ours))))


def java_home(environ: Mapping[str, str]) -> Path | None:
    """The folder of the Java that a program would use: JAVA_HOME, else by PATH."""
    if named := environ.get("JAVA_HOME"):
        return Path(named)
    command = shutil.which("java", path=environ.get("PATH", os.defpath))
    return Path(command).resolve().parent.parent if command is not None else None


def trusted_by_java(home: Path, environ: Mapping[str, str]) -> list[bytes]:
    """The certificates (DER) of the truststore in JAVA_TOOL_OPTIONS, else of that Java's own; none if unreadable."""
    own = java_properties(environ.get("JAVA_TOOL_OPTIONS", ""))
    paths = [Path(own["javax.net.ssl.trustStore"])] if own.get("javax.net.ssl.trustStore") else []
    paths += [home / place for place in CACERTS]
    password = own.get("javax.net.ssl.trustStorePassword") or TRUSTSTORE_PASSWORD
    for path in paths:
        try:
            if not path.is_file() or path.stat().st_size > MAX_FILE:
                continue
            if found := list(read_store(path.read_bytes(), password)):
                return found
        except (OSError, ValueError):
            continue
    return []


def read_store(data: bytes, password: str) -> Iterator[bytes]:
    """The trusted certificates (DER) of a JKS or PKCS 12 store. Raises ValueError for anything else."""
    if data[:4] == _JKS:
        yield from _read_jks(data)
        return
    with warnings.catch_warnings(action="ignore"):  # old CAs break rules of today, and are trusted all the same
        try:
            store = pkcs12.load_pkcs12(data, password.encode())
        except ValueError:
            store = pkcs12.load_pkcs12(data, None)  # cacerts since Java 18
        for each in store.additional_certs:
            yield each.certificate.public_bytes(Encoding.DER)


def _read_jks(data: bytes) -> Iterator[bytes]:
    at = 4

    def take(form: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from(form, data, at)
        at += struct.calcsize(form)
        return int(value)

    def block(form: str) -> bytes:
        nonlocal at
        size = take(form)
        if at + size > len(data):
            raise ValueError("the store is cut off")
        at += size
        return data[at - size : at]

    try:
        version = take("!I")
        for _ in range(take("!I")):
            tag = take("!I")
            block("!H")  # alias
            take("!Q")  # date
            if tag not in (_KEY, _CERTIFICATE):
                raise ValueError(f"an entry of kind {tag}")
            if tag == _KEY:
                block("!I")
            for _ in range(take("!I") if tag == _KEY else 1):
                if version == 2:
                    block("!H")  # certificate type: X.509
                certificate = block("!I")
                if tag == _CERTIFICATE:
                    yield certificate
    except struct.error as error:
        raise ValueError("the store is cut off") from error


def _write(folder: Path, ders: list[bytes]) -> Path:
    # Named by what is in it: the file itself has a salt.
    path = folder / f"truststore-{hashlib.sha256(b''.join(ders)).hexdigest()[:12]}.p12"
    entries = []
    for place, der in enumerate(ders):
        try:
            with warnings.catch_warnings(action="ignore"):
                certificate = x509.load_der_x509_certificate(der)
        except ValueError:
            continue  # one that Java could not read either
        entries.append(pkcs12.PKCS12Certificate(certificate, f"ca-{place}".encode()))
    try:
        if len(list(read_store(path.read_bytes(), TRUSTSTORE_PASSWORD))) == len(entries):
            return path
    except (OSError, ValueError):
        pass  # not there, or damaged
    password = BestAvailableEncryption(TRUSTSTORE_PASSWORD.encode())
    return write_once(path, pkcs12.serialize_java_truststore(entries, password))
