"""What is remembered of quotas: of which credential and model, and for how long."""

from __future__ import annotations

import pytest

from interpose.attempts.lanes import Lane
from interpose.attempts.quotas import MODELS, Quotas
from interpose.call import Headers
from interpose.rules.secrets import CredentialSource

A, B = (CredentialSource("env", (name,)) for name in ("A", "B"))


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def quotas(clock: Clock) -> Quotas:
    return Quotas(clock)


def left(percent: int, *, kind: str = "tokens", reset: str = "1m0s") -> Headers:
    said = {"limit": "100", "remaining": str(percent), "reset": reset}
    return tuple((f"x-ratelimit-{field}-{kind}".encode(), value.encode()) for field, value in said.items())


def test_it_is_what_the_last_reply_has_told(quotas: Quotas) -> None:
    """The smaller share of requests and tokens; a reply that tells nothing changes nothing."""
    assert quotas.left("p", [A], "m") is None
    quotas.learn(Lane("p", A), "m", left(80))
    quotas.learn(Lane("p", A), "m", (*left(30), *left(10, kind="requests")))
    quotas.learn(Lane("p", A), "m", ((b"content-type", b"application/json"),))
    assert quotas.left("p", [A], "m") == 0.1
    assert quotas.left("q", [A], "m") is None


def test_it_is_forgotten_when_it_is_filled_up(quotas: Quotas, clock: Clock) -> None:
    """Each by its own reset."""
    quotas.learn(Lane("p", A), "m", (*left(5, reset="10s"), *left(40, kind="requests", reset="1h0m0s")))
    assert quotas.left("p", [A], "m") == 0.05
    clock.now += 10
    assert quotas.left("p", [A], "m") == 0.4
    clock.now += 3600
    assert quotas.left("p", [A], "m") is None


def test_models_are_told_apart_where_they_are_known(quotas: Quotas) -> None:
    """Of a model that was never asked for, the one that is nearest to its end speaks."""
    quotas.learn(Lane("p", A), "small", left(90))
    quotas.learn(Lane("p", A), "large", left(5))
    assert [quotas.left("p", [A], model) for model in ("small", "large", "another", None)] == [0.9, 0.05, 0.05, 0.05]


def test_of_a_pool_the_best_key_counts(quotas: Quotas) -> None:
    """As long as one of them is not known, there may be enough."""
    quotas.learn(Lane("p", A), "m", left(5))
    assert quotas.left("p", [A, B], "m") is None
    quotas.learn(Lane("p", B), "m", left(50))
    assert quotas.left("p", [A, B], "m") == 0.5


def test_nothing_is_known_of_a_provider_without_credentials(quotas: Quotas) -> None:
    """A client's own key is of the client's own account, and another client's of another."""
    quotas.learn(Lane("p", None), "m", left(5))
    assert quotas.left("p", [], "m") is None


def test_clients_name_as_many_models_as_they_like(quotas: Quotas) -> None:
    """So many are remembered, the last ones."""
    for number in range(2 * MODELS):
        quotas.learn(Lane("p", A), f"m{number}", left(50))
    assert len(quotas._lanes[Lane("p", A)]) == MODELS
