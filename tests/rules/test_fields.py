"""Field by field: what is carried out changes the compiled rules, what has a wrong type is named at its place."""

from pathlib import Path

import pytest

from interpose.formats.hostnames import canonical_host
from interpose.rules.compiled import Rules
from interpose.rules.load import parse
from interpose.rules.problem import Problem, RulesError
from interpose.rules.schema import fields
from interpose.rules.support import CARRIED_OUT, Pattern

ALL = tuple(fields())
LEAVES = [path for path in ALL if not any(other[: len(path)] == path and other != path for other in ALL)]
LISTS = {("clients", "keys"), ("limits",), ("routes",), ("models",), ("alerts",)}
A, B = "ab" * 32, "CD" * 32


def dotted(path: Pattern) -> str:
    return ".".join(path)


def loaded(text: str, base_dir: Path = Path("/etc/rules")) -> Rules:
    return parse(text, "r.yaml", base_dir)


def problems(text: str) -> list[Problem]:
    with pytest.raises(RulesError) as caught:
        loaded(text)
    return list(caught.value.problems)


def nested(path: Pattern, value: str) -> str:
    """A file that has that value at `path` and nothing else, each level in a line of its own."""
    text, indent = "", 0
    for depth, step in enumerate(path):
        name = {"*": '"a.test:443"' if path[0] == "upstream" else "x"}.get(step, step)
        dash = "- " if path[:depth] in LISTS else ""
        text += f"{' ' * indent}{dash}{name}:"
        indent += 2 + len(dash)
        text += f" {value}\n" if depth == len(path) - 1 else "\n"
    return text


@pytest.mark.parametrize("path", LEAVES, ids=dotted)
def test_a_wrong_type_is_named_at_its_line_and_column(path: Pattern) -> None:
    """A mapping where no mapping belongs is reported where it stands, whatever else the file lacks."""
    text = nested(path, "{wrong: type}")
    text = text if path == ("version",) else f"version: 1\n{text}"
    row = text.count("\n")
    column = text.splitlines()[-1].index("{wrong") + 1
    found = [problem for problem in problems(text) if (problem.line, problem.column) == (row, column)]
    assert found, [str(problem) for problem in problems(text)]
    assert found[0].path.replace("[0]", "").endswith(dotted(path).rpartition("*")[2])
    assert "\n" not in str(found[0])


@pytest.mark.parametrize("path", ALL, ids=dotted)
def test_a_field_without_a_value_is_an_error(path: Pattern) -> None:
    """`key:` with nothing after it never means a default."""
    text = nested(path, "")
    text = text if path == ("version",) else f"version: 1\n{text}"
    row = text.count("\n")
    assert any(problem.line == row for problem in problems(text))


PROVIDER = "  p: {format: openai, base_url: https://a.test/v1"
ONE = f"version: 1\nproviders:\n{PROVIDER}}}\n  q: {{format: openai, base_url: https://b.test/v1}}\n"


def provider(rest: str) -> str:
    return f"version: 1\nproviders:\n{PROVIDER}, {rest}}}\n"


def bedrock(credential: str) -> str:
    host = "a.test" if "region" in credential else "bedrock-runtime.us-east-1.amazonaws.com"
    return (
        f"version: 1\nproviders: {{p: {{format: bedrock, base_url: https://{host}, credential: {{{credential}}}}}}}\n"
    )


def vertex(credential: str) -> str:
    where = "https://aiplatform.googleapis.com"
    return f"version: 1\nproviders: {{p: {{format: gemini, base_url: {where}, credential: {{{credential}}}}}}}\n"


def limit(rest: str) -> str:
    return f"version: 1\nlimits:\n- {{name: a, {rest}}}\n"


def route(rest: str) -> str:
    return f"{ONE}routes:\n- {{name: a, to: {{provider: p}}, {rest}}}\n"


def model(rest: str) -> str:
    return f"{ONE}models:\n- {{provider: p, {rest}}}\n"


