"""The environment of a program under `interpose run`."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpose.cli.environment import (
    FALLBACK_PROXY_VARIABLES,
    PROXY_VARIABLES,
    TRUST_VARIABLES,
    ChildEnvironment,
    Claim,
    child_environment,
    hides,
    overlap,
    own_proxy,
)

PROXY = "http://127.0.0.1:41234"
BUNDLES = {variable.name: Path("/state/ca") / f"{variable.name}.pem" for variable in TRUST_VARIABLES}
OPENAI: Claim = ("api.openai.com", 443)
AZURE: Claim = ("*.openai.azure.com", 443)
OLLAMA: Claim = ("localhost", 11434)
OLLAMA_IP: Claim = ("127.0.0.1", 11434)


def made(
    environ: dict[str, str], claims: tuple[Claim, ...] = (OPENAI, AZURE, OLLAMA), withheld: tuple[str, ...] = ()
) -> ChildEnvironment:
    return child_environment(environ, proxy=PROXY, bundles=BUNDLES, claims=claims, withheld=withheld)


def test_every_proxy_variable_names_us_in_both_cases() -> None:
    """Programs differ in which case they read."""
    values = made({"HTTPS_PROXY": "http://corp:3128", "http_proxy": "http://corp:3128"}).values
    assert {values[name] for name in PROXY_VARIABLES} == {PROXY}
    assert {"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"} == set(PROXY_VARIABLES)


@pytest.mark.parametrize("name", FALLBACK_PROXY_VARIABLES)
def test_a_variable_for_all_protocols_is_replaced_but_never_added(name: str) -> None:
    """ALL_PROXY and grpc_proxy would lead past us if set; unset, they are not ours to set."""
    assert made({name: "socks5://corp:1080"}).values[name] == PROXY
    assert name not in made({}).values


def test_without_no_proxy_nothing_is_hidden_not_even_localhost() -> None:
    """A local Ollama is audited, too."""
    child = made({})
    assert child.values["NO_PROXY"] == child.values["no_proxy"] == ""
    assert child.notes == ()


@pytest.mark.parametrize(
    ("environ", "kept", "hidden"),
    [
        ({"NO_PROXY": "intranet.corp,10.0.0.0/8"}, "intranet.corp,10.0.0.0/8", []),
        ({"no_proxy": ".corp, 10.1.2.3"}, ".corp,10.1.2.3", []),
        ({"NO_PROXY": "a.corp", "no_proxy": "b.corp,a.corp"}, "a.corp,b.corp", []),
        ({"NO_PROXY": "a.corp b.corp"}, "a.corp,b.corp", []),
        ({"NO_PROXY": "a.corp,.openai.com"}, "a.corp", [".openai.com"]),
        ({"NO_PROXY": "a.corp,*"}, "a.corp", ["*"]),
        ({"NO_PROXY": "localhost,127.0.0.1"}, "127.0.0.1", ["localhost"]),
        ({"NO_PROXY": "localhost:5432"}, "localhost:5432", []),
        ({"no_proxy": "azure.com", "no_grpc_proxy": "a.corp"}, "a.corp", ["azure.com"]),
        ({"NO_PROXY": " , ,"}, "", []),
    ],
)
def test_no_proxy_keeps_what_hides_no_ai_host(environ: dict[str, str], kept: str, hidden: list[str]) -> None:
    """The user's own entries stay, in order and once; those that would hide a claimed host go, and that is said."""
    child = made(environ)
    assert child.values["NO_PROXY"] == child.values["no_proxy"] == kept
    assert child.values.get("no_grpc_proxy", kept) == kept
    assert len(child.notes) == (1 if hidden else 0)
    for entry in hidden:
        assert entry in child.notes[0]


