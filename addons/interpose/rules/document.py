"""YAML text -> plain data, and where in the text each piece of it stands.

A safe subset of YAML: the scalars of YAML 1.2 (so `on`, `no` and dates are text, not surprises), anchors and merge
keys, no tags that build objects, no duplicate keys, bounded size. What the data means is the schema's business.

Source: https://yaml.org/spec/1.2.2/#103-core-schema, https://yaml.org/type/merge.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import yaml

from .problem import Path, Place, Problem, printable, written

MAX_CHARACTERS = 1 << 20
MAX_NODES = 100_000  # after aliases are expanded: a few lines of YAML can otherwise stand for billions of nodes
MAX_DEPTH = 50

_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """PyYAML's parser with the plain scalars of YAML 1.2 in place of those of 1.1."""

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 — PyYAML's own


for _kind, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("merge", r"<<", "<"),
):
    # PyYAML files the empty scalar under "".
    _Loader.add_implicit_resolver(
        f"{_TAG}{_kind}", re.compile(rf"(?:{_pattern})\Z"), ["" if c == "\0" else c for c in _first]
    )


@dataclass(slots=True)
class Document:
    """The data of one file, with the place of each key and value. `data` is None where nothing could be read."""

    file: str
    data: object = None
    problems: list[Problem] = field(default_factory=list)
    keys: dict[Path, yaml.Mark] = field(default_factory=dict)
    values: dict[Path, yaml.Mark] = field(default_factory=dict)
    _reported: set[Path] = field(default_factory=set)

    def real_path(self, location: tuple[int | str, ...]) -> Path:
        """A validator's location as a path that exists in the data, as far as it does.

        A single value that stands for a list of one has an index 0 in locations, which the text has not.
        """
        path: Path = ()
        here = self.data
        for step in location:
            if isinstance(here, dict) and step in here:
                here = here[str(step)]
            elif isinstance(here, list) and isinstance(step, int) and step < len(here):
                here = here[step]
            elif step == 0 and here is not None and not isinstance(here, list):
                continue
            else:
                return (*path, step)
            path = (*path, step)
        return path

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Where `path` stands: its value, or its key if `key`; of what is missing, the nearest thing around it."""
        marks = (self.keys, self.values) if key else (self.values,)
        for length in range(len(path), -1, -1):
            for table in marks:
                if (mark := table.get(path[:length])) is not None:
                    return Place(self.file, mark.line + 1, mark.column + 1, written(path))
        return Place(self.file, 1, 1, written(path))

    def reported(self, path: Path) -> bool:
        """Whether anything was said of exactly that path."""
        return path in self._reported

    def report(self, path: Path, message: str, hint: str = "", *, key: bool = False) -> None:
        self._reported.add(path)
        self.problems.append(self.place(path, key=key).problem(message, hint))


def read(text: str, file: str) -> Document:
    """Parses one file's text. Never raises: what is wrong stands in `problems`."""
    document = Document(file)
    if len(text) > MAX_CHARACTERS:
        document.report((), f"has more than {MAX_CHARACTERS} characters, which no rules file needs")
        return document
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        document.problems.append(Problem(file, line, column, "", *_syntax(error)))
        return document
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        column = error.position - (before.rfind("\n") + 1) + 1
        message = "contains a character that YAML does not allow (a control character or broken encoding)"
        document.problems.append(Problem(file, before.count("\n") + 1, column, "", message))
        return document
    except RecursionError:
        document.report((), f"is nested deeper than {MAX_DEPTH} levels")
        return document
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        document.report((), f"is not valid YAML: {printable(str(error))}")
        return document
    if node is not None:
        try:
            reader = _Reader(document)
            data = reader.build(node, ())
            # What was cut off is not judged: its holes would be reported one by one.
            document.data = None if reader.full else data
        except RecursionError:
            document.report((), "merges mappings into each other too deeply")
    return document


# PyYAML's words for the mistakes that people make most, in theirs.
_SYNTAX: tuple[tuple[str, str, str], ...] = (
    (r"character '\\t'", "a tab, where YAML allows only spaces", "indent with spaces"),
    (r"expected a single document", "a second YAML document", "one file holds one document: remove the ---"),
    (r"mapping values are not allowed", "a colon where no key can stand", "check the indentation, or quote the text"),
    (r"found undefined alias", "an alias (*name) without its anchor (&name)", 'quote text that begins with "*"'),
    (r"could not find expected ':'", "a key without its colon", ""),
    (r"did not find expected .*|expected <block end>", "the indentation does not fit what stands above", ""),
    (r"while scanning an alias|while scanning an anchor", "an unfinished alias", 'quote text that begins with "*"'),
    (r"cannot start any token", "a character that cannot begin a value", "quote the text"),
    (r"expected ',' or '[\]}]'", "a bracket or brace that is not closed, or a missing comma", ""),
    (r"unexpected end of stream", "a quoted text that never ends", ""),
)


