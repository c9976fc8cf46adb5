"""What mitmweb keeps is bounded: flows by their number and their bytes, sessions by their messages."""

from __future__ import annotations

import asyncio

import pytest
from mitmproxy.options import Options
from mitmproxy.proxy import layers
from mitmproxy.test import taddons, tflow
from mitmproxy.tools.web.master import WebMaster
from mitmproxy.websocket import WebSocketMessage
from wsproto.frame_protocol import Opcode

from interpose.hosts.mitm import remarks
from interpose.hosts.mitm.addon import MESSAGES, MESSAGES_SIZE, bound_messages
from interpose.hosts.mitm.calls import killed
from interpose.hosts.mitm.columns import show_comments
from interpose.hosts.mitm.forgetting import Forgetful
from interpose.hosts.mitm.release import Release


@pytest.fixture
async def master() -> WebMaster:
    return WebMaster(Options(), with_termlog=False)


def flow(size: int = 0):
    made = tflow.tflow(resp=True)
    made.request.content, made.response.content = b"", b"x" * size
    made.live = False
    return made


def kept(master: WebMaster) -> int:
    return len(master.view)


async def test_the_oldest_flows_go_by_number(master: WebMaster) -> None:
    """Those that somebody has marked, and those that still run, stay."""
    forgetful = Forgetful(master.view, flows=3, size=1 << 20)
    flows = [flow() for _ in range(8)]
    flows[0].marked = ":star:"
    flows[1].live = True
    for each in flows:
        master.view.add([each])
        forgetful.response(each)
    assert [each for each in flows if master.view.get_by_id(each.id)] == [flows[0], flows[1], *flows[5:]]


async def test_our_own_marks_keep_no_flow(master: WebMaster) -> None:
    """Thousands that we have marked go like any other; those of them that a person has marked as well stay."""
    forgetful = Forgetful(master.view, flows=100, size=1 << 30)
    wanted = []
    for number in range(5000):
        each = flow()
        remarks.say(each, "error 500", remarks.FAILED)
        if number % 1000 == 7:
            each.marked = ":red_circle:"
            wanted.append(each)
        master.view.add([each])
        forgetful.response(each)
    assert kept(master) == 100 + len(wanted)
    assert all(master.view.get_by_id(each.id) for each in wanted)


async def test_what_is_kept_beside_a_flow_counts(master: WebMaster) -> None:
    """The bodies that went upstream and came back are a part of what a flow holds."""
    forgetful = Forgetful(master.view, flows=100, size=1000)
    for _ in range(4):
        each = flow(100)
        remarks.ours(each).update(sent=[{"body": b"x" * 200}], received=[{"body": b"x" * 100}, {}, None])
        master.view.add([each])
        forgetful.response(each)
    assert kept(master) == 2


async def test_the_oldest_flows_go_by_size(master: WebMaster) -> None:
    """One that is larger than everything may be is kept while it is the latest."""
    forgetful = Forgetful(master.view, flows=100, size=1000)
    for size in (400, 400, 400, 5000):
        each = flow(size)
        master.view.add([each])
        forgetful.response(each)
    assert [len(each.response.content) for each in master.view] == [5000]


async def test_flows_that_are_no_http_go_too(master: WebMaster) -> None:
    """Names that are asked for, and what else comes in `--mode local`, by number and by size."""
    forgetful = Forgetful(master.view, flows=2, size=30)
    master.addons.add(forgetful)
    lookup, stream, datagrams = (tflow.tdnsflow(resp=True), tflow.ttcpflow(), tflow.tudpflow())
    for each, started, ended in (
        (lookup, layers.dns.DnsRequestHook, layers.dns.DnsResponseHook),
        (stream, layers.tcp.TcpStartHook, layers.tcp.TcpEndHook),
        (datagrams, layers.udp.UdpStartHook, layers.udp.UdpEndHook),
    ):
        each.live = False
        await master.addons.trigger_event(started(each))
        await master.addons.trigger_event(ended(each))
    assert list(master.view) == [stream, datagrams]
    stream.messages[0].content = b"x" * 30
    await master.addons.trigger_event(layers.tcp.TcpErrorHook(stream))
    assert list(master.view) == [stream]


