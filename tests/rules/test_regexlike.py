"""Regular expressions where globs belong: which are recognised, and what is said to write instead."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from interpose.rules.patterns import AnyOf, checked_glob
from interpose.rules.problem import BadValue
from interpose.rules.regexlike import GENERIC, advice, certainly, globs, likely
from interpose.rules.urls import claimed_host, host_glob

MEANT = [
    ("^gpt", ["gpt*"]),
    ("gpt$", ["*gpt"]),
    ("^gpt-4o$", ["gpt-4o"]),
    ("gpt-4.*", ["gpt-4*"]),
    ("gpt-4.+", ["gpt-4*"]),
    ("^gpt-4.*", ["gpt-4*"]),
    (".*claude.*", ["*claude*"]),
    ("(a|b)", ["a", "b"]),
    ("gpt-(4|5)o?", []),
    ("gpt-(?:4|5)", ["gpt-4", "gpt-5"]),
    ("^(gpt|o(1|3)).*$", ["gpt*", "o1*", "o3*"]),
    ("gpt-4|claude", ["gpt-4", "claude"]),
    ("gpt-*|claude-*", ["gpt-*", "claude-*"]),
    (r"\d", ["[0-9]"]),
    (r"o\d+-mini", ["o*-mini"]),
    (r"gpt-\w{2,3}", ["gpt-*"]),
    (r"gpt-4\.1", ["gpt-4.1"]),
    (r"^o[^13]$", ["o[!13]"]),
    (r"o[0-9]+", ["o*"]),
    (r".*\.openai\.com", ["*.openai.com"]),
    (r"(a|b)+", []),
    (r"(?i)gpt", []),
    (r"gpt\b", []),
    (r"a\(b", []),
    ("(a", []),
    ("(a|b)(c|d)(e|f)(g|h)", []),
    ("$", ["*"]),
]


@pytest.mark.parametrize(("text", "meant"), MEANT)
def test_the_globs_that_are_meant_are_named(text: str, meant: list[str]) -> None:
    """An expression is translated where that is plain, and never guessed at."""
    assert list(globs(text)) == meant
    assert all(checked_glob(glob) for glob in meant)


ADVICE = [
    ("^gpt", 'patterns are globs: write "gpt*"'),
    ("(a|b)", 'patterns are globs: write ["a", "b"]'),
    (r"gpt\b", GENERIC),
]


@pytest.mark.parametrize(("text", "hint"), ADVICE)
def test_what_is_no_glob_is_refused_with_the_glob_to_write(text: str, hint: str) -> None:
    """The refusal of a regular expression says what to write in its place."""
    with pytest.raises(BadValue, match="looks like a regular expression") as caught:
        checked_glob(text)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (r"api\.openai\.com", 'patterns are globs: write "api.openai.com"'),
        (r"^.*\.openai\.com$", 'patterns are globs: write "*.openai.com"'),
        ("(api|eu).openai.com", 'patterns are globs: write ["api.openai.com", "eu.openai.com"]'),
        (".+.openai.com*", 'patterns are globs: write "*.openai.com*"'),
    ],
)
def test_hosts_are_answered_alike(text: str, hint: str) -> None:
    """A regular expression over hosts gets the glob, and is not called a malformed host name."""
    with pytest.raises(BadValue) as caught:
        host_glob(text)
    assert caught.value.hint == hint
    with pytest.raises(BadValue):
        claimed_host(text)


@pytest.mark.parametrize("text", ["gpt-4.*", "claude.*", ".*", "gpt-4.*-mini", "gpt-4.+", "o[0-9]+", "claude-.*"])
def test_expressions_that_are_globs_too_are_suspected_of_models(text: str) -> None:
    """`.*` behind what no model's name has before a dot, and a plus, betray a regular expression."""
    assert likely(text, host=False)


@pytest.mark.parametrize(
    "text", ["anthropic.*", "us.anthropic.*", "ai21.*", "*.*", "gpt-4*", "gpt-4.?", "gpt-4.1*", "*"]
)
def test_ordinary_globs_over_models_are_not_suspected(text: str) -> None:
    """Bedrock's models are named provider.model; a dot with nothing or one character behind it is a dot."""
    assert not likely(text, host=False)


@pytest.mark.parametrize("text", ["*.openai.com", "bedrock-runtime.*.amazonaws.com", "api.openai.*", "*", "a.*-b.test"])
def test_ordinary_globs_over_hosts_are_not_suspected(text: str) -> None:
    """A star that stands for whole labels stands between dots."""
    assert not likely(text, host=True)


@settings(deadline=None)
@given(st.text(alphabet=r"ab4.*+?|()[]^$\d-{}1,", max_size=24))
@example("(" * 200)
@example("(a|b)" * 30)
@example("[" * 100)
@example("\\\\")
def test_any_expression_gets_usable_globs_or_none(text: str) -> None:
    """Whatever is written, each glob that is proposed is one that rules take without complaint."""
    for glob in globs(text):
        assert not certainly(glob)
        assert AnyOf((checked_glob(glob),)).texts == (glob,)
    assert "\n" not in advice(text)
