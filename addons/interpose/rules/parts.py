"""Rules cut down to some of their parts, for people who want one stage of the engine and nothing else of it."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from types import MappingProxyType

from .compiled import Clients, Intercept, Rules


class Part(StrEnum):
    """What a rules file can ask for, apart from observing, which is always done."""

    CLIENTS = "clients"
    LIMITS = "limits"
    ROUTES = "routes"
    CONVERSION = "conversion"
    CREDENTIALS = "credentials"


EVERYTHING = frozenset(Part)


def only(rules: Rules, parts: frozenset[Part]) -> Rules:
    """The rules with nothing in force but `parts`. Hosts, providers, upstream and ledger stay: they say where.

    Without credentials a client's own key goes where it was sent, and a route that leads it elsewhere is refused
    (law 6).
    """
    if parts >= EVERYTHING:
        return rules
    providers = dict(rules.providers)
    if Part.CREDENTIALS not in parts:
        providers = {
            name: replace(provider, credential=None, pool=(), keyless=False) for name, provider in providers.items()
        }
    acts = bool(parts & {Part.CLIENTS, Part.CREDENTIALS})
    return replace(
        rules,
        providers=MappingProxyType(providers),
        limits=rules.limits if Part.LIMITS in parts else (),
        routes=rules.routes if parts & {Part.ROUTES, Part.CONVERSION} else (),
        models=rules.models if parts & {Part.ROUTES, Part.CONVERSION} else (),
        intercept=rules.intercept if acts else Intercept(hosts=rules.intercept.hosts),
        clients=rules.clients if Part.CLIENTS in parts else Clients(),
    )
