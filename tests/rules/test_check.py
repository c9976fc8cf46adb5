"""`check`: problems, and what is odd about rules that can be used."""

from collections.abc import Callable
from pathlib import Path

import pytest

from interpose.rules.check import check

Said = Callable[[str], list[str]]
HEAD = "version: 1\nproviders:\n  p: {format: openai, base_url: https://a.test/v1}\n"


@pytest.fixture
def said(tmp_path: Path) -> Callable[[str], list[str]]:
    def said(text: str) -> list[str]:
        path = tmp_path / "r.yaml"
        path.write_text(text)
        return [str(problem).removeprefix(f"{tmp_path}/") for problem in check(path)]

    return said


def routes(*matches: str) -> str:
    entries = (f"- {{name: r{index}, to: {{provider: p}}, {match}}}\n" for index, match in enumerate(matches))
    return f"{HEAD}routes:\n{''.join(entries)}"


def test_a_file_that_cannot_be_loaded_gives_its_problems(said: Said, tmp_path: Path) -> None:
    """The problems are those of loading, as values and not as an exception."""
    assert said("version: 1\na: 1\n") == ["r.yaml:2:1: a: unknown key"]
    assert [problem.message for problem in check(tmp_path / "none.yaml")] == ["there is no such file"]


UNREACHED = [
    ("match: {}", "match: {endpoint: chat}"),
    ("match: {endpoint: chat}", "match: {endpoint: chat}"),
    ("match: {model: 'gpt-*'}", "match: {model: [gpt-4, gpt-5], client: ci}"),
    ("match: {host: A.test}", "match: {host: a.test}"),
    ("except: {client: ci}", "except: {client: ci}, match: {endpoint: chat}"),
]
REACHED = [
    ("match: {endpoint: chat}", "match: {}"),
    ("match: {endpoint: chat}, except: {client: ci}", "match: {endpoint: chat}"),
    ("match: {model: gpt-4}", "match: {model: 'gpt-*'}"),
    ("match: {ip: 10.0.0.0/8}", "match: {ip: 11.0.0.0/8}"),
]


@pytest.mark.parametrize(("first", "second"), UNREACHED)
def test_a_route_behind_a_wider_one_is_never_reached(said: Said, first: str, second: str) -> None:
    """The warning stands at the route that is lost, and names the one that takes its calls."""
    (only,) = said(routes(first, second))
    assert only.startswith('r.yaml:6:3: routes[1]: warning: is never reached: the route "r0" above takes all its calls')


@pytest.mark.parametrize(("first", "second"), REACHED)
def test_a_route_that_may_be_reached_is_left_alone(said: Said, first: str, second: str) -> None:
    """No warning without certainty."""
    assert said(routes(first, second)) == []


def test_a_provider_that_no_route_names_is_noted(said: Said) -> None:
    """With routes, a provider that none of them uses is odd; without any, it serves its own origin."""
    other = "  q: {format: openai, base_url: https://b.test/v1}\n"
    assert said(f"{HEAD}{other}") == []
    (note,) = said(f"{HEAD}{other}routes: [{{name: r, to: {{provider: p}}}}]\n")
    assert note.startswith("r.yaml:4:3: providers.q: note: no route and no model names this provider")
    # The gateway finds it by the model's name all the same.
    assert note.endswith("and at the gateway models of its maker and PROVIDER/MODEL")


def limits(*entries: str) -> str:
    return f"{HEAD}limits:\n" + "".join(f"- {{name: l{index}, {entry}}}\n" for index, entry in enumerate(entries))


VAIN = [
    ("match: {larger_than: 5kB, smaller_than: 5000B}", "match.smaller_than: warning: takes no call"),
    ("match: {larger_than: 99 tokens, smaller_than: 100 tokens}", "match.smaller_than: warning: takes no call"),
    ("match: {client: ci, model: gpt-4}, except: {stream: true, client: [ci, cd]}", "except.client: warning: excepts"),
    ("match: {model: 'gpt-*'}, except: {model: 'gpt-*'}", "except.model: warning: excepts every call"),
]
NOT_VAIN = [
    "match: {larger_than: 5kB, smaller_than: 6kB}",
    "match: {larger_than: 5kB, smaller_than: 10 tokens}",
    "match: {client: [ci, cd]}, except: {client: ci}",
    "match: {client: ci}, except: {model: gpt-4}",
    "match: {header: {x-a: b}}, except: {header: {x-a: b, x-c: d}}",
]


