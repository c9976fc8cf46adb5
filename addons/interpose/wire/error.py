"""The errors of this floor."""

from __future__ import annotations


class WireError(ValueError):
    """Bytes that are not what they claim to be, or that would need more memory than allowed. The message says where."""


class TooLarge(WireError):
    """What decodes to more than is allowed."""
