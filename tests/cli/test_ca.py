"""`interpose ca`: the real command, and its table of stores."""

import json
import re
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.e2e.certificates import Authority

from interpose.cli.stores import STORES, system_names
from interpose.hosts import authority

from .conftest import Command

DOCS = (Path(__file__).parents[2] / "docs" / "certificates.md").read_text("utf-8")


def listening(interpose: Command, *more: str) -> subprocess.Popen[str]:
    """An interceptor that listens."""
    process = interpose.start("run", "--listen", "127.0.0.1:0", *more)
    assert process.stderr is not None
    while "listening on" not in (line := process.stderr.readline()):
        assert line, "it did not start"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors


def test_show_tells_all_there_is_to_know_and_how_to_trust_it(interpose: Command) -> None:
    """What an administrator compares, and commands that can be pasted; the CA is made if this comes first."""
    done = interpose("ca", "show", "--for", "debian")
    assert (done.returncode, done.stderr) == (0, "interpose: there was no CA yet; one has been made\n")
    found = authority.load(interpose.state / "ca")
    certificate = str(found.certificate_path)
    assert certificate in done.stdout
    assert found.fingerprint() in done.stdout
    assert f"valid        {found.certificate.not_valid_before_utc:%Y-%m-%d} to " in done.stdout
    assert "alone (mode 0600)" in done.stdout
    assert "by nobody just now" in done.stdout
    assert f"  sudo cp {certificate} /usr/local/share/ca-certificates/interpose.crt\n" in done.stdout
    assert "  sudo update-ca-certificates --fresh\n" in done.stdout
    assert "PRIVATE" not in done.stdout


def test_show_gives_the_certificate_to_programs(interpose: Command) -> None:
    """PEM and DER of the same certificate, and JSON with its fingerprint."""
    pem = interpose("ca", "show", "--format", "pem")
    certificate = x509.load_pem_x509_certificate(pem.stdout.encode())
    der = subprocess.run(
        interpose.argv("ca", "show", "--format", "der"), capture_output=True, env=interpose.environment, check=True
    ).stdout
    assert der == ssl.PEM_cert_to_DER_cert(pem.stdout)
    shown = json.loads(interpose("ca", "show", "--format", "json", "--for", "macos").stdout)
    found = authority.load(interpose.state / "ca")
    assert shown["sha256"] == found.fingerprint().replace(":", "").lower()
    assert shown["not_after"] == certificate.not_valid_after_utc.isoformat()
    assert (shown["key_mode"], shown["in_use_by"], shown["system_store"]) == ("0600", [], None)
    assert re.search(r"delete-certificate -t -Z [0-9A-F]{40} ", shown["distrust"][0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--format", "p12"), "text, json, pem, der"), (("--for", "beos"), "debian, fedora, arch, macos, windows")],
)
def test_what_show_does_not_know_is_refused(interpose: Command, arguments: tuple[str, ...], message: str) -> None:
    """With what there is."""
    done = interpose("ca", "show", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_it_is_renewed_and_removed_only_when_nobody_uses_it(interpose: Command) -> None:
    """While interceptors run they are named; afterwards it works, and says what a person has to do."""
    first, second = listening(interpose), listening(interpose)
    before = (interpose.state / "ca" / authority.KEY).read_bytes()
    pids = ", ".join(map(str, sorted((first.pid, second.pid))))
    for verb in ("rotate", "remove"):
        done = interpose("ca", verb)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"an interceptor runs with this CA (pid {pids}). End it, then `interpose ca {verb}`" in done.stderr
    assert f"in use       by pid {pids}\n" in interpose("ca", "show").stdout
    assert (interpose.state / "ca" / authority.KEY).read_bytes() == before
    end(first)
    assert f"pid {second.pid})" in interpose("ca", "rotate").stderr
    second.kill()
    second.wait()
    done = interpose("ca", "rotate")
    assert done.returncode == 0, done.stderr
    assert authority.load(interpose.state / "ca").fingerprint() in done.stderr
    assert "start them again" in done.stderr
    done = interpose("ca", "remove")
    assert done.returncode == 0, done.stderr
    assert not (interpose.state / "ca").exists()
    assert "nothing to remove" in interpose("ca", "remove").stderr


def test_programs_with_a_bundle_written_before_trust_the_new_one(interpose: Command) -> None:
    """A shell that exported SSL_CERT_FILE needs no new setting."""
    named = interpose("run", "--quiet", "--", "sh", "-c", 'echo "$SSL_CERT_FILE"')
    bundle = Path(named.stdout.strip())
    old = authority.load(interpose.state / "ca").pem
    assert old in bundle.read_bytes()
    interpose("ca", "rotate")
    assert authority.load(interpose.state / "ca").pem in bundle.read_bytes()
    assert old not in bundle.read_bytes()


def test_a_run_names_what_is_wrong_with_the_authority_and_rotation_mends_it(interpose: Command) -> None:
    """One line, no traceback, before the program starts."""
    interpose("ca", "show")
    key = interpose.state / "ca" / authority.KEY
    key.write_bytes(key.read_bytes()[:600])
    done = interpose("run", "--", "echo", "started")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"interpose: {key}: the CA cannot be used: it holds no private key")
    assert line.endswith("`interpose ca rotate` makes a new one.")
    assert interpose("ca", "show").returncode == 1
    assert interpose("ca", "rotate").returncode == 0
    assert interpose("run", "--quiet", "--", "echo", "started").stdout == "started\n"


def test_a_run_with_an_authority_that_ends_soon_says_so_and_goes_on(interpose: Command, tmp_path: Path) -> None:
    """A line at the start, with what to do and when."""
    folder = interpose.state / "ca"
    folder.mkdir(parents=True)
    ending = Authority(tmp_path / "ending")  # good for 30 days from its making
    key = ending._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / authority.KEY).write_bytes(key + ending.pem.read_bytes())
    (folder / authority.KEY).chmod(0o600)
    for arguments in (("run", "--quiet", "--", "echo", "started"), ("ca", "show")):
        done = interpose(*arguments)
        assert done.returncode == 0
        assert "in 29 days: run `interpose ca rotate` when nothing runs on it\n" in done.stderr
        assert done.stdout


