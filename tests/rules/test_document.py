"""YAML as rules read it: 1.2 scalars, places, and hostile texts that must end as one clear problem."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpose.rules.document import MAX_CHARACTERS, Document, read


def said(text: str) -> list[str]:
    return [str(problem) for problem in read(text, "r.yaml").problems]


SCALARS = [
    ("a: on", "on"),
    ("a: no", "no"),
    ("a: Yes", "Yes"),
    ("a: 2027-01-01", "2027-01-01"),
    ("a: 12:30:45", "12:30:45"),
    ("a: 1_000", "1_000"),
    ("a: 010", 10),
    ("a: 0x10", 16),
    ("a: 0o10", 8),
    ("a: true", True),
    ("a: FALSE", False),
    ("a: ~", None),
    ("a:", None),
    ("a: 1.5e3", 1500.0),
    ("a: .inf", ".inf"),
    ("a: '1'", "1"),
    ("a: !!str 1", "1"),
    ('a: "<<"', "<<"),
]


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    """`on`, `no`, dates and sexagesimal numbers are text; true, 1 and null are what they look like."""
    document = read(text, "r.yaml")
    assert document.problems == []
    assert document.data == {"a": value}
    assert type(document.data["a"]) is type(value)


@pytest.mark.parametrize("key", ["on", "no", "404", "true", "1.5", "null"])
def test_keys_are_text_as_written(key: str) -> None:
    """A key that looks like another type is a name all the same: `retry.on` is not `retry.True`."""
    assert read(f"{key}: 1", "r.yaml").data == {key: 1}


BROKEN = [
    ("a: 1\n\tb: 2", "r.yaml:2:1: is not valid YAML: a tab, where YAML allows only spaces; indent with spaces"),
    ("a: b: c", "r.yaml:1:5: is not valid YAML: a colon where no key can stand; "
     "check the indentation, or quote the text"),
    ("a: *b", "r.yaml:1:4: is not valid YAML: an alias (*name) without its anchor (&name); "
     'quote text that begins with "*"'),
    ("a: *.test", "r.yaml:1:5: is not valid YAML: an unfinished alias; " 'quote text that begins with "*"'),
    ("a: 'b", "r.yaml:1:6: is not valid YAML: a quoted text that never ends"),
    ("a: [1", "r.yaml:1:6: is not valid YAML: a bracket or brace that is not closed, or a missing comma"),
    ("a: 1\n---\na: 2", "r.yaml:2:1: is not valid YAML: a second YAML document; one file holds one document: "
     "remove the ---"),
    ("a: 1\na: 2\na: 3", "r.yaml:2:1: a: is given twice; the first is in line 1"),
    ("a:\n  b: 1\n  b: 2", "r.yaml:3:3: a.b: is given twice; the first is in line 2"),
    ("a: !!python/object:os.system x", "r.yaml:1:4: a: has the YAML tag !!python/object:os.system, "
     "which rules do not use; remove the tag"),
    ("a: !secret x", "r.yaml:1:4: a: has the YAML tag !secret, which rules do not use; remove the tag"),
    ("a: !!set {x}", "r.yaml:1:4: a: has the YAML tag !!set, which rules do not use; remove the tag"),
    ("a: !!int x", "r.yaml:1:4: a: cannot be read as int"),
    ("a: &a [*a]", "r.yaml:1:4: a[0]: contains itself through an alias"),
    ("? [a]\n: 1", "r.yaml:1:3: has a key that is empty or not text"),
    ("'': 1", "r.yaml:1:1: has a key that is empty or not text"),
    ("a:\n  <<: 1", "r.yaml:2:7: a[\"<<\"]: merges something that is no mapping; write <<: *anchor"),
    ("a: b\x00c", "r.yaml:1:5: contains a character that YAML does not allow (a control character or broken encoding)"),
    ("x: 1\na: \x1b[31m", "r.yaml:2:4: contains a character that YAML does not allow "
     "(a control character or broken encoding)"),
    ("a: " + "9" * 5000, "r.yaml:1:4: a: cannot be read as int"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BROKEN, ids=[expected[:60] for _, expected in BROKEN])
def test_broken_texts_are_named_in_plain_words(text: str, expected: str) -> None:
    """Each mistake is one line with its place, and says nothing in the parser's jargon."""
    assert expected in said(text)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{a: " * 100_000,
        "- " * 100_000,
        "a: " + "[" * 60 + "]" * 60,
        "a: &a [x]\n" + "\n".join(f"b{i}: &b{i} [{', '.join([f'*b{i - 1}' if i else '*a'] * 10)}]" for i in range(12)),
        "a: &m0 {k: 1}\n" + "\n".join(f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 10)}]}}" for i in range(1, 12)),
        "a: &m0 {k: 1}\n" + "\n".join(f"m{i}: &m{i} {{<<: *m{i - 1}, k{i}: 1}}" for i in range(1, 3000)),
        "x" * (MAX_CHARACTERS + 1),
    ],
    ids=["brackets", "braces", "dashes", "deep", "aliases", "merges", "merge chain", "long"],
)
def test_bombs_end_as_one_problem(text: str) -> None:
    """Depth, aliases and merges that would never end are cut off and said once."""
    assert len(said(text)) == 1


def test_anchors_and_merge_keys_work_without_overriding() -> None:
    """`<<: *a` gives what the mapping does not say itself, and is not taken for a duplicate."""
    document = read("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [*a, {z: 4, x: 9}]}\n", "r.yaml")
    assert document.problems == []
    assert document.data == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2, "z": 4}}


def test_places_are_those_of_keys_and_values() -> None:
    """A place counts lines and columns from one; of what is missing, it is what stands around it."""
    document = read("a:\n  b: [1, {c: 2}]\n", "r.yaml")
    place = document.place(("a", "b", 1, "c"))
    assert (place.line, place.column, place.path) == (2, 14, "a.b[1].c")
    assert document.place(("a", "b", 1, "c"), key=True).column == 11
    assert document.place(("a", "b", 1, "d")).column == 10
    assert document.place(("zzz",)).line == 1


def test_a_single_value_in_place_of_a_list_has_no_index() -> None:
    """A validator's index into a list of one is not shown where the text has no list."""
    document = read("to: {provider: x}\nmany: [1]\n", "r.yaml")
    assert document.real_path(("to", 0, "provider")) == ("to", "provider")
    assert document.real_path(("to", 0, "model")) == ("to", "model")
    assert document.real_path(("many", 0)) == ("many", 0)


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("ab01:-[]{}&*!|>'\"#%@`,? \n\t~<\x00é\u2028\ufeff"), max_size=60))
def test_any_text_is_data_or_problems(text: str) -> None:
    """Reading never raises, and what cannot be read is always said."""
    document = read(text, "r.yaml")
    assert isinstance(document, Document)
    assert all(problem.line >= 1 and problem.column >= 1 and "\n" not in str(problem) for problem in document.problems)