async def test_a_flow_that_is_replayed_counts_once(master: WebMaster) -> None:
    """With the size of its latest reply, and as the latest of all."""
    forgetful = Forgetful(master.view, flows=2, size=1000)
    first, second, third = flow(100), flow(100), flow(100)
    for each in (first, second):
        master.view.add([each])
        forgetful.response(each)
    for size in (900, 100, 900, 100):
        first.response.content = b"x" * size
        forgetful.response(first)
    assert kept(master) == 2
    master.view.add([third])
    forgetful.response(third)
    assert [each for each in (first, second, third) if master.view.get_by_id(each.id)] == [first, third]


async def test_what_is_loaded_from_a_file_stays(master: WebMaster) -> None:
    """Whoever opens a file of many flows wants to see them all; one that is made again is like any other."""
    forgetful = Forgetful(master.view, flows=2, size=1000)
    master.addons.add(forgetful)
    loaded = [flow(900) for _ in range(5)]
    for each in loaded:
        await master.load_flow(each)
    assert kept(master) == 5
    loaded[0].live = True
    forgetful.requestheaders(loaded[0])
    forgetful.response(loaded[0])
    loaded[0].live = False
    for _ in range(3):
        forgetful.response(flow(10))
    assert [each for each in loaded if master.view.get_by_id(each.id)] == loaded[1:]


async def test_what_somebody_clears_is_not_held_on_to(master: WebMaster) -> None:
    """Their bodies are free at once, and what comes afterwards is kept as ever."""
    forgetful = Forgetful(master.view, flows=2, size=1 << 20)
    for _ in range(2):
        each = flow(100)
        master.view.add([each])
        forgetful.response(each)
    master.view.clear()
    assert not any(isinstance(value, type(each)) for value in vars(forgetful).values())
    for _ in range(3):
        each = flow(100)
        master.view.add([each])
        forgetful.response(each)
    assert kept(master) == 2


@pytest.mark.parametrize(
    ("chosen", "columns"),
    [
        (None, ["tls", "icon", "path", "method", "status", "size", "time", "comment"]),
        (["path", "time"], ["path", "time"]),
    ],
)
async def test_comments_are_shown_unless_somebody_has_chosen_the_columns(
    master: WebMaster, chosen: list[str] | None, columns: list[str]
) -> None:
    """However often that is asked for; the page has room for them."""
    if chosen is not None:
        master.options.update(web_columns=chosen)
    for _ in range(2):
        show_comments(master)
    assert list(master.options.web_columns) == columns
    loader = master.app.settings["template_loader"]
    page = loader.load("../index.html").generate()
    assert page.index(b".css") < page.index(b".flow-table .col-comment") < page.index(b"</head>")
    assert "col-comment" not in loader.load("login.html").code


@pytest.mark.parametrize(("size", "left"), [(10, MESSAGES), (1 << 20, MESSAGES_SIZE >> 20), (MESSAGES_SIZE + 1, 1)])
def test_a_session_keeps_its_latest_messages(size: int, left: int) -> None:
    """By number and by size; the latest always, whatever its size."""
    session = tflow.twebsocketflow()
    session.websocket.messages = []
    for number in range(MESSAGES + 5 if size < 100 else 8):
        content = bytes([number % 256]) * size
        session.websocket.messages.append(WebSocketMessage(Opcode.BINARY, True, content))
        bound_messages(session)
        assert session.websocket.messages[-1].content == content
    assert len(session.websocket.messages) == left
    assert "latest" in session.comment


async def test_a_flow_that_is_killed_while_it_waits_goes_on() -> None:
    """To be found killed; what is resumed by its owner is left alone."""
    release = Release()
    with taddons.context():
        one, other = tflow.tflow(), tflow.tflow()
        for each in (one, other):
            each.live = True
            each.intercept()
        release.update([one, other])
        waits = [asyncio.create_task(each.wait_for_resume()) for each in (one, other)]
        await asyncio.sleep(0)
        one.kill()
        async with asyncio.timeout(10):
            await waits[0]
        assert killed(one)
        assert not one.intercepted
        assert not waits[1].done()
        other.resume()
        await waits[1]
        release.done()
