"""The CA: made once, whole, kept from others; refused by name when it cannot be used; renewed and removed."""

import datetime
import logging
import multiprocessing
import os
import re
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from interpose.hosts import authority, tenancy
from interpose.hosts.authority import CERTIFICATE, KEY, AuthorityError, load, occupied, prepare, remove, rotate

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


def certificate(folder: Path) -> bytes:
    return prepare(folder).read_bytes()


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def signed(
    key: ec.EllipticCurvePrivateKey,
    begins: datetime.datetime = NOW - DAY,
    ends: datetime.datetime = NOW + 99 * DAY,
    *,
    ca: bool = True,
) -> bytes:
    """A certificate that signs itself."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


EC = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


def put(folder: Path, data: bytes) -> None:
    """A CA's file with that content, as its owner keeps it."""
    (folder / KEY).write_bytes(data)
    (folder / KEY).chmod(0o600)


def test_runs_that_start_at_once_share_one_authority(tmp_path: Path) -> None:
    """Whoever is first makes it; nobody sees half of it, and nothing but the lock is left beside it."""
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        seen = pool.map(certificate, [tmp_path / "ca"] * 8)
    assert len(set(seen)) == 1
    assert load(tmp_path / "ca").pem == seen[0]
    assert sorted(path.name for path in (tmp_path / "ca").iterdir()) == sorted([KEY, CERTIFICATE, tenancy.GATE])


def test_the_private_key_is_the_owners_alone(tmp_path: Path) -> None:
    """0600 whatever the umask, or nothing starts."""
    before = os.umask(0)
    try:
        prepare(tmp_path)
    finally:
        os.umask(before)
    key = tmp_path / KEY
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert b"PRIVATE" not in prepare(tmp_path).read_bytes()
    key.chmod(0o640)
    with pytest.raises(AuthorityError, match=r"mode 0640.*chmod 600.*interpose ca rotate"):
        prepare(tmp_path)