@pytest.mark.parametrize(
    ("entry", "claim", "hidden"),
    [
        ("api.openai.com", OPENAI, True),
        ("openai.com", OPENAI, True),
        (".openai.com", OPENAI, True),
        ("*.openai.com", OPENAI, True),
        ("com", OPENAI, True),
        ("*", OPENAI, True),
        ("API.OpenAI.com.", OPENAI, True),
        ("api.openai.com:443", OPENAI, True),
        ("api.openai.com:8443", OPENAI, False),
        ("https://api.openai.com", OPENAI, True),
        ("evilopenai.com", OPENAI, False),
        ("api.openai.com.corp", OPENAI, False),
        ("penai.com", OPENAI, False),
        ("eu.api.openai.com", OPENAI, False),
        ("10.0.0.0/8", OPENAI, False),
        ("", OPENAI, False),
        (".", OPENAI, False),
        ("team.openai.azure.com", AZURE, True),
        ("azure.com", AZURE, True),
        ("blob.core.windows.net", AZURE, False),
        ("127.0.0.1", OLLAMA_IP, True),
        ("127.0.0.0/8", OLLAMA_IP, True),
        ("127.0.0.1:11434", OLLAMA_IP, True),
        ("127.0.0.1:5432", OLLAMA_IP, False),
        ("10.0.0.0/8", OLLAMA_IP, False),
        ("::1", ("::1", 11434), True),
        ("[::1]", ("::1", 11434), True),
        ("[::1]:11434", ("::1", 11434), True),
        ("[::1]:1", ("::1", 11434), False),
        ("fe80::/10", ("::1", 11434), False),
        ("10.0.0.0/8", ("*", 443), True),
        ("10.1.2.3", ("10.*", 443), True),
    ],
)
def test_hides(entry: str, claim: Claim, *, hidden: bool) -> None:
    """An entry is read in the widest way that any client reads it."""
    assert hides(entry, claim) is hidden


@given(st.text(max_size=40))
def test_no_entry_of_no_proxy_is_too_odd(entry: str) -> None:
    """NO_PROXY holds whatever people typed."""
    for claim in (OPENAI, AZURE, OLLAMA, OLLAMA_IP):
        assert hides(entry, claim) in (True, False)
    made({"NO_PROXY": entry.replace("\0", "")})


@given(st.text("ab.", max_size=6), st.lists(st.sampled_from(["a", "b", ".", "*", "?"]), max_size=5).map("".join))
def test_overlap_finds_what_matches(text: str, glob: str) -> None:
    """A plain text overlaps with a glob exactly if it matches; and overlapping has no direction."""
    from fnmatch import fnmatchcase

    assert overlap(text, glob) == fnmatchcase(text, glob)
    assert overlap(glob, text) == overlap(text, glob)
    assert overlap(glob, glob)


def test_every_trust_variable_names_its_bundle() -> None:
    """Whatever the user's variables named before, the bundle holds it."""
    values = made({"SSL_CERT_FILE": "/old.pem", "REQUESTS_CA_BUNDLE": "/old.pem"}).values
    assert {name: values[name] for name in BUNDLES} == {name: str(path) for name, path in BUNDLES.items()}
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "AWS_CA_BUNDLE"):
        assert name in BUNDLES
    assert "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH" in BUNDLES


def test_ssl_cert_dir_does_not_defeat_the_bundle() -> None:
    """A client that prefers the folder would not find our CA in it."""
    assert "SSL_CERT_DIR" not in made({"SSL_CERT_DIR": "/etc/ssl/certs"}).values


def test_node_is_told_to_read_the_proxy_variables() -> None:
    """Node's fetch ignores them unless asked."""
    assert made({}).values["NODE_USE_ENV_PROXY"] == "1"


def test_a_key_that_the_rules_inject_does_not_enter_the_program() -> None:
    """An SDK finds a placeholder where the key stood; a variable that is not set stays unset."""
    child = made({"OPENAI_API_KEY": "sk-fake-canary", "EMPTY": ""}, withheld=("OPENAI_API_KEY", "ABSENT", "EMPTY"))
    assert child.values["OPENAI_API_KEY"] == "sk-placeholder"
    assert "ABSENT" not in child.values
    assert child.values["EMPTY"] == ""
    assert "canary" not in repr(child)


def test_everything_else_is_left_alone() -> None:
    """A pure function: the given environment is not changed, and foreign variables pass through."""
    environ = {"PATH": "/bin", "LANG": "C", "HTTPS_PROXY": "http://corp:3128", "OPENAI_BASE_URL": "https://x.test"}
    before = dict(environ)
    values = made(environ).values
    assert environ == before
    assert {name: values[name] for name in ("PATH", "LANG", "OPENAI_BASE_URL")} == {
        name: before[name] for name in ("PATH", "LANG", "OPENAI_BASE_URL")
    }


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, None),
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTP_PROXY": "http://corp:3128"}, None),
        ({"HTTPS_PROXY": "http://corp:3128"}, "HTTPS_PROXY"),
        ({"https_proxy": "http://corp:3128", "HTTPS_PROXY": "x"}, "https_proxy"),
        ({"all_proxy": "socks5://corp"}, "all_proxy"),
    ],
)
def test_own_proxy(environ: dict[str, str], name: str | None) -> None:
    """The user's own proxy is told by its variable, never by its value, which may hold a password."""
    assert own_proxy(environ) == name