# Each field that is carried out, with two files that differ in it alone.
DIFFER: dict[str, tuple[str, str]] = {
    "providers.*.format": (
        "version: 1\nproviders: {p: {format: anthropic, base_url: https://a.test}}\n",
        "version: 1\nproviders: {p: {format: gemini, base_url: https://a.test}}\n",
    ),
    "providers.*.dialect": (provider("dialect: groq"), provider("dialect: xai")),
    "providers.*.api_version": (
        provider("dialect: azure, api_version: 2025-01-01-preview"),
        provider("dialect: azure, api_version: 2024-10-21"),
    ),
    "providers.*.responses": (provider("responses: false"), provider("responses: true")),
    "providers.*.base_url": (ONE, ONE.replace("a.test", "c.test")),
    "providers.*.credential.env": (provider("credential: {env: A}"), provider("credential: {env: B}")),
    "providers.*.credential.file": (provider("credential: {file: a}"), provider("credential: {file: b}")),
    "providers.*.credential.keyring": (provider("credential: {keyring: a/b}"), provider("credential: {keyring: a/c}")),
    "providers.*.credential.exec": (provider("credential: {exec: [a, b]}"), provider("credential: {exec: [a, c]}")),
    "providers.*.credential.aws": (bedrock("aws: default"), bedrock("aws: team")),
    "providers.*.credential.region": (
        bedrock("aws: default, region: us-east-1"),
        bedrock("aws: default, region: us-east-2"),
    ),
    "providers.*.credential.google": (vertex("google: default"), vertex("google: account.json")),
    "providers.*.credential.timeout": (
        provider("credential: {exec: [a], timeout: 1s}"),
        provider("credential: {exec: [a], timeout: 2s}"),
    ),
    "providers.*.credential.ttl": (
        provider("credential: {exec: [a], ttl: 1s}"),
        provider("credential: {exec: [a], ttl: 2s}"),
    ),
    "providers.*.timeouts.connect": (provider("timeouts: {connect: 1s}"), provider("timeouts: {connect: 2s}")),
    "providers.*.timeouts.first_byte": (provider("timeouts: {first_byte: 1s}"), provider("timeouts: {first_byte: 2s}")),
    "providers.*.timeouts.idle": (provider("timeouts: {idle: 1s}"), provider("timeouts: {idle: 2s}")),
    "intercept.hosts": (
        "version: 1\nintercept: {hosts: [a.test]}\n",
        'version: 1\nintercept: {hosts: "a.test:8443"}\n',
    ),
    "intercept.placeholders": (
        "version: 1\nintercept: {placeholders: [sk-a]}\n",
        "version: 1\nintercept: {placeholders: sk-b}\n",
    ),
    "intercept.virtual_host": (
        "version: 1\nintercept: {virtual_host: ai.internal}\n",
        "version: 1\nintercept: {virtual_host: llm.internal}\n",
    ),
    "intercept.unmatched": (
        "version: 1\nintercept: {unmatched: reject}\n",
        "version: 1\nintercept: {unmatched: passthrough}\n",
    ),
    "clients.required": ("version: 1\nclients: {required: true}\n", "version: 1\nclients: {required: false}\n"),
    "clients.keys.name": (
        f"version: 1\nclients: {{keys: [{{name: a, sha256: {A}}}]}}\n",
        f"version: 1\nclients: {{keys: [{{name: b, sha256: {A}}}]}}\n",
    ),
    "clients.keys.sha256": (
        f"version: 1\nclients: {{keys: [{{name: a, sha256: {A}}}]}}\n",
        f"version: 1\nclients: {{keys: [{{name: a, sha256: {B}}}]}}\n",
    ),
    "clients.keys.models": (
        f"version: 1\nclients: {{keys: [{{name: a, sha256: {A}, models: a*}}]}}\n",
        f"version: 1\nclients: {{keys: [{{name: a, sha256: {A}, models: [a*, b]}}]}}\n",
    ),
    "clients.keys.endpoints": (
        f"version: 1\nclients: {{keys: [{{name: a, sha256: {A}, endpoints: chat}}]}}\n",
        f"version: 1\nclients: {{keys: [{{name: a, sha256: {A}, endpoints: [chat, embeddings]}}]}}\n",
    ),
    "clients.keys.providers": (
        f"{ONE}clients: {{keys: [{{name: a, sha256: {A}}}]}}\n",
        f"{ONE}clients: {{keys: [{{name: a, sha256: {A}, providers: p}}]}}\n",
    ),
    "clients.keys.budget": (
        f"version: 1\nclients: {{keys: [{{name: a, sha256: {A}, budget: $20/day}}]}}\n",
        f"version: 1\nclients: {{keys: [{{name: a, sha256: {A}, budget: $20/week}}]}}\n",
    ),
    "clients.keys.expires": (
        f"version: 1\nclients: {{keys: [{{name: a, sha256: {A}, expires: 2027-01-01}}]}}\n",
        f"version: 1\nclients: {{keys: [{{name: a, sha256: {A}, expires: 2027-01-02}}]}}\n",
    ),
    "routes.name": (route("match: {}"), route("match: {}").replace("name: a", "name: b")),
    "routes.to.provider": (route("match: {}"), route("match: {}").replace("provider: p", "provider: q")),
    "routes.to.model": (route("match: {}"), route("match: {}").replace("provider: p", "provider: p, model: m")),
    "routes.to.weight": (
        route("match: {}").replace("{provider: p}", "[{provider: p, weight: 2}, {provider: q}]"),
        route("match: {}").replace("{provider: p}", "[{provider: p, weight: 3}, {provider: q}]"),
    ),
    "routes.fallback.provider": (route("fallback: {provider: p}"), route("fallback: {provider: q}")),
    "routes.fallback.model": (route("fallback: {provider: q}"), route("fallback: {provider: q, model: m}")),
    "routes.retry.attempts": (route("retry: {attempts: 2}"), route("retry: {attempts: 4}")),
    "routes.retry.on": (route("retry: {on: 429}"), route("retry: {on: [429, 5xx, connect]}")),
    "routes.retry.backoff": (route("retry: {backoff: 1s..2s}"), route("retry: {backoff: 1s..3s}")),
    "routes.hold": (route("fallback: {provider: q}"), route("fallback: {provider: q}, hold: content")),
    "routes.hedge": (route("hedge: 2s"), route("hedge: 3s")),
    "routes.usage": (route(""), route("usage: request")),
    "routes.capture": (route("capture: metadata"), route("capture: bodies")),
    "routes.sticky": (route("match: {}"), route("sticky: client")),
    "routes.prefer": (route("prefer: fastest"), route("prefer: least_busy")),
    "limits.name": (limit("requests: 1/minute"), limit("requests: 1/minute").replace("name: a", "name: b")),
    "limits.per": (limit("requests: 1/minute, per: client"), limit("requests: 1/minute, per: [client, ip]")),
    "limits.requests": (limit("requests: 1/minute"), limit("requests: 1/second")),
    "limits.tokens": (limit("tokens: 1000/minute"), limit("tokens: 2000/minute")),
    "limits.concurrent": (limit("concurrent: 1"), limit("concurrent: 2")),
    "limits.budget": (limit("budget: $1/day"), limit("budget: $1/week")),
    "limits.wait": (limit("concurrent: 1, wait: 1s"), limit("concurrent: 1, wait: 2s")),
    "models.id": (model("id: m"), model("id: n")),
    "models.provider": (model("id: m"), model("id: m").replace("provider: p", "provider: q")),
    "models.model": (model("id: m"), model("id: m, model: n")),
    "models.context_length": (model("id: m"), model("id: m, context_length: 8192")),
    "models.capabilities": (model("id: m"), model("id: m, capabilities: [chat, completion]")),
    "capabilities.*": (
        "version: 1\ncapabilities: {a: [max_output=8192, no-tools]}\n",
        "version: 1\ncapabilities: {a: no-tools}\n",
    ),
    "ledger.capture": ("version: 1\nledger: {capture: metadata}\n", "version: 1\nledger: {capture: bodies}\n"),
    "ledger.body_limit": ("version: 1\nledger: {body_limit: 1MiB}\n", "version: 1\nledger: {body_limit: 64KiB}\n"),
    "ledger.scrub": ("version: 1\nledger: {scrub: [a+]}\n", "version: 1\nledger: {scrub: [a+, b]}\n"),
    "ledger.to": ("version: 1\nledger: {to: [sqlite:a.db]}\n", "version: 1\nledger: {to: sqlite:b.db}\n"),
    **{
        f"ledger.keep.{name}": (
            f"version: 1\nledger: {{keep: {{{name}: 30d}}}}\n",
            f"version: 1\nledger: {{keep: {{{name}: 400d}}}}\n",
        )
        for name in ("records", "bodies")
    },
    "ledger.checkpoints.to": (
        "version: 1\nledger: {checkpoints: {to: a}}\n",
        "version: 1\nledger: {checkpoints: {to: b}}\n",
    ),
    "ledger.checkpoints.every": (
        "version: 1\nledger: {checkpoints: {to: a}}\n",
        "version: 1\nledger: {checkpoints: {to: a, every: 5m}}\n",
    ),
    "state.store": ("version: 1\nstate: {store: memory}\n", "version: 1\nstate: {store: 'redis://localhost'}\n"),
    "state.on_store_error": (
        "version: 1\nstate: {store: 'redis://localhost', on_store_error: deny}\n",
        "version: 1\nstate: {store: 'redis://localhost', on_store_error: allow}\n",
    ),
    "upstream.proxy": (
        "version: 1\nupstream: {proxy: 'http://a.test:1'}\n",
        "version: 1\nupstream: {proxy: 'http://a.test:2'}\n",
    ),
    "upstream.connect_to.*": (
        "version: 1\nupstream: {connect_to: {'a.test:443': '10.0.0.7:8443'}}\n",
        "version: 1\nupstream: {connect_to: {'a.test:443': '10.0.0.7:8444'}}\n",
    ),
}
CONDITIONS = {
    "endpoint": ("chat", "[chat, embeddings]"),
    "host": ("a.test", '"*.test"'),
    "model": ("a", "b"),
    "client": ("a", "b"),
    "ip": ("10.0.0.1", "10.0.0.0/8"),
    "header.*": ("a", "[a, b]"),
    "method": ("GET", "POST"),
    "path": ("/a", "/b*"),
    "stream": ("true", "false"),
    "app": ("mini", "llm"),
    "has": ("tools", "[tools, images]"),
    "larger_than": ("8MiB", "1000 tokens"),
    "smaller_than": ("8kB", "9kB"),
    "quota_below": ("20%", "30%"),
}
for side in ("match", "except"):
    for field, (one, other) in CONDITIONS.items():
        shape = "{{header: {{x-a: {}}}}}" if field == "header.*" else f"{{{{{field}: {{}}}}}}"
        DIFFER[f"limits.{side}.{field}"] = (
            limit(f"requests: 1/minute, trust_headers: true, {side}: {shape.format(one)}"),
            limit(f"requests: 1/minute, trust_headers: true, {side}: {shape.format(other)}"),
        )
        DIFFER[f"routes.{side}.{field}"] = (
            route(f"{side}: {shape.format(one)}"),
            route(f"{side}: {shape.format(other)}"),
        )
