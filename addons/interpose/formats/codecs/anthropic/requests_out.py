"""Requests written: the conversation of any format, as Claude takes it, in the envelope that is asked for."""

from __future__ import annotations

from interpose.formats.codecs.codec import Target, Written
from interpose.ir import Losses, Message, Request, Text

from .blocks_out import BlockWriter
from .envelopes import Envelope, Named
from .names import COUNTING, FORMAT, TEXT, TOP, Json, lay_over, marked
from .requests_in import STREAM_BY_URL, STREAM_TOLD, VERSION
from .settings_out import (
    write_limit,
    write_output,
    write_rest,
    write_sampling,
    write_stop,
    write_thinking,
    write_tools,
)

ROLES = {"user": "user", "tool": "user", "assistant": "assistant", "system": "system", "developer": "system"}


def write_request(request: Request, target: Target, losses: Losses, envelope: Envelope) -> Written:
    version = target.version or _version_of(request, envelope) or envelope.version
    native = request.format == FORMAT
    body: Json = {}
    headers: dict[str, str] = {}
    counting = marked(request.own, COUNTING)
    if envelope.model_inside or counting:
        body["model"] = target.model
    if envelope.version_inside:
        body["anthropic_version"] = version
    else:
        headers["anthropic-version"] = version
    blocks = BlockWriter(target, losses, envelope, version, native=native)
    write_limit(body, request, target, losses)
    write_tools(body, request, blocks)
    write_messages(body, request, target, blocks, envelope)
    write_thinking(body, request, target, losses)
    write_sampling(body, request, target, version, losses)
    write_stop(body, request, losses)
    write_output(body, request, losses)
    write_rest(body, request, losses)
    path = envelope.write_path(Named(target.model, request.stream, counting))
    if envelope.stream_inside:
        _write_stream(
            body, request, in_url=path != envelope.write_path(Named(target.model, not request.stream, counting))
        )
    _lay_over_request(body, request, losses)
    if not envelope.betas_inside and isinstance(betas := body.get("anthropic_beta"), list):
        # What is no text was no header of a client's, and would break ours.
        headers["anthropic-beta"] = ",".join(beta for beta in betas if isinstance(beta, str) and beta.isascii())
        del body["anthropic_beta"]
    return Written(path, body, "", headers)


def _write_stream(body: Json, request: Request, *, in_url: bool) -> None:
    """Whether to stream, where the body says it. Vertex's URL says it too, and counts: there the body may be silent, or
    say that there be none.
    """
    if marked(request.own, STREAM_TOLD):
        body["stream"] = request.stream and not in_url
    elif request.stream and not (in_url and marked(request.own, STREAM_BY_URL)):
        body["stream"] = True


def _version_of(request: Request, envelope: Envelope) -> str | None:
    """The version that the client told in the same envelope: each has versions of its own."""
    if request.own is None or request.own.format != FORMAT:
        return None
    for mark in request.own.marks:
        if mark.startswith(VERSION):
            name, _, version = mark.removeprefix(VERSION).partition(":")
            return version if name == envelope.name else None
    return None


def _lay_over_request(body: Json, request: Request, losses: Losses) -> None:
    """Leftovers of `output_config` and `metadata` lie beside what was understood of these."""
    if request.own is None:
        return
    losses.own(request.own, "", FORMAT)
    if request.own.format != FORMAT:
        return
    for name, value in {**request.own.fields, **(request.own.silent or {})}.items():
        written = body.get(name)
        if isinstance(written, dict) and isinstance(value, dict):
            written.update(value)
        else:
            body[name] = value


def write_messages(body: Json, request: Request, target: Target, blocks: BlockWriter, envelope: Envelope) -> None:
    messages = request.messages
    start = _write_system(body, messages, blocks)
    if blocks.native:
        body["messages"] = [_write_native(message, blocks) for message in messages[start:]]
        return
    inside = target.capabilities.system_inside and envelope.system_inside
    written = _write_turns(messages[start:], blocks, inside=inside)
    body["messages"] = written
    if not written:
        blocks.losses.impossible("messages", "Claude needs a message of the user's")
    elif written[-1]["role"] == "assistant" and not target.capabilities.prefill:
        blocks.losses.impossible(messages[-1].at, "the model does not go on with a message of the assistant's")


