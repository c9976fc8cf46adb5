"""`models:` as names for models: what an id stands for at its provider, and what is wrong with a list of them.

An id may stand for another id of the same provider, and so on; in the end it must be a name that the provider itself
knows. One that leads back to itself never is.
"""

from __future__ import annotations

from collections.abc import Mapping

from .document import Document
from .problem import Path, printable
from .support import at

# (provider, id) -> the model that the entry names
Said = Mapping[tuple[str, str], str]


def chain(said: Said, provider: str, name: str) -> tuple[str, ...]:
    """The names that follow from that one at that provider, itself first. The last one stands twice in a loop."""
    names = [name]
    while (following := said.get((provider, names[-1]))) is not None and following != names[-1]:
        names.append(following)
        if following in names[:-1]:
            break
    return tuple(names)


def check(document: Document) -> None:
    """Reports ids that a provider has twice, and those that lead back to themselves."""
    said: dict[tuple[str, str], str] = {}
    first: dict[tuple[str, str], Path] = {}
    for _, models in at(document.data, ("models",)):
        for index, entry in enumerate(models) if isinstance(models, list) else ():
            if not isinstance(entry, dict):
                continue
            name, provider, model = (entry.get(key) for key in ("id", "provider", "model"))
            if not isinstance(name, str) or not isinstance(provider, str):
                continue
            path: Path = ("models", index)
            if (earlier := first.setdefault((provider, name), path)) is not path:
                line = document.place(earlier).line
                message = f'a model "{printable(name)}" of {printable(provider)} stands already in line {line}'
                document.report((*path, "id"), message, "one id may stand for models of several providers, one of each")
            elif isinstance(model, str):
                said[provider, name] = model
    told: set[tuple[str, str]] = set()
    for (provider, name), path in first.items():
        names = chain(said, provider, name)
        # Told once, at the first id of it.
        if names[-1] == name and len(names) > 1 and (provider, name) not in told:
            told.update((provider, each) for each in names)
            message = f"leads back to itself: {printable(' → '.join(names), 200)}"
            document.report((*path, "model"), message, "one of them must be a name that the provider knows")