@pytest.mark.parametrize(("entry", "what"), VAIN)
def test_conditions_that_hold_for_no_call_are_told(said: Said, entry: str, what: str) -> None:
    """A route or a limit that takes no call has the line of the condition that makes it so."""
    (only,) = said(routes(entry))
    assert only.startswith("r.yaml:5:")
    assert f"routes[0].{what}" in only
    (only,) = said(limits(f"requests: 1/minute, {entry}"))
    assert f"limits[0].{what}" in only


@pytest.mark.parametrize("entry", NOT_VAIN)
def test_conditions_that_may_hold_are_left_alone(said: Said, entry: str) -> None:
    """No warning without certainty."""
    assert said(routes(entry)) == []


def test_a_host_that_is_not_intercepted_takes_no_call(said: Said) -> None:
    """Rules for a host that the same file leaves undecrypted are told, globs and known hosts aside."""
    text = routes("match: {host: b.test}", "match: {host: ['*.b.test', c.test]}", "match: {host: [A.test, c.test]}")
    (only,) = said(f"{text}intercept: {{hosts: [a.test]}}\n")
    assert only.startswith("r.yaml:5:47: routes[0].match.host: warning: is a host that is not intercepted")


UNFELT = [
    ("requests: 20/minute", "requests: 21/minute"),
    ("requests: 20/minute", "requests: 20/minute"),
    ("requests: 20/minute", "requests: 1200/hour"),
    ("requests: 20/minute, per: client", "requests: 30/minute, per: [client, ip], match: {endpoint: chat}"),
    ("tokens: 100/minute", "tokens: 200/minute, match: {model: gpt-4}"),
    ("concurrent: 4", "concurrent: 8, per: ip"),
    ("requests: 20/minute, except: {client: ci}", "requests: 20/minute, except: {client: ci}, match: {endpoint: chat}"),
]
FELT = [
    ("requests: 20/minute, per: ip", "requests: 19/minute, per: client"),
    ("requests: 20/minute", "requests: 1199/hour"),
    ("requests: 1000/hour", "requests: 100/minute"),
    ("requests: 20/minute, per: [client, ip]", "requests: 30/minute, per: client"),
    ("requests: 20/minute, match: {model: gpt-4}", "requests: 30/minute"),
    ("requests: 20/minute, except: {client: ci}", "requests: 30/minute"),
    ("requests: 20/minute", "tokens: 30/minute"),
    ("concurrent: 4", "requests: 1/minute"),
    # Each attempt of a hedged call counts there, the call itself once.
    ("requests: 20/minute", "requests: 20/minute, per: provider"),
    ("concurrent: 4", "concurrent: 4, per: route"),
]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("tight", "loose"), UNFELT)
def test_a_limit_behind_a_tighter_one_is_never_reached(said: Said, tight: str, loose: str, *, turned: bool) -> None:
    """Of two limits that count the same calls, the looser one is told, wherever it stands; of equals, the second."""
    pair = (loose, tight) if turned else (tight, loose)
    (only,) = said(limits(*pair))
    number = 1 if tight == loose or not turned else 0
    assert f"limits[{number}]." in only
    assert f'is never reached: the limit "l{1 - number}" lets fewer through' in only


@pytest.mark.parametrize(("first", "second"), FELT)
def test_limits_that_may_both_be_reached_are_left_alone(said: Said, first: str, second: str) -> None:
    """No warning without certainty."""
    assert said(limits(first, second)) == []


FORGEABLE = [
    "match: {header: {x-team: a}}",
    "except: {header: {x-team: a}}",
    "per: header:X-Team",
    "per: [client, 'header:x-team']",
]


@pytest.mark.parametrize("entry", FORGEABLE)
def test_a_limit_by_a_header_has_to_be_meant(said: Said, entry: str) -> None:
    """What a client can make up limits nobody: that somebody trusted sets it has to be said."""
    (only,) = said(limits(f"requests: 1/minute, {entry}"))
    assert "goes by a header, which a client can make up or leave out" in only
    assert "trust_headers: true" in only
    assert said(limits(f"requests: 1/minute, trust_headers: true, {entry}")) == []


