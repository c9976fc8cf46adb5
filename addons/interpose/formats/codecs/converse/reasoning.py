"""How much a model is to think: `outputConfig.effort`, and what each family of models has for it of its own.

Converse has no common word for a budget, nor for thinking at all: these are the models' additional fields.
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_OutputConfig.html
https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interpose.formats.capabilities import nearest
from interpose.formats.codecs.codec import Target
from interpose.ir import Losses, Own, Reasoning, Request

from .families import CLAUDE, family_of
from .names import (
    CLAUDE_THINKING,
    FORMAT,
    MORE,
    NOVA_THINKING,
    OLD_THINKING,
    OUTPUT_CONFIG,
    REASONING_EFFORT,
    Json,
    lay_over,
    marked,
    take_integer,
    take_text,
)

LEAST_BUDGET = 1024
BUDGETS: Mapping[str, int] = {
    "minimal": 1024,
    "low": 4096,
    "medium": 10_000,
    "high": 24_000,
    "xhigh": 32_000,
    "max": 32_000,
}
EFFORTS = ("low", "medium", "high", "xhigh", "max")
_KINDS = ("enabled", "adaptive", "disabled")
# Where an effort stands: the additional field and, if that is an object, the key in it. Marks have these names.
_EFFORTS: tuple[tuple[str, str], ...] = (
    (OUTPUT_CONFIG, "effort"),
    (REASONING_EFFORT, ""),
    (OLD_THINKING, ""),
    (NOVA_THINKING, "maxReasoningEffort"),
)


def take_reasoning(body: Json) -> Reasoning | None:
    """What is understood of it, wherever it stands; marked with where that was."""
    found, marks = Reasoning(), set[str]()
    left: Json = {}
    more, config = body.get(MORE), body.get("outputConfig")
    if isinstance(more, dict):
        for name in (CLAUDE_THINKING, OLD_THINKING, NOVA_THINKING):
            if found.enabled is None and _take_thinking(more, name, found, left):
                marks.add(name)
        for name, key in _EFFORTS:
            if found.effort is None and _take_effort(more, name, key, found, left if name in marks else None):
                marks.add(f"{name}.effort")
    if found.effort is None and isinstance(config, dict):
        found.effort = take_text(config, "effort")
    if found == Reasoning():
        return None
    found.own = Own(FORMAT, left, frozenset(marks)) if left or marks else None
    return found


def _take_thinking(more: Json, name: str, found: Reasoning, left: Json) -> bool:
    node = more.get(name)
    if not isinstance(node, dict) or node.get("type") not in _KINDS:
        return False
    del more[name]
    kind = node.pop("type")
    found.enabled, found.adaptive = kind != "disabled", True if kind == "adaptive" else None
    found.budget, found.shown = take_integer(node, "budget_tokens"), take_text(node, "display")
    left |= node
    return True


def _take_effort(more: Json, name: str, key: str, found: Reasoning, left: Json | None) -> bool:
    """An effort that stands beside the kind of thinking was left over of that one."""
    if key:
        node = left if left is not None else more.get(name)
        if isinstance(node, dict) and (effort := take_text(node, key)) is not None:
            found.effort = effort
            if not node and left is None:
                del more[name]
            return True
        return False
    effort = take_text(more, name)
    if effort is not None:
        found.effort = effort
    return effort is not None


def write_native(body: Json, reasoning: Reasoning) -> None:
    fields: Json = body.setdefault(MORE, {})
    for name in (CLAUDE_THINKING, OLD_THINKING, NOVA_THINKING):
        if marked(reasoning.own, name):
            kind = "adaptive" if reasoning.adaptive else "enabled" if reasoning.enabled else "disabled"
            node: Json = {"type": kind}
            if reasoning.budget is not None:
                node["budget_tokens"] = reasoning.budget
            if reasoning.shown is not None:
                node["display"] = reasoning.shown
            lay_over(node, reasoning.own)
            fields[name] = node
    if reasoning.effort is not None:
        for name, key in _EFFORTS:
            if marked(reasoning.own, f"{name}.effort"):
                _put(fields, (name, key) if key else (name,), reasoning.effort)
                break
        else:
            body.setdefault("outputConfig", {})["effort"] = reasoning.effort
    if not fields:
        del body[MORE]


def _put(fields: Json, path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        fields = fields.setdefault(name, {})
    fields[path[-1]] = value


def write_reasoning(body: Json, request: Request, target: Target, losses: Losses) -> None:
    """A choice that forces a tool goes before thinking, for Claude refuses both:
    https://platform.claude.com/docs/en/build-with-claude/extended-thinking#extended-thinking-with-tool-use
    """
    reasoning = request.reasoning
    if reasoning is None:
        return
    losses.own(reasoning.own, "reasoning", FORMAT)
    family, style = family_of(target.model), target.capabilities.thinking
    off = reasoning.enabled is False or reasoning.effort == "none" or reasoning.budget == 0
    if style == "none":
        if not off:
            losses.dropped("reasoning", "the model does not think")
    elif family is not CLAUDE:
        _write_effort(body, reasoning, target.model, losses, off=off)
    elif off:
        _write_off(body, style, losses)
    elif style != "effort" and request.tool_choice is not None and request.tool_choice.mode == "any":
        losses.dropped("reasoning", "Claude does not think where a tool is forced")
    elif style == "budget":
        _write_budget(body, reasoning, losses)
    else:
        if style == "adaptive":
            node: Json = {"type": "adaptive"}
            if reasoning.shown is not None:
                node["display"] = "omitted" if reasoning.shown == "omitted" else "summarized"
            body.setdefault(MORE, {})[CLAUDE_THINKING] = node
        effort = _effort_of(reasoning, EFFORTS, losses)
        if effort is not None:
            if (near := nearest(effort, target.capabilities.efforts)) != effort:
                losses.approximated("reasoning", f"the model takes no effort {effort}; {near} is the nearest")
                effort = near
            body.setdefault("outputConfig", {})["effort"] = effort


def _write_off(body: Json, style: str, losses: Losses) -> None:
    """Where thinking is asked for by a budget, it is off unless asked for."""
    if style == "adaptive":
        body.setdefault(MORE, {})[CLAUDE_THINKING] = {"type": "disabled"}
    elif style == "effort":
        body.setdefault("outputConfig", {})["effort"] = "low"
        losses.approximated("reasoning", "the model always thinks; with low effort it does so least")


def _write_budget(body: Json, reasoning: Reasoning, losses: Losses) -> None:
    """Thinking counts towards maxTokens: half of these are left for the answer, unless the client says otherwise."""
    limit = body.get("inferenceConfig", {}).get("maxTokens")
    if limit is not None and limit <= LEAST_BUDGET:
        losses.dropped("reasoning", f"the limit leaves no room for {LEAST_BUDGET} tokens of thinking")
        return
    half = max(LEAST_BUDGET, limit // 2) if limit is not None else BUDGETS["max"]
    budget = reasoning.budget
    if budget is None:
        budget = min(half, BUDGETS.get(reasoning.effort or "medium", BUDGETS["medium"]))
        losses.approximated("reasoning", f"the effort is a budget of {budget} tokens to this model")
    elif budget < LEAST_BUDGET or (limit is not None and budget >= limit):
        budget = max(LEAST_BUDGET, min(half, budget))
        losses.approximated("reasoning", f"the budget is {budget}, for it lies between {LEAST_BUDGET} and the limit")
    body.setdefault(MORE, {})[CLAUDE_THINKING] = {"type": "enabled", "budget_tokens": budget}


def _write_effort(body: Json, reasoning: Reasoning, model: str, losses: Losses, *, off: bool) -> None:
    """Models of other makers, each with a word of its own."""
    family = family_of(model)
    if not family.effort:
        if not off:
            losses.dropped("reasoning", "how this model is asked to think is not known")
        return
    if off:
        if family.effort == REASONING_EFFORT:
            body.setdefault(MORE, {})[REASONING_EFFORT] = family.efforts[0]
            losses.approximated("reasoning", "the model always thinks; with low effort it does so least")
        return
    effort = _effort_of(reasoning, family.efforts, losses) or "medium"
    nova = family.effort == NOVA_THINKING
    node: Any = {"type": "enabled", "maxReasoningEffort": effort} if nova else effort
    body.setdefault(MORE, {})[family.effort] = node


def _effort_of(reasoning: Reasoning, efforts: tuple[str, ...], losses: Losses) -> str | None:
    effort = reasoning.effort
    if effort is None and reasoning.budget is not None:
        effort = next((name for name in ("low", "medium", "high") if reasoning.budget <= BUDGETS[name]), efforts[-1])
        losses.approximated("reasoning", f"the budget is {effort} effort to this model")
    elif effort is not None and effort not in efforts:
        nearest = efforts[0] if effort == "minimal" else efforts[-1] if effort in EFFORTS else None
        losses.approximated("reasoning", f"the model has no effort {effort!r}; it is {nearest or 'its usual'}")
        effort = nearest
    return effort
