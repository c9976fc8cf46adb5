"""A rules file -> `Rules`, or every problem in it at once.

The one place where rules touch the disk: the file itself, and whether the certificates that it names can be used.
Credentials are only referred to here; `secrets` reads them.
"""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from interpose.formats.aws import region_of
from interpose.formats.dialects import WITHOUT_RESPONSES
from interpose.formats.hosts import lookup

from . import (
    abilities,
    aliases,
    cloud,
    compiling,
    conversions,
    keeping,
    regexlike,
    relations,
    sinks,
    stores,
    telemetry,
    unreadable,
    urls,
    virtualhost,
)
from .compiled import (
    CheckpointRules,
    ClientKey,
    Clients,
    HostPattern,
    Intercept,
    KeepRules,
    Provider,
    Rules,
    Timeouts,
    Upstream,
    content_version,
)
from .document import Document, read
from .patterns import AnyOf
from .problem import Path as Where
from .problem import Problem, RulesError
from .schema import (
    NO_CREDENTIAL,
    CheckpointsSpec,
    CredentialSpec,
    ProviderSpec,
    RulesSpec,
    StateSpec,
    TelemetrySpec,
)
from .secrets import CredentialSource
from .support import at
from .validate import validate

MAX_BYTES = 4 << 20

# Globs over models and hosts, where people are tempted to write regular expressions.
_GLOBS = (
    *(("routes", side, name) for side in ("match", "except") for name in ("model", "host")),
    ("clients", "keys", "models"),
    ("intercept", "hosts"),
)


