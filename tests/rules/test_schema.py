"""The schema as a whole: every field has a decision, every decision is true, and the checked-in files follow it."""

import json
import re
from pathlib import Path

import pytest

from interpose.formats import FORMATS
from interpose.formats.hosts import KNOWN_HOSTS
from interpose.rules import support
from interpose.rules.check import check
from interpose.rules.compiled import Rules
from interpose.rules.load import load, parse
from interpose.rules.problem import RulesError
from interpose.rules.relations import DIALECTS
from interpose.rules.schema import ProviderSpec, fields, json_schema
from interpose.rules.support import CARRIED_OUT, UNSUPPORTED, Pattern, Unsupported

RULES = Path(__file__).parents[2] / "rules"
ALL = tuple(fields())
LEAVES = [path for path in ALL if not any(other[: len(path)] == path and other != path for other in ALL)]
REFUSED = [row for row in UNSUPPORTED if row.always]


def refused(path: Pattern) -> bool:
    return any(path[: len(row.path)] == row.path for row in REFUSED)


def dotted(path: Pattern) -> str:
    return ".".join(path)


@pytest.mark.parametrize("path", LEAVES, ids=dotted)
def test_every_field_has_exactly_one_decision(path: Pattern) -> None:
    """A field of the schema is carried out or refused by name: none is read and forgotten."""
    assert (path in CARRIED_OUT) != refused(path), f"{dotted(path)} needs a row in rules/support.py"


def test_decisions_are_about_fields_that_exist() -> None:
    """Neither table has a row for a field that the schema does not know."""
    assert {dotted(path) for path in CARRIED_OUT} <= {dotted(path) for path in LEAVES}
    assert {dotted(row.path) for row in UNSUPPORTED} <= {dotted(path) for path in ALL}


DIGEST = "ab" * 32


def test_a_value_that_is_not_carried_out_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a field that is carried out for others; there is none at present, and the next one is told like this."""
    row = Unsupported(("alerts", "min_requests"), lambda value: value == 7, "an alert after seven calls", "write 8")
    monkeypatch.setattr(support, "UNSUPPORTED", (row,))
    alerts = "version: 1\nalerts: [{name: a, when: requests > 1, notify: log, min_requests: %d}]\n"
    assert parse(alerts % 8, "r.yaml", tmp_path).alerts
    with pytest.raises(RulesError) as caught:
        parse(alerts % 7, "r.yaml", tmp_path)
    (problem,) = caught.value.problems
    assert (problem.message, problem.hint) == ("an alert after seven calls is not supported in this version", "write 8")
    assert not row.always


def test_the_checked_in_json_schema_is_current() -> None:
    """rules/schema.json is what `python -m interpose.rules.schema` prints."""
    assert json.loads((RULES / "schema.json").read_text()) == json_schema()


def test_the_formats_are_those_of_the_program() -> None:
    """A provider's format is one of the formats that the program speaks, and every one of them can be named."""
    assert set(ProviderSpec.model_json_schema()["properties"]["format"]["enum"]) == set(FORMATS)


def test_every_dialect_of_the_known_hosts_can_be_named() -> None:
    """A dialect that the table of hosts speaks of is one that rules accept for that format."""
    spoken = {(row.dialect, row.format) for row in KNOWN_HOSTS if row.dialect is not None}
    assert [(dialect, format_) for dialect, format_ in spoken if format_ not in DIALECTS.get(dialect, ())] == []


def test_the_default_rules_are_what_their_file_says() -> None:
    """rules/default.yaml and the built-in default are the same rules, version included, and act on nothing."""
    written = load(RULES / "default.yaml")
    assert written == Rules.default()
    assert written.version == Rules.default().version
    assert written.audit_only


@pytest.mark.parametrize("path", sorted(RULES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_are_sound(path: Path) -> None:
    """Every rules file that comes with the program loads without a problem, a warning or a note."""
    assert check(path) == []


def test_the_comments_of_the_default_file_are_sound_rules(tmp_path: Path) -> None:
    """What default.yaml invites to uncomment loads when it is uncommented."""
    commented = re.compile(r"( *)# ( *(?:- )?\{?[a-z_]+:(?: .*)?)")
    written = (RULES / "default.yaml").read_text().split("version: 1\n", 1)[1]
    lines = (commented.fullmatch(line) for line in written.splitlines())
    text = "version: 1\n" + "\n".join(
        offered[1] + offered[2] if offered else line for offered, line in zip(lines, written.splitlines(), strict=True)
    )
    text = text.replace('"…"', f'"{DIGEST}"')
    rules = parse(text, "r.yaml", tmp_path)
    assert len(rules.providers) == len(rules.routes) == len(rules.clients.keys) == 1
    assert rules.intercept.hosts is not None
    assert rules.intercept.placeholders == {"sk-dummy"}
