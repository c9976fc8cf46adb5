"""Lists of models between formats: what is asked, what is told, and how a list is cut into pages."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpose.formats.codecs import Asked, Client, Codec, Malformed, Target
from interpose.formats.modellists import CLIENTS, PROVIDERS
from interpose.formats.modellists.neutral import Model, Reply, Request, page
from interpose.ir import Losses


def codec(format_: str, path: str) -> Codec[Any, Any]:
    return next(each.codec for each in CLIENTS if each.takes(format_, "GET", path))


LISTS: dict[str, dict[str, Any]] = {
    "openai": {"object": "list", "data": [{"id": "a", "object": "model", "created": 86400, "owned_by": "me"}]},
    "anthropic": {
        "data": [
            {
                "type": "model",
                "id": "a",
                "display_name": "A",
                "created_at": "1970-01-02T00:00:00Z",
                "max_input_tokens": 9,
                "max_tokens": 5,
            }
        ],
        "has_more": False,
        "first_id": "a",
        "last_id": "a",
    },
    "gemini": {
        "models": [
            {"name": "models/a", "displayName": "A", "inputTokenLimit": 9, "outputTokenLimit": 5, "version": "1"}
        ]
    },
    "cohere": {"models": [{"name": "a", "context_length": 9, "endpoints": ["chat"]}]},
    "ollama": {"models": [{"name": "a", "model": "a", "size": 3}]},
}
LIST_PATHS = {
    "openai": "/models",
    "anthropic": "/v1/models",
    "gemini": "/v1beta/models",
    "cohere": "/v1/models",
    "mistral": "/v1/models",
    "ollama": "/api/tags",
}


def told(provider: str, client: str, query: str = "") -> tuple[Any, list[tuple[str, str]]]:
    there = codec(client, LIST_PATHS[client])
    request = there.read_request({}, Asked(LIST_PATHS[client], query))
    losses = Losses("reply")
    reply = PROVIDERS[provider].read_reply(copy.deepcopy(LISTS[provider]))
    written = there.write_reply(reply, Client(request, "", "call", 0), losses)
    return written, [(str(loss.severity), loss.path) for loss in losses]


def test_anthropics_list_in_openais_words() -> None:
    """Limits and titles are no part of OpenAI's, and carried; the time is one in seconds."""
    body, losses = told("anthropic", "openai")
    assert body["object"] == "list"
    assert body["data"] == [
        {
            "id": "a",
            "object": "model",
            "created": 86400,
            "owned_by": "unknown",
            "display_name": "A",
            "context_length": 9,
            "max_output_tokens": 5,
        }
    ]
    assert {severity for severity, _ in losses} == {"carried", "synthesised"}


def test_openais_list_in_anthropics_words() -> None:
    """A title that nobody told is the name, and first and last are named."""
    body, losses = told("openai", "anthropic")
    assert body["data"][0] == {
        "type": "model",
        "id": "a",
        "display_name": "a",
        "created_at": "1970-01-02T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": None,
        "max_tokens": None,
    }
    assert (body["has_more"], body["first_id"], body["last_id"]) == (False, "a", "a")
    assert ("dropped", "models[].owner") in losses


def test_what_one_list_alone_has_is_told() -> None:
    """Once for each kind, however many models there are."""
    _, losses = told("gemini", "anthropic")
    assert ("dropped", "models[].version") in losses
    _, losses = told("cohere", "gemini")
    assert losses == [("dropped", "models[].endpoints")]


@pytest.mark.parametrize("provider", sorted(LISTS))
@pytest.mark.parametrize("client", sorted(LIST_PATHS))
def test_a_name_is_a_name_everywhere(provider: str, client: str) -> None:
    """Whoever asks whom."""
    body, _ = told(provider, client)
    assert [each.id for each in codec(client, LIST_PATHS[client]).read_reply(body).models] == ["a"]


ASKED = [
    ("openai", "/models", "", None),
    ("anthropic", "/v1/models", "limit=1000", None),
    ("gemini", "/v1beta/models", "pageSize=1000", None),
    ("cohere", "/v1/models", "page_size=1000", None),
    ("mistral", "/v1/models", "", None),
    ("ollama", "/api/tags", "", None),
    ("openai", "/models/x", "", "x"),
    ("anthropic", "/v1/models/x", "", "x"),
    ("gemini", "/v1beta/models/x", "", "x"),
    ("cohere", "/v1/models/x", "", "x"),
    ("mistral", "/v1/models/x", "", "x"),
]


@pytest.mark.parametrize(("provider", "path", "query", "model"), ASKED)
def test_a_provider_is_asked_for_all_or_for_one(provider: str, path: str, query: str, model: str | None) -> None:
    """All that it tells at once, whatever the client's page; by GET, and never with the client's key in the query."""
    asked = Asked(f"/v1/models/{model}" if model else "/v1/models", "limit=5&after_id=b&key=sk-FAKE-1&beta=true")
    request = PROVIDERS["anthropic"].read_request({}, asked)
    losses = Losses()
    written = PROVIDERS[provider].write_request(request, Target(model or ""), losses)
    assert (written.method, written.path, written.query) == ("GET", path, query)
    assert not list(losses)
    assert ("anthropic-version" in written.headers) == (provider == "anthropic")


