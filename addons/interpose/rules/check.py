"""All that can be said of a rules file: its problems, or, if it can be used, what is dangerous or odd about it."""

from __future__ import annotations

from pathlib import Path

from .compiled import Rules
from .contradictions import contradictions
from .document import read
from .load import load
from .problem import Problem, RulesError
from .unpriced import unpriced


def check(path: Path | str) -> list[Problem]:
    """The problems of a file, in its order. One with `severity` "error" means that it cannot be loaded."""
    try:
        rules = load(path)
    except RulesError as error:
        return list(error.problems)
    return sorted((*rules.warnings, *_oddities(rules, str(path))), key=lambda problem: (problem.line, problem.column))


def _oddities(rules: Rules, name: str) -> list[Problem]:
    try:
        document = read(Path(name).read_text("utf-8-sig"), name)
    except (OSError, ValueError):
        return []  # gone since it was loaded: there is nothing left to point at
    found = []
    for index, route in enumerate(rules.routes):
        earlier = next((other for other in rules.routes_above(index) if other.covers(route)), None)
        if earlier is not None:
            message = f'is never reached: the route "{earlier.name}" above takes all its calls'
            place = document.place(("routes", index))
            found.append(place.problem(message, "the first match wins: move it up, or narrow the other", "warning"))
    for path, message, hint in contradictions(rules):
        found.append(document.place(path).problem(message, hint, "warning"))
    found += [document.place(path).problem(message, hint, "warning") for path, message, hint in unpriced(rules)]
    used = {target.provider for route in rules.routes for target in route.everywhere}
    used |= {model.provider for model in rules.models}
    for provider in rules.providers:
        # Without routes, or on its own origin, a provider serves the calls that no route matches.
        if used and provider not in used:
            message = "no route and no model names this provider: it serves only unmatched calls to its own origin, "
            message += "and at the gateway models of its maker and PROVIDER/MODEL"
            found.append(document.place(("providers", provider), key=True).problem(message, severity="note"))
    return found
