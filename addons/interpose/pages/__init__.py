"""Pages for people: one HTML file each, which asks no other host for anything, in light and dark.

What they share is here: the style sheet, the frame of a document and its Content-Security-Policy. What a page says is
where its data are.
"""

from .page import Frame, policy, templates

__all__ = ["Frame", "policy", "templates"]