for unit in ("input", "cache_read", "cache_write", "output"):
    DIFFER[f"prices.*.{unit}"] = (
        f"version: 1\nprices: {{a: {{{'input: 1, ' if unit.startswith('cache') else ''}{unit}: 2.5}}}}\n",
        f"version: 1\nprices: {{a: {{{'input: 1, ' if unit.startswith('cache') else ''}{unit}: 2}}}}\n",
    )
for severity in ("exact", "carried", "approximated", "dropped", "synthesised"):
    DIFFER[f"losses.{severity}"] = (
        f"version: 1\nlosses: {{{severity}: allow}}\n",
        f"version: 1\nlosses: {{{severity}: error}}\n",
    )
for name, one, other in (
    ("name", "name: b", "name: c"),
    ("when", "when: cost > $1", "when: cost > $2"),
    ("window", "window: 1m", "window: 2m"),
    ("min_requests", "min_requests: 2", "min_requests: 3"),
    ("notify.webhook", "notify: {webhook: https://a.test}", "notify: {webhook: 'https://a.test/${HOOK}'}"),
    ("notify.command", "notify: {command: [page]}", "notify: {command: [page, me]}"),
):
    field = name.partition(".")[0]
    rest = ", ".join(said for said in ("name: a", "when: requests > 5", "notify: log") if not said.startswith(field))
    DIFFER[f"alerts.{name}"] = (
        f"version: 1\nalerts: [{{{rest}, {one}}}]\n",
        f"version: 1\nalerts: [{{{rest}, {other}}}]\n",
    )
for name, one, other in (
    ("otlp", "http://localhost:4318", "http://localhost:4319"),
    ("headers.*", "{x-a: b}", "{x-a: '${B}'}"),
    ("traces", "true", "false"),
    ("metrics", "true", "false"),
    ("events", "true", "false"),
    ("content", "true", "false"),
    ("service_name", "a", "b"),
    ("resource.*", "{a: b}", "{a: c}"),
    ("interval", "10s", "20s"),
):
    DIFFER[f"telemetry.{name}"] = (
        f"version: 1\ntelemetry: {{{name.removesuffix('.*')}: {one}}}\n",
        f"version: 1\ntelemetry: {{{name.removesuffix('.*')}: {other}}}\n",
    )
