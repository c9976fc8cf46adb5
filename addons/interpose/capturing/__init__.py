"""Keeps bodies: what a client asked and got and what went upstream and came back, scrubbed, in the ledger.

On the event loop pieces are only held on to (`pieces`, `onlooker`), as many bytes as there is room for; in a thread of
its own (`desk`) they are decoded (`decoding`), scrubbed (`spellings`, `scrubbing`) and made into rows (`writing`).
Where they are stored is the ledger's matter.
"""

from .desk import Desk

__all__ = ["Desk"]
