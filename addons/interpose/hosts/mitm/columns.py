"""mitmweb's list of flows with what there is to say of each: the column of comments, wide enough to be read."""

from __future__ import annotations

from pathlib import Path

from mitmproxy.master import Master
from tornado.template import Loader, Template

COMMENT = "comment"
# mitmweb gives a comment 150 pixels, of which a model's name alone takes most, and moves it to the right.
STYLE = """\
<style>
    .flow-table .col-comment { width: 45%; }
    .flow-table td.col-comment { padding-left: 8px; text-align: left; }
</style>
"""


class Styled(Loader):
    """mitmweb's templates, its page with our style behind its own."""

    def load(self, name: str, parent_path: str | None = None) -> Template:
        found = super().load(name, parent_path)
        if not name.endswith("index.html"):
            return found
        page = (Path(self.root) / name).read_text("utf-8")
        return Template(page.replace("</head>", f"{STYLE}</head>"), name=name, loader=self)


def show_comments(master: Master) -> None:
    """Has mitmweb show comments; nothing is done to another master. Columns that somebody has chosen stay."""
    options = master.options
    if "web_columns" not in options:
        return
    if not options.has_changed("web_columns"):
        options.update(web_columns=[*options.web_columns, COMMENT])
    settings = master.app.settings  # type: ignore[attr-defined]  # it is mitmweb's
    settings["template_loader"] = Styled(settings["template_path"])