def _write_system(body: Json, messages: list[Message], blocks: BlockWriter) -> int:
    """Writes what stands before the conversation on top of the request; gives how many messages that were.

    Of our own format only what was on top; of any other, all system messages that come first.
    """
    system: list[Json] = []
    start = 0
    for message in messages:
        if message.role not in ("system", "developer"):
            break
        if blocks.native and not marked(message.own, TOP):
            break
        start += 1
        _told_message(message, blocks)
        if marked(message.own, TEXT) and len(message.blocks) == 1 and isinstance(only := message.blocks[0], Text):
            body["system"] = only.text
            continue
        written = blocks.blocks(message.blocks, "system")
        if blocks.native:
            body["system"] = written
            continue
        system += _only_text(written, message, blocks)
    if system:
        body["system"] = system
    return start


def _only_text(written: list[Json], message: Message, blocks: BlockWriter) -> list[Json]:
    texts = [node for node in written if node["type"] == "text"]
    if len(texts) < len(written):
        blocks.losses.impossible(message.at, "Claude's system prompt is text")
    return texts


def _write_native(message: Message, blocks: BlockWriter) -> Json:
    """As its client wrote it: what Claude does not take, Claude says."""
    node: Json = {"role": ROLES[message.role]}
    if marked(message.own, TEXT) and len(message.blocks) == 1 and isinstance(only := message.blocks[0], Text):
        node["content"] = only.text
    else:
        node["content"] = blocks.blocks(message.blocks, message.role)
    if message.own is not None:
        lay_over(node, message.own)
    return node


def _told_message(message: Message, blocks: BlockWriter) -> None:
    if message.name:
        blocks.losses.dropped(f"{message.at}.name", "Claude has no names of speakers")
    if message.own is not None:
        blocks.losses.own(message.own, message.at, FORMAT)


def _write_turns(messages: list[Message], blocks: BlockWriter, *, inside: bool) -> list[Json]:
    """Neighbours of one role are one turn; in a user's turn the tools' results come first, and the rest in order.

    A system message in mid-conversation stays where it is: as such where the model takes it (`inside`), which it does
    at the end of the user's turn alone; else in words of the user's turn.
    https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages
    """
    turns: list[Json] = []
    ends = _ends_of_turns(messages) if inside else []
    for place, message in enumerate(messages):
        _told_message(message, blocks)
        role = ROLES[message.role]
        if role == "system":
            native = inside and bool(turns) and turns[-1]["role"] != "assistant" and ends[place]
            content = _only_text(blocks.blocks(message.blocks, "system"), message, blocks)
            if not native:
                content = [_in_words(node) for node in content]
                role = "user"
                if content:
                    blocks.losses.approximated(message.at, "a system message in mid-conversation is the user's words")
        else:
            content = blocks.blocks(message.blocks, role)
        if not content:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += content
        else:
            turns.append({"role": role, "content": content})
    for turn in turns:
        if turn["role"] == "user":
            turn["content"].sort(key=_after_results)
    return turns


def _ends_of_turns(messages: list[Message]) -> list[bool]:
    """Of each message, whether the assistant speaks after it, or nobody: system messages are passed over."""
    ends: list[bool] = []
    last = True
    for message in reversed(messages):
        ends.append(last)
        if message.role in ("assistant", "user", "tool"):
            last = message.role == "assistant"
    ends.reverse()
    return ends


def _in_words(node: Json) -> Json:
    return {**node, "text": f"<system>\n{node['text']}\n</system>"}


def _after_results(node: Json) -> bool:
    """False sorts first, and sorting is stable."""
    return bool(node["type"] != "tool_result")
