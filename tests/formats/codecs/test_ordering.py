"""Blocks that a stream tells at once, for clients that take one behind the other."""

from __future__ import annotations

import time

import pytest
from tests.formats.codecs import laws

from interpose.formats.codecs import CODECS, Client
from interpose.ir import BlockDelta, BlockEnd, BlockStart, Losses, Request, Started, Text


def client(name: str) -> Client:
    return Client(Request(name, "m", []), "m", "call-1", 0)


@pytest.mark.parametrize("name", ["anthropic", "bedrock-converse", "gemini"])
def test_a_block_waits_until_those_before_it_are_told(name: str) -> None:
    """The texts come whole and in the order in which they began, however their pieces were mixed."""
    writer = CODECS[name].writer(client(name), Losses("reply"))
    pieces = [BlockDelta(index, text) for text in ("x", "y") for index in (2, 0, 1)]
    ends = [BlockEnd(index) for index in (1, 2, 0)]
    data = writer.write([Started(), *(BlockStart(index, Text(str(index))) for index in range(3)), *pieces, *ends])
    told = laws.collected(CODECS[name], laws.read_whole(CODECS[name], data + writer.finish())).reply
    said = "".join(block.text for block in told.answers[0].blocks if isinstance(block, Text))
    assert said == "0xy1xy2xy"


@pytest.mark.parametrize("name", ["anthropic", "bedrock-converse", "gemini"])
def test_many_blocks_that_wait_cost_no_more_each(name: str) -> None:
    """A hostile provider begins a hundred and fifty thousand: no search through all of them for each."""
    writer = CODECS[name].writer(client(name), Losses("reply"))
    events = [
        *(BlockStart(index, Text("")) for index in range(150_000)),
        *(BlockEnd(index) for index in range(150_000)),
    ]
    began = time.process_time()
    writer.write(events)
    writer.finish()
    assert time.process_time() - began < 5