def test_python_takes_it_for_an_authority_by_its_strictest_rules(tmp_path: Path) -> None:
    """RFC 5280 to the letter: it signs leaves, for TLS servers, and no other authority."""
    context = ssl.create_default_context(cafile=str(prepare(tmp_path)))
    assert context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.cert_store_stats()["x509_ca"] == 1
    constraints = load(tmp_path).certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value.path_length == 0


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no private key that can be read"),
    "garbage": (bytes(range(256)), "no private key that can be read"),
    "cut in the key": (pem(EC)[:90], "no private key that can be read"),
    "no certificate": (pem(EC), "no certificate that can be read"),
    "cut in the certificate": ((pem(EC) + signed(EC))[:-90], "no certificate that can be read"),
    "another key": (pem(OTHER) + signed(EC), "do not belong together"),
    "no authority": (pem(EC) + signed(EC, ca=False), "no certificate authority's"),
    "a key for signatures alone": (pem(ed25519.Ed25519PrivateKey.generate()) + signed(EC), "of a kind that TLS"),
    "expired": (pem(EC) + signed(EC, NOW - 9 * DAY, NOW - DAY), f"expired on {NOW - DAY:%Y-%m-%d}"),
    "not yet valid": (pem(EC) + signed(EC, NOW + 9 * DAY), f"not valid before {NOW + 9 * DAY:%Y-%m-%d}.*clock"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_authority_that_cannot_be_used_is_named_and_rotation_mends_it(tmp_path: Path, case: str) -> None:
    """Where, what, and what to do; which then works."""
    data, message = BROKEN[case]
    put(tmp_path, data)
    with pytest.raises(AuthorityError, match=message) as raised:
        prepare(tmp_path)
    assert str(tmp_path / KEY) in str(raised.value)
    assert "`interpose ca rotate`" in str(raised.value)
    rotate(tmp_path)
    assert load(tmp_path).certificate.not_valid_after_utc > NOW + 3000 * DAY


def test_an_authority_that_ends_soon_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A warning at each start within its last 30 days, and none before."""
    put(tmp_path, pem(EC) + signed(EC, ends=NOW + 31 * DAY))
    prepare(tmp_path)
    assert not caplog.records
    put(tmp_path, pem(EC) + signed(EC, ends=NOW + 12 * DAY + DAY / 2))
    prepare(tmp_path)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert re.search(r"expires on \d{4}-\d\d-\d\d, in 12 days: run `interpose ca rotate`", record.getMessage())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """One clear message."""
    blocker = tmp_path / "file"
    blocker.touch()
    with pytest.raises(AuthorityError, match=r"cannot be kept there: Not a directory.*--state"):
        prepare(blocker / "ca")


FULL = """
import resource, sys
from pathlib import Path
from interpose.hosts.authority import AuthorityError, prepare
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    prepare(Path(sys.argv[1]))
except AuthorityError as error:
    print(error)
"""


def test_a_disk_that_takes_no_more_is_told_and_nothing_half_is_left(tmp_path: Path) -> None:
    """The system refuses to write; the next start finds no piece of a CA, and makes one."""
    told = subprocess.run([sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True, check=True).stdout
    assert "cannot be kept there: File too large" in told
    assert [path.name for path in tmp_path.iterdir()] == [tenancy.GATE]
    prepare(tmp_path)


def test_rotation_makes_a_new_one_whole(tmp_path: Path) -> None:
    """The old key is gone, its certificate is kept for those who must find it; bundles hold the new one instead."""
    old = prepare(tmp_path).read_bytes()
    old_key = (tmp_path / KEY).read_bytes()
    stranger = signed(OTHER)
    bundle, truststore = tmp_path / "ca-bundle-0123456789ab.pem", tmp_path / "truststore-0123456789ab.p12"
    bundle.write_bytes(stranger + old)
    truststore.write_bytes(b"as Java has it")
    made, retired = rotate(tmp_path)
    assert retired is not None
    assert retired.read_bytes() == old
    assert made.pem == (tmp_path / CERTIFICATE).read_bytes() != old
    assert bundle.read_bytes() == stranger + made.pem
    assert not truststore.exists()
    assert stat.S_IMODE((tmp_path / KEY).stat().st_mode) == 0o600
    assert not [path for path in tmp_path.iterdir() if old_key.split(b"-----")[2] in path.read_bytes()]


def test_bundles_that_an_earlier_rotation_did_not_get_to_are_renewed(tmp_path: Path) -> None:
    """It may have been cut off in the middle."""
    bundle = tmp_path / "ca-bundle-0123456789ab.pem"
    oldest = prepare(tmp_path).read_bytes()
    rotate(tmp_path)
    bundle.write_bytes(oldest)
    made, _ = rotate(tmp_path)
    assert bundle.read_bytes() == made.pem


def test_rotation_where_there_is_none_makes_one(tmp_path: Path) -> None:
    """And has nothing to keep."""
    made, retired = rotate(tmp_path / "ca")
    assert retired is None
    assert load(tmp_path / "ca").pem == made.pem


@pytest.mark.parametrize("change", [rotate, remove])
def test_no_authority_changes_under_an_interceptor(tmp_path: Path, change: Callable[[Path], object]) -> None:
    """The message has its pid; when it has ended, nothing is in the way."""
    with occupied(tmp_path), occupied(tmp_path / "another"):
        before = (tmp_path / KEY).read_bytes()
        with pytest.raises(
            AuthorityError, match=rf"\(pid {os.getpid()}\).*End it, then `interpose ca {change.__name__}`"
        ):
            change(tmp_path)
        assert (tmp_path / KEY).read_bytes() == before
    change(tmp_path)


def test_removal_leaves_nothing_of_it_and_nothing_else(tmp_path: Path) -> None:
    """The folder goes as well, unless somebody keeps a file of their own there."""
    folder = tmp_path / "ca"
    prepare(folder)
    rotate(folder)
    (folder / "ca-bundle-0123456789ab.pem").touch()
    # What a crash in the middle of writing a key has left, of this version and of an earlier one.
    (folder / f".{KEY}-0123abcd").touch()
    (folder / ".new-0123abcd").mkdir()
    (folder / ".new-0123abcd" / KEY).touch()
    remove(folder)
    assert not folder.exists()
    assert remove(folder) == []
    prepare(folder)
    (folder / "notes").touch()
    remove(folder)
    assert [path.name for path in folder.iterdir()] == ["notes"]


HOLD = """
import sys
from pathlib import Path
from interpose.hosts.authority import occupied
with occupied(Path(sys.argv[1])):
    print("holds", flush=True)
    sys.stdin.read()
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    """A process that runs with the CA in `folder`, until it is ended."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder], stdin=-1, stdout=-1, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "holds\n"
    return process


def test_what_a_crash_left_behind_blocks_nobody(tmp_path: Path) -> None:
    """The kernel lets go of a lock with its process: a pid file of one that was killed is no lock."""
    with hold(tmp_path) as first, hold(tmp_path) as second:
        with pytest.raises(AuthorityError, match=r"pid {}, {}\)".format(*sorted((first.pid, second.pid)))):
            rotate(tmp_path)
        assert authority.inspect(tmp_path)[1] == sorted((first.pid, second.pid))
        second.kill()
        second.wait()
        assert (tmp_path / f"run-{second.pid}").exists()
        assert authority.inspect(tmp_path)[1] == [first.pid]
        first.kill()
    # And files of the same names that nobody ever locked.
    (tmp_path / "run-1").touch()
    rotate(tmp_path)
    assert not list(tmp_path.glob("run-*"))


ENTER = """
import sys
from pathlib import Path
from interpose.hosts.tenancy import gate
with gate(Path(sys.argv[1])):
    print("inside", flush=True)
    sys.stdin.read()
"""


def test_a_process_that_stops_inside_blocks_nobody_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One message that names the lock; when the process has ended, however, the way is free."""
    monkeypatch.setattr(tenancy, "PATIENCE", 0.1)
    with subprocess.Popen([sys.executable, "-c", ENTER, tmp_path], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "inside\n"
        with pytest.raises(tenancy.BusyError, match=re.escape(f"{tmp_path / tenancy.GATE} is locked by another")):
            prepare(tmp_path)
        process.kill()
    prepare(tmp_path)


def test_a_lock_that_is_deleted_meanwhile_is_no_lock(tmp_path: Path) -> None:
    """Whoever waited for it enters by the new one: never two at once by two files of one name."""
    with tenancy.gate(tmp_path) as path:
        waiting = os.open(path, os.O_RDWR)
        path.unlink()
    with tenancy.gate(tmp_path) as path:
        assert not os.path.samestat(os.fstat(waiting), path.stat())
        assert tenancy._enter(path) is None
    os.close(waiting)
