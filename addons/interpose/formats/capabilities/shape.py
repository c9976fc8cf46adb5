"""What a model can do, as far as a request must be written otherwise for it. Only the shapes: the facts stand in the
modules beside this one, who is meant by a name is `lookup`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Capabilities:
    """`max_output` is the most tokens that the model writes, None if not known. `sampling` says whether temperature,
    top_p and top_k may be given, `sampling_thinking` whether also while it thinks. `thinking` is how it is asked to
    think: not at all, by a budget of tokens, by effort, or adaptively; `efforts` are the words for an effort that it
    takes, from least to most, none if not known; `budgets` are the least and the most tokens of a budget. `forced` says
    whether it may be told to call a tool, `system_inside` whether a system message may stand in mid-conversation,
    `prefill` whether the last message may be the assistant's. `media` are the kinds that it takes. `cache_field` is
    where a server of Chat Completions takes marks of a prompt cache, if it does.

    A Claude that thinks by effort alone cannot be told not to think; one that does so adaptively can.
    """

    max_output: int | None = None
    sampling: bool = True
    sampling_thinking: bool = True
    thinking: Literal["none", "budget", "adaptive", "effort"] = "budget"
    efforts: tuple[str, ...] = ()
    budgets: tuple[int, int] | None = None
    forced: bool = True
    system_inside: bool = False
    prefill: bool = True
    tools: bool = True
    media: frozenset[str] = frozenset(("image", "document"))
    cache_field: Literal["cache_control", "prompt_cache_breakpoint"] | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """Some fields of `Capabilities` and their values, for models of which the rest is as the tables say."""

    fields: tuple[tuple[str, Any], ...]

    def of(self, known: Capabilities) -> Capabilities:
        return replace(known, **dict(self.fields))


@dataclass(frozen=True, slots=True)
class Row:
    """Models by name, and what is known of them. A name may be a glob (lower case, without a provider's prefix).

    `sources` are the pages that say so; what none of them says is left at its default.
    """

    names: tuple[str, ...]
    can: Capabilities
    sources: tuple[str, ...]


Overrides = Mapping[str, Capabilities | Change]

TEXT = frozenset[str]()
IMAGES = frozenset(("image",))
PAGES = frozenset(("image", "document"))
DOCUMENTS = frozenset(("document",))
AUDIO = frozenset(("audio",))
EVERYTHING = frozenset(("image", "document", "audio", "video"))
