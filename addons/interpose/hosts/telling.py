"""Telemetry as the rules have it, opened for one engine; the libraries that it takes are imported where it is on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from interpose.prices.catalogue import PRICES
from interpose.rules.compiled import Rules
from interpose.rules.problem import Problem, RulesError
from interpose.rules.secrets import SecretStore
from interpose.secret import Scrubber

if TYPE_CHECKING:
    from interpose.telemetry.telling import Telling

_MISSING = "telemetry needs OpenTelemetry's SDK, which is not installed: pip install 'interpose[otel]'"


async def opened(
    rules: Rules, environ: Mapping[str, str], secrets: SecretStore, scrubber: Scrubber, writer: str
) -> Telling | None:
    """None where nothing is to be told. Raises RulesError."""
    if rules.telemetry is None:
        return None
    try:
        from interpose.telemetry.settings import TelemetryError, settings_of
        from interpose.telemetry.telling import Telling
    except ImportError as error:
        raise RulesError([_problem(rules, _MISSING)]) from error
    try:
        settings = await settings_of(rules.telemetry, environ, secrets.resolve, scrubber.learn)
        if settings is None:
            return None
        return Telling(settings, rules, writer=writer, scrub=scrubber.scrub, credentials=lambda: scrubber.values)
    except TelemetryError as error:
        raise RulesError([_problem(rules, str(error))]) from error


async def ended(traces: Telling) -> None:
    """Tells what is left to be told: a collector is waited for in a thread."""
    # Records of the first moments wait for the prices.
    await asyncio.to_thread(PRICES.settle)
    await asyncio.to_thread(traces.close)


def _problem(rules: Rules, message: str) -> Problem:
    return Problem(str(rules.source or "rules"), 1, 1, "telemetry", message)
