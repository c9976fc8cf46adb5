"""What models can do: facts in tables, by name of the model, each with its source; rules override them.

The facts of each provider are in a module of its own. Where nothing is known, nothing is said: the permissive default.
"""

from .lookup import capabilities_of, plain_name, row_of
from .shape import Capabilities, Change, Overrides, Row

__all__ = ["Capabilities", "Change", "Overrides", "Row", "capabilities_of", "plain_name", "row_of"]
