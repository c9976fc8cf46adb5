"""Where a machine and its programs keep the CAs that they trust: how ours is put there, and how it is taken out.

A table of facts and nothing else: which of them is this machine's is found from what its /etc/os-release says.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes

from interpose.hosts.authority import Authority


@dataclass(frozen=True, slots=True)
class Store:
    """One store. In the commands, {certificate} is our PEM file and {sha1} its SHA-1 fingerprint, without colons.

    `systems` are names of systems as os-release (ID, ID_LIKE) and Python's sys.platform write them; none: programs
    with a store of their own.
    """

    name: str
    title: str
    trust: tuple[str, ...]
    distrust: tuple[str, ...]
    source: str
    systems: tuple[str, ...] = ()
    note: str = ""


STORES = (
    Store(
        "debian",
        "Debian, Ubuntu",
        (
            "sudo cp {certificate} /usr/local/share/ca-certificates/interpose.crt",
            "sudo update-ca-certificates",
        ),
        ("sudo rm /usr/local/share/ca-certificates/interpose.crt", "sudo update-ca-certificates --fresh"),
        "https://manpages.debian.org/bookworm/ca-certificates/update-ca-certificates.8.en.html",
        ("debian", "ubuntu"),
    ),
    Store(
        "fedora",
        "Fedora, RHEL, CentOS",
        ("sudo cp {certificate} /etc/pki/ca-trust/source/anchors/interpose.pem", "sudo update-ca-trust"),
        ("sudo rm /etc/pki/ca-trust/source/anchors/interpose.pem", "sudo update-ca-trust"),
        "https://docs.fedoraproject.org/en-US/quick-docs/using-shared-system-certificates/",
        ("fedora", "rhel", "centos"),
    ),
    Store(
        "arch",
        "Arch Linux",
        ("sudo cp {certificate} /etc/ca-certificates/trust-source/anchors/interpose.crt", "sudo update-ca-trust"),
        ("sudo rm /etc/ca-certificates/trust-source/anchors/interpose.crt", "sudo update-ca-trust"),
        "https://wiki.archlinux.org/title/User:Grawity/Adding_a_trusted_CA_certificate",
        ("arch",),
    ),
    Store(
        "macos",
        "macOS",
        (
            "sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {certificate}",
        ),
        ("sudo security delete-certificate -t -Z {sha1} /Library/Keychains/System.keychain",),
        "https://ss64.com/mac/security.html",
        ("darwin",),
    ),
    Store(
        "windows",
        "Windows, for one user",
        ("certutil -user -addstore Root {certificate}",),
        ("certutil -user -delstore Root {sha1}",),
        "https://learn.microsoft.com/windows-server/administration/windows-commands/certutil",
        ("win32",),
    ),
    Store(
        "firefox",
        "Firefox (and Chrome on Linux, whose folder is ~/.pki/nssdb)",
        ("certutil -d sql:PROFILE -A -t C,, -n interpose -i {certificate}",),
        ("certutil -d sql:PROFILE -D -n interpose",),
        "https://firefox-source-docs.mozilla.org/security/nss/legacy/tools/nss_tools_certutil/index.html",
        note="PROFILE is the folder that about:profiles shows; certutil comes with libnss3-tools or nss-tools.",
    ),
    Store(
        "java",
        "Java",
        (
            "keytool -importcert -noprompt -cacerts -storepass changeit -alias interpose -file {certificate}",
        ),
        ("keytool -delete -cacerts -storepass changeit -alias interpose",),
        "https://docs.oracle.com/en/java/javase/17/docs/specs/man/keytool.html",
        note="For each Java that is installed; changeit is the password that it comes with.",
    ),
)  # fmt: skip

OS_RELEASE = Path("/etc/os-release")


def own_store() -> Store | None:
    """The store of this machine's system, if we know it."""
    names = [sys.platform]
    if sys.platform == "linux":
        names = system_names(OS_RELEASE)
    return next((store for name in names for store in STORES if name in store.systems), None)


def system_names(path: Path) -> list[str]:
    """What a Linux system calls itself, and what it says that it is like: most like it first.

    Source: https://www.freedesktop.org/software/systemd/man/latest/os-release.html
    """
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    said: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition("=")
        said[name.strip()] = value.strip().strip("\"'")
    return [*said.get("ID", "").split(), *said.get("ID_LIKE", "").split()]


def commands(of: tuple[str, ...], authority: Authority, certificate: Path | None = None) -> list[str]:
    """The commands with our certificate in them: the CA's own file, or the one given."""
    named: Mapping[str, str] = {
        "certificate": shlex.quote(str(certificate or authority.certificate_path)),
        "sha1": authority.fingerprint(hashes.SHA1()).replace(":", ""),  # noqa: S303 - how these stores name it
    }
    return [command.format_map(named) for command in of]
