"""OpenAI Chat Completions and what resembles it: legacy completions, embeddings, Mistral and the compatible hosts.

https://platform.openai.com/docs/api-reference/chat-streaming. Prompt tokens include cached ones, completion tokens
include reasoning; the dialects that count otherwise are named beside their rule.
"""

from __future__ import annotations

from interpose.ir import Usage

from .reader import Choices, Json, Reader, child, error_message, first_size, objects, overlay, says, size

# Synonyms by dialect, best first; never added up.
PROMPT = ("prompt_tokens", "input_tokens")
COMPLETION = ("completion_tokens", "output_tokens")
CACHE_READ = (
    "prompt_tokens_details.cached_tokens",
    "input_tokens_details.cached_tokens",
    "input_token_details.cached_tokens",
    "prompt_token_details.cached_tokens",
    "prompt_cache_hit_tokens",  # DeepSeek: https://api-docs.deepseek.com/guides/kv_cache
    "num_cached_tokens",  # Mistral
    "cached_tokens",  # Moonshot
    "cache_read_input_tokens",  # gateways in front of Claude
)
CACHE_WRITE = (
    "prompt_tokens_details.cache_write_tokens",  # OpenRouter: https://openrouter.ai/docs/use-cases/usage-accounting
    "input_tokens_details.cache_write_tokens",
    "prompt_tokens_details.cache_creation_tokens",
    "cache_creation_input_tokens",
)
REASONING = (
    "completion_tokens_details.reasoning_tokens",
    "output_tokens_details.reasoning_tokens",
    "reasoning_tokens",  # Perplexity
)
AUDIO = "prompt_tokens_details.audio_tokens"
# What may have a price of its own, where it is told: Chat's sound; of images
# (https://platform.openai.com/docs/api-reference/images/object#images-object-usage); and, in the words of Realtime,
# whose cache has prices by kind (https://platform.openai.com/docs/api-reference/realtime-server-events/response/done),
# and of transcriptions.
PARTS = (
    ("input_audio_tokens", (AUDIO, "input_tokens_details.audio_tokens", "input_token_details.audio_tokens")),
    ("input_image_tokens", ("input_tokens_details.image_tokens", "input_token_details.image_tokens")),
    ("cache_audio_read_tokens", ("input_token_details.cached_tokens_details.audio_tokens",)),
    ("cache_image_read_tokens", ("input_token_details.cached_tokens_details.image_tokens",)),
    (
        "output_audio_tokens",
        (
            "completion_tokens_details.audio_tokens",
            "output_tokens_details.audio_tokens",
            "output_token_details.audio_tokens",
        ),
    ),
    ("output_image_tokens", ("output_tokens_details.image_tokens",)),
)
# One text under several names: DeepSeek's, OpenRouter's.
REASONING_TEXTS = ("reasoning_content", "reasoning")


def usage_of(reader: Reader, usage: Json) -> Usage:
    """A `usage` object of Chat, Responses, completions or images."""
    prompt = reader.pick(usage, *PROMPT)
    completion = reader.pick(usage, *COMPLETION)
    reasoning = reader.pick(usage, *REASONING)
    audio = reader.pick(usage, AUDIO)
    for unit, paths in PARTS:
        reader.part(unit, usage, *paths)
    connected = reader.pick(usage, "connector_tokens")
    if (reasoning or audio or connected) and prompt is not None and completion is not None:
        # The total tells what stands beside the counters instead of in them: reasoning at xAI
        # (https://docs.x.ai/docs/guides/reasoning), audio at Mistral (https://docs.mistral.ai/capabilities/audio), and
        # what the tools of its agents have read (https://docs.mistral.ai/agents/connectors/websearch).
        rest = (reader.pick(usage, "total_tokens") or 0) - prompt - completion
        if reasoning and rest in (reasoning, reasoning + (audio or 0)):
            completion += reasoning
            rest -= reasoning
        if rest and rest in (audio, connected):
            prompt += rest
    return Usage(
        input_tokens=prompt,
        cache_read_tokens=reader.pick(usage, *CACHE_READ),
        cache_write_tokens=reader.pick(usage, *CACHE_WRITE),
        output_tokens=completion,
        reasoning_tokens=reasoning,
    )


