"""Whether a certificate and its key can be served, asked before anything is started."""

from __future__ import annotations

import ssl
from pathlib import Path

from interpose.errors import InterposeError


def check_certificate(cert: Path, key: Path) -> None:
    """Raises InterposeError saying which of the files is wrong, and how."""
    for option, path in (("--tls-cert", cert), ("--tls-key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise InterposeError(f"{option} {path} cannot be read: {error.strerror or error}") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    asked = False

    def password() -> str:
        # Else OpenSSL would ask the terminal.
        nonlocal asked
        asked = True
        return ""

    try:
        context.load_cert_chain(cert, key, password)
    except (ssl.SSLError, ValueError) as error:
        if asked:
            raise InterposeError(f"--tls-key {key} has a password; write one without: openssl pkey -in {key}") from None
        if "KEY_VALUES_MISMATCH" in str(error):
            raise InterposeError(f"--tls-key {key} is not the key of --tls-cert {cert}") from None
        raise InterposeError(f"{_unreadable(cert, key)} is no PEM file of one that could be used") from None


def _unreadable(cert: Path, key: Path) -> str:
    """Which of the two it is that cannot be used, in so far as one can be asked alone."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cert)
    except (ssl.SSLError, ValueError):
        return f"--tls-cert {cert}"
    return f"--tls-key {key}"
