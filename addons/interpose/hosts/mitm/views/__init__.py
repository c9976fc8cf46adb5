"""How mitmproxy's tools show AI calls: contentviews for the bodies of a flow, beside mitmproxy's own.

`frame` is what each of them is; a view's text is made in its own module. None of them changes anything.
"""

from __future__ import annotations

from mitmproxy import contentviews

from .asked import AskedVsSent
from .conversation import Conversation, Reassembled, whole
from .usage import UsageAndCost

VIEWS: tuple[contentviews.Contentview, ...] = (Conversation(), Reassembled(), UsageAndCost(), AskedVsSent(whole))


def register() -> None:
    """Adds the views to mitmproxy's, once more with every master: it keeps one of each name."""
    for view in VIEWS:
        contentviews.add(view)
