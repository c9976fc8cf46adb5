"""Loading files: what can be wrong outside of the YAML, what is taken from the disk, and texts from anywhere."""

import datetime
import json
import os
import stat
import string
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from interpose.call import Origin
from interpose.errors import InterposeError
from interpose.rules.check import check
from interpose.rules.compiled import Rules, Target
from interpose.rules.load import load, open_to_others, parse
from interpose.rules.problem import Problem, RulesError
from interpose.rules.schema import fields
from interpose.rules.sinks import SinkFile

OPENAI = "format: openai, base_url: https://a.test/v1"


@pytest.fixture
def rules_file(tmp_path: Path) -> Path:
    return tmp_path / "rules.yaml"


def problem(path: Path) -> Problem:
    with pytest.raises(RulesError) as caught:
        load(path)
    (only,) = caught.value.problems
    return only


def test_a_missing_file_is_said_to_be_missing(rules_file: Path) -> None:
    """The message names the file."""
    assert str(problem(rules_file)) == f"{rules_file}:1:1: there is no such file"


def test_a_folder_is_no_rules_file(tmp_path: Path) -> None:
    """A folder's name in place of a file's is said plainly."""
    assert problem(tmp_path).message == "is a folder, not a rules file"


def test_a_path_through_a_file_cannot_be_read(rules_file: Path) -> None:
    """The system's reason is given."""
    rules_file.write_text("version: 1\n")
    assert problem(rules_file / "more.yaml").message == "cannot be read: Not a directory"
    assert problem(Path("a\0b")).message.startswith("cannot be read")


@pytest.mark.parametrize(
    ("raw", "line", "column", "message"),
    [
        (b"version: 1\nx: \xff\n", 2, 4, "is not UTF-8 text"),
        (b"", 1, 1, "is empty"),
        (b"# only a comment\n", 1, 1, "is empty"),
        (b"just words\n", 1, 1, "is not a mapping but text"),
        (b"- version: 1\n", 1, 1, "is not a mapping but a list"),
        (b"{}", 1, 1, "is missing"),
        (b"verison: 1\n", 1, 1, "is missing"),
        (b"version: 2\n", 1, 10, "2 is not a version that can be read here"),
        (b"version: '1'\n", 1, 10, '"1" is not a version that can be read here'),
        (b"version: true\n", 1, 10, "true is not a version that can be read here"),
        (b"version: 1.0\n", 1, 10, "1.0 is not a version that can be read here"),
        (b"version:\n", 1, 9, "nothing is not a version that can be read here"),
        (b"x" * (5 << 20), 1, 1, "is larger than 4 MiB, which no rules file is"),
    ],
)
def test_what_is_no_rules_file_is_one_problem(
    rules_file: Path, raw: bytes, line: int, column: int, message: str
) -> None:
    """Where the file as a whole is wrong, nothing else is complained of."""
    rules_file.write_bytes(raw)
    found = problem(rules_file)
    assert (found.line, found.column, found.message) == (line, column, message)


def test_a_misspelt_version_is_recognised(rules_file: Path) -> None:
    """`verison: 1` is answered with the right word."""
    rules_file.write_text("verison: 1\n")
    assert problem(rules_file).hint == 'did you mean "version"?'


SMALLEST = ["version: 1\n", "\ufeffversion: 1\n", "---\nversion: 1\n...\n", '{"version": 1}', "version: 1\r\n"]


@pytest.mark.parametrize("text", SMALLEST)
def test_a_file_may_say_nothing_but_its_version(rules_file: Path, text: str) -> None:
    """The smallest file is the default: observe, and act on nothing."""
    rules_file.write_text(text, newline="")
    rules = load(rules_file)
    assert rules == Rules.default()
    assert rules.source == rules_file
    assert rules.audit_only


