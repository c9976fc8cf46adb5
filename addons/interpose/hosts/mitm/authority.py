"""The certificate authority whose leaf certificates clients see.

Made once per state folder, by mitmproxy's own code; its key is readable by its owner alone, or nothing starts.
"""

from __future__ import annotations

import os
import stat
import tempfile
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
            make(folder, key)
        mode = stat.S_IMODE(key.stat().st_mode)
        if mode & 0o077:
            raise AuthorityError(
                f"{key}: the CA's private key can be read by others (mode {mode:04o}). Run `chmod 600 {key}`; if "
                "somebody may have copied it, delete the folder instead, and a new CA is made."
            )
        certificate = folder / CERTIFICATE
        replace_file(certificate, public_part(key))
    except OSError as error:
        raise AuthorityError(f"{folder}: the CA cannot be kept there: {error.strerror or error}") from error
    return certificate


def make(folder: Path, key: Path) -> None:
    """Makes the CA aside and puts it in place whole. Of several runs that do so at once, the first one's stays."""
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as made:
        aside = Path(made)
        CertStore.create_store(aside, CONF_BASENAME, KEY_SIZE, organization="interpose", cn="interpose local CA")
        # The same in every store, and wanted by whoever finds the key.
        replace_file(folder / f"{CONF_BASENAME}-dhparam.pem", (aside / f"{CONF_BASENAME}-dhparam.pem").read_bytes())
        try:
            os.link(aside / key.name, key)
        except FileExistsError:
            pass  # another run was quicker
        except OSError:
            # A file system without hard links, where two runs at once could still cross.
            if not key.exists():
                os.replace(aside / key.name, key)


def public_part(key: Path) -> bytes:
    """The certificate that stands behind the private key in mitmproxy's file."""
    pem = key.read_bytes()
    return pem[pem.index(b"-----BEGIN CERTIFICATE-----") :]


def replace_file(path: Path, data: bytes) -> None:
    """Writes a file as a whole: whoever reads it meanwhile sees the old one or the new one."""
    if path.exists() and path.read_bytes() == data:
        return
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        file.write(data)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
