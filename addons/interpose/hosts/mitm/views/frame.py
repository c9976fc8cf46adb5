"""What every view of ours is: it never raises, whatever it is shown, and what it gives is bounded.

mitmweb and the console render views on their event loop, where calls wait meanwhile: a view bounds its work, and says
what it has left out. The whole body is one click away, as "Raw" or "JSON".
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from mitmproxy import contentviews, http

logger = logging.getLogger(__name__)

# Characters of a rendering; nobody reads more than that, and the page would hold it all.
MOST_SHOWN = 1_000_000


class View(contentviews.Contentview):
    """A contentview by its `title`: `render` gives the text, `priority` says how fit it is for a body.

    None in the place of text is nothing to be shown.
    """

    title: ClassVar[str]
    nothing: ClassVar[str]
    highlight: ClassVar[contentviews.SyntaxHighlight] = "none"

    @property
    def name(self) -> str:
        return self.title

    @property
    def syntax_highlight(self) -> contentviews.SyntaxHighlight:
        return self.highlight

    def render_priority(self, data: bytes, metadata: contentviews.Metadata) -> float:
        try:
            return self.priority(data, metadata)
        except Exception:
            logger.debug("the view %s cannot tell whether it fits", self.title, exc_info=True)
            return -1

    def prettify(self, data: bytes, metadata: contentviews.Metadata) -> str:
        try:
            text = self.render(data, metadata)
        except Exception as error:
            # A bug of ours, for what is broken is shown as such: the person still gets to see the body.
            logger.debug("the view %s failed", self.title, exc_info=True)
            text = f"This cannot be shown here ({type(error).__name__}: {error}); see it as Raw."
        if text is None:
            return self.nothing
        # Half a character is none that a page could be sent; and mitmweb shows no empty line.
        text = text.encode("utf-8", "backslashreplace").decode()
        text = "\n".join(line or " " for line in text.rstrip("\n").split("\n"))
        if len(text) <= MOST_SHOWN:
            return text
        return f"{text[:MOST_SHOWN]}\n… {len(text) - MOST_SHOWN:,} characters more; see all of it as Raw."

    def priority(self, data: bytes, metadata: contentviews.Metadata) -> float:
        """As `render_priority`: below 0 where it does not fit, above 1 where it is to be shown first."""
        return 0.01

    @abstractmethod
    def render(self, data: bytes, metadata: contentviews.Metadata) -> str | None: ...


def is_reply(metadata: contentviews.Metadata) -> bool:
    """Whether the body that is shown is a reply's."""
    return isinstance(metadata.http_message, http.Response)


def table(rows: Sequence[tuple[str, str, str]], *, indent: int = 2, least: int = 0) -> list[str]:
    """Rows of a name, a value and a remark, in columns; the first is `least` characters wide."""
    names = max(least, *(len(name) for name, _, _ in rows)) if rows else least
    values = max((len(value) for _, value, remark in rows if remark), default=0)
    return [f"{'':{indent}}{name:<{names}}  {value:<{values}}  {remark}".rstrip() for name, value, remark in rows]
