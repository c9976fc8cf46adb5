"""Matching: what each condition holds of, in which order routes are asked, and what covers what."""

import datetime
import hashlib
import ipaddress
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpose.call import Origin
from interpose.rules.compiled import ClientKey, Clients, HostPattern, Intercept, Provider, Route, Rules, Target
from interpose.rules.facts import Facts
from interpose.rules.matching import Match
from interpose.rules.patterns import AnyOf, Networks, checked_glob, household, parsed_network
from interpose.rules.problem import BadValue
from interpose.rules.urls import address, claimed_host, host_glob
from interpose.rules.values import shares


def headers(**pairs: str) -> Callable[[str], str | None]:
    return {name.replace("_", "-"): value for name, value in pairs.items()}.get


CALL = Facts(
    method="POST",
    scheme="https",
    host="api.openai.com",
    port=443,
    path="/v1/chat/completions",
    endpoint="chat",
    format="openai",
    wire="openai-chat",
    model="gpt-4o",
    client="ci",
    ip="10.1.2.3",
    entrance="intercept",
    stream=True,
    header=headers(x_team="research", user_agent="curl/8 (test)"),
    quota={None: 0.15, "openai": 0.15, "other": 0.5}.get,
)


def any_of(*texts: str, fold: bool = False) -> AnyOf:
    return AnyOf(texts, fold)


def nets(*texts: str) -> Networks:
    return Networks(tuple(map(parsed_network, texts)))


HOLD = [
    ("endpoint", any_of("chat"), any_of("embeddings")),
    ("host", any_of("API.openai.com", fold=True), any_of("api.openai.com.evil.test", fold=True)),
    ("host", any_of("*.OpenAI.com", fold=True), any_of("*.openai.co", fold=True)),
    ("model", any_of("gpt-4*", "gpt-5*"), any_of("GPT-4*")),
    ("model", any_of("gpt-4[ob]"), any_of("gpt-4[!o]")),
    ("model", any_of("gpt-?o"), any_of("gpt-")),
    ("client", any_of("ci"), any_of("c")),
    ("method", any_of("post", fold=True), any_of("get", fold=True)),
    ("path", any_of("/v1/*"), any_of("/V1/*")),
    ("stream", True, False),
    ("header", (("x-team", any_of("res*")),), (("x-team", any_of("Research")),)),
    ("header", (("user-agent", any_of("*(test)")),), (("x-none", any_of("*")),)),
    ("ip", nets("10.0.0.0/8"), nets("10.0.0.0/16", "fd00::/8")),
    ("ip", nets("10.1.2.3"), nets("10.1.2.4")),
    # 15% are left where the call goes, 50% at another provider, and of a third nobody knows.
    ("quota_below", shares("20%"), shares("15%")),
    ("quota_below", shares({"other": "51%"}), shares({"other": "50%"})),
    ("quota_below", shares({"openai": "20%", "other": "60%"}), shares({"openai": "20%", "other": "40%"})),
    ("quota_below", shares("100%"), shares({"unknown": "100%"})),
]


@pytest.mark.parametrize(("field", "good", "bad"), HOLD)
def test_a_condition_holds_or_is_named(field: str, good: object, bad: object) -> None:
    """A match gives None where it holds, else the field at fault; the same conditions negated work for `except`."""
    yes, no = (replace(Match(), **{field: value}) for value in (good, bad))
    assert yes.reason(CALL) is None
    assert no.reason(CALL) == field
    assert yes.first_holding(CALL) == field
    assert no.first_holding(CALL) is None


def test_all_fields_of_a_match_must_hold_and_the_first_that_does_not_is_named() -> None:
    """Fields are joined by and; explain names one."""
    both = Match(endpoint=any_of("chat"), model=any_of("claude-*"), client=any_of("nobody"))
    assert both.reason(CALL) == "model"
    assert Match().reason(CALL) is None


