"""LiteLLM's transformations, timed for `bench_convert.py` in LiteLLM's own environment: orders in, nanoseconds out."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # prices are not what is measured, and would come from the network

from litellm.litellm_core_utils.streaming_handler import CustomStreamWrapper
from litellm.llms.anthropic.chat.handler import ModelResponseIterator
from litellm.llms.anthropic.chat.transformation import AnthropicConfig

PARAMETERS = ("tools", "temperature", "max_tokens", "stream")


def request(config: AnthropicConfig, model: str, data: str) -> bytes:
    asked = json.loads(data)
    wanted = {name: asked[name] for name in PARAMETERS if name in asked}
    optional = config.map_openai_params(wanted, {}, model, drop_params=False)
    made = config.transform_request(model, asked["messages"], optional, {}, {})
    return json.dumps(made).encode()


class Silent:
    """LiteLLM's object for callbacks and logs, which does nothing and takes no time."""

    def __init__(self) -> None:
        self.model_call_details: dict[str, Any] = {"litellm_params": {}}
        self.completion_start_time = 0
        self.messages: list[Any] = []
        self.optional_params: dict[str, Any] = {}
        self.stream_options = self.llm_caching_handler = None
        self.call_type, self.litellm_call_id, self.litellm_trace_id = "completion", "bench", "bench"

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def chunks(events: list[str]) -> list[int]:
    """Each event's JSON to the JSON of OpenAI's chunk, by the provider's iterator alone."""
    parser = ModelResponseIterator(iter(()), sync_stream=True)
    times = []
    for event in events:
        data = event.partition("data: ")[2].strip()
        began = time.perf_counter_ns()
        parser.chunk_parser(json.loads(data)).model_dump_json(exclude_none=True)
        times.append(time.perf_counter_ns() - began)
    return times


def wrapped(events: list[str], model: str) -> list[int]:
    """The same by what callers of the library and its proxy get, which makes OpenAI's chunks of these."""
    lines = iter([line for event in events for line in event.strip().split("\n")])
    parser = ModelResponseIterator(lines, sync_stream=True)
    times = []
    stream = CustomStreamWrapper(parser, model, Silent(), custom_llm_provider="anthropic")
    began = time.perf_counter_ns()
    for chunk in stream:
        chunk.model_dump_json(exclude_none=True)
        now = time.perf_counter_ns()
        times.append(now - began)
        began = now
    return times


def main() -> None:
    config = AnthropicConfig()
    for line in sys.stdin:
        order = json.loads(line)
        found: dict[str, list[int]] = {"request": [], "chunk": [], "wrapped": []}
        for _ in range(order["repeats"]):
            began = time.perf_counter_ns()
            request(config, order["model"], order["request"])
            found["request"].append(time.perf_counter_ns() - began)
        for _ in range(max(1, order["repeats"] // 50)):
            found["chunk"] += chunks(order["events"])
            found["wrapped"] += wrapped(order["events"], order["model"])
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
