"""What is left of the quotas of the rules' credentials, as their providers have told in their last replies.

By lane and model, for providers count each model apart. Of a client's own key nothing is remembered: another client's
is another account's. In this process alone, and for as long as it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from cachetools import LRUCache

from interpose.call import Headers
from interpose.formats.quotas import Quota, told
from interpose.rules.secrets import CredentialSource

from .lanes import Lane

# So many models of a credential, those that were in use last.
MODELS = 64


class Quotas:
    """The quotas of one engine. `now` gives Unix time in seconds."""

    __slots__ = ("_lanes", "_now")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        # There are as many lanes as the rules have credentials.
        self._lanes: dict[Lane, LRUCache[str | None, tuple[Quota, ...]]] = {}

    def learn(self, lane: Lane, model: str | None, headers: Headers) -> None:
        """A reply of that lane has come."""
        if lane.source is None or not (quotas := told(headers, self._now())):
            return
        self._lanes.setdefault(lane, LRUCache(MODELS))[model] = quotas

    def keep(self, still: Callable[[Lane], bool]) -> None:
        """Lets go of the lanes of which `still` does not hold: the rules have changed."""
        self._lanes = {lane: models for lane, models in self._lanes.items() if still(lane)}

    def left(self, provider: str, sources: Sequence[CredentialSource], model: str | None) -> float | None:
        """The share that a provider has left for a model, by that of its credentials which has the most; None if it is
        not known of each.

        Where that model has not been asked for, that of the model with the least left.
        """
        shares = [self._of(Lane(provider, source), model) for source in sources]
        return max((share for share in shares if share is not None), default=None) if None not in shares else None

    def shares(self) -> Iterator[tuple[str, float]]:
        """What each credential has left, of whichever of its models has the least, by its provider and its own name."""
        for lane in list(self._lanes):
            if lane.source is not None and (share := self._of(lane, None)) is not None:
                yield f"{lane.provider} ({lane.source.name})", share

    def _of(self, lane: Lane, model: str | None) -> float | None:
        models = self._lanes.get(lane)
        if models is None:
            return None
        if model in models:
            return self._least(models[model])
        shares = [share for quotas in models.values() if (share := self._least(quotas)) is not None]
        return min(shares, default=None)

    def _least(self, quotas: Sequence[Quota]) -> float | None:
        """The smallest share of those that have not been filled up since."""
        now = self._now()
        return min((quota.left for quota in quotas if quota.until > now), default=None)
