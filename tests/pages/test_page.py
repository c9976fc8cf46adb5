"""What every page has around its content."""

import re

from jinja2 import DictLoader

from interpose.pages import Frame, policy, templates


def shown(frame: Frame, body: str) -> str:
    text = f"{{% extends frame %}}{{% block body %}}{body}{{% endblock %}}"
    return templates(DictLoader({"page.html": text})).get_template("page.html").render(page=frame, told="<b>")


def test_a_page_escapes_what_is_put_into_it() -> None:
    """Text of a call is never markup."""
    assert "<main>&lt;b&gt;</main>" in shown(Frame("Usage"), "<main>{{ told }}</main>")


def test_the_policy_allows_what_stands_in_the_page_and_nothing_else() -> None:
    """By its hash: a script that somebody gets into the page does not run."""
    html = shown(Frame("Usage", style=".own { color: red }", script="run()"), "")
    style = re.search("<style>(.*)</style>", html, re.DOTALL)
    assert style is not None
    assert ".own { color: red }" in style[1]
    said = policy([style[1]], ["run()"]).replace("'", "&#39;")
    assert said in html
    assert "connect-src" not in said


def test_a_page_that_asks_its_server_may() -> None:
    """And no other."""
    assert "connect-src 'self'" in Frame("Live", connect=True).policy
