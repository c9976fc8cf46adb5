"""The Valkey of the tests of limits serves those of the board, too."""

from tests.limits.conftest import fresh, valkey

__all__ = ["fresh", "valkey"]
