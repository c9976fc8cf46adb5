"""The errors of this floor."""

from __future__ import annotations


class WireError(ValueError):
    """Bytes that are not what they claim to be, or that would need more memory than allowed. The message says where."""


class TooLarge(WireError):
    """What decodes to more than is allowed."""


class TooComplex(WireError):
    """What has more values than can be read without holding up everything else."""


class NotAnObject(WireError):
    """JSON, but no object."""
