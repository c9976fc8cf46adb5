"""`interpose ca`: shows the CA and how to have it trusted, makes a new one in its place, removes it.

What the CA is lives in `hosts/authority.py`; which stores there are, in `stores.py`. None of it needs mitmproxy.
"""

from __future__ import annotations

import getpass
import logging
import os
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .terminal import own_command, refuse, say, say_plain, told

if TYPE_CHECKING:
    from interpose.hosts.authority import Authority

    from .stores import Store

app = typer.Typer(
    help="The CA that programs must trust: show it, make a new one, remove it.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

StateOption = Annotated[
    Path | None,
    typer.Option("--state", metavar="DIR", help="The state folder. Default: as `interpose run` has it."),
]


@app.command()
def show(
    *,
    format_: Annotated[str, typer.Option("--format", metavar="F", help="text, json, pem or der.")] = "text",
    store: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="S", help="How to have it trusted by: debian, fedora, arch, macos, windows, firefox, java."
        ),
    ] = None,
    state: StateOption = None,
) -> None:
    """Show the CA: where it is, how long it is valid, how to have it trusted on this system and no longer."""
    if format_ not in _FORMATS:
        refuse(f"ca show --format {format_} is not known: there are {', '.join(_FORMATS)}")
    chosen = _store(store)
    from interpose.hosts import authority

    _warnings_to_stderr()
    with told():
        folder = _folder(state)
        new = not (folder / authority.KEY).exists()
        found, pids = authority.inspect(folder)
        if new:
            say("there was no CA yet; one has been made")
        _FORMATS[format_](found, pids, chosen)


@app.command()
def rotate(*, state: StateOption = None) -> None:
    """Make a new CA in the place of the old one, whose key is deleted. No interceptor may run with it."""
    from interpose.hosts import authority

    with told():
        made, retired = authority.rotate(_folder(state))
    say(f"a new CA has been made: {made.certificate_path}")
    say_plain(f"  SHA-256  {made.fingerprint()}")
    say_plain(f"  valid until {made.certificate.not_valid_after_utc:%Y-%m-%d}")
    if retired is None:
        return
    say_plain("Programs that are running trust the old CA still: start them again. Java programs, and shells that were")
    say_plain(f"set up for Java: set them up again ({own_command()} env). Nothing else of this folder needs you.")
    say_plain(f"Where you put the old CA into a store, take it out and put the new one in: {own_command()} ca show")
    say_plain(f"The old certificate is kept for that: {retired}")


@app.command()
def remove(*, state: StateOption = None) -> None:
    """Delete the CA, its key and the bundles made from it. No interceptor may run with it."""
    from interpose.hosts import authority

    with told():
        folder = _folder(state, make=False)
        old: Authority | None = None
        if (folder / authority.KEY).exists():
            try:
                old = authority.load(folder)
            except (authority.AuthorityError, OSError):
                pass  # one that cannot be used can be removed all the same
        gone = authority.remove(folder)
    if not gone:
        say(f"there is no CA in {folder}: nothing to remove")
        return
    say(f"the CA is gone from {folder}: {len(gone)} file{'s' * (len(gone) != 1)}, its key among them")
    say_plain("Shells that name its bundle (SSL_CERT_FILE and its like) must be closed, or their variables unset.")
    if (own := _store(None)) is not None and old is not None:
        from .stores import commands

        place = _in_system_store(old)
        say_plain(f"It is still in {place}; take it out:" if place else "Where it was put into the system's store:")
        for command in commands(own.distrust, old):
            say_plain(f"  {command}")
    say_plain("Firefox, Java and other systems: docs/certificates.md")


def _folder(state: Path | None, *, make: bool = True) -> Path:
    from interpose.state import make_state_folder, state_path

    path = state_path(state, os.environ)
    return (make_state_folder(path) if make else path) / "ca"


