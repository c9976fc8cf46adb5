"""Settings of a request written: tools, sampling, the form of the answer, and what goes with the request."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from interpose.formats.codecs.anthropic.schemas import fit_schema
from interpose.formats.codecs.codec import Target
from interpose.formats.codecs.functions import ANY_INPUT, CUSTOM_INPUT
from interpose.ir import Losses, Request, Tool, ToolChoice

from .blocks_out import BlockWriter
from .families import CLAUDE, family_of
from .names import FORMAT, MORE, NOVA_TOP_K, SPELLINGS, Json, lay_over, marked

# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolSpecification.html
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
# "The toolConfig field must be defined when using toolUse and toolResult content blocks", Bedrock answers. Always the
# same one, so that a conversation that goes on keeps its beginning.
NO_TOOL: Json = {
    "toolSpec": {
        "name": "none",
        "description": "There are no tools at present. Never call this one.",
        "inputSchema": {"json": ANY_INPUT},
    }
}
# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ServiceTier.html. The provider's choice is told by
# other formats, and is what Bedrock does unasked.
TIERS = frozenset(("priority", "default", "flex", "reserved"))
UNASKED = frozenset(("auto", "standard_only"))
# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html (requestMetadata)
METADATA = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}")
MAX_METADATA = 16


@dataclass(slots=True)
class Tools:
    """The tools that are written, until it is known whether the conversation has called any."""

    request: Request
    losses: Losses
    written: list[Json]
    forced: bool
    """Whether the model can be forced to call a tool."""

    def finish(self, body: Json, *, has_calls: bool) -> None:
        native, choice, written = self.request.format == FORMAT, self.request.tool_choice, self.written
        forbidden = choice is not None and choice.mode == "none" and not native
        if forbidden and written and not has_calls:
            written = []  # what is not there is not called
            self.losses.approximated("tool_choice", "Bedrock cannot forbid calls: the tools are left out")
        elif forbidden and written:
            self.losses.approximated("tool_choice", "Bedrock cannot forbid calls where some have been made before")
        if not written and has_calls and not native:
            self.losses.synthesised("tools", "Bedrock wants a tool where the conversation has called some")
            written = [NO_TOOL]
        config: Json = {"tools": written} if written else {}
        if choice is not None:
            self._choose(config, choice, native=native)
        if config:
            body["toolConfig"] = config

    def _choose(self, config: Json, choice: ToolChoice, *, native: bool) -> None:
        losses = self.losses
        losses.own(choice.own, "tool_choice", FORMAT)
        if choice.parallel is False:
            losses.dropped("parallel_tool_calls", "Bedrock cannot forbid calls side by side")
        if not native and not self.written:
            if choice.mode == "any":
                losses.dropped("tool_choice", "there are no tools to choose from")
            return
        if choice.mode == "any" and not self.forced and not native:
            node: Json = {}
            config["toolChoice"] = {"auto": node}
            losses.approximated("tool_choice", "the model cannot be forced to call a tool; it is left to choose")
        elif choice.mode == "any" and len(choice.names) == 1:
            node = {"name": choice.names[0]}
            config["toolChoice"] = {"tool": node}
        elif choice.mode in ("auto", "any"):
            node = {}
            config["toolChoice"] = {choice.mode: node}
        else:
            return
        lay_over(node, choice.own)


def write_tools(request: Request, blocks: BlockWriter, target: Target) -> Tools:
    losses, choice = blocks.losses, request.tool_choice
    names = choice.names if choice is not None and len(choice.names) > 1 else ()
    written: list[Json] = []
    for tool in request.tools:
        if names and tool.name not in names:
            losses.approximated(tool.at, "left out, for only some of the tools may be called")
            continue
        node = _tool(tool, blocks)
        if node is not None:
            written.append(node)
        if tool.cache is not None:
            blocks.mark(written, tool.cache, tool.at)
    return Tools(request, losses, written, target.capabilities.forced)


def _tool(tool: Tool, blocks: BlockWriter) -> Json | None:
    losses, own, native = blocks.losses, tool.own, blocks.native
    if tool.kind == "server":
        if own is not None and own.format == FORMAT:
            return own.fields
        losses.dropped(tool.at, f"Bedrock has no tool like the provider's own {tool.name}")
        return None
    if not native and not TOOL_NAME.fullmatch(tool.name):
        losses.impossible(f"{tool.at}.name", "Bedrock's tools have names of letters, digits, _ and -, up to 64")
    spec: Json = {"name": tool.name}
    if tool.description or (native and tool.description is not None):
        spec["description"] = tool.description
    if tool.kind == "custom":
        spec["inputSchema"] = {"json": CUSTOM_INPUT}
        losses.approximated(tool.at, "a tool that takes free text is a function with the one argument `input`")
        if tool.grammar:
            losses.dropped(f"{tool.at}.format", "Bedrock keeps to no grammar")
    elif tool.parameters is not None:
        spec["inputSchema"] = {"json": tool.parameters if native else _parameters(tool, losses)}
    elif not native:
        spec["inputSchema"] = {"json": ANY_INPUT}
    if tool.strict is not None and (native or tool.strict):
        spec["strict"] = tool.strict
    losses.own(own, tool.at, FORMAT)
    lay_over(spec, own)
    return {"toolSpec": spec}


def _parameters(tool: Tool, losses: Losses) -> Json:
    schema = tool.parameters or ANY_INPUT
    if "type" not in schema:
        schema = {"type": "object", **schema}
    return fit_schema(schema, losses, f"{tool.at}.parameters") if tool.strict else schema


def write_inference(body: Json, request: Request, target: Target, losses: Losses) -> None:
    native, sampling, most = request.format == FORMAT, request.sampling, target.capabilities.max_output
    config: Json = {}
    limit = request.max_tokens
    if limit is not None:
        if most is not None and limit > most and not native:
            losses.approximated("max_tokens", f"the model writes {most} tokens at most")
            limit = most
        config["maxTokens"] = limit
    claude = family_of(target.model) is CLAUDE
    for name, key, value in (("temperature", "temperature", sampling.temperature), ("top_p", "topP", sampling.top_p)):
        if value is None:
            continue
        if native:
            config[key] = value
        elif not target.capabilities.sampling:
            losses.dropped(name, "the model refuses sampling parameters")
        elif value > 1:
            losses.approximated(name, f"Bedrock's {name} ends at 1")
            config[key] = 1
        elif name == "top_p" and claude and "temperature" in config:
            # https://platform.claude.com/docs/en/about-claude/models/migration-guide: only one of them
            if value != 1:
                losses.dropped(name, "Claude takes temperature or top_p, not both")
        else:
            config[key] = value
    stops = request.stop if native else [stop for stop in request.stop if stop.strip() or (stop and not claude)]
    if len(stops) < len(request.stop):
        losses.dropped("stop", "the model takes no such stop sequence of white space alone")
    if stops:
        config["stopSequences"] = stops
    if config:
        body["inferenceConfig"] = config
    for name in ("seed", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs"):
        if getattr(sampling, name):
            losses.dropped(name, "Bedrock has nothing like it")
    if request.answers is not None and request.answers != 1:
        losses.impossible("n", "Bedrock gives one answer to a request")


def write_top_k(body: Json, request: Request, target: Target, losses: Losses) -> None:
    top_k = request.sampling.top_k
    if top_k is None:
        return
    if request.format == FORMAT:
        path: tuple[str, ...] = ("inferenceConfig", NOVA_TOP_K) if marked(request.own, NOVA_TOP_K) else ("top_k",)
    elif not target.capabilities.sampling:
        losses.dropped("top_k", "the model refuses sampling parameters")
        return
    else:
        path = family_of(target.model).top_k
        if not path:
            losses.dropped("top_k", "what this model calls it is not known")
            return
    node = body.setdefault(MORE, {})
    for name in path[:-1]:
        node = node.setdefault(name, {})
    node[path[-1]] = top_k


def write_output(body: Json, request: Request, target: Target, losses: Losses) -> None:
    """https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html"""
    output, native = request.output, request.format == FORMAT
    if output is None or output.kind == "text":
        return
    if output.kind == "json" or output.schema is None:
        losses.approximated("response_format", "Bedrock has no JSON without a schema; the prompt alone asks for it")
        return
    schema = output.schema if native else fit_schema(output.schema, losses, "response_format.schema")
    spell = next((spell for mark, spell in SPELLINGS.items() if mark and marked(output.own, mark)), SPELLINGS[""])
    told: Json = {"schema": spell(schema)}
    if output.name is not None:
        told["name"] = output.name
    if output.description is not None:
        told["description"] = output.description
    if output.strict is False and not native:
        losses.approximated("response_format.strict", "Bedrock keeps strictly to every schema")
    losses.own(output.own, "response_format", FORMAT)
    lay_over(told, output.own)
    form = {"type": "json_schema", "structure": {"jsonSchema": told}}
    body.setdefault("outputConfig", {})["textFormat"] = form


def write_rest(body: Json, request: Request, losses: Losses) -> None:
    native, metadata, tier = request.format == FORMAT, request.metadata, request.service_tier
    if request.user is not None:
        losses.dropped("user", "Bedrock has no place for the end user's name")
    if metadata:
        if native or (len(metadata) <= MAX_METADATA and all(key and _plain(key) for key in metadata)):
            kept = {key: value for key, value in metadata.items() if native or _plain(value)}
            if len(kept) < len(metadata):
                losses.dropped("metadata", "Bedrock keeps short plain texts alone")
            if kept:
                body["requestMetadata"] = kept
        else:
            losses.dropped("metadata", f"Bedrock keeps up to {MAX_METADATA} texts with short plain names")
    if tier is not None:
        if native or tier in TIERS:
            body["serviceTier"] = {"type": tier}
        elif tier not in UNASKED:
            losses.dropped("service_tier", f"Bedrock has no tier {tier!r}")


def _plain(value: Any) -> bool:
    return isinstance(value, str) and METADATA.fullmatch(value) is not None
