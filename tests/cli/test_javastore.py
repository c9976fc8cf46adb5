"""Java's truststore: what a JVM trusted before, and our CA. keytool reads and makes it, not the code under test."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from interpose.cli.javastore import java_home, read_store, trusted_by_java, truststore_for_java, write_truststore
from interpose.cli.trust import certificates
from interpose.errors import InterposeError

from .test_trust import authority


def keytool(*arguments: str) -> str:
    path = shutil.which("keytool")
    assert path is not None, "keytool is not on this machine: scripts/install"
    done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


def store(folder: Path, kind: str, password: str, *names: str) -> Path:
    """A truststore made by keytool, with a private key in it, too."""
    path = folder / f"{kind}.store"
    common = ("-keystore", str(path), "-storetype", kind, "-storepass", password)
    for name in names:
        (folder / f"{name}.pem").write_text(authority(name))
        keytool("-importcert", "-noprompt", "-alias", name, "-file", str(folder / f"{name}.pem"), *common)
    keytool("-genkeypair", "-alias", "key", "-keyalg", "EC", "-dname", "CN=key", "-keypass", password, *common)
    return path


def ours(folder: Path) -> Path:
    path = folder / "ours.pem"
    path.write_text(authority("ours"))
    return path


@pytest.mark.parametrize("kind", ["JKS", "PKCS12"])
def test_the_users_own_store_is_the_base(kind: str, tmp_path: Path) -> None:
    """What JAVA_TOOL_OPTIONS names is trusted on, in either format and with its own password; its keys stay there."""
    path = store(tmp_path, kind, "a secret", "corp", "extra")
    environ = {"JAVA_TOOL_OPTIONS": f"-Djavax.net.ssl.trustStore={path} '-Djavax.net.ssl.trustStorePassword=a secret'"}
    made = write_truststore(tmp_path, ours(tmp_path), tmp_path / "no java", environ)
    listed = keytool("-list", "-v", "-keystore", str(made), "-storepass", "changeit")
    assert listed.count("Entry type: trustedCertEntry") == 3
    assert all(f"Owner: CN={name}\n" in listed for name in ("corp", "extra", "ours"))
    assert "PrivateKeyEntry" not in listed


def test_the_machines_java_keeps_what_it_trusts(tmp_path: Path) -> None:
    """Every certificate of its cacerts, and ours; and a second run finds the file."""
    environ = {"PATH": os.environ["PATH"]}
    made = truststore_for_java(tmp_path, ours(tmp_path), environ)
    assert made is not None
    listed = keytool("-list", "-cacerts", "-storepass", "changeit").count("trustedCertEntry")
    assert keytool("-list", "-keystore", str(made), "-storepass", "changeit").count("trustedCertEntry") == listed + 1
    stamp = made.stat().st_mtime_ns
    home = java_home({"JAVA_HOME": str(made.parent)})
    assert home == made.parent
    assert (
        truststore_for_java(tmp_path, tmp_path / "ours.pem", {"PATH": str(Path(shutil.which("java") or "").parent)})
        == made
    )
    assert made.stat().st_mtime_ns == stamp


def test_a_damaged_store_is_repaired(tmp_path: Path) -> None:
    """A name promises a content: what was cut off is written again."""
    environ = {"SSL_CERT_FILE": str(ours(tmp_path))}
    made = write_truststore(tmp_path, tmp_path / "ours.pem", tmp_path, environ)
    made.write_bytes(made.read_bytes()[:100])
    assert write_truststore(tmp_path, tmp_path / "ours.pem", tmp_path, environ) == made
    assert len(list(read_store(made.read_bytes(), "changeit"))) == 1


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"\xfe\xed\xfe\xed", b"\xfe\xed\xfe\xed\0\0\0\2\0\0\0\1\0\0\0\2\xff\xff"]
)
def test_without_a_readable_store_the_systems_cas_are_trusted(content: bytes, tmp_path: Path) -> None:
    """A store that is missing, cut off or of another format is none, and no error: the JVM would say so itself."""
    (tmp_path / "odd.store").write_bytes(content)
    (tmp_path / "system.pem").write_text(authority("system"))
    environ = {
        "JAVA_TOOL_OPTIONS": f"-Djavax.net.ssl.trustStore={tmp_path / 'odd.store'}",
        "SSL_CERT_FILE": str(tmp_path / "system.pem"),
    }
    assert trusted_by_java(tmp_path, environ) == []
    made = write_truststore(tmp_path, ours(tmp_path), tmp_path, environ)
    assert keytool("-list", "-keystore", str(made), "-storepass", "changeit").count("trustedCertEntry") == 2


def test_every_cut_of_a_jks_store_is_told(tmp_path: Path) -> None:
    """A store that ends early raises, wherever it ends: half of what was trusted is not what was trusted."""
    data = store(tmp_path, "JKS", "changeit", "corp").read_bytes()
    whole = list(read_store(data, "changeit"))
    assert len(whole) == len(certificates(tmp_path / "corp.pem")) == 1
    for end in range(4, len(data) - 20):  # behind it stands a digest
        with pytest.raises(ValueError, match="cut off"):
            list(read_store(data[:end], "changeit"))


def test_without_java_there_is_no_store(tmp_path: Path) -> None:
    """Nothing is written for a runtime that is not there."""
    assert truststore_for_java(tmp_path, ours(tmp_path), {"PATH": str(tmp_path)}) is None
    assert not list(tmp_path.glob("*.p12"))


def test_without_our_own_certificate_nothing_is_written(tmp_path: Path) -> None:
    """A store without our CA would break the program it is for."""
    with pytest.raises(InterposeError, match="no certificate"):
        write_truststore(tmp_path, tmp_path / "missing.pem", tmp_path, {})
