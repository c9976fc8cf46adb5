"""The rules that a gateway serves: those of a file, and without one those that come with the package.

Of these, providers whose variable is not set are left out: they are an offer, where a file of one's own is an order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from interpose.errors import InterposeError
from interpose.rules.compiled import Provider, Rules
from interpose.rules.load import load

NAME = "gateway.yaml"


@dataclass(frozen=True, slots=True)
class ServedRules:
    """`without` names the providers that were left out, each with the variable that it wants."""

    rules: Rules
    without: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def default_file() -> Path:
    """rules/gateway.yaml: in a wheel it lies within the package, in a checkout beside it."""
    package = Path(__file__).parents[1]
    packed = package / NAME
    return packed if packed.exists() else package.parents[1] / "rules" / NAME


def served(path: Path | None, environ: Mapping[str, str]) -> ServedRules:
    """The rules of a file; without one those of the package, as far as there are credentials for them.

    Raises RulesError for what is wrong with a file, InterposeError if there is no credential at all.
    """
    if path is not None:
        return ServedRules(load(path))
    rules = load(default_file())
    without = {
        provider.name: variable for provider in rules.providers.values() if (variable := missing(provider, environ))
    }
    left = {name: provider for name, provider in rules.providers.items() if name not in without}
    if not left:
        raise InterposeError(
            f"no provider has a key: set one of {', '.join(without.values())}, or name others in rules of your own "
            f"(--rules F; {default_file()} is what they can begin with)"
        )
    return ServedRules(replace(rules, providers=MappingProxyType(left)), without)


def missing(provider: Provider, environ: Mapping[str, str]) -> str | None:
    """The variable that a provider wants and that is not set, or set to nothing."""
    source = provider.credential
    if source is None or source.kind != "env" or environ.get(source.args[0]):
        return None
    return source.args[0]