def test_ollama_shows_one_model_by_post() -> None:
    """Its reply does not say the name: the client's is told."""
    request = PROVIDERS["openai"].read_request({}, Asked("/models/x"))
    written = PROVIDERS["ollama"].write_request(request, Target("x"), Losses())
    assert (written.method, written.path, written.body) == ("POST", "/api/show", {"model": "x"})
    reply = PROVIDERS["ollama"].read_reply({"details": {"family": "llama"}, "capabilities": ["completion"]})
    body = PROVIDERS["openai"].write_reply(reply, Client(request, "x", "call", 0), Losses("reply"))
    assert body["id"] == "x"


def test_one_model_keeps_the_name_by_which_it_was_asked() -> None:
    """A route may send the question elsewhere: the client finds what it asked for."""
    request = PROVIDERS["openai"].read_request({}, Asked("/models/gpt-4o"))
    reply = PROVIDERS["gemini"].read_reply({"name": "models/gemini-2.5-pro"})
    body = PROVIDERS["openai"].write_reply(reply, Client(request, "gpt-4o", "call", 0), Losses("reply"))
    assert body["id"] == "gpt-4o"


@pytest.mark.parametrize("model", ["..", "a/../b", "", "a//b"])
def test_a_name_that_would_lead_elsewhere_is_impossible(model: str) -> None:
    """No credential goes to a path that a model's name makes up."""
    request = Request("openai-models", "x")
    losses = Losses()
    PROVIDERS["openai"].write_request(request, Target(model), losses)
    assert losses.impossibilities


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=1001", "limit=-1", "limit=%F0%9F"])
def test_a_limit_that_is_none_is_refused(query: str) -> None:
    """Naming it."""
    with pytest.raises(Malformed) as caught:
        codec("anthropic", "/v1/models").read_request({}, Asked("/v1/models", query))
    assert caught.value.path == "limit"


def test_an_unknown_parameter_is_told() -> None:
    """It is not sent to a provider that knows nothing of it."""
    request = codec("anthropic", "/v1/models").read_request({}, Asked("/v1/models", "future=1"))
    losses = Losses()
    PROVIDERS["openai"].write_request(request, Target(""), losses)
    assert [loss.path for loss in losses] == ["future"]


@given(st.lists(st.integers(0, 99).map(str), unique=True, max_size=60), st.integers(1, 25))
def test_pages_make_the_list(names: list[str], limit: int) -> None:
    """Going on behind the last of each page gives every model once, in order; before the first, backwards, too."""
    reply = Reply("another", [Model(name) for name in names])
    found: list[str] = []
    after = None
    while True:
        cut = page(reply, Request("x", limit=limit, after=after), 20)
        found += [each.id for each in cut.models]
        assert len(cut.models) <= limit
        if not cut.more:
            break
        after = found[-1]
    assert found == names
    if names:
        back = [names[-1]]
        while True:
            cut = page(reply, Request("x", limit=limit, before=back[0]), 20)
            back = [each.id for each in cut.models] + back
            if not cut.more:
                break
        assert back == names


def test_a_mark_that_is_no_more_ends_the_list() -> None:
    """Lest a client that goes on from page to page begins anew for ever."""
    cut = page(Reply("another", [Model("a")]), Request("x", after="gone"), 20)
    assert (cut.models, cut.more) == ([], False)


def test_what_a_provider_does_not_tell_at_once_is_told_as_lost() -> None:
    """More than a thousand: the client is not told that this is all."""
    losses = Losses("reply")
    reply = PROVIDERS["anthropic"].read_reply({**LISTS["anthropic"], "has_more": True})
    PROVIDERS["openai"].write_reply(reply, Client(Request("openai-models"), "", "call", 0), losses)
    assert ("dropped", "models") in [(str(loss.severity), loss.path) for loss in losses]


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
@pytest.mark.parametrize(
    "body", [{"error": {"message": "no"}}, {"data": [5], "models": [5]}, {"data": {}, "models": "a"}]
)
def test_what_is_no_list_is_refused(provider: str, body: dict[str, Any]) -> None:
    """Malformed, and nothing else is raised."""
    with pytest.raises(Malformed):
        PROVIDERS[provider].read_reply(copy.deepcopy(body))


def test_a_list_is_no_answer_for_one_model() -> None:
    """Nor one model for a list."""
    reply = PROVIDERS["openai"].read_reply(copy.deepcopy(LISTS["openai"]))
    with pytest.raises(Malformed):
        PROVIDERS["anthropic"].write_reply(reply, Client(Request("anthropic", "a"), "a", "call", 0), Losses("reply"))
