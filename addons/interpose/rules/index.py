"""Finds the rules that may take a call without asking all of them.

Each rule is filed under one of its conditions, that which the fewest others share: under the text itself where it is
exact, under what stands before the first `*`, `?` or `[` of a glob, under its networks. What a call has is looked up
there, and who is found is still asked in full. A rule without any such condition is always asked: one with `*-mini`
alone, or only `stream: true`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from heapq import merge

from .facts import Facts
from .matching import Match
from .patterns import Networks, is_glob, parsed_address

# Fewer rules than this are asked one by one in less time than it takes to look any up.
WORTH_IT = 12

_LITERAL = re.compile(r"[^*?\[]*")

# Where a rule stands: a field and a text; a field, a length and a text that begins so; a field, an IP version, the
# length of a prefix and its bits.
type Place = tuple[str, str] | tuple[str, int, str] | tuple[str, int, int, int]


class Index:
    """Rules by their conditions, numbered in the order of the file."""

    __slots__ = ("_all", "_filed", "_lengths", "_masks", "_names", "_rest", "_small")

    def __init__(self, matches: Sequence[Match]) -> None:
        self._small = len(matches) < WORTH_IT
        self._all = range(len(matches))
        self._rest: list[int] = []
        self._filed: defaultdict[Place, list[int]] = defaultdict(list)
        ways = [] if self._small else [_ways(match) for match in matches]
        shared = Counter(place for each in ways for places in each for place in places)
        for number, each in enumerate(ways):
            if each:
                # Ties go to the first: fields stand in the order in which they tell calls apart.
                for place in min(each, key=lambda places: sum(shared[place] for place in places)):
                    self._filed[place].append(number)
            else:
                self._rest.append(number)
        lengths, masks = defaultdict(set), defaultdict(set)
        for place in self._filed:
            if len(place) == 3:
                lengths[place[0]].add(place[1])
            elif len(place) == 4:
                masks[place[0]].add(place[1:3])
        self._names = sorted({place[0] for place in self._filed})
        self._lengths = {name: tuple(sorted(found)) for name, found in lengths.items()}
        self._masks = {name: tuple(sorted(found)) for name, found in masks.items()}

    def candidates(self, facts: Facts) -> Iterator[int]:
        """The numbers of all rules that may take a call, ascending and each once."""
        if self._small:
            return iter(self._all)
        return self._looked_up(facts.value)

    def wider(self, match: Match) -> Iterator[int]:
        """The numbers of all rules whose conditions may cover those of `match`, ascending and each once."""
        if self._small:
            return iter(self._all)
        patterns = dict(match.patterns())

        def sample(name: str) -> str | None:
            # A rule that covers these conditions accepts whatever one text of each stands for.
            pattern = patterns.get(name)
            if isinstance(pattern, Networks):
                return str(pattern.networks[0].network_address)
            return _literal(pattern.texts[0]) if pattern is not None else None

        return self._looked_up(sample)

    def _looked_up(self, value_of: Callable[[str], str | None]) -> Iterator[int]:
        last = -1
        for number in merge(self._rest, *(found for name in self._names for found in self._at(name, value_of(name)))):
            if number != last:
                last = number
                yield number

    def _at(self, name: str, value: str | None) -> Iterator[list[int]]:
        if value is None:
            return
        filed = self._filed
        places: list[Place] = [(name, value)]
        places += [(name, length, value[:length]) for length in self._lengths.get(name, ())]
        if (masks := self._masks.get(name)) and (address := parsed_address(value)) is not None:
            bits, longest = int(address), address.max_prefixlen
            places += [
                (name, version, length, bits >> (longest - length))
                for version, length in masks
                if version == address.version
            ]
        for place in places:
            if place in filed:
                yield filed[place]


def _ways(match: Match) -> list[list[Place]]:
    """Every way to file a rule, one a field: all the places in which it then has to stand, each once."""
    ways: list[list[Place]] = []
    for name, pattern in match.patterns():
        if isinstance(pattern, Networks):
            found: list[Place] = [
                (name, net.version, net.prefixlen, int(net.network_address) >> (net.max_prefixlen - net.prefixlen))
                for net in pattern.networks
            ]
        else:
            found = [
                (name, text) if not is_glob(text) else (name, len(_literal(text)), _literal(text))
                for text in pattern.texts
            ]
        # An empty beginning narrows nothing.
        if not any(len(place) == 3 and place[1] == 0 for place in found):
            ways.append(list(dict.fromkeys(found)))
    return ways


def _literal(text: str) -> str:
    """What stands before the first special character of a glob: all of a text that is none."""
    found = _LITERAL.match(text)
    return found[0] if found is not None else ""