def test_an_except_bars_a_route_as_soon_as_one_of_its_fields_holds() -> None:
    """`except` means none of: its fields are joined by or."""
    route = Route("r", Match(), Match(endpoint=any_of("embeddings"), client=any_of("ci")), (Target("p"),))
    assert route.reason(CALL) == "except"
    assert route.reason(replace(CALL, client="dev")) is None
    assert Route("r", Match(model=any_of("x")), route.unless, (Target("p"),)).reason(CALL) == "model"


@pytest.mark.parametrize("field", ["model", "client", "stream"])
def test_what_is_not_known_matches_nothing(field: str) -> None:
    """A call without a known model matches no model pattern, not even *."""
    facts = replace(CALL, **{field: None})
    patterns = [True, False] if field == "stream" else [any_of("*")]
    assert all(replace(Match(), **{field: pattern}).reason(facts) == field for pattern in patterns)


@pytest.mark.parametrize("ip", ["", "nonsense", "10.1.2", "unix:", "10.1.2.3.4", "１0.1.2.3"])
def test_an_ip_that_is_none_matches_no_network(ip: str) -> None:
    """An unreadable address is outside of every network."""
    assert Match(ip=nets("0.0.0.0/0", "::/0")).reason(replace(CALL, ip=ip)) == "ip"


@pytest.mark.parametrize("ip", ["::ffff:10.1.2.3", "10.1.2.3"])
def test_mapped_addresses_are_the_same_client(ip: str) -> None:
    """A dual-stack socket's ::ffff:10.1.2.3 is 10.1.2.3."""
    assert Match(ip=nets("10.0.0.0/8")).reason(replace(CALL, ip=ip)) is None


@pytest.mark.parametrize("network", ["::ffff:10.0.0.0/104", "::ffff:10.1.2.3"])
def test_mapped_networks_are_those_of_ipv4(network: str) -> None:
    """A rule may write the addresses as a dual-stack log shows them."""
    assert Match(ip=nets(network)).reason(CALL) is None


def test_scoped_addresses_match_without_their_scope() -> None:
    """fe80::1%eth0 is in fe80::/10."""
    assert Match(ip=nets("fe80::/10")).reason(replace(CALL, ip="fe80::1%eth0")) is None


@settings(deadline=None)
@given(st.lists(st.text(max_size=8), min_size=1, max_size=4), st.text(max_size=8))
def test_texts_without_magic_are_compared_as_they_stand(texts: list[str], value: str) -> None:
    """A glob that has no magic character is plain equality."""
    plain = [text for text in texts if not set(text) & set("*?[")]
    assert AnyOf(tuple(plain)).accepts(value) == (value in plain)


SIMPLE = st.text(alphabet="ab*?", min_size=1, max_size=5)


@settings(deadline=None)
@given(st.lists(SIMPLE, min_size=1, max_size=3), st.lists(SIMPLE, min_size=1, max_size=3), st.text("ab", max_size=6))
def test_covering_is_never_wrong(wide: list[str], narrow: list[str], value: str) -> None:
    """Where one set of globs covers another, whatever the narrow one accepts, the wide one accepts."""
    one, other = AnyOf(tuple(wide)), AnyOf(tuple(narrow))
    if one.covers(other) and other.accepts(value):
        assert one.accepts(value)


def test_globs_do_not_blow_up() -> None:
    """A pathological glob answers at once."""
    assert not AnyOf(("*a" * 30 + "b",)).accepts("a" * 5000)


