"""The index finds every rule that takes a call, in order, and asks few of those that do not."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from interpose.rules.compiled import Limit, Route, Rules, Target
from interpose.rules.facts import Facts
from interpose.rules.index import WORTH_IT, Index
from interpose.rules.matching import Match
from interpose.rules.patterns import AnyOf, Networks, parsed_network

from .test_match import CALL, any_of, nets

# Few letters, so that conditions and calls meet.
WORD = st.text("ab", min_size=1, max_size=3)
GLOB = st.one_of(WORD, st.text("ab*?", min_size=1, max_size=4), st.sampled_from(["[ab]b", "a[!b]*", "*"]))
IP = st.sampled_from(["10.1.2.3", "10.1.9.9", "11.0.0.1", "fd00::1", "fe80::1%eth0", "::ffff:10.1.2.3", "nonsense"])
NETWORKS = st.lists(
    st.sampled_from(["10.1.2.3", "10.1.0.0/16", "0.0.0.0/0", "fd00::/8", "::/0", "::1"]), min_size=1, max_size=2
).map(lambda texts: nets(*texts))


def patterns(*, fold: bool = False) -> st.SearchStrategy[AnyOf | None]:
    return st.one_of(st.none(), st.lists(GLOB, min_size=1, max_size=3).map(lambda texts: any_of(*texts, fold=fold)))


MATCHES = st.builds(
    Match,
    endpoint=patterns(),
    host=patterns(fold=True),
    model=patterns(),
    client=patterns(),
    ip=st.one_of(st.none(), NETWORKS),
    header=st.lists(st.tuples(st.sampled_from(["x-a", "x-b"]), GLOB.map(any_of)), max_size=2, unique_by=lambda x: x[0])
    .map(tuple),
    method=patterns(fold=True),
    path=patterns(),
    stream=st.sampled_from([None, True, False]),
    app=patterns(),
)  # fmt: skip


@st.composite
def calls(draw: st.DrawFn) -> Facts:
    texts = {name: draw(WORD) for name in ("endpoint", "host", "path")}
    unsure = {name: draw(st.none() | WORD) for name in ("model", "client", "app")}
    headers = draw(st.dictionaries(st.sampled_from(["x-a", "x-b"]), WORD))
    method = draw(WORD).upper()
    return replace(CALL, **texts, **unsure, method=method, ip=draw(IP), header=headers.get)  # type: ignore[arg-type]


@given(st.lists(MATCHES, min_size=WORTH_IT, max_size=3 * WORTH_IT), calls())
def test_all_are_found(matches: list[Match], call: Facts) -> None:
    """Who takes a call is among the candidates, and these come in order and once."""
    found = list(Index(matches).candidates(call))
    assert found == sorted(set(found))
    assert {number for number, match in enumerate(matches) if match.reason(call) is None} <= set(found)


@given(st.lists(MATCHES, min_size=WORTH_IT, max_size=3 * WORTH_IT), MATCHES)
def test_all_that_cover_are_found(matches: list[Match], narrow: Match) -> None:
    """Who covers some conditions is among those that the index names as wider."""
    found = list(Index([*matches, narrow]).wider(narrow))
    assert found == sorted(set(found))
    assert {number for number, match in enumerate(matches) if match.covers(narrow)} <= set(found)
    assert len(matches) in found


def test_few_are_asked() -> None:
    """Of ten thousand rules, a call meets its own, those of its networks and those that cannot be filed."""
    matches = [
        *(Match(endpoint=any_of("chat"), client=any_of(f"team-{number}")) for number in range(5_000)),
        *(Match(endpoint=any_of("chat"), model=any_of(f"model-{number}-*")) for number in range(3_000)),
        *(Match(ip=nets(f"10.{number // 256}.{number % 256}.0/24")) for number in range(2_000)),
        Match(model=any_of("*-mini")),
        Match(stream=True),
    ]
    call = replace(CALL, client="team-4711", model="model-99-mini", ip="10.1.4.9")
    assert list(Index(matches).candidates(call)) == [4711, 5_099, 8_260, 10_000, 10_001]


def test_what_is_shared_is_not_filed_under() -> None:
    """A rule stands under the condition that the fewest others have, wherever it is in the table of fields."""
    matches = [Match(client=any_of("ci"), host=any_of(f"host-{number}", fold=True)) for number in range(100)]
    assert list(Index(matches).candidates(replace(CALL, client="ci", host="host-7"))) == [7]


def test_unknown_values_find_nothing() -> None:
    """A call whose client is not known meets no rule that is filed under clients, only `*`, which then says no."""
    matches = [*(Match(client=any_of(f"c{number}")) for number in range(20)), Match(client=any_of("*"))]
    assert list(Index(matches).candidates(replace(CALL, client=None))) == [20]


@given(st.lists(MATCHES, max_size=3 * WORTH_IT), calls())
def test_rules_go_by_it(matches: list[Match], call: Facts) -> None:
    """Routes and limits that are found by the index are those that asking each would find."""
    routes = tuple(Route(f"r{number}", match, None, (Target("p"),)) for number, match in enumerate(matches))
    limits = tuple(Limit(f"l{number}", match, None) for number, match in enumerate(matches))
    rules = Rules("v", routes=routes, limits=limits)
    assert [each for each in rules.routes_for(call) if each.reason(call) is None] == [
        each for each in routes if each.reason(call) is None
    ]
    assert list(rules.limits_on(call)) == [each for each in limits if each.takes(call)]


def test_networks_within_each_other() -> None:
    """An address is found in every network that holds it, of either version."""
    texts = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "11.0.0.0/8", "::/0", "fd00::/8"]
    matches = [Match(ip=Networks((parsed_network(text),))) for text in texts * 2]
    index = Index(matches)
    assert list(index.candidates(replace(CALL, ip="10.1.2.3"))) == [0, 1, 2, 6, 7, 8]
    assert list(index.candidates(replace(CALL, ip="fd00::7"))) == [4, 5, 10, 11]
