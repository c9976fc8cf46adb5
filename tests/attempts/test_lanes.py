"""What is remembered of providers and credentials between calls."""

from interpose.attempts.lanes import Lane, Lanes
from interpose.rules.secrets import CredentialSource

A = Lane("p", CredentialSource("env", ("A",)))
B = Lane("p", CredentialSource("env", ("B",)))
OWN = Lane("p", None)


def test_each_key_rests_for_itself() -> None:
    """One key's cooldown is not the other's, and a shorter wish does not end a longer one."""
    now = 100.0
    lanes = Lanes(lambda: now)
    assert lanes.resting(A) == 0
    lanes.rest(A, 30)
    lanes.rest(A, 5)
    assert (lanes.resting(A), lanes.resting(B)) == (30, 0)
    now = 131
    assert lanes.resting(A) == 0


def test_clients_own_keys_do_not_rest() -> None:
    """What a provider asks of one client is not asked of the others."""
    lanes = Lanes(lambda: 0.0)
    lanes.rest(OWN, 30)
    assert lanes.resting(OWN) == 0


def test_an_open_circuit_rests() -> None:
    """For as long as nothing would pass."""
    lanes = Lanes(lambda: 0.0)
    for _ in range(20):
        ticket = lanes[A].breaker.enter()
        assert ticket is not None
        lanes[A].breaker.leave(ticket, good=False)
    assert (lanes.resting(A), lanes.resting(B)) == (5, 0)