def test_relative_paths_start_at_the_rules_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that rules name are found beside them, from anywhere; ~ and absolute paths mean what they say."""
    (tmp_path / "conf").mkdir()
    monkeypatch.setenv("HOME", "/home/fake")
    monkeypatch.chdir(tmp_path)
    Path("conf/rules.yaml").write_text(
        f"version: 1\nproviders:\n"
        f"  a: {{{OPENAI}, credential: {{file: a.key}}}}\n"
        f"  b: {{{OPENAI}, credential: {{file: ~/b.key}}}}\n"
        f"  c: {{{OPENAI}, credential: {{file: /etc/c.key}}}}\n"
        f"  d: {{{OPENAI}, credential: {{exec: [./d.sh, x/y]}}}}\n"
        f"  e: {{{OPENAI}, credential: {{exec: [pass, x/y]}}}}\n"
        "ledger: {to: sqlite:usage.db}\n"
    )
    rules = load("conf/rules.yaml")
    args = {name: provider.credential.args for name, provider in rules.providers.items() if provider.credential}
    base = tmp_path / "conf"
    assert args["a"] == (f"{base}/a.key",)
    assert args["b"] == ("/home/fake/b.key",)
    assert args["c"] == ("/etc/c.key",)
    assert args["d"] == (f"{base}/d.sh", "x/y")
    assert args["e"] == ("pass", "x/y")
    assert rules.ledger.to == (SinkFile("sqlite", base / "usage.db"),)


def certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fake CA")])
    day = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(day).not_valid_after(day + datetime.timedelta(3650))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


CA_PLACES = ["upstream: {ca: ca.pem}\n", f"providers: {{a: {{{OPENAI}, tls: {{ca: ca.pem}}}}}}\n"]


@pytest.mark.parametrize("text", CA_PLACES, ids=["upstream", "provider"])
def test_certificates_are_tried_when_rules_are_loaded(rules_file: Path, text: str) -> None:
    """A CA file that is missing or holds no certificate is found before any connection needs it."""
    rules_file.write_text(f"version: 1\n{text}")
    ca = rules_file.parent / "ca.pem"
    missing = problem(rules_file)
    assert (missing.line, missing.column) == (2, text.index("ca.pem") + 1)
    assert missing.message == f"{ca} cannot be read: No such file or directory"
    ca.write_text("no certificate\n")
    assert problem(rules_file).message == f"{ca} holds no certificates"
    ca.write_bytes(certificate())
    rules = load(rules_file)
    assert ca in (rules.upstream.ca, *(provider.ca for provider in rules.providers.values()))


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (
            "ledger: {keep: {records: 20d}}\nlimits: [{name: a, budget: $5/month}, {name: b, budget: $1/day}]",
            "2:26: ledger.keep.records: warning: is shorter than the month of a budget, whose spending is read from "
            "the ledger at a start; keep records for 31d or more",
        ),
    ],
)
def test_what_is_unwise_to_keep_is_a_warning(rest: str, said: str) -> None:
    """It works all the same; what is enough is none."""
    (warning,) = parse(f"version: 1\n{rest}\n", "r.yaml", Path("/")).warnings
    assert str(warning).startswith(f"r.yaml:{said}")
    wiser = rest.replace("20d", "31d")
    assert parse(f"version: 1\n{wiser}\n", "r.yaml", Path("/")).warnings == ()


def test_a_credential_file_open_to_others_is_a_warning(rules_file: Path) -> None:
    """Mode 0644 is warned of at the credential, 0600 is not; the rules work either way."""
    key = rules_file.parent / "a.key"
    key.write_text("sk-fake\n")
    rules_file.write_text(f"version: 1\nproviders: {{a: {{{OPENAI}, credential: {{file: a.key}}}}}}\n")
    key.chmod(0o644)
    (warning,) = load(rules_file).warnings
    assert warning.severity == "warning"
    assert str(warning).startswith(
        f"{rules_file}:2:74: providers.a.credential: warning: the file is open to other users"
    )
    assert check(rules_file) == [warning]
    key.chmod(0o600)
    assert load(rules_file).warnings == ()


@pytest.mark.parametrize(
    ("mode", "owner", "group", "is_open"),
    [
        (0o600, 10001, 10001, False),
        (0o400, 0, 0, False),
        (0o640, 10001, 10001, True),
        (0o440, 0, 10001, False),
        (0o440, 0, 0, True),
        (0o460, 0, 10001, True),
        (0o444, 0, 10001, True),
    ],
)
def test_a_secret_as_kubernetes_mounts_it_is_not_open_to_others(
    mode: int, owner: int, group: int, is_open: bool
) -> None:
    """Root's, and readable by a group of ours: nobody else has got it. Of a file of our own we say who may read it."""
    found = os.stat_result((stat.S_IFREG | mode, 1, 1, 1, owner, group, 9, 0, 0, 0))
    assert open_to_others(found, 10001, {10001}) is is_open


def test_dangerous_lists_of_hosts_are_warned_of(rules_file: Path) -> None:
    """Claiming every host, or none, is possible and said."""
    for hosts, word in (('["*"]', "every host"), ("[]", "nothing is intercepted")):
        rules_file.write_text(f"version: 1\nintercept: {{hosts: {hosts}}}\n")
        (warning,) = load(rules_file).warnings
        assert word in warning.message