# One value alone is accepted of these: there is nothing to differ. Certificates are tried in test_load, what is trusted
# in test_check.
ALONE = {"version", "losses.impossible", "providers.*.tls.ca", "upstream.ca"} | {
    "limits.trust_headers",
    "telemetry.tls.ca",
}


@pytest.mark.parametrize("path", sorted(DIFFER))
def test_every_field_that_is_carried_out_reaches_the_compiled_rules(path: str) -> None:
    """Two files that differ in one field are different rules, with different versions; each is equal to itself."""
    first, second = (loaded(text) for text in DIFFER[path])
    assert first != second
    assert first.version != second.version
    assert first == loaded(DIFFER[path][0])


def test_every_field_that_is_carried_out_is_tried() -> None:
    """The table above has all of them."""
    assert set(DIFFER) | ALONE == {dotted(path) for path in CARRIED_OUT}


def test_the_version_is_of_the_content_alone() -> None:
    """Comments, layout, the order of providers and single-item lists do not make another version."""
    plain = loaded(ONE)
    same = (
        "# a comment\nproviders:\n  q:\n    base_url: https://b.test/v1\n    format: openai\n"
        "  p: {base_url: 'https://a.test/v1', format: openai}\nstate: {store: memory}\nversion: 1\n"
    )
    assert loaded(same).version == plain.version
    assert len(plain.version) == 16


