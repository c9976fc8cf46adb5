"""The words of `capabilities`: what each does to a model, and how a wrong one is refused."""

import re
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from interpose.formats.capabilities import Capabilities, capabilities_of
from interpose.ir.blocks import Media
from interpose.rules.abilities import CACHE_FIELDS, FLAGS, MEDIA, PATTERN, THINKING, VALUED
from interpose.rules.load import parse
from interpose.rules.problem import RulesError

WORDS = [
    ("max_output=8192", Capabilities(max_output=8192)),
    ("no-sampling", Capabilities(sampling=False)),
    ("sampling", Capabilities()),
    ("thinking=none", Capabilities(thinking="none")),
    ("thinking=budget", Capabilities(thinking="budget")),
    ("thinking=effort", Capabilities(thinking="effort")),
    ("thinking=adaptive", Capabilities(thinking="adaptive")),
    ("system_inside", Capabilities(system_inside=True)),
    ("no-system_inside", Capabilities()),
    ("prefill", Capabilities()),
    ("no-prefill", Capabilities(prefill=False)),
    ("tools", Capabilities()),
    ("no-tools", Capabilities(tools=False)),
    ("media=none", Capabilities(media=frozenset())),
    ("media=audio", Capabilities(media=frozenset(("audio",)))),
    ("media=image+document+video", Capabilities(media=frozenset(("image", "document", "video")))),
    ("no-sampling_thinking", Capabilities(sampling_thinking=False)),
    ("sampling_thinking", Capabilities()),
    ("no-forced", Capabilities(forced=False)),
    ("forced", Capabilities()),
    ("budgets=0-24576", Capabilities(budgets=(0, 24_576))),
    ("efforts=high", Capabilities(efforts=("high",))),
    ("efforts=none+low+xhigh", Capabilities(efforts=("none", "low", "xhigh"))),
    ("cache_field=cache_control", Capabilities(cache_field="cache_control")),
    ("cache_field=prompt_cache_breakpoint", Capabilities(cache_field="prompt_cache_breakpoint")),
    ("cache_field=none", Capabilities()),
]


def said(words: str, model: str = "mine") -> list[str]:
    text = f"version: 1\ncapabilities:\n  {model}: {words}\n"
    with pytest.raises(RulesError) as caught:
        parse(text, "r.yaml", Path("/etc/rules"))
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(("word", "expected"), WORDS)
def test_a_word_says_one_thing_of_a_model(word: str, expected: Capabilities) -> None:
    """Alone or in a list, each word sets its field; editors accept it too."""
    for written in (word, f"[{word}]"):
        rules = parse(f"version: 1\ncapabilities: {{mine: {written}}}\n", "r.yaml", Path("/etc/rules"))
        assert capabilities_of("mine", rules.capabilities) == expected
    assert re.search(PATTERN, word)


def test_every_field_has_its_words() -> None:
    """All that is known of a model can be said in rules, with all the values that the codecs know."""
    hints = get_type_hints(Capabilities)
    assert {*VALUED, *(name for name, _ in FLAGS.values())} == set(hints)
    assert set(THINKING) == set(get_args(hints["thinking"]))
    assert set(MEDIA) == set(get_args(get_type_hints(Media)["kind"]))
    assert set(CACHE_FIELDS) == {word for part in get_args(hints["cache_field"]) for word in get_args(part)}


def test_words_change_what_they_name_and_globs_come_after_names() -> None:
    """The rest of a known model stays; a name goes before a glob, a longer glob before a shorter one."""
    text = "version: 1\ncapabilities: {'*': no-tools, 'claude-*': no-prefill, claude-sonnet-4-5: max_output=9}\n"
    overrides = parse(text, "r.yaml", Path("/etc/rules")).capabilities
    exact, glob, other = (capabilities_of(name, overrides) for name in ("claude-sonnet-4-5", "claude-haiku-4-5", "x"))
    assert (exact.max_output, exact.prefill, exact.tools, exact.cache_field) == (9, True, True, "cache_control")
    assert (glob.max_output, glob.prefill, glob.tools) == (64_000, False, True)
    assert other == Capabilities(tools=False)


WRONG = [
    ("no-samplin", 'r.yaml:3:9: capabilities.mine: "no-samplin" is no capability; did you mean "no-sampling"?'),
    (
        "[tools, max_outptu=1]",
        'r.yaml:3:17: capabilities.mine[1]: "max_outptu=1" is no capability; did you mean "max_output"?',
    ),
    ("thinking=adaptiv", 'r.yaml:3:9: capabilities.mine: "adaptiv" is not known here; did you mean "adaptive"?'),
    (
        "media=image+pictures",
        'r.yaml:3:9: capabilities.mine: "pictures" is not known here; known are image, document, audio, video',
    ),
    ("media=", 'r.yaml:3:9: capabilities.mine: "" is not known here; known are image, document, audio, video'),
    ("media=image+none", 'r.yaml:3:9: capabilities.mine: "none" is not known here'),
    ("max_output=8k", 'r.yaml:3:9: capabilities.mine: "8k" is no number of tokens; write for example max_output=8192'),
    ("max_output=0", 'r.yaml:3:9: capabilities.mine: "0" is no number of tokens'),
    ("max_output=٣", 'r.yaml:3:9: capabilities.mine: "٣" is no number of tokens'),
    ("max_output", 'r.yaml:3:9: capabilities.mine: "max_output" has no value; write max_output=…'),
    ("tools=yes", 'r.yaml:3:9: capabilities.mine: "tools" takes no value; write tools or no-tools'),
    (
        "cache_field=cachecontrol",
        'r.yaml:3:9: capabilities.mine: "cachecontrol" is not known here; did you mean "cache_control"?',
    ),
    ("zzz", 'r.yaml:3:9: capabilities.mine: "zzz" is no capability; known are max_output=…, thinking=…'),
    ("[tools, no-tools]", 'r.yaml:3:9: capabilities.mine: says "tools" and "no-tools"; leave one of them out'),
    ("[media=audio, media=image]", 'r.yaml:3:9: capabilities.mine: says "media=audio" and "media=image"'),
    ("[]", "r.yaml:3:9: capabilities.mine: is empty"),
    ("{max_output: 8192}", "r.yaml:3:9: capabilities.mine: expected text, got a mapping"),
    ("8192", "r.yaml:3:9: capabilities.mine: expected text, got a number"),
]


@pytest.mark.parametrize(("words", "problem"), WRONG)
def test_a_wrong_word_is_named_where_it_stands(words: str, problem: str) -> None:
    """The problem has the word's line and column, and says what to write instead."""
    (found,) = said(words)
    assert found.startswith(problem)
    assert not re.search(PATTERN, words.strip("[]"))


def test_the_name_of_a_model_is_a_glob() -> None:
    """What reads like a regular expression is refused, as everywhere in rules."""
    (found,) = said("tools", '"^gpt"')
    assert "this looks like a regular expression" in found
