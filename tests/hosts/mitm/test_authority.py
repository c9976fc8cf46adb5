"""The CA: made once, whole, and kept from others."""

import multiprocessing
import stat
from pathlib import Path

import pytest
from mitmproxy.certs import CertStore
from mitmproxy.options import CONF_BASENAME

from interpose.hosts.mitm.authority import AuthorityError, prepare


def certificate(folder: Path) -> bytes:
    return prepare(folder).read_bytes()


def test_runs_that_start_at_once_share_one_authority(tmp_path: Path) -> None:
    """Whoever is first makes it; nobody sees half of it."""
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        seen = pool.map(certificate, [tmp_path / "ca"] * 8)
    assert len(set(seen)) == 1
    store = CertStore.from_store(tmp_path / "ca", CONF_BASENAME, 2048)
    assert store.default_ca.to_pem() == seen[0]
    assert not list((tmp_path / "ca").glob(".*"))


def test_the_private_key_is_the_owners_alone(tmp_path: Path) -> None:
    """0600, or nothing starts."""
    prepare(tmp_path)
    key = tmp_path / f"{CONF_BASENAME}-ca.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert b"PRIVATE" not in prepare(tmp_path).read_bytes()
    key.chmod(0o640)
    with pytest.raises(AuthorityError, match="chmod 600"):
        prepare(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """One clear message."""
    blocker = tmp_path / "file"
    blocker.touch()
    with pytest.raises(AuthorityError, match="cannot be kept there"):
        prepare(blocker / "ca")