WRONG: list[tuple[str, str]] = [
    # text (without `version: 1`), the problem as it is printed
    (
        "ledger:\n  scrub:\n    - '[0-9]{16}'\n    - 'sk-(live|test'\n",
        "r.yaml:5:7: ledger.scrub[1]: is no regular expression: missing ): sk-(live|test; its syntax is RE2's: "
        "https://github.com/google/re2/wiki/Syntax",
    ),
    (
        "ledger: {scrub: '(?=a)'}\n",
        "r.yaml:2:17: ledger.scrub: is no regular expression: invalid perl operator: (?=; its syntax is RE2's: "
        "https://github.com/google/re2/wiki/Syntax",
    ),
    (
        "ledger: {scrub: ['[0-9]*']}\n",
        "r.yaml:2:18: ledger.scrub[0]: matches nothing at all, and so everywhere; say what it matches: + in the place "
        "of *",
    ),
    (
        "ledger: {body_limit: 1000 tokens}\n",
        "r.yaml:2:22: ledger.body_limit: is of tokens, where bodies are cut at bytes; write for example 1MiB",
    ),
    (
        "ledger: {body_limit: 1GiB}\n",
        'r.yaml:2:22: ledger.body_limit: "1GiB" is no limit for a body; write a size from 1KiB to 64MiB; 1MiB is the '
        "default",
    ),
    (
        "providers:\n  openai: {fromat: openai, format: openai, base_url: https://a.test/v1}\n",
        'r.yaml:3:12: providers.openai.fromat: unknown key; did you mean "format"?',
    ),
    (
        "providers:\n  openai: {format: opnai, base_url: https://a.test/v1}\n",
        'r.yaml:3:20: providers.openai.format: "opnai" is not known here; did you mean "openai"?',
    ),
    *(
        (
            f"providers:\n  a: {{format: {dialect}, base_url: https://a.test/v1}}\n",
            f'r.yaml:3:15: providers.a.format: "{dialect}" is not known here; '
            f"{dialect.lower()} is a dialect: write format: {formats}, dialect: {dialect.lower()}",
        )
        for dialect, formats in (
            ("azure", "openai"),
            ("groq", "openai"),
            ("deepseek", "openai"),
            ("OpenRouter", "openai"),
            ("vertex", "anthropic or gemini or openai"),
        )
    ),
    (
        f"{ONE[11:]}routes: [{{name: a, to: {{provider: p}}, match: {{except: {{model: x}}}}}}]\n",
        "r.yaml:5:47: routes[0].match.except: unknown key; `except` stands beside `match`, not in it",
    ),
    (
        f"{ONE[11:]}routes: [{{name: a, to: {{provider: p, match: {{}}}}}}]\n",
        "r.yaml:5:38: routes[0].to.match: unknown key; `match` stands beside `to`, not in it",
    ),
    *(
        (
            f"{ONE[11:]}routes: [{{name: a, to: {{provider: p}}, {field}: x}}]\n",
            f"r.yaml:5:39: routes[0].{field}: unknown key; it belongs in {home}",
        )
        for field, home in (
            ("endpoint", "`match`"),
            ("host", "`match`"),
            ("client", "`match`"),
            ("ip", "`match`"),
            ("header", "`match`"),
            ("method", "`match`"),
            ("path", "`match`"),
            ("stream", "`match`"),
            ("model", "`match` or in `to`"),
            ("provider", "`to`"),
        )
    ),
    (
        "providers: {a: {format: openai, base_url: https://a.test/v1, env: A}}\n",
        "r.yaml:2:62: providers.a.env: unknown key; it belongs in `credential`",
    ),
    (
        "providers: {a: {format: openai, base_url: https://a.test/v1, timeout: 1s}}\n",
        'r.yaml:2:62: providers.a.timeout: unknown key; did you mean "timeouts"?',
    ),
    ("providrs: {}\n", 'r.yaml:2:1: providrs: unknown key; did you mean "providers"?'),
    ("hosts: [a.test]\n", "r.yaml:2:1: hosts: unknown key; it belongs under intercept"),
    ("xyzzy: 1\n", "r.yaml:2:1: xyzzy: unknown key"),
    (
        f"{ONE[11:]}routes:\n- name: a\n  to: {{provider: pp}}\n",
        'r.yaml:7:18: routes[0].to.provider: there is no provider "pp"; did you mean "p"?',
    ),
    (
        f"{ONE[11:]}routes:\n- name: a\n  to: {{provider: zzzz}}\n",
        'r.yaml:7:18: routes[0].to.provider: there is no provider "zzzz"; known are p, q',
    ),
    (
        "routes:\n- name: a\n  to: {provider: p}\n",
        'r.yaml:4:18: routes[0].to.provider: there is no provider "p"; there are no providers in this file',
    ),
    (
        f"{ONE[11:]}routes:\n- {{name: a, to: {{provider: p}}}}\n- {{name: A, to: {{provider: p}}}}\n",
        'r.yaml:7:10: routes[1].name: a route named "A" stands already in line 6',
    ),
    (
        f"clients:\n  keys:\n  - {{name: a, sha256: {A}}}\n  - {{name: a, sha256: {B}}}\n",
        'r.yaml:5:12: clients.keys[1].name: a client named "a" stands already in line 4',
    ),
    (
        f"clients:\n  keys:\n  - {{name: a, sha256: {B}}}\n  - {{name: b, sha256: {B.lower()}}}\n",
        "r.yaml:5:23: clients.keys[1].sha256: this key stands already in line 4",
    ),
    (
        "providers:\n  a: {format: openai, base_url: https://a.test/v1}\n  a: {format: openai, base_url: https://b.test/v1}\n",
        "r.yaml:4:3: providers.a: is given twice; the first is in line 3",
    ),
    (
        "clients: {required: no}\n",
        'r.yaml:2:21: clients.required: expected true or false, got "no"; write true or false',
    ),
    ("clients: {required: 1}\n", "r.yaml:2:21: clients.required: expected true or false, got 1; write true or false"),
    (
        "intercept: {unmatched: off}\n",
        'r.yaml:2:24: intercept.unmatched: "off" is not known here; known are passthrough, reject',
    ),
    (
        "intercept: {placeholders: [vk-a]}\n",
        "r.yaml:2:28: intercept.placeholders[0]: begins with vk-, which marks virtual keys; "
        "a placeholder is any other text",
    ),
    (
        "providers:\n  bad name: {format: openai, base_url: https://a.test/v1}\n",
        'r.yaml:3:3: providers["bad name"]: is not a usable name; '
        "use up to 64 letters, digits, dots, dashes and underscores",
    ),
    (
        "providers: {a: {format: openai, base_url: https://a.test/v1, timeouts: {connect: 10}}}\n",
        "r.yaml:2:82: providers.a.timeouts.connect: 10 has no unit; write for example 10s",
    ),
    (
        "providers: {a: {format: anthropic, dialect: groq, base_url: https://a.test}}\n",
        "r.yaml:2:45: providers.a.dialect: groq is no dialect of the format anthropic; "
        "it is one of openai, openai-responses",
    ),
    (
        "providers: {a: {format: openai, dialect: grok, base_url: https://a.test/v1}}\n",
        'r.yaml:2:42: providers.a.dialect: there is no dialect "grok"; did you mean "groq"?',
    ),
    (
        "providers: {a: {format: openai, base_url: https://a.test/v1, credential: {env: A, file: b}}}\n",
        "r.yaml:2:74: providers.a.credential: needs exactly one of env, file, keyring, exec, aws, google; "
        "here is env and file",
    ),
    (
        "providers: {a: {format: openai, base_url: https://a.test/v1, credential: [{env: A}, {env: B}, {env: A}]}}\n",
        "r.yaml:2:95: providers.a.credential[2]: is the same as number 1 of the pool; remove it",
    ),
    (
        f"{ONE[11:]}routes: [{{name: a, to: [{{provider: p, weight: 0}}, {{provider: q, weight: 0}}]}}]\n",
        "r.yaml:5:20: routes[0].to: leaves no target with a weight above 0; give one of them a weight",
    ),
    (
        f"{ONE[11:]}routes: [{{name: a, to: {{provider: p}}, match: {{quota_below: {{z: 20%}}}}}}]\n",
        'r.yaml:5:61: routes[0].match.quota_below.z: there is no provider "z"; known are p, q',
    ),
    (
        f"{ONE[11:]}routes: [{{name: a, to: {{provider: p}}, match: {{quota_below: {{p: 20%}}}}}}]\n",
        "r.yaml:5:61: routes[0].match.quota_below.p: is never known: p has no credential here; "
        "quotas are those of the rules' credentials",
    ),
    (
        f"{ONE[11:]}routes: [{{name: a, to: {{provider: p}}, match: {{quota_below: 20}}}}]\n",
        "r.yaml:5:60: routes[0].match.quota_below: 20 has no unit; write for example 20%",
    ),
    (
        f"{ONE[11:]}routes: [{{name: a, to: {{provider: p}}, match: {{quota_below: {{p: 120%}}}}}}]\n",
        'r.yaml:5:60: routes[0].match.quota_below: "120%" is not a percentage; write for example 20%',
    ),
    (
        f"{ONE[11:]}routes: [{{name: a, to: {{provider: p}}, prefer: fastest, sticky: client}}]\n",
        "r.yaml:5:56: routes[0].sticky: keeps a client with one target, where prefer looks for the best at each call; "
        "remove one of them",
    ),
    (
        f"{ONE[11:]}routes: [{{name: a, to: [{{provider: p}}, {{provider: q, weight: 2}}], prefer: fastest}}]\n",
        "r.yaml:5:54: routes[0].to[1].weight: has no meaning beside prefer, which decides; "
        "remove it; 0 takes the target out",
    ),
    (
        f"{ONE[11:]}routes: [{{name: a, to: {{provider: p}}, hold: content}}]\n",
        "r.yaml:5:39: routes[0].hold: is for another attempt, and there is none; add a retry or a fallback",
    ),
    (
        f"{ONE[11:]}routes: [{{name: a, to: {{provider: p}}, hedge: 2s, retry: {{attempts: 1}}}}]\n",
        "r.yaml:5:39: routes[0].hedge: is for another attempt, and retry.attempts allows but one; "
        "write attempts: 2, or more",
    ),
    (
        f"{ONE[11:]}routes: [{{name: a, to: {{provider: p}}, fallback: [{{provider: q, weight: 1}}]}}]\n",
        "r.yaml:5:64: routes[0].fallback[0].weight: unknown key",
    ),
    (
        f"{ONE[11:]}routes: [{{name: a, to: {{provider: p}}, retry: {{on: [503, resets]}}}}]\n",
        'r.yaml:5:57: routes[0].retry.on[1]: "resets" is nothing to retry on; '
        "write a status from 400 to 599 or one of 4xx, 5xx, connect, timeout, reset, truncated",
    ),
    (
        "providers: {a: {format: openai, base_url: https://a.test/v1, credential: {env: A, ttl: 5m}}}\n",
        "r.yaml:2:83: providers.a.credential.ttl: concerns exec alone; remove it",
    ),
    (
        "providers: {a: {format: openai, base_url: https://a.test/v1, credential: {aws: default}}}\n",
        "r.yaml:2:80: providers.a.credential.aws: signs for Bedrock alone; write dialect: bedrock, or another source",
    ),
    (
        "providers: {a: {format: bedrock, base_url: https://a.test, credential: {aws: default}}}\n",
        "r.yaml:2:72: providers.a.credential: needs a region, which a.test does not name; add region: us-east-1",
    ),
    (
        "providers: {a: {format: bedrock, base_url: https://bedrock-runtime.eu-west-1.amazonaws.com,\n"
        "  credential: {aws: default, region: us-east-1}}}\n",
        "r.yaml:3:38: providers.a.credential.region: is not the region of bedrock-runtime.eu-west-1.amazonaws.com: "
        "AWS refuses such signatures; remove it",
    ),
    (
        "providers: {a: {format: gemini, base_url: https://a.test, credential: {google: default}}}\n",
        "r.yaml:2:80: providers.a.credential.google: is for Google's hosts alone; write dialect: vertex",
    ),
    (
        "providers: {a: {format: openai, base_url: https://a.test/v1, credential: {env: A, region: eu-west-1}}}\n",
        "r.yaml:2:83: providers.a.credential.region: concerns aws alone; remove it",
    ),
    (
        "providers: {a: {format: openai, base_url: https://a.test/v1, api_version: preview}}\n",
        "r.yaml:2:62: providers.a.api_version: concerns the dialect azure alone; remove it",
    ),
    (
        "providers: {a: {format: anthropic, base_url: https://a.test, responses: false}}\n",
        "r.yaml:2:62: providers.a.responses: concerns the format openai alone; remove it",
    ),
    (
        "providers: {a: {format: openai, base_url: https://a.test/v1, credential: {keyring: service}}}\n",
        'r.yaml:2:84: providers.a.credential.keyring: does not name an entry of the keyring; write "service/user"',
    ),
    (
        f"{ONE[11:]}routes: [{{name: a, to: {{provider: p}}, except: {{}}}}]\n",
        "r.yaml:5:39: routes[0].except: is empty; remove it, or say what is excepted",
    ),
    (
        f"{ONE[11:]}routes: [{{name: a, to: {{provider: p}}, match: {{header: {{x-a: b, X-A: c}}}}}}]\n",
        "r.yaml:5:64: routes[0].match.header.X-A: is the same header as in line 5",
    ),
    (
        f"{ONE[11:]}routes: [{{name: a, to: {{provider: p}}, match: {{header: {{'x a': b}}}}}}]\n",
        'r.yaml:5:56: routes[0].match.header["x a"]: is not the name of a header; '
        "the name stands left of the colon, its pattern right",
    ),
    (
        "upstream:\n  connect_to:\n    'a.test:443': b.test:1\n    'A.test.:443': b.test:2\n",
        'r.yaml:5:5: upstream.connect_to["A.test.:443"]: is the same address as in line 4',
    ),
    (
        "upstream: {connect_to: {a.test: '10.0.0.7:8443'}}\n",
        'r.yaml:2:25: upstream.connect_to["a.test"]: has no port; write for example a.test:443',
    ),
    ("upstream: {proxy: 'http://proxy.test'}\n", "r.yaml:2:19: upstream.proxy: has no port; "
     "write for example http://proxy.test:3128"),
    (
        "upstream: {proxy: 'http://u:p@proxy.test:3128'}\n",
        "r.yaml:2:19: upstream.proxy: contains a user or password; credentials do not belong in URLs: use credential",
    ),
    (
        f"{ONE[11:]}clients: {{keys: [{{name: a, sha256: {A}, providers: [p, r]}}]}}\n",
        'r.yaml:5:117: clients.keys[0].providers[1]: there is no provider "r"; known are p, q',
    ),
    ("limits: x\n", "r.yaml:2:9: limits: expected a list, got text"),
    (
        "limits: [{name: a, requests: 60 per minute}]\n",
        'r.yaml:2:30: limits[0].requests: "60 per minute" is not a rate; write N/second, N/minute, N/hour or N/day',
    ),
    (
        f"clients: {{keys: [{{name: a, sha256: {A}, expires: 2027-13-01}}]}}\n",
        'r.yaml:2:111: clients.keys[0].expires: "2027-13-01" is not a date; '
        "write year-month-day, for example 2027-01-31",
    ),
    ("ledger: {keep: {records: 10y}}\n", 'r.yaml:2:26: ledger.keep.records: "10y" is not a duration; '
     "write for example 500ms, 10s, 5m, 2h or 1d"),
    ("ledger: {keep: {records: 5000d}}\n", 'r.yaml:2:26: ledger.keep.records: "5000d" is not a usable duration; '
     "it must be more than zero and at most 3660d"),
    ("ledger: {keep: {records: 30d, bodies: 31d}}\n", "r.yaml:2:39: ledger.keep.bodies: is longer than records are "
     "kept, and bodies go with their records; make it shorter, or remove it"),
    ("ledger: {checkpoints: {every: 1h}}\n", "r.yaml:2:23: ledger.checkpoints.to: is missing"),
    ("ledger: {to: []}\n", "r.yaml:2:14: ledger.to: is empty; remove it, or say something"),
    ("ledger: {to: usage.db}\n", "r.yaml:2:14: ledger.to: is no place for a ledger; "
     "write sqlite:FILE, jsonl:FILE, postgresql://… or otlp:http://…"),
    *(
        (f"intercept: {{virtual_host: '{text}'}}\n", f"r.yaml:2:27: intercept.virtual_host: {said}")
        for text, said in (
            ("https://ai.internal/v1", "is a URL or path where a host belongs; write ai.internal"),
            ("ai.internal:443", "has a port, which does not belong here; "
             "write the host alone: it answers on every port"),
            ("*.internal", "is no host name; write for example ai.internal"),
            ("ai internal", "is no host name; write for example ai.internal"),
            ("a..internal", "is no host name; write for example ai.internal"),
            ("-a.internal", "is no host name; write for example ai.internal"),
            ("a_b.internal", "is no host name; write for example ai.internal"),
            ("10.0.0.7", "is an address, where a name belongs; write for example ai.internal"),
            ("::1", "is an address, where a name belongs; write for example ai.internal"),
            ("localhost", "is this machine, which clients ask no proxy for; write for example ai.internal"),
            ("metadata.google.internal", "is an address that no provider has (link-local, metadata, multicast or "
             "unspecified)"),
            ("API.openai.com.", "is a provider's own host, which nothing "
             "would reach any more; write a name that nobody has, for example ai.internal"),
            ("my-team.openai.azure.com", "is a provider's own host, which nothing would reach any more; write a name "
             "that nobody has, for example ai.internal"),
        )
    ),
    (
        "intercept: {virtual_host: ai.house.test}\nproviders:\n  p: {format: openai, base_url: "
        "'https://ai.house.test:8443/v1'}\n",
        "r.yaml:2:27: intercept.virtual_host: is the host of the provider in line 4, which nothing would reach; write "
        "a name that nobody has, for example ai.internal",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_problem_says_where_what_and_what_instead(text: str, said: str) -> None:
    """Each mistake is printed as one line that an editor can jump to."""
    assert said in [str(problem) for problem in problems(f"version: 1\n{text}")]


def test_a_provider_may_need_no_credential() -> None:
    """Which is another thing than having none, over plain HTTP in a private network too."""
    said = loaded("version: 1\nproviders: {p: {format: ollama, base_url: 'http://10.0.0.7:11434', credential: none}}\n")
    left = loaded("version: 1\nproviders: {p: {format: ollama, base_url: 'http://10.0.0.7:11434'}}\n")
    assert said.providers["p"].keyless
    assert not left.providers["p"].keyless
    assert said.credentials == left.credentials == ()
    assert said.version != left.version


BASE_URLS = [
    # format, dialect, base_url, credential?, None or a part of what is said
    ("openai", "", "https://a.test/v1", True, None),
    ("openai", "", "https://a.test/openai/v1/", True, None),
    ("openai-responses", "", "https://a.test:8443/v1", True, None),
    ("openai", "azure", "https://a.test", True, None),
    ("openai", "deepseek", "https://api.deepseek.com", True, None),
    ("openai", "", "https://api.openai.com", True, "write https://api.openai.com/v1"),
    ("openai", "", "https://a.test/v1/chat/completions", True, "write https://a.test/v1"),
    ("openai", "", "https://a.test/v1/responses/", True, "write https://a.test/v1"),
    ("anthropic", "", "https://a.test/", True, None),
    ("anthropic", "", "https://a.test/v1", True, "leave that part out: write https://a.test"),
    ("anthropic", "", "https://a.test/v1/messages", True, "leave that part out: write https://a.test"),
    ("anthropic", "", "https://gw.test/llm/v1/", True, "leave that part out: write https://gw.test/llm"),
    ("anthropic", "", "https://api.deepseek.com/anthropic", True, None),
    ("anthropic", "", "https://gw.test/llm/anthropic/", True, None),
    ("anthropic", "", "https://gateway.test/v1/account/name/anthropic", True, None),
    ("anthropic", "", "https://openrouter.ai/api", True, None),
    ("anthropic", "", "https://gw.test/v1-old", True, None),
    ("gemini", "", "https://a.test/v1beta", True, "leave that part out: write https://a.test"),
    ("gemini", "", "https://gw.test/google/v1beta1", True, "leave that part out: write https://gw.test/google"),
    ("gemini", "", "https://gw.test/google", True, None),
    ("cohere", "", "https://gw.test/cohere", True, None),
    ("cohere", "", "https://a.test/v2", True, "goes on to /v2, which the format cohere has in its own paths"),
    ("cohere", "", "https://a.test/v2/chat", True, "leave that part out: write https://a.test"),
    ("mistral", "", "https://a.test/v1/chat/completions", True, "leave that part out: write https://a.test"),
    ("bedrock", "", "https://gw.test/bedrock", True, None),
    ("ollama", "", "https://gw.test/ollama", True, None),
    ("ollama", "", "https://gw.test/ollama/api", True, "leave that part out: write https://gw.test/ollama"),
    ("ollama", "", "http://localhost:11434/v1", True, "leave that part out: write http://localhost:11434"),
    ("ollama", "", "localhost:11434", True, "write http://localhost:11434"),
    ("ollama", "", "127.0.0.1:11434", True, "write http://127.0.0.1:11434"),
    ("ollama", "", "[::1]:11434", True, "write http://[::1]:11434"),
    ("ollama", "", "ollama:11434", True, "write http://ollama:11434"),
    ("ollama", "", "10.0.0.7", False, "write http://10.0.0.7"),
    ("openai", "", "api.openai.com/v1", True, "write https://api.openai.com/v1"),
    ("openai", "", "api.openai.com:443", True, "write https://api.openai.com:443"),
    ("openai", "", "sk-fake-1234", True, "base_url: does not begin with https:// or http://; write https:// before"),
    ("openai", "", "a.test/v1?key=sk-fake", True, "http://; write https:// before the host"),
    ("bedrock", "", "https://bedrock-runtime.us-east-1.amazonaws.com", True, None),
    ("ollama", "", "http://localhost:11434", True, None),
    ("ollama", "", "http://127.0.0.1:11434", True, None),
    ("ollama", "", "http://[::1]:11434", True, None),
    ("ollama", "", "http://ollama:11434", False, None),
    ("ollama", "", "http://10.0.0.7:11434", False, None),
    ("ollama", "", "http://100.64.0.1:11434", False, None),
    ("ollama", "", "http://gpu.lan:11434", False, None),
    ("ollama", "", "http://10.0.0.7:11434", True, "unencrypted"),
    ("ollama", "", "http://gpu.lan:11434", True, "unencrypted"),
    ("ollama", "", "http://x.localhost:11434", False, None),
    ("ollama", "", "http://x.localhost:11434", True, "unencrypted"),
    ("ollama", "", "http://example.com", False, "not encrypted"),
    ("ollama", "", "http://8.8.8.8", False, "not encrypted"),
    ("ollama", "", "http://localhost.evil.test.example", True, "unencrypted"),
    ("ollama", "", "http://127.0.0.1.example.com", True, "unencrypted"),
    ("cohere", "", "https://169.254.169.254", False, "no provider has"),
    ("cohere", "", "https://[fd00:ec2::254]", False, "no provider has"),
    ("cohere", "", "https://[::ffff:169.254.169.254]", False, "no provider has"),
    ("cohere", "", "https://metadata.google.internal", False, "no provider has"),
    ("cohere", "", "https://0.0.0.0", False, "no provider has"),
    ("cohere", "", "https://2130706433", False, "no host name"),
    ("cohere", "", "https://0177.0.0.1", False, "no host name"),
    ("cohere", "", "https://0x7f.1", False, "no host name"),
    ("cohere", "", "https://user:pw@a.test", False, "user or password"),
    ("cohere", "", "https://a.test?x=1", False, "query or fragment"),
    ("cohere", "", "https://a.test#x", False, "query or fragment"),
    ("cohere", "", "ftp://a.test", False, "not an https URL"),
    ("cohere", "", "a.test", False, "write http://a.test"),
    ("cohere", "", "169.254.169.254", False, "write https:// before the host"),
    ("cohere", "", "//a.test", False, "not an https URL"),
    ("cohere", "", "https://", False, "not an https URL"),
    ("cohere", "", "https://a.test:99999", False, "not a URL"),
    ("cohere", "", "https://a.test:0", False, "port 0"),
    ("cohere", "", "https://[::1", False, "not a URL"),
    ("openai", "", "https://a.test/%2e%2e/v1", False, "escapes"),
    ("openai", "", "https://a.test/a/../v1", False, "escapes"),
    ("openai", "", "https://a.test//v1", False, "escapes"),
    ("openai", "", "https://a.test/v1 x", False, "space"),
    ("openai", "", r"https://a.test\@b.test/v1", False, "backslash"),
    ("openai", "", "https://bücher.test/v1", False, "another character"),
]


@pytest.mark.parametrize(("format_", "dialect", "url", "key", "said"), BASE_URLS)
def test_base_urls_fit_their_format_and_keep_keys_safe(
    format_: str, dialect: str, url: str, key: bool, said: str | None
) -> None:
    """A base_url reaches exactly as far as its format wants, and no credential goes over an open network."""
    text = f"version: 1\nproviders:\n  a:\n    format: {format_}\n    base_url: '{url}'\n"
    text += f"    dialect: {dialect}\n" if dialect else ""
    text += "    credential: {env: FAKE}\n" if key else ""
    if said is None:
        compiled = loaded(text).providers["a"]
        assert f"{compiled.origin}{compiled.base_path}" == url.rstrip("/")
        return
    (problem,) = problems(text)
    assert (problem.line, problem.column) == (5, 15)
    assert said in str(problem)


def test_no_message_repeats_a_secret() -> None:
    """A key written where its reference, digest or variable belongs is not shown again."""
    key = "sk-fake-0000000000000000000000"
    text = f"""version: 1
providers:
  a: {{format: openai, base_url: https://a.test/v1, credential: {key}}}
  b: {{format: openai, base_url: https://a.test/v1, credential: {{env: {key}}}}}
  c: {{format: openai, base_url: https://u:{key}@a.test/v1}}
  d: {{format: openai, base_url: https://a.test/v1, credential: [{key}]}}
clients: {{keys: [{{name: a, sha256: {key}}}, {{name: b, sha256: {key}}}]}}
state: {{store: "redis://:{key}$@cache.test:99999"}}
"""
    found = problems(text)
    assert len(found) >= 7
    assert all(key not in str(problem) for problem in found)


def test_all_problems_are_found_at_once_in_the_order_of_the_file() -> None:
    """Unknown keys, types, references and what is not supported come together, sorted by place."""
    text = (
        "version: 1\nlimits: [1]\nroutes:\n- {nam: a, to: {provider: x}}\nclients: {required: maybe}\nzzz: 1\nzzz: 2\n"
    )
    found = problems(text)
    assert [(problem.line, problem.path) for problem in found] == [
        (2, "limits[0]"),
        (4, "routes[0].name"),
        (4, "routes[0].nam"),
        (4, "routes[0].to.provider"),
        (5, "clients.required"),
        (6, "zzz"),
        (7, "zzz"),
    ]


@pytest.mark.parametrize("text", ["ai.internal", "AI.Internal.", "ai", "ai.example.com", "kı.internal"])
def test_a_virtual_host_is_any_name_that_nobody_has(text: str) -> None:
    """It is compared in its canonical form; rules that have one act on calls."""
    rules = loaded(f"version: 1\nintercept: {{virtual_host: {text}}}\n")
    assert rules.intercept.virtual_host == canonical_host(text)
    assert not rules.audit_only
