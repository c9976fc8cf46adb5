"""What the models of Bedrock take beside Converse's common parameters, by family. Data, and the look-up.

Converse passes `additionalModelRequestFields` on as they are, so that each family has its own words there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from interpose.formats.capabilities import plain_name

from .names import NOVA_THINKING, OLD_THINKING, REASONING_EFFORT


@dataclass(frozen=True, slots=True)
class Family:
    """`start` is how its models' names begin. `top_k` is where that parameter stands among the additional fields,
    `effort` the additional field that takes an effort, `efforts` its words. `caches`: whether it takes cache points.
    """

    start: str
    top_k: tuple[str, ...] = ()
    effort: str = ""
    efforts: tuple[str, ...] = ("low", "medium", "high")
    caches: bool = False


FAMILIES = (
    # https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html
    Family("claude", ("top_k",), caches=True),
    # https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html
    Family("nova-2", ("inferenceConfig", "topK"), NOVA_THINKING, caches=True),
    # https://docs.aws.amazon.com/nova/latest/userguide/using-converse-api.html
    Family("nova", ("inferenceConfig", "topK"), caches=True),
    # https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-openai.html
    Family("gpt-", (), REASONING_EFFORT),
    # https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-qwen.html
    Family("qwen3", (), OLD_THINKING),
)
# Of a model that is named, but not among these: no more than what all have in common.
OTHER = Family("")
# Of a profile or an import, whose name does not tell its model. It may have been made for the sake of the cache.
UNKNOWN = Family("", caches=True)
CLAUDE = FAMILIES[0]


# Names are the clients': the memory for them is bounded.
@lru_cache(maxsize=1024)
def family_of(model: str) -> Family:
    name = plain_name(model)
    for family in FAMILIES:
        if name.startswith(family.start):
            return family
    # Models have the name of their maker before a dot: https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html
    return OTHER if "." in unquote(model).rpartition("/")[2] else UNKNOWN
