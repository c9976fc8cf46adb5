"""Third stage: where does the call go?

The first route that matches decides. Without one, the call goes to the configured provider of the origin that the
client addressed, else to that origin itself.
"""

from __future__ import annotations

from interpose.errors import Refusal

from .draft import Draft, Stage


class Routing(Stage):
    """Chooses route and provider."""

    name = "routing"

    def decide(self, draft: Draft) -> None:
        facts = draft.facts
        assert facts is not None
        for route in draft.rules.routes:
            reason = route.reason(facts)
            if reason is None:
                draft.route, draft.provider = route, draft.rules.providers[route.provider]
                draft.note(f"route {route.name} matches: to {route.provider}")
                return
            draft.note(f"route {route.name} does not match: {reason}")
        if draft.rules.intercept.unmatched == "reject":
            raise Refusal(403, "no_route", "No route of the rules matches this call, and the rules reject such calls.")
        if providers := draft.rules.providers_at(draft.call.url.origin):
            draft.provider = providers[0]
            draft.note(f"no route matches: to {draft.provider.name}, the provider configured for {facts.host}")
        else:
            draft.note(f"no route matches and no provider is configured for {facts.host}: to the host itself")
