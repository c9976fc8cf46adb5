"""The features, as small objects in an explicit order.

Deciding is apart from doing: `plan` runs every stage's `decide` over a draft and does no I/O. The engine carries the
plan out by the same stages: `send` in their order on the way out, `receive` in reverse on the way back.
"""

from __future__ import annotations

from interpose.call import Call
from interpose.errors import Refusal
from interpose.formats.hosts import HostRow
from interpose.limits.store import Demand
from interpose.rules.compiled import Retry, Rules

from .claim import Claim
from .clients import Clients, Permission
from .conversion import Conversion, runs_a_model
from .credentials import Credentials
from .draft import Draft, Plan, Stage, View
from .limits import AttemptLimits, Limits
from .metering import Metering
from .routing import Routing
from .validity import Validity

# The order of the request's side; the reply's side runs in reverse.
STAGES: tuple[Stage, ...] = (
    *(Claim(), Clients(), Validity(), Permission()),
    *(Limits(), Routing(), Conversion()),
    *(Credentials(), AttemptLimits(), Metering()),
)

# What says that a provider has done nothing with a call: a file that is uploaded twice, or a batch, is two of them.
UNHEARD: frozenset[int | str] = frozenset((429, "connect"))


def plan(call: Call, host: HostRow | None, rules: Rules, view: View, trace: list[str] | None = None) -> Plan:
    """What will be done with `call`, decided by nothing but the arguments.

    `host` is the row of the host table that claims the call. Reasons are appended to `trace`. A refusal is part of
    the plan, not an exception.
    """
    draft = Draft(call, rules, view, trace, host=host)
    refusal: Refusal | None = None
    try:
        for stage in STAGES:
            stage.decide(draft)
    except Refusal as error:
        refusal = error
        draft.note(f"refused: {error.message}")
    return Plan(
        facts=draft.facts,
        route=draft.route.name if draft.route else None,
        alias=draft.alias,
        client=draft.client,
        attempts=() if refusal else tuple(draft.attempts),
        refusal=refusal,
        losses=tuple(draft.losses),
        retry=_retry(draft),
        left_out=() if refusal else tuple(draft.left_out),
        demands=tuple(draft.demands) if refusal is None else _mindful(draft, refusal),
        wait=draft.wait,
        unpriced=tuple(draft.unpriced),
        hold=draft.route is not None and draft.route.hold,
        hedge=_hedge(draft),
        listing=None if refusal else draft.listing,
        bodies=_bodies(draft),
        private=draft.route is not None and draft.route.bodies is False,
        keys=draft.keys,
    )


def _bodies(draft: Draft) -> bool:
    """Whether they are kept: as the route says, else as the ledger's rules do. A call that is refused before a route
    was looked for is one without.
    """
    said = draft.route.bodies if draft.route is not None else None
    if said is None and not draft.rules.ledger.bodies:
        return False
    kept = draft.rules.ledger.bodies if said is None else said
    by = "ledger.capture" if said is None or draft.route is None else f"capture of the route {draft.route.name}"
    draft.note(f"its bodies are {'kept' if kept else 'not kept'} in the ledger ({by})")
    return kept


def _mindful(draft: Draft, refusal: Refusal) -> tuple[Demand, ...]:
    """The limits that a client who is refused has to mind all the same; none of one that is not known."""
    if draft.facts is None or refusal.status in (401, 407):
        return ()
    if draft.client is None and draft.rules.clients.asked_at(draft.call.entrance):
        return ()
    try:
        if not draft.limited:
            Limits().decide(draft)
    except Refusal:
        # They cannot be told of a body that cannot be read, which has been said already.
        return ()
    return tuple(demand for demand in draft.demands if demand.period is None)


def _hedge(draft: Draft) -> float | None:
    """The route's, for calls that run a model: a file that is uploaded twice at once, or a batch, is two of them."""
    if draft.route is None or draft.facts is None or not runs_a_model(draft.facts):
        return None
    return draft.route.hedge


def _retry(draft: Draft) -> Retry | None:
    """What the route says; where there are several ways without a word, each of them is tried once. A hedge alone is a
    second send for silence, and for no failure. At the gateway a call is sent again where nothing says otherwise.
    """
    if draft.route is not None and draft.route.retry is not None:
        return draft.route.retry
    if draft.call.at_gateway and draft.facts is not None:
        repeats = runs_a_model(draft.facts) or draft.facts.method in ("GET", "HEAD")
        return Retry() if repeats else Retry(on=UNHEARD)
    if len(draft.attempts) > 1:
        return Retry(attempts=len(draft.attempts))
    hedged = draft.route is not None and draft.route.hedge is not None
    return Retry(attempts=2, on=frozenset()) if hedged else None
