"""The rows of the matrix: unmodified SDKs, each a long-lived program that takes jobs by lines of JSON.

The programs (tests/clients/python/matrix, tests/clients/node/matrix.mjs) know their SDK and its own provider; the
environment is what `interpose env` tells a user's shell. A job, and what comes back, is in `answering.py` there.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.e2e.program import PYTHON as CLIENTS_PYTHON
from tests.e2e.program import SCRIPTS
from tests.e2e.proxy import Proxy
from tests.e2e.recorded_answers import Answer
from tests.e2e.runtimes import CLIENTS as PROGRAMS
from tests.e2e.runtimes import runtime
from tests.e2e.settings import OLLAMA_CLOUD, PLACEHOLDER

# A red pixel, whose base64 is the same in both alphabets.
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8gAAAMDAQGOkjhwAAAAAElFTkSuQmCC"
HI = "What is the weather in Paris?"
# Generous for a slow machine; reaching it is a failure.
PATIENCE = 90.0

PYTHON = SCRIPTS / "matrix"
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "openai": (sys.executable, str(PYTHON / "openai_sdk.py")),
    "anthropic": (sys.executable, str(PYTHON / "anthropic_sdk.py")),
    "google": (sys.executable, str(PYTHON / "google_sdk.py")),
    "boto3": (CLIENTS_PYTHON, str(PYTHON / "boto3_sdk.py")),
    "cohere": (CLIENTS_PYTHON, str(PYTHON / "cohere_sdk.py")),
    "mistral": (CLIENTS_PYTHON, str(PYTHON / "mistral_sdk.py")),
    "ollama": (CLIENTS_PYTHON, str(PYTHON / "ollama_sdk.py")),
    "node": (runtime("node"), str(PROGRAMS / "node" / "matrix.mjs")),
}
# The keys are worth nothing, and stand where each SDK looks for its own.
KEYS = {
    "OPENAI_API_KEY": PLACEHOLDER,
    "ANTHROPIC_API_KEY": PLACEHOLDER,
    "GEMINI_API_KEY": PLACEHOLDER,
    "AWS_BEARER_TOKEN_BEDROCK": PLACEHOLDER,
    "CO_API_KEY": PLACEHOLDER,
    "MISTRAL_API_KEY": PLACEHOLDER,
    "OLLAMA_API_KEY": PLACEHOLDER,
    "OLLAMA_HOST": f"https://{OLLAMA_CLOUD}",
}


@dataclass(frozen=True, slots=True)
class Client:
    """One way to call of one SDK. `format` is the ledger's word for what it speaks, `codec` the codec's name.

    `ends` are its words for why an answer ended, `overloaded` is what it raises for a 503. An SDK that is `silent` does
    not tell an end in calls from another.
    """

    name: str
    program: str
    call: str
    format: str
    codec: str
    ends: Mapping[str, str]
    overloaded: str
    silent: bool = False
    model: str = "to-{}"

    def __str__(self) -> str:
        return self.name


_CHAT = {"stop": "end", "length": "length", "tool_calls": "tools"}
_RESPONSES = {"completed": "end", "incomplete": "length"}
_CLAUDE = {"end_turn": "end", "stop_sequence": "end", "max_tokens": "length", "tool_use": "tools"}
_GEMINI = {"STOP": "end", "MAX_TOKENS": "length"}
_COHERE = {"COMPLETE": "end", "STOP_SEQUENCE": "end", "MAX_TOKENS": "length", "TOOL_CALL": "tools"}
_OLLAMA = {"stop": "end", "length": "length"}

_OPENAI_RESPONSES = ("openai-responses", "openai-responses", _RESPONSES, "InternalServerError", True)
_BOTO3 = "ServiceUnavailableException"

CLIENTS: tuple[Client, ...] = (
    Client("openai, Chat", "openai", "chat", "openai", "openai-chat", _CHAT, "InternalServerError"),
    Client("openai, Responses", "openai", "responses", *_OPENAI_RESPONSES),
    Client("anthropic", "anthropic", "messages", "anthropic", "anthropic", _CLAUDE, "OverloadedError"),
    Client("google-genai", "google", "generate", "gemini", "gemini", _GEMINI, "ServerError", silent=True),
    Client("boto3, Converse", "boto3", "converse", "bedrock", "bedrock-converse", _CLAUDE, _BOTO3),
    Client(
        "boto3, InvokeModel", "boto3", "invoke", "bedrock", "bedrock-anthropic", _CLAUDE, _BOTO3, model="claude-to-{}"
    ),
    Client("cohere", "cohere", "chat", "cohere", "cohere", _COHERE, "ServiceUnavailableError"),
    Client("mistralai", "mistral", "chat", "mistral", "mistral", _CHAT, "SDKError"),
    Client("ollama", "ollama", "chat", "ollama", "ollama", _OLLAMA, "ResponseError", silent=True),
    Client("openai (Node), Chat", "node", "chat", "openai", "openai-chat", _CHAT, "InternalServerError"),
    Client("openai (Node), Responses", "node", "responses", *_OPENAI_RESPONSES),
    Client("@anthropic-ai/sdk (Node)", "node", "messages", "anthropic", "anthropic", _CLAUDE, "InternalServerError"),
)


@dataclass(frozen=True, slots=True)
class Job:
    """What an application asks. `results` are what its tools return; without them it does not run any."""

    stream: bool
    tools: Sequence[str] = ()
    picture: bool = False
    results: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What the application got: a turn of the conversation after the other, and what was raised, if anything was."""

    answers: tuple[Answer, ...]
    models: tuple[str | None, ...]
    error: Mapping[str, Any] | None

    @property
    def answer(self) -> Answer:
        """The one answer."""
        assert self.error is None, self.error
        (found,) = self.answers
        return found