def test_a_limit_of_attempts_has_no_wait(said: Said) -> None:
    """It would never be waited for, so it is refused at the line."""
    (only,) = said(limits("concurrent: 1, per: [client, provider], wait: 5s"))
    assert only.startswith("r.yaml:5:")
    assert "limits[0].wait: cannot stand where a limit counts by provider" in only


def test_whom_a_limit_counts_is_checked(said: Said) -> None:
    """A word that names nobody is told with what was meant."""
    (only,) = said(limits("requests: 1/minute, per: [clients]"))
    assert '"clients" is nobody that a limit could count; did you mean "client"?' in only
    (only,) = said(limits("requests: 1/minute, per: 'header:', trust_headers: true"))
    assert "is not the name of a header" in only


PRICELESS = [
    ("{}", "prices.m: says neither what input nor what output costs"),
    ("{cache_read: 1}", "prices.m: says neither what input nor what output costs"),
    ("{output: 1, cache_read: 1}", "prices.m.cache_read: is a part of the input, which has no price here"),
]


@pytest.mark.parametrize(("price", "problem"), PRICELESS)
def test_a_price_that_prices_nothing_is_refused(said: Said, price: str, problem: str) -> None:
    """Half a price would make calls cost less than they do, or nothing."""
    (only,) = said(f"version: 1\nprices: {{m: {price}}}\n")
    assert problem in only


SOLD = "version: 1\nproviders:\n  o: {format: openai, base_url: https://api.openai.com/v1}\n"
SOLD += "  gateway: {format: openai, base_url: https://llm.test/v1}\n"
SOLD += "  p: {format: ollama, base_url: https://a.test}\n"


@pytest.mark.parametrize(
    ("to", "prices", "found"),
    [
        ("{provider: o, model: gpt-4o}", "", 0),
        ("{provider: o}", "", 0),
        ("{provider: o, model: my-own}", "", 1),
        ("{provider: o, model: my-own}", "prices: {my-own: {input: 1, output: 2}}\n", 0),
        ("{provider: p, model: gpt-4o}", "", 1),
        ("{provider: p}", "", 1),
        ("{provider: p}", "prices: {my-own: {input: 1, output: 2}}\n", 0),
        ("{provider: gateway, model: gpt-4o}", "", 0),
        ("{provider: gateway, model: my-own}", "", 1),
    ],
)
@pytest.mark.parametrize("budget", ["limits: [{name: spend, budget: $1/day}]\n", ""])
def test_a_budget_that_cannot_hold_is_told(said: Said, to: str, prices: str, found: int, budget: str) -> None:
    """A route to what has no known price is no matter, unless a budget is to hold it."""
    problems = said(f"{SOLD}routes: [{{name: r, to: {to}}}]\n{budget}{prices}")
    told = [problem for problem in problems if "has no known price, so no budget can hold it" in problem]
    assert len(told) == (found if budget else 0)


@pytest.mark.parametrize("entry", ["per: client", "wait: 5s", "match: {endpoint: chat}, per: [ip]"])
def test_a_limit_without_a_number_is_an_error(said: Said, entry: str) -> None:
    """It would stand there and let everything pass."""
    assert said(limits(entry)) == [
        "r.yaml:5:3: limits[0]: limits nothing; write one of requests, tokens, concurrent, budget"
    ]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("v1/chat", "begins with no slash, as every path does; write /v1/chat"),
        ("/v1/realtime?model=x", "has a query, which is no part of a path; write what stands before the ?"),
    ],
)
def test_a_path_that_no_call_has_is_an_error(said: Said, path: str, message: str) -> None:
    """Nothing would ever match it."""
    (only,) = said(limits(f"requests: 1/minute, match: {{path: '{path}'}}"))
    assert only.endswith(f"limits[0].match.path: {message}")


@pytest.mark.parametrize("path", ["/v1/*", "*/completions", "?v1", "[/]v1", "/v?/chat"])
def test_globs_of_paths_are_fine(said: Said, path: str) -> None:
    """A glob may begin with whatever stands for a slash."""
    assert said(limits(f"requests: 1/minute, match: {{path: '{path}'}}")) == []