def _store(name: str | None) -> Store | None:
    """The store of that name; without one, that of this system, if we know it."""
    from .stores import STORES, own_store

    if name is None:
        return own_store()
    found = next((store for store in STORES if store.name == name), None)
    if found is None:
        refuse(f"ca show --for {name} is not known: there are {', '.join(store.name for store in STORES)}")
    return found


def _warnings_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("interpose: %(message)s"))
    logging.getLogger("interpose").addHandler(handler)


def _text(authority: Authority, pids: Sequence[int], store: Store | None) -> None:
    from .stores import STORES, commands

    certificate = authority.certificate
    print(f"certificate  {authority.certificate_path}")
    print(f"name         {authority.name}")
    print(f"SHA-256      {authority.fingerprint()}")
    print(f"valid        {certificate.not_valid_before_utc:%Y-%m-%d} to {certificate.not_valid_after_utc:%Y-%m-%d}")
    print(f"key          {authority.key_path}, {_readers(authority.key_path)}")
    print(f"in use       {'by pid ' + ', '.join(map(str, pids)) if pids else 'by nobody just now'}")
    print(f"system       {_system(authority)}")
    print()
    print("Programs under `interpose run -- CMD` trust it already; nothing need be done for them.")
    if store is not None:
        print(f"To have others trust it, {store.title}:")
        for command in commands(store.trust, authority):
            print(f"  {command}")
        print("To take it out again:")
        for command in commands(store.distrust, authority):
            print(f"  {command}")
        if store.note:
            print(store.note)
    others = ", ".join(each.name for each in STORES if each is not store)
    print(f"Elsewhere: {own_command()} ca show --for S, where S is one of {others}; or docs/certificates.md")


def _json(authority: Authority, pids: Sequence[int], store: Store | None) -> None:
    import orjson

    from .stores import commands

    certificate, place = authority.certificate, _in_system_store(authority)
    document = {
        "certificate": str(authority.certificate_path),
        "name": authority.name,
        "sha256": authority.fingerprint().replace(":", "").lower(),
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "key": str(authority.key_path),
        "key_mode": f"{stat.S_IMODE(authority.key_path.stat().st_mode):04o}",
        "in_use_by": list(pids),
        "system_store": str(place) if place is not None else None,
        "trust": commands(store.trust, authority) if store is not None else [],
        "distrust": commands(store.distrust, authority) if store is not None else [],
    }
    print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())


def _pem(authority: Authority, pids: Sequence[int], store: Store | None) -> None:
    print(authority.pem.decode(), end="")


def _der(authority: Authority, pids: Sequence[int], store: Store | None) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding

    if sys.stdout.isatty():
        refuse("ca show --format der is binary: send it to a file, as in … --format der > interpose.cer")
    sys.stdout.buffer.write(authority.certificate.public_bytes(Encoding.DER))


_FORMATS: dict[str, Callable[[Authority, Sequence[int], Store | None], None]] = {
    "text": _text,
    "json": _json,
    "pem": _pem,
    "der": _der,
}


def _readers(path: Path) -> str:
    """Who can read the key. One that others can read is never shown: it is refused."""
    status = path.stat()
    try:
        import pwd

        owner = pwd.getpwuid(status.st_uid).pw_name
    except (ImportError, KeyError):
        owner = getpass.getuser() if os.name == "nt" else f"user {status.st_uid}"
    return f"readable by {owner} alone (mode {stat.S_IMODE(status.st_mode):04o})"


def _system(authority: Authority) -> str:
    place = _in_system_store(authority)
    return f"trusts it: it is in {place}" if place is not None else "no bundle of the system has it"


def _in_system_store(authority: Authority) -> Path | None:
    """The system's bundle that holds our certificate, where the system keeps one."""
    from .trust import SYSTEM_BUNDLES, certificates

    pem = authority.pem.decode()
    return next((path for path in map(Path, SYSTEM_BUNDLES) if pem in certificates(path)), None)