class Sdk:
    """One program that is running."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        assert process.stderr is not None
        self._errors = asyncio.create_task(process.stderr.read())

    @classmethod
    async def start(cls, command: Sequence[str], environ: Mapping[str, str], folder: Path) -> Self:
        pipe = asyncio.subprocess.PIPE
        return cls(
            await asyncio.create_subprocess_exec(
                *command, cwd=folder, env=dict(environ), stdin=pipe, stdout=pipe, stderr=pipe, limit=1 << 24
            )
        )

    async def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        await self._process.stdin.drain()
        try:
            async with asyncio.timeout(PATIENCE):
                line = await self._process.stdout.readline()
        except TimeoutError:
            self._process.kill()
            raise AssertionError(f"no answer came to {job}") from None
        if not line:
            raise AssertionError(f"the program has ended:\n{(await self._errors).decode()}")
        told: dict[str, Any] = json.loads(line)
        return told

    async def end(self) -> str:
        """Ends it in good order; what it has said on stderr, and its status if that is not 0."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(PATIENCE):
                status = await self._process.wait()
        except TimeoutError:
            self._process.kill()
            status = await self._process.wait()
        return (await self._errors).decode() + (f"status {status}" if status else "")


class Sdks:
    """The programs of all rows, started when they are first asked."""

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self._environ = environ
        self._folder = folder
        self._running: dict[str, Sdk] = {}

    @classmethod
    async def under(cls, proxy: Proxy, folder: Path) -> Self:
        """In the environment of a shell that has evaluated what `interpose env` says of that proxy."""
        env = f"{sys.executable} -m interpose env --shell sh --proxy {proxy.url} --state '{proxy.state}'"
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", f'eval "$({env} --rules {proxy.folder}/rules.yaml)" && exec env -0',
            cwd=folder, env=proxy.environ(KEYS), stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate()
        pairs = (line.partition("=") for line in out.decode().split("\0") if line)
        return cls({name: value for name, _, value in pairs}, folder)

    async def ask(self, client: Client, to: str, job: Job) -> Told:
        """What that client's application gets for its job at a model that the rules send to the provider `to`."""
        sdk = self._running.get(client.program)
        if sdk is None:
            sdk = await Sdk.start(COMMANDS[client.program], self._environ, self._folder)
            self._running[client.program] = sdk
        told = await sdk.ask(
            {
                "call": client.call,
                "model": client.model.format(to),
                "stream": job.stream,
                "ask": HI,
                "picture": PICTURE if job.picture else None,
                "tools": list(job.tools),
                "results": job.results,
            }
        )
        turns = told["turns"]
        return Told(
            tuple(answer(client, each) for each in turns), tuple(each.get("model") for each in turns), told["error"]
        )

    async def close(self) -> list[str]:
        """Ends all; what they have said on stderr."""
        return [f"{name}: {said}" for name, sdk in self._running.items() if (said := await sdk.end())]


def answer(client: Client, turn: Mapping[str, Any]) -> Answer:
    """A turn in words that are no SDK's."""
    calls = tuple((name, arguments) for name, arguments in turn["calls"])
    end = client.ends[turn["end"]]
    if client.silent and end == "end" and calls:
        end = "tools"
    return Answer(turn["text"], calls, end, turn["input"], turn["output"], turn["thought"])