COVERS = [
    (Match(), Match(model=any_of("x")), True),
    (Match(model=any_of("gpt-*")), Match(model=any_of("gpt-4o", "gpt-5")), True),
    (Match(model=any_of("gpt-*")), Match(model=any_of("gpt-*"), client=any_of("ci")), True),
    (Match(model=any_of("gpt-4*")), Match(model=any_of("gpt-*")), False),
    (Match(model=any_of("gpt-4*")), Match(), False),
    (Match(stream=True), Match(stream=True), True),
    (Match(stream=True), Match(stream=False), False),
    (Match(stream=True), Match(), False),
    (Match(ip=nets("10.0.0.0/8")), Match(ip=nets("10.1.0.0/16")), True),
    (Match(ip=nets("10.1.0.0/16")), Match(ip=nets("10.0.0.0/8")), False),
    (Match(ip=nets("0.0.0.0/0")), Match(ip=nets("::/0")), False),
    (Match(header=(("x", any_of("*")),)), Match(header=(("x", any_of("a")), ("y", any_of("b")))), True),
    (Match(header=(("x", any_of("*")),)), Match(header=(("y", any_of("b")),)), False),
]


@pytest.mark.parametrize(("wide", "narrow", "covers"), COVERS)
def test_a_match_covers_another_where_that_is_certain(wide: Match, narrow: Match, covers: bool) -> None:
    """Each field of the wide match must cover the same field of the narrow one."""
    assert wide.covers(narrow) is covers


def test_keys_are_found_by_their_digest_and_expire_after_their_day() -> None:
    """A key is valid through the end of its date, UTC; an unknown one is not found; odd bytes raise nothing."""
    key = "vk-fake"
    listed = ClientKey("ci", hashlib.sha256(key.encode()).hexdigest(), any_of("gpt-*"), datetime.date(2027, 1, 31))
    clients = Clients(keys=(listed,))
    assert clients.find(key) is listed
    assert clients.find("vk-other") is None
    assert clients.find("\udcff\x00é") is None
    last = datetime.datetime(2027, 1, 31, 23, 59, 59, tzinfo=datetime.UTC).timestamp()
    assert not listed.expired(last)
    assert listed.expired(last + 1)
    assert not ClientKey("x", "0" * 64).expired(1e18)
    assert listed.may_use("gpt-4o")
    assert not listed.may_use("claude")
    assert not listed.may_use(None)
    assert ClientKey("x", "0" * 64).may_use(None)


def test_listed_hosts_are_claimed_on_their_port_alone() -> None:
    """A listed host is claimed on 443 or the port that stands with it; without a list, nothing is decided."""
    intercept = Intercept(
        tuple(HostPattern(any_of(name, fold=True), port) for name, port in (("*.a.test", 443), ("localhost", 11434)))
    )
    assert intercept.listed("x.a.test", 443) is True
    assert intercept.listed("localhost", 11434) is True
    for host, port in [("x.a.test", 8443), ("a.test", 443), ("x.a.test.evil.test", 443), ("localhost", 443)]:
        assert intercept.listed(host, port) is False
    assert Intercept().listed("a.test", 443) is None


def test_providers_are_found_by_their_origin_in_the_order_of_the_file() -> None:
    """Two providers may share an origin; another scheme or port is another origin."""
    origin = Origin("https", "a.test", 443)
    one = Provider("one", "openai", None, origin, "/v1")
    two = Provider("two", "anthropic", None, origin, "")
    rules = Rules("0", providers=MappingProxyType({"one": one, "two": two}))
    assert rules.providers_at(origin) == (one, two)
    assert rules.providers_at(Origin("http", "a.test", 443)) == ()
    assert not rules.audit_only


@pytest.mark.parametrize("text", ["", "gpt-[4", "^gpt", "gpt$", "a|b", "(a)", "a\\b", "a\nb", "[", "[!", "[]"])
def test_what_cannot_be_meant_as_a_glob_is_refused(text: str) -> None:
    """An unclosed bracket, an empty text or a regular expression is a mistake."""
    with pytest.raises(BadValue):
        checked_glob(text)


@pytest.mark.parametrize("text", ["gpt-4.*", "*", "[ab]", "[]]", "[!a]*", "[[]x", "a-b_c/d:e@f"])
def test_globs_are_taken(text: str) -> None:
    """Ordinary globs pass, odd but legal brackets included."""
    assert checked_glob(text) == text