def load(path: Path | str) -> Rules:
    """Reads one file. Raises RulesError with all its problems, also if it is not there or no text."""
    path = Path(path)
    name = str(path)
    try:
        if path.is_dir():
            raise RulesError([Problem(name, 1, 1, "", "is a folder, not a rules file")])
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise RulesError([Problem(name, 1, 1, "", "there is no such file")]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RulesError([Problem(name, 1, 1, "", f"cannot be read: {reason}")]) from None
    if len(raw) > MAX_BYTES:
        raise RulesError([Problem(name, 1, 1, "", f"is larger than {MAX_BYTES >> 20} MiB, which no rules file is")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        raise RulesError([Problem(name, line, column, "", "is not UTF-8 text")]) from None
    return parse(text, name, path.absolute().parent, source=path)


def parse(text: str, source_name: str, base_dir: Path, *, source: Path | None = None) -> Rules:
    """Compiles a rules file's text; relative paths in it start from `base_dir`. Raises RulesError."""
    document = read(text, source_name)
    spec = validate(document)
    if isinstance(document.data, dict):
        relations.check(document)
        conversions.check(document)
        aliases.check(document)
        virtualhost.check(document)
    if spec is None or document.problems:
        raise RulesError(document.problems)
    rules = _Compiler(document, base_dir).rules(spec, source)
    if document.problems:
        raise RulesError(document.problems)
    return rules


class _Compiler:
    """Schema -> compiled rules. What can only be seen on this machine (a file that is not there) is found here."""

    def __init__(self, document: Document, base_dir: Path) -> None:
        self._document = document
        self._base = base_dir
        self._warnings: list[Problem] = []

    def rules(self, spec: RulesSpec, source: Path | None) -> Rules:
        providers = {name: self._provider(name, provider) for name, provider in spec.providers.items()}
        intercept = self._intercept(spec)
        upstream = self._upstream(spec)
        for path, message, hint in unreadable.dangers(self._document):
            self._warnings.append(self._document.place(path).problem(message, hint, "warning"))
        self._warn_of_regexes()
        return Rules(
            version=content_version(spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)),
            source=source,
            providers=MappingProxyType(providers),
            routes=tuple(compiling.route(route) for route in spec.routes),
            limits=tuple(map(compiling.limit, spec.limits)),
            models=compiling.models(spec.models),
            intercept=intercept,
            clients=Clients(
                spec.clients.required,
                tuple(
                    ClientKey(
                        key.name,
                        key.sha256,
                        compiling.any_of(key.models),
                        key.expires,
                        compiling.any_of(key.endpoints),
                        compiling.any_of(key.providers),
                        budget=key.budget,
                    )
                    for key in spec.clients.keys
                ),
            ),
            upstream=upstream,
            capabilities=MappingProxyType(
                {model: abilities.change(words) for model, words in spec.capabilities.items()}
            ),
            prices=compiling.prices(spec.prices),
            ledger=replace(
                compiling.ledger(spec.ledger, self._sinks(spec.ledger.to or [])),
                keep=self._keep(spec),
                checkpoints=self._checkpoints(spec.ledger.checkpoints),
            ),
            losses=compiling.loss_policy(spec.losses),
            state=self._state(spec.state),
            alerts=tuple(
                compiling.alert(alert, self._document.place(("alerts", number, "notify")))
                for number, alert in enumerate(spec.alerts)
            ),
            telemetry=self._telemetry(spec.telemetry) if spec.telemetry is not None else None,
            warnings=tuple(self._warnings),
        )

    def _provider(self, name: str, spec: ProviderSpec) -> Provider:
        base = urls.base_url(spec.base_url)
        defaults = Timeouts()
        known = lookup(base.origin.host, base.origin.port)
        dialect = spec.dialect or (known.dialect if known is not None else None)
        # The word stands for itself in the schema, whose type is that of everything else there.
        given: object = spec.credential
        keyless = given == NO_CREDENTIAL
        pool = spec.credential if spec.credential is not None and not keyless else []
        credentials = self._credentials(("providers", name, "credential"), pool, base.origin.host)
        return Provider(
            name=name,
            format=spec.format,
            dialect=dialect,
            origin=base.origin,
            base_path=base.path,
            credential=credentials[0] if credentials else None,
            pool=credentials[1:],
            keyless=keyless,
            timeouts=Timeouts(
                spec.timeouts.connect or defaults.connect,
                spec.timeouts.first_byte or defaults.first_byte,
                spec.timeouts.idle or defaults.idle,
            ),
            ca=self._ca(("providers", name, "tls", "ca"), spec.tls.ca),
            api_version=spec.api_version,
            responses=dialect not in WITHOUT_RESPONSES if spec.responses is None else spec.responses,
        )

    def _credentials(self, path: Where, specs: list[CredentialSpec], host: str) -> tuple[CredentialSource, ...]:
        found: list[CredentialSource] = []
        for index, spec in enumerate(specs):
            where = path if len(specs) == 1 else (*path, index)
            source = self._credential(where, spec, host)
            if source in found:
                self._document.report(
                    where, f"is the same as number {found.index(source) + 1} of the pool", "remove it"
                )
            found.append(source)
        return tuple(found)

    def _credential(self, path: Where, spec: CredentialSpec, host: str) -> CredentialSource:
        place = self._document.place(path)
        if spec.env is not None:
            return CredentialSource("env", (spec.env,), place=place)
        if spec.file is not None:
            file = self._path(spec.file)
            self._warn_of_mode(path, file)
            return CredentialSource("file", (str(file),), place=place)
        if spec.keyring is not None:
            service, _, user = spec.keyring.rpartition("/")
            return CredentialSource("keyring", (service, user), place=place)
        if spec.aws is not None:
            return CredentialSource("aws", (spec.aws, spec.region or region_of(host) or ""), place=place)
        if spec.google is not None:
            if spec.google == cloud.DEFAULT:
                return CredentialSource("google", (cloud.DEFAULT,), place=place)
            account = self._path(spec.google)
            self._warn_of_mode(path, account)
            return CredentialSource("google", (str(account),), place=place)
        assert spec.exec is not None, "relations.check lets exactly one source through"
        program, *arguments = spec.exec
        if "/" in program:  # like every other path, relative to the rules file; a bare name is looked up in PATH
            program = str(self._path(program))
        source = CredentialSource("exec", (program, *arguments), place=place)
        return replace(source, timeout=spec.timeout or source.timeout, ttl=spec.ttl or source.ttl)

    def _warn_of_mode(self, path: Where, file: Path) -> None:
        try:
            found = file.stat()
        except OSError:
            return  # whether the credential can be read is checked when it is needed, or by SecretStore.check
        if os.name == "posix" and open_to_others(found, os.geteuid(), {os.getegid(), *os.getgroups()}):
            message = f"the file is open to other users (mode {stat.S_IMODE(found.st_mode):04o})"
            self._warnings.append(self._document.place(path).problem(message, "chmod 600 it", "warning"))

    def _intercept(self, spec: RulesSpec) -> Intercept:
        path: Where = ("intercept", "hosts")
        hosts = spec.intercept.hosts
        patterns = None
        if hosts is not None:
            claimed = [urls.claimed_host(text) for text in hosts]
            patterns = tuple(HostPattern(AnyOf((name,), fold=True), port) for name, port in claimed)
            if not hosts:
                message = "is empty: nothing is intercepted"
                self._warnings.append(self._document.place(path).problem(message, severity="warning"))
            if any(name == "*" for name, _ in claimed):
                message = "claims every host: everything on that port is decrypted, not only AI calls"
                self._warnings.append(self._document.place(path).problem(message, severity="warning"))
        return Intercept(
            patterns,
            frozenset(spec.intercept.placeholders),
            spec.intercept.unmatched,
            urls.virtual_host(spec.intercept.virtual_host) if spec.intercept.virtual_host else None,
        )

    def _warn_of_regexes(self) -> None:
        for pattern in _GLOBS:
            for path, value in at(self._document.data, pattern):
                items = (
                    [((*path, i), item) for i, item in enumerate(value)] if isinstance(value, list) else [(path, value)]
                )
                for where, text in items:
                    if isinstance(text, str) and regexlike.likely(text, host=pattern[-1] in ("host", "hosts")):
                        message = 'reads like a regular expression, but is a glob, in which "." is a dot'
                        problem = self._document.place(where).problem(message, regexlike.advice(text), "warning")
                        self._warnings.append(problem)

    def _upstream(self, spec: RulesSpec) -> Upstream:
        table = {urls.address(there): urls.address(here) for there, here in spec.upstream.connect_to.items()}
        return Upstream(
            proxy=urls.proxy(spec.upstream.proxy) if spec.upstream.proxy else None,
            connect_to=MappingProxyType(table),
            ca=self._ca(("upstream", "ca"), spec.upstream.ca),
        )

    def _state(self, spec: StateSpec) -> stores.StateRules:
        path: Where = ("state", "store")
        if (url := stores.store(spec.store)) is None:
            return stores.StateRules()
        place = self._document.place(path)
        for message, hint in stores.dangers(url):
            self._warnings.append(place.problem(message, hint, "warning"))
        password = CredentialSource("env", (url.variable,), place=place) if url.variable is not None else None
        return stores.StateRules(url, spec.on_store_error or "local_share", password, self._ca(path, url.ca))

    def _sinks(self, texts: list[str]) -> tuple[sinks.SinkRule, ...]:
        found: dict[str, sinks.SinkRule] = {}
        for index, text in enumerate(texts):
            path: Where = ("ledger", "to") if len(texts) == 1 else ("ledger", "to", index)
            sink = self._sink(path, text)
            if sink.place in found:
                self._document.report(path, "is the same place as one before", "remove it")
            found[sink.place] = sink
        return tuple(found.values())

    def _sink(self, path: Where, text: str) -> sinks.SinkRule:
        if (file := sinks.file_named(text)) is not None:
            return sinks.SinkFile(file[0], self._path(file[1]))
        if text.startswith("otlp:"):
            return self._collector(path, sinks.collector(text))
        url, place = sinks.database(text), self._document.place(path)
        for message, hint in sinks.dangers(url):
            self._warnings.append(place.problem(message, hint, "warning"))
        password = CredentialSource("env", (url.variable,), place=place) if url.variable is not None else None
        return sinks.SinkDatabase(url, password, self._ca(path, url.ca))

    def _keep(self, spec: RulesSpec) -> KeepRules:
        if spec.ledger.keep is None:
            return KeepRules()
        for path, message, hint in keeping.dangers(spec):
            self._warnings.append(self._document.place(path).problem(message, hint, "warning"))
        return KeepRules(spec.ledger.keep.records, spec.ledger.keep.bodies)

    def _checkpoints(self, spec: CheckpointsSpec | None) -> CheckpointRules | None:
        return None if spec is None else CheckpointRules(self._path(spec.to), spec.every)

    def _collector(self, path: Where, url: sinks.CollectorUrl) -> sinks.SinkCollector:
        place = self._document.place(path)
        for name, text in url.headers:
            for message, hint in telemetry.dangers(name, text):
                self._warnings.append(place.problem(message, hint, "warning"))
        headers = telemetry.headers(url.headers, lambda name: CredentialSource("env", (name,), place=place))
        if headers and url.base.startswith("http:") and not telemetry.near(url.base):
            message = "goes to another machine without TLS: who listens on the way sees every record"
            self._warnings.append(place.problem(message, "write otlp:https://", "warning"))
        return sinks.SinkCollector(url, headers, self._ca(path, url.ca))

    def _telemetry(self, spec: TelemetrySpec) -> telemetry.TelemetryRules:
        path: Where = ("telemetry",)
        for name, text in spec.headers.items():
            for message, hint in telemetry.dangers(name, text):
                self._warnings.append(self._document.place((*path, "headers", name)).problem(message, hint, "warning"))
        place = self._document.place((*path, "headers"))
        url = telemetry.base(spec.otlp) if spec.otlp is not None else None
        headers = telemetry.headers(
            list(spec.headers.items()), lambda name: CredentialSource("env", (name,), place=place)
        )
        if url is not None and headers and url.startswith("http:") and not telemetry.near(url):
            message = "goes to another machine without TLS: who listens on the way sees the headers"
            self._warnings.append(self._document.place((*path, "otlp")).problem(message, "write https://", "warning"))
        for message, hint in telemetry.exposed(url) if spec.content else ():
            self._warnings.append(self._document.place((*path, "content")).problem(message, hint, "warning"))
        return telemetry.TelemetryRules(
            url,
            headers,
            self._ca((*path, "tls", "ca"), spec.tls.ca),
            spec.traces,
            spec.metrics,
            spec.events,
            spec.service_name,
            tuple(spec.resource.items()),
            spec.interval,
            spec.content,
        )

    def _path(self, text: str) -> Path:
        return self._base / os.path.expanduser(text)

    def _ca(self, path: Where, text: str | None) -> Path | None:
        if text is None:
            return None
        file = self._path(text)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
        except ssl.SSLError:
            self._document.report(path, f"{file} holds no certificates", "it must be a PEM file: BEGIN CERTIFICATE")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self._document.report(path, f"{file} cannot be read: {reason}")
        return file


def open_to_others(file: os.stat_result, user: int, groups: AbstractSet[int]) -> bool:
    """Whether others than `user` may read or write a file.

    One that somebody else owns, and that a group of ours may read, was given to us like that: Kubernetes mounts Secrets
    so, with root as the owner and the pod's fsGroup. There is nothing that we could do about it.
    """
    given = file.st_uid != user and file.st_gid in groups
    return bool(stat.S_IMODE(file.st_mode) & (0o037 if given else 0o077))