def test_everything_that_is_carried_out_arrives(rules_file: Path) -> None:
    """One file with the other fields: URLs are split, globs compiled, units turned into seconds."""
    digest = "AB" * 32
    rules_file.write_text(
        f"""version: 1
providers:
  p:
    format: openai
    dialect: groq
    base_url: https://API.groq.com:8443/openai/v1/
    credential: [{{exec: [get, key], timeout: 2s, ttl: 1m}}]
    timeouts: {{connect: 1s, first_byte: 2m, idle: 500ms}}
intercept: {{hosts: [a.test, "b.test:8000"], placeholders: sk-dummy, unmatched: reject}}
clients: {{required: true, keys: [{{name: ci, sha256: {digest}, models: "gpt-*", expires: 2027-01-31}}]}}
routes:
- {{name: r, match: {{method: post, header: {{X-Team: [a, b]}}, ip: 10.0.0.0/8}}, to: [{{provider: p, model: m}}]}}
upstream: {{proxy: "http://Proxy.lan:3128", connect_to: {{"A.test:443": "[::1]:8443"}}}}
"""
    )
    rules = load(rules_file)
    provider = rules.providers["p"]
    assert (provider.origin, provider.base_path) == (Origin("https", "api.groq.com", 8443), "/openai/v1")
    assert provider.credential is not None
    assert (provider.credential.args, provider.credential.timeout, provider.credential.ttl) == (("get", "key"), 2, 60)
    assert provider.credential.name == "exec:get"
    assert (provider.timeouts.connect, provider.timeouts.first_byte, provider.timeouts.idle) == (1, 120, 0.5)
    assert rules.intercept.listed("b.test", 8000)
    assert (rules.intercept.placeholders, rules.intercept.unmatched) == ({"sk-dummy"}, "reject")
    assert rules.clients.required
    assert rules.clients.keys[0].sha256 == digest.lower()
    assert rules.clients.keys[0].expires == datetime.date(2027, 1, 31)
    (route,) = rules.routes
    assert route.targets == (Target("p", "m"),)
    assert [name for name, _ in route.match.header] == ["x-team"]
    assert rules.upstream.proxy == Origin("http", "proxy.lan", 3128)
    assert rules.upstream.connect_to == {("a.test", 443): ("::1", 8443)}
    assert rules.credentials == (provider.credential,)
    assert not rules.audit_only


BOMBS = {
    "unknown key": "a: &a [x]\n"
    + "\n".join(f"b{i}: &b{i} [{', '.join([f'*b{i - 1}' if i else '*a'] * 10)}]" for i in range(12)),
    "routes": "routes:\n- &a {name: [x]}\n"
    + "\n".join(f"- &b{i} [{', '.join([f'*b{i - 1}' if i else '*a'] * 10)}]" for i in range(12)),
    "deep": "providers:\n  p: " + "[" * 60 + "]" * 60,
    "merges": "providers: &m0 {k: 1}\n"
    + "\n".join(f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 10)}]}}" for i in range(1, 12)),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_one_problem_of_the_whole_file(rules_file: Path, bomb: str) -> None:
    """What was cut off for its size is named once, and what is left of it is not judged."""
    rules_file.write_text(f"version: 1\n{bomb}\n")
    message = problem(rules_file).message
    assert message.startswith(("is endless", "is nested deeper"))


def test_a_mistake_behind_an_anchor_is_said_once(rules_file: Path) -> None:
    """Forty aliases of one wrong match are one mistake; two mistakes in it are two."""
    routes = "\n".join(f"- {{name: r{i}, to: {{provider: p}}, match: *m}}" for i in range(40))
    anchor = "{name: first, to: {provider: p}, match: &m {modle: x, stream: 1}}"
    rules_file.write_text(f"version: 1\nproviders: {{p: {{{OPENAI}}}}}\nroutes:\n- {anchor}\n{routes}\n")
    with pytest.raises(RulesError) as caught:
        load(rules_file)
    assert [found.path for found in caught.value.problems] == ["routes[0].match.modle", "routes[0].match.stream"]


SUSPECT = [
    ("match: {model: 'gpt-4.*'}", "match.model", "gpt-4*"),
    ("except: {model: [x, '.*claude.*']}", "except.model[1]", "*claude*"),
    ("match: {host: '.*.openai.com'}", "match.host", "*.openai.com"),
]


