"""Every recorded list of models, read and written back, and for the clients of every other format."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator

from tests.corpus import Line, lines
from tests.formats.codecs.laws import same

from interpose.formats.codecs import Client
from interpose.formats.modellists import CLIENTS, PROVIDERS
from interpose.formats.modellists.neutral import Request
from interpose.ir import Losses

FORMATS = {"anthropic": "anthropic", "google": "gemini", "cohere": "cohere", "mistral": "mistral", "ollama": "ollama"}
FAMILIES = ("models", "anthropic_other", "gemini_other", "cohere_other", "ollama", "other")


def recorded() -> Iterator[tuple[str, str, Line]]:
    """(format, model or "" for the list, line)."""
    for family in FAMILIES:
        for line in lines(family):
            head, _, model = line.path.partition("/models")
            listed = line.method == "GET" and line.ok and (not model or model.count("/") == 1)
            if listed and "/models" in line.path and "replicate" not in line.host and not head.startswith("/api"):
                yield FORMATS.get(line.provider, "openai"), model.removeprefix("/"), line


def test_lists_come_back() -> None:
    """A -> neutral -> A gives an equal reply, without a loss."""
    count = Counter[str]()
    for format_, model, line in recorded():
        codec = PROVIDERS[format_]
        reply = codec.read_reply(copy.deepcopy(line.reply_json))
        losses = Losses("reply")
        client = Client(Request(codec.name, model), model, "call", 0)
        same(codec.write_reply(reply, client, losses), line.reply_json, line.id)
        assert not list(losses), list(losses)
        count[format_] += 1
    assert count.total() >= 21, count
    assert set(count) >= {"openai", "anthropic", "gemini", "cohere", "mistral"}


def test_every_client_can_read_every_list() -> None:
    """The names are all there, in order, page after page; nothing is dropped untold."""
    count = Counter[tuple[str, str]]()
    for format_, model, line in recorded():
        provider = PROVIDERS[format_]
        wanted = [each.id for each in provider.read_reply(copy.deepcopy(line.reply_json)).models]
        for entry in CLIENTS:
            if model and entry.format == "ollama":
                continue  # one model is not told there
            found: list[str] = []
            after = None
            while True:
                reply = provider.read_reply(copy.deepcopy(line.reply_json))
                same_format = entry.codec.name == reply.format
                request = Request(entry.codec.name, model, limit=7, after=after)
                losses = Losses("reply")
                written = entry.codec.write_reply(reply, Client(request, model, "call", 0), losses)
                there = entry.codec.read_reply(copy.deepcopy(written))
                found += [each.id for each in there.models]
                assert same_format or all(len(loss.reason) > 10 for loss in losses)
                if same_format or not there.more:
                    break
                after = found[-1]
            assert found == wanted, (line.id, entry.format)
            count[format_, entry.format] += 1
    assert len(count) >= 29, count