class ChatReader(Reader):
    """Complete with `[DONE]`, or with a finish reason of every choice seen: twenty hosts never send `[DONE]`."""

    __slots__ = ("_choices",)

    def __init__(self) -> None:
        super().__init__()
        self._choices = Choices()

    def document(self, document: Json) -> None:
        self._envelope(document)
        for choice in objects(document.get("choices")):
            self._content(child(choice, "message"))
            self.text_bytes += size(choice.get("text"))
            if choice.get("finish_reason") == "error":
                self._failed(choice)

    def event(self, event: Json, name: str) -> None:
        self._envelope(event)
        choices = event.get("choices")
        if not choices:
            return
        for choice in objects(choices):
            delta = choice.get("delta")
            if isinstance(delta, dict):
                self._content(delta)
            elif isinstance(message := choice.get("message"), dict):
                self._content(message)
            if isinstance(text := choice.get("text"), str):
                self.text_bytes += size(text)
            # llama.cpp and others write an empty reason while they go on.
            if reason := choice.get("finish_reason"):
                self._choices.finish(choice.get("index", 0))
                if reason == "error":
                    self._failed(choice)
            else:
                self._choices.go_on(choice.get("index", 0))
            self.complete = self._choices.done

    def _envelope(self, document: Json) -> None:
        if self.model is None:
            self.name_model(document.get("model"))
        if "service_tier" in document:
            self.billed(document["service_tier"])
        usage = document.get("usage")
        if isinstance(usage, dict):
            self.usage = overlay(self.usage, usage_of(self, usage))
        if "x_groq" in document:
            # Groq's streams: https://console.groq.com/docs/api-reference#chat-create
            groq = child(document, "x_groq")
            if usage := child(groq, "usage"):
                self.usage = overlay(self.usage, usage_of(self, usage))
            self.fail(error_message(groq))
        if self.error is None and ("error" in document or document.get("object") == "error"):
            self.fail(error_message(document))

    def _failed(self, choice: Json) -> None:
        """OpenRouter's and Mistral's reason: https://openrouter.ai/docs/api-reference/errors"""
        self.fail(error_message(choice) or "the finish reason is error")

    def _content(self, message: Json) -> None:
        # A chunk that names the role alone, with a content of "", is no content.
        self.begun = self.begun or says(message, "role")
        content = message.get("content")
        if isinstance(content, str):
            self.text_bytes += size(content)
        elif isinstance(content, list):
            self._chunks(content)
        for key in message:
            if key in REASONING_TEXTS:
                self.text_bytes += first_size(message, *REASONING_TEXTS)
                break
        if "refusal" in message:
            self.text_bytes += size(message["refusal"])
        if "tool_calls" in message:
            for call in objects(message["tool_calls"]):
                self.text_bytes += size(child(call, "function").get("arguments"))
                self.text_bytes += size(child(call, "custom").get("input"))
        if "function_call" in message:
            self.text_bytes += size(child(message, "function_call").get("arguments"))

    def _chunks(self, content: list[object]) -> None:
        """Mistral's content chunks: `text`, and `thinking` with chunks inside (https://docs.mistral.ai/api)."""
        for chunk in objects(content):
            self.text_bytes += size(chunk.get("text"))
            for thought in objects(chunk.get("thinking")):
                self.text_bytes += size(thought.get("text"))


class EmbeddingsReader(Reader):
    """https://platform.openai.com/docs/api-reference/embeddings/create; Voyage tells only `total_tokens`."""

    __slots__ = ()

    def document(self, document: Json) -> None:
        self.name_model(document.get("model"))
        usage = child(document, "usage")
        self.usage = Usage(
            input_tokens=self.pick(usage, *PROMPT, "total_tokens"),
            output_tokens=self.pick(usage, *COMPLETION),
        )

    def event(self, event: Json, name: str) -> None:
        self.fail(error_message(event))