def test_one_that_cannot_be_used_can_be_removed(interpose: Command) -> None:
    """Whatever is in its file."""
    interpose("ca", "show")
    (interpose.state / "ca" / authority.KEY).write_bytes(b"garbage")
    done = interpose("ca", "remove")
    assert done.returncode == 0, done.stderr
    assert not (interpose.state / "ca").exists()


@pytest.mark.parametrize("there", ["", "the CA", "all that a run writes but its ledger"])
def test_a_state_folder_on_a_disk_that_takes_no_more_is_one_clear_line(interpose: Command, there: str) -> None:
    """The system refuses to write, whatever is there already; nothing is started."""
    if there:
        interpose("ca", "show")
    if there.startswith("all"):
        interpose("run", "--quiet", "--", "true")
        for path in interpose.state.glob("usage.db*"):
            path.unlink()
    shell = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *interpose.argv("run", "--", "echo", "started")]
    done = subprocess.run(shell, check=False, capture_output=True, text=True, env=interpose.environment)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    told = (
        "the ledger" if there.startswith("all") else f"{interpose.state / 'ca'}: the CA cannot be kept there: File too"
    )
    assert line.startswith(f"interpose: {told}")
    assert str(interpose.state) in line


@pytest.mark.parametrize("store", STORES, ids=lambda store: store.name)
def test_the_documentation_has_every_store(store: object) -> None:
    """The same commands, in the same order."""
    assert isinstance(store, type(STORES[0]))
    part = DOCS.partition(f"\n## {store.title}\n")[2].partition("\n## ")[0]
    written = [line for line in part.splitlines() if re.match(r"(sudo|certutil|keytool) ", line)]
    assert written == [command.format(certificate="CERT", sha1="SHA1") for command in (*store.trust, *store.distrust)]
    assert store.note in part


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("ID=debian\n", ["debian"]),
        ('NAME="Linux Mint"\nID=linuxmint\nID_LIKE="ubuntu debian"\n', ["linuxmint", "ubuntu", "debian"]),
        ("ID='rocky'\nID_LIKE='rhel centos fedora'\n", ["rocky", "rhel", "centos", "fedora"]),
        ("# nothing said\n\n=\n", []),
    ],
)
def test_a_system_is_known_by_what_it_says_it_is_like(tmp_path: Path, text: str, names: list[str]) -> None:
    """os-release, quoted or not."""
    (tmp_path / "os-release").write_text(text)
    assert system_names(tmp_path / "os-release") == names
    assert system_names(tmp_path / "nothing") == []


def test_show_needs_no_mitmproxy(interpose: Command) -> None:
    """It is run by provisioning scripts: a fraction of a second."""
    code = "import sys; from interpose.cli import main\n"
    code += "try:\n    main()\nfinally:\n    assert 'mitmproxy' not in sys.modules\n"
    done = subprocess.run(
        [sys.executable, "-c", code, "ca", "show"],
        check=False,
        capture_output=True,
        text=True,
        env=interpose.environment,
    )
    assert done.returncode == 0, done.stderr
