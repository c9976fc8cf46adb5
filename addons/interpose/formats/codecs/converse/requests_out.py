"""Requests written: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html"""

from __future__ import annotations

from urllib.parse import quote

from interpose.formats.codecs.codec import Target, Written
from interpose.ir import Losses, Message, Request

from .blocks_out import BlockWriter
from .families import CLAUDE, family_of
from .names import FORMAT, NO_MESSAGES, TOP, Json, lay_over, marked
from .reasoning import write_native, write_reasoning
from .settings_out import write_inference, write_output, write_rest, write_tools, write_top_k

ROLES = {"user": "user", "tool": "user", "assistant": "assistant", "system": "system", "developer": "system"}
# "If you include a ContentBlock with a document field in the array, you must also include a ContentBlock with a text
# field": https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html
BESIDE_DOCUMENT = "See the document."


def write_request(request: Request, target: Target, losses: Losses) -> Written:
    native = request.format == FORMAT
    blocks = BlockWriter(target, losses, native=native)
    body: Json = {}
    # What comes first in the prompt is marked first: tools, then system, then messages.
    tools = write_tools(request, blocks, target)
    _write_messages(body, request, blocks, target)
    tools.finish(body, has_calls=blocks.has_tools)
    write_inference(body, request, target, losses)
    write_top_k(body, request, target, losses)
    if native and request.reasoning is not None:
        write_native(body, request.reasoning)
    elif not native:
        write_reasoning(body, request, target, losses)
        _mind_thinking(body, losses)
    write_output(body, request, target, losses)
    write_rest(body, request, losses)
    losses.own(request.own, "", FORMAT)
    lay_over(body, request.own)
    # As botocore escapes it; an ARN holds slashes, which must not part the path.
    return Written(f"/model/{quote(target.model, safe='')}/{'converse-stream' if request.stream else 'converse'}", body)


def _mind_thinking(body: Json, losses: Losses) -> None:
    """https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html: a Claude that thinks
    takes no other temperature, and no top_k.
    """
    more, inference = body.get("additionalModelRequestFields", {}), body.get("inferenceConfig", {})
    if more.get("thinking", {}).get("type") not in ("enabled", "adaptive"):
        return
    for node, name, told in (
        (inference, "temperature", "temperature"),
        (inference, "topP", "top_p"),
        (more, "top_k", "top_k"),
    ):
        if node.pop(name, None) is not None:
            losses.dropped(told, "sampling cannot be set while the model thinks")
    if "inferenceConfig" in body and not inference:
        del body["inferenceConfig"]


def _write_messages(body: Json, request: Request, blocks: BlockWriter, target: Target) -> None:
    messages, start = request.messages, 0
    system: list[Json] = []
    for message in messages:
        if message.role not in ("system", "developer") or (blocks.native and not marked(message.own, TOP)):
            break
        start += 1
        _told(message, blocks)
        system += _only_text(message, blocks)
    if system:
        body["system"] = system
    if blocks.native:
        if not marked(request.own, NO_MESSAGES):
            body["messages"] = [_native(message, blocks) for message in messages[start:]]
        return
    inside = target.capabilities.system_inside and family_of(target.model) is CLAUDE
    turns = _turns(messages[start:], blocks, inside=inside)
    body["messages"] = turns
    if not turns or turns[0]["role"] != "user":
        blocks.losses.impossible("messages", "a conversation with Bedrock begins with the user's words")
    elif turns[-1]["role"] == "assistant" and not target.capabilities.prefill:
        blocks.losses.impossible(messages[-1].at, "the model does not go on with a message of the assistant's")


def _turns(messages: list[Message], blocks: BlockWriter, *, inside: bool) -> list[Json]:
    """Neighbours of one role are one turn; in a user's turn the tools' results come first, and the rest in order.

    A system message in mid-conversation stays where it is: as such where the model takes it (`inside`), which it does
    at the end of the user's turn alone; else in words of the user's turn.
    """
    turns: list[Json] = []
    ends = _ends_of_turns(messages) if inside else []
    for place, message in enumerate(messages):
        _told(message, blocks)
        role = ROLES[message.role]
        if role == "system":
            content = _only_text(message, blocks)
            if not (inside and turns and turns[-1]["role"] != "assistant" and ends[place]):
                role = "user"
                content = [_in_words(node) for node in content]
                if content:
                    blocks.losses.approximated(message.at, "a system message in mid-conversation is the user's words")
        else:
            before = blocks.documents
            content = blocks.blocks(message.blocks, role)
            if blocks.documents > before and not any("text" in node for node in content):
                content.append({"text": BESIDE_DOCUMENT})
                blocks.losses.synthesised(message.at, "Bedrock wants words beside a document")
        if not content:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += content
        else:
            turns.append({"role": role, "content": content})
    for turn in turns:
        content = turn["content"]
        if len(content) > 1 and turn["role"] == "user" and any("toolResult" in node for node in content):
            turn["content"] = _results_first(content)
    return turns


def _ends_of_turns(messages: list[Message]) -> list[bool]:
    """Of each message, whether the assistant speaks next, or nobody."""
    found, ends = True, list[bool]()
    for message in reversed(messages):
        ends.append(found)
        if ROLES[message.role] != "system":
            found = message.role == "assistant"
    ends.reverse()
    return ends


def _in_words(node: Json) -> Json:
    return {"text": f"<system>\n{node['text']}\n</system>"} if "text" in node else node


def _results_first(content: list[Json]) -> list[Json]:
    """A cache point stays behind its block."""
    groups: list[list[Json]] = []
    for node in content:
        if "cachePoint" in node and groups:
            groups[-1].append(node)
        else:
            groups.append([node])
    groups.sort(key=lambda group: "toolResult" not in group[0])
    return [node for group in groups for node in group]


def _only_text(message: Message, blocks: BlockWriter) -> list[Json]:
    written = blocks.blocks(message.blocks, "system")
    if blocks.native:
        return written
    kept = [node for node in written if "text" in node or "cachePoint" in node]
    if len(kept) < len(written):
        blocks.losses.impossible(message.at, "the system prompt is text")
    return kept


def _native(message: Message, blocks: BlockWriter) -> Json:
    """As its client wrote it: what Bedrock does not take, Bedrock says."""
    node: Json = {"role": ROLES[message.role], "content": blocks.blocks(message.blocks, message.role)}
    lay_over(node, message.own)
    return node


def _told(message: Message, blocks: BlockWriter) -> None:
    if message.name:
        blocks.losses.dropped(f"{message.at}.name", "Bedrock has no names of speakers")
    if message.own is not None:
        blocks.losses.own(message.own, message.at, FORMAT)
