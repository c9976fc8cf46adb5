"""An ASGI request as the engine sees it: its path below the place where the application is mounted."""

from __future__ import annotations

import pytest

from interpose.hosts.asgi import below, call_of

PATHS = [
    ("/v1/models", "", "/v1/models"),
    ("/ai/v1/models", "/ai", "/v1/models"),
    ("/ai/v1/models", "/ai/", "/v1/models"),
    ("/a/b/v1/models", "/a/b", "/v1/models"),
    ("/ai", "/ai", "/"),
    ("/ai/", "/ai", "/"),
    ("/ai//v1", "/ai", "//v1"),
    ("/a%20i/v1/files/a%2Fb", "/a i", "/v1/files/a%2Fb"),
    ("/%61i/v1/models", "/ai", "/v1/models"),
    ("/b%C3%BCcher/v1", "/bücher", "/v1"),
    # A proxy has taken it away, and the server has not put it back.
    ("/v1/models", "/ai", "/v1/models"),
    ("/aiv/models", "/ai", "/aiv/models"),
]


@pytest.mark.parametrize(("path", "root", "rest"), PATHS)
def test_a_root_is_taken_off_a_path(path: str, root: str, rest: str) -> None:
    """Segment by segment, whatever is escaped; what is left is as it came."""
    assert below(path.encode(), root) == rest.encode()


def test_a_path_that_the_server_has_decoded_is_escaped_again() -> None:
    """Where it does not tell how it came; the query is as it was."""
    scope = {
        "type": "http", "method": "GET", "scheme": "http", "path": "/ai/v1/models/a b", "root_path": "/ai",
        "query_string": b"x=%20", "headers": [(b"host", b"app.test:8000")], "client": None,
    }  # fmt: skip
    call = call_of(scope, b"")
    assert call.url.target == "/v1/models/a%20b?x=%20"
    assert str(call.url.origin) == "http://app.test:8000"