@pytest.mark.parametrize(("condition", "path", "glob"), SUSPECT)
def test_a_glob_that_reads_like_a_regular_expression_is_warned_of(
    rules_file: Path, condition: str, path: str, glob: str
) -> None:
    """The rules work as they are written; the warning stands at the glob and names the one that was meant."""
    text = f"version: 1\nproviders: {{p: {{{OPENAI}}}}}\nroutes:\n- {{name: a, to: {{provider: p}}, {condition}}}\n"
    rules_file.write_text(text)
    (warning,) = load(rules_file).warnings
    assert (warning.severity, warning.line, warning.path) == ("warning", 4, f"routes[0].{path}")
    assert warning.hint == f'patterns are globs: write "{glob}"'
    assert check(rules_file) == [warning]


def test_globs_of_keys_and_intercepted_hosts_are_looked_at_too(rules_file: Path) -> None:
    """A key's models and intercept.hosts are warned of alike."""
    rules_file.write_text(
        f"version: 1\nclients: {{keys: [{{name: a, sha256: {'ab' * 32}, models: ['gpt-5.*', 'anthropic.*']}}]}}\n"
        "intercept: {hosts: ['.*.openai.azure.com', 'bedrock-runtime.*.amazonaws.com']}\n"
    )
    assert [warning.path for warning in load(rules_file).warnings] == [
        "clients.keys[0].models[0]",
        "intercept.hosts[0]",
    ]


def test_a_rules_error_is_for_people() -> None:
    """Its text is the problems, one a line; it is one of the program's own errors."""
    with pytest.raises(InterposeError, match=r"(?m)^r.yaml:2:1: a: unknown key$\n^r.yaml:3:1: b: unknown key$"):
        parse("version: 1\na: 1\nb: 1\n", "r.yaml", Path())


WORDS = sorted({step for path in fields() for step in path if step != "*"})
TEXTS = st.one_of(
    st.sampled_from(
        [*WORDS, "openai", "anthropic", "https://a.test/v1", "10s", "chat", "memory", "*", "a.test:443", "x"]
    ),
    st.text(string.printable, max_size=8),
    st.text(max_size=8),
)
DATA = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=20,
)
GOOD: dict[str, object] = {
    "version": 1,
    "providers": {"p": {"format": "openai", "base_url": "https://a.test/v1", "credential": {"env": "A"}}},
    "intercept": {"hosts": ["a.test"], "placeholders": ["sk-dummy"]},
    "clients": {"keys": [{"name": "ci", "sha256": "ab" * 32}]},
    "routes": [{"name": "a", "match": {"endpoint": "chat", "header": {"x": "y"}}, "to": {"provider": "p"}}],
    "ledger": {"to": ["sqlite:a.db"]},
    "upstream": {"connect_to": {"a.test:443": "b.test:443"}},
}


def only_rules_errors(text: str) -> None:
    try:
        parse(text, "r.yaml", Path("/nonexistent"))
    except RulesError as error:
        problems = error.problems
        assert problems
        assert all("\n" not in str(each) and each.line > 0 and each.column > 0 for each in problems)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(WORDS), DATA, max_size=5))
def test_any_structure_is_rules_or_problems(data: dict[str, object]) -> None:
    """Whatever data stands in a file, it compiles or its problems are listed; nothing else is ever raised."""
    only_rules_errors(json.dumps({"version": 1, **data}))


@settings(deadline=None)
@given(st.data())
def test_any_change_to_good_rules_is_rules_or_problems(data: st.DataObject) -> None:
    """The same for a good file in which any one value is replaced by anything."""
    document = json.loads(json.dumps(GOOD))
    here = document
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(here[key], dict | list) and here[key] and data.draw(st.booleans()):
            here = here[key]
            continue
        here[key] = data.draw(DATA)
        break
    only_rules_errors(json.dumps(document))


@settings(deadline=None)
@given(st.text(max_size=80), st.integers(0, 400))
def test_any_text_within_good_rules_is_rules_or_problems(text: str, at: int) -> None:
    """The same for a good file with any text in its middle."""
    good = json.dumps(GOOD)
    only_rules_errors(good[:at] + text + good[at:])


def test_the_file_that_is_changed_at_random_is_good() -> None:
    """The starting point of the tests above loads."""
    assert parse(json.dumps(GOOD), "r.yaml", Path("/nonexistent")).routes
