"""What models can do: facts in tables, by name of the model, each with its source; rules override them.

The facts of each provider are in a module of its own. Where nothing is known, nothing is said: the permissive default.
"""

from .efforts import EFFORTS, nearest
from .lookup import capabilities_of, plain_name, row_of
from .shape import Capabilities, Change, Overrides, Row

__all__ = [
    "EFFORTS",
    "Capabilities",
    "Change",
    "Overrides",
    "Row",
    "capabilities_of",
    "nearest",
    "plain_name",
    "row_of",
]