def _syntax(error: yaml.MarkedYAMLError) -> tuple[str, str]:
    """(message, hint) for a syntax error. PyYAML's own snippet of the text is left out: it may show a secret."""
    said = f"{error.context or ''} {error.problem or ''}"
    for pattern, message, hint in _SYNTAX:
        if re.search(pattern, said):
            return f"is not valid YAML: {message}", hint
    return f"is not valid YAML: {printable((error.problem or error.context or 'it cannot be parsed').strip())}", ""


class _Reader:
    """Nodes -> data, noting marks and problems on the way."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._seen = 0
        self.full = False
        self._open: set[int] = set()

    def build(self, node: yaml.Node, path: Path) -> object:
        self._document.values.setdefault(path, node.start_mark)
        if self._too_much(path):
            return None
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            self._document.report(path, "contains itself through an alias")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
                return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
            if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
                return self._mapping(node, path)
        finally:
            self._open.discard(id(node))
        self._tagged(node, path)
        return None

    def _too_much(self, path: Path) -> bool:
        self._seen += 1
        deep = len(path) > MAX_DEPTH
        if not deep and self._seen <= MAX_NODES:
            return False
        if not self.full:
            self.full = True
            size = f"nested deeper than {MAX_DEPTH} levels" if deep else "endless once its aliases are expanded"
            self._document.report(path[:3], f"is {size}")
        return True

    def _tagged(self, node: yaml.Node, path: Path) -> None:
        tag = node.tag.replace(_TAG, "!!")
        self._document.report(path, f"has the YAML tag {printable(tag)}, which rules do not use", "remove the tag")

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> object:
        if (convert := _SCALARS.get(node.tag)) is None:
            self._tagged(node, path)
            return None
        try:
            return convert(node.value)
        except (ValueError, OverflowError, KeyError):
            self._document.report(path, f"cannot be read as {node.tag.removeprefix(_TAG)}")
            return None

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        result: dict[str, object] = {}
        merges: list[yaml.Node] = []
        for key, value in node.value:
            if key.tag == f"{_TAG}merge":
                merges.append(value)
                continue
            name = self._key(key, path)
            if name is None:
                continue
            here = (*path, name)
            if name in result:
                first = self._document.keys[here].line + 1
                mark = key.start_mark
                place = Place(self._document.file, mark.line + 1, mark.column + 1, written(here))
                self._document.problems.append(place.problem(f"is given twice; the first is in line {first}"))
                continue
            self._document.keys[here] = key.start_mark
            result[name] = self.build(value, here)
        for merge in merges:
            self._merge(merge, path, result)
        return result

    def _key(self, key: yaml.Node, path: Path) -> str | None:
        """A mapping's key as it is written: `on`, `429` and `true` are names like any other."""
        if isinstance(key, yaml.ScalarNode) and key.tag in _SCALARS and key.value:
            return str(key.value)
        place = Place(self._document.file, key.start_mark.line + 1, key.start_mark.column + 1, written(path))
        self._document.problems.append(place.problem("has a key that is empty or not text"))
        return None

    def _merge(self, node: yaml.Node, path: Path, into: dict[str, object]) -> None:
        """`<<: *other`: the other mapping's keys, where this one has not its own."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for source in sources:
            if self._too_much(path):
                return
            if not isinstance(source, yaml.MappingNode) or id(source) in self._open:
                self._document.values.setdefault((*path, "<<"), source.start_mark)
                self._document.report((*path, "<<"), "merges something that is no mapping", "write <<: *anchor")
                continue
            self._open.add(id(source))
            kept = dict(into)
            for key, value in self._mapping(_without(source, kept), path).items():
                into.setdefault(key, value)
            self._open.discard(id(source))


def _without(node: yaml.MappingNode, names: Mapping[str, object]) -> yaml.MappingNode:
    """The mapping without the keys that are overridden, so that their places are not noted either."""
    pairs = [(key, value) for key, value in node.value if not (isinstance(key, yaml.ScalarNode) and key.value in names)]
    return yaml.MappingNode(node.tag, pairs, node.start_mark, node.end_mark)


def _int(text: str) -> int:
    return int(text, 0) if text[:2] in ("0x", "0o") else int(text)


_SCALARS: Mapping[str, Callable[[str], object]] = {
    f"{_TAG}str": str,
    f"{_TAG}null": lambda text: None,
    f"{_TAG}bool": lambda text: {"true": True, "false": False}[text.lower()],
    f"{_TAG}int": _int,
    f"{_TAG}float": float,
}
