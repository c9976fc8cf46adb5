"""The certificate authority whose leaf certificates clients see.

Made once per state folder, by mitmproxy's own code; its key is readable by its owner alone, or nothing starts.
"""

from __future__ import annotations

import stat
from pathlib import Path

from mitmproxy.certs import CertStore
from mitmproxy.options import CONF_BASENAME

from interpose.errors import InterposeError

KEY_SIZE = 2048
CERTIFICATE = "interpose-ca-cert.pem"


class AuthorityError(InterposeError):
    """The CA cannot be used: the message says why and what to do."""


def prepare(folder: Path) -> Path:
    """Makes the CA in `folder` unless it is there; returns the PEM file of its certificate.

    Raises AuthorityError if its private key can be read by others, or the folder is unusable.
    """
    key = folder / f"{CONF_BASENAME}-ca.pem"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not key.exists():
            CertStore.create_store(folder, CONF_BASENAME, KEY_SIZE, organization="interpose", cn="interpose local CA")
        mode = stat.S_IMODE(key.stat().st_mode)
        if mode & 0o077:
            raise AuthorityError(
                f"{key}: the CA's private key can be read by others (mode {mode:04o}). Run `chmod 600 {key}`; if "
                "somebody may have copied it, delete the folder instead, and a new CA is made."
            )
        certificate = folder / CERTIFICATE
        public = (folder / f"{CONF_BASENAME}-ca-cert.pem").read_bytes()
        if not certificate.exists() or certificate.read_bytes() != public:
            certificate.write_bytes(public)
    except OSError as error:
        raise AuthorityError(f"{folder}: the CA cannot be kept there: {error.strerror or error}") from error
    return certificate