@pytest.mark.parametrize(
    ("text", "claimed"),
    [
        ("api.openai.com", ("api.openai.com", 443)),
        ("API.OpenAI.com.", ("api.openai.com", 443)),
        ("localhost:11434", ("localhost", 11434)),
        ("[::1]:11434", ("::1", 11434)),
        ("[::1]", ("::1", 443)),
        ("*.openai.azure.com", ("*.openai.azure.com", 443)),
        ("bedrock-runtime.*.amazonaws.com", ("bedrock-runtime.*.amazonaws.com", 443)),
        ("*.lan:8000", ("*.lan", 8000)),
        ("bücher.test", ("xn--bcher-kva.test", 443)),
        ("*", ("*", 443)),
    ],
)
def test_claimed_hosts_are_canonical(text: str, claimed: tuple[str, int]) -> None:
    """Case, a trailing dot, IDN and IPv6 brackets make no difference; the port is 443 unless it is given."""
    assert claimed_host(text) == claimed


@pytest.mark.parametrize(
    "text",
    [
        "api.openai.com*",
        "*openai.com",
        "api.*",
        "a.test:0",
        "a.test:70000",
        "https://a.test",
        "a.test/v1",
        "a b",
        "a..b",
        "user@a.test",
        "\x00",
        "169.254.169.254",
        "127.1",
    ],
)
def test_hosts_that_reach_too_far_or_are_none_are_refused(text: str) -> None:
    """A glob must not match what somebody else can register, and a host is nothing but a host."""
    with pytest.raises(BadValue):
        claimed_host(text)


@pytest.mark.parametrize("text", ["a.test:443", "[::1]:443", "http://a", "a/b", ""])
def test_a_host_to_match_has_no_port_scheme_or_path(text: str) -> None:
    """match.host is a host alone."""
    with pytest.raises(BadValue):
        host_glob(text)


@pytest.mark.parametrize("text", ["a.test", "a.test:", ":443", "a.test:x", "::1:443", "a.test:443:1", "http://a:1"])
def test_an_address_needs_its_port(text: str) -> None:
    """connect_to speaks of host:port, nothing less."""
    with pytest.raises(BadValue):
        address(text)


@settings(deadline=None)
@given(st.text(max_size=20))
def test_odd_hosts_raise_bad_value_alone(text: str) -> None:
    """Whatever stands for a host, the answer is a host or a BadValue."""
    for parse in (claimed_host, host_glob, address, checked_glob):
        try:
            parse(text)
        except BadValue:
            continue


def test_host_bits_are_pointed_out() -> None:
    """10.0.0.1/8 is a slip: the message names the network that was meant."""
    with pytest.raises(BadValue) as caught:
        parsed_network("10.0.0.1/8")
    assert caught.value.hint == "did you mean 10.0.0.0/8?"
    assert parsed_network("10.0.0.0/8") == ipaddress.ip_network("10.0.0.0/8")


@pytest.mark.parametrize(
    ("wide", "narrow", "covered"),
    [
        (None, "20%", True),
        ("20%", "20%", True),
        ("30%", "20%", True),
        ("20%", "30%", False),
        ("20%", {"p": "20%"}, False),
        ({"p": "20%"}, {"p": "20%", "q": "1%"}, True),
        ({"p": "20%", "q": "1%"}, {"p": "20%"}, False),
        ("20%", None, False),
    ],
)
def test_less_of_a_quota_is_less(wide: object, narrow: object, covered: bool) -> None:
    """Whoever has less than 20% left has less than 30% left."""
    first, second = (Match(quota_below=None if given is None else shares(given)) for given in (wide, narrow))
    assert first.covers(second) is covered


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::1"),
        ("", ""),
        ("unix:", "unix:"),
    ],
)
def test_whom_an_address_stands_for(address: str, counted: str) -> None:
    """A machine has one IPv4 address, and a whole /64 of IPv6."""
    assert household(address) == counted
