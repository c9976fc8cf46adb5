"""A simulated provider: enough of OpenAI's API for the demo, on 127.0.0.1, with a throw-away certificate.

It speaks /v1/chat/completions (streamed word by word, or not), /v1/embeddings and /v1/models, knows only its own
models, and answers 401 to any key but its own. No model runs here: its answer is the text below.
"""

from __future__ import annotations

import asyncio
import datetime
import hmac
import ipaddress
import json
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ANSWER = (
    "So that the app can stay as it is. It keeps its SDK, its URL and a key that is worth nothing; the real key, "
    "the choice of model and the books live in one place that you control. (I am a simulation, by the way: these "
    "words came through interpose one by one, as a real provider would have sent them.)"
)
CHAT_MODEL = "simulated-small"
EMBEDDING_MODEL = "text-embedding-3-small"
DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived: what stood in the key's header stays here, and is only ever compared."""

    path: str
    model: str
    authorization: str
    accepted: bool


@dataclass(slots=True)
class SimulatedProvider:
    """An async context manager: listening on `port` between enter and exit. `pace` is seconds between words."""

    key: str
    folder: Path
    pace: float = 0.035
    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    _runner: web.AppRunner | None = None

    @property
    def ca(self) -> Path:
        """The CA file that makes the provider's certificate good."""
        return self.folder / "provider-ca.pem"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/v1/embeddings", self.embeddings)
        app.router.add_get("/v1/models", self.models)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=certificate(self.folder, self.ca))
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def admit(self, request: web.Request, model: str, known: str) -> web.Response | None:
        """Writes down what came, and refuses a foreign key or model as OpenAI does."""
        authorization = request.headers.get("authorization", "")
        accepted = hmac.compare_digest(authorization.encode(), f"Bearer {self.key}".encode())
        self.seen.append(Seen(request.path, model, authorization, accepted))
        if not accepted:
            return error(401, "invalid_api_key", "Incorrect API key provided.")
        if model != known:
            return error(404, "model_not_found", f"The model {model!r} does not exist: this provider is a simulation.")
        return None

    async def chat(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        model = str(asked.get("model", ""))
        if refusal := self.admit(request, model, CHAT_MODEL):
            return refusal
        words = re.findall(r"\S+\s*", ANSWER)
        prompt = sum(len(str(message.get("content", "")).split()) for message in asked.get("messages", []))
        usage = {"prompt_tokens": prompt, "completion_tokens": len(words), "total_tokens": prompt + len(words)}
        head = {"id": "chatcmpl-simulated", "created": 1_700_000_000, "model": model}
        if not asked.get("stream"):
            message = {"role": "assistant", "content": ANSWER}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return web.json_response({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
        reply = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        await reply.prepare(request)

        async def send(choices: list[dict[str, object]], **more: object) -> None:
            chunk = {**head, "object": "chat.completion.chunk", "choices": choices, **more}
            await reply.write(f"data: {json.dumps(chunk)}\n\n".encode())

        await send([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
        for word in words:
            await asyncio.sleep(self.pace)
            await send([{"index": 0, "delta": {"content": word}, "finish_reason": None}])
        await send([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        if (asked.get("stream_options") or {}).get("include_usage"):
            await send([], usage=usage)
        await reply.write(b"data: [DONE]\n\n")
        await reply.write_eof()
        return reply

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        model = str(asked.get("model", ""))
        if refusal := self.admit(request, model, EMBEDDING_MODEL):
            return refusal
        texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": [1 / (index + place + 1) for place in range(DIMENSIONS)],
            }
            for index in range(len(texts))
        ]
        tokens = sum(len(str(text).split()) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return web.json_response({"object": "list", "data": data, "model": model, "usage": usage})

    async def models(self, request: web.Request) -> web.StreamResponse:
        if refusal := self.admit(request, "", ""):
            return refusal
        rows = [
            {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "simulation"}
            for name in (CHAT_MODEL, EMBEDDING_MODEL)
        ]
        return web.json_response({"object": "list", "data": rows})


def error(status: int, code: str, message: str) -> web.Response:
    """OpenAI's shape of an error: https://platform.openai.com/docs/guides/error-codes"""
    body = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return web.json_response({"error": body}, status=status)


def certificate(folder: Path, ca_file: Path) -> ssl.SSLContext:
    """A server context for 127.0.0.1, from a CA that is made now, written to `ca_file` and whose key is forgotten."""
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulated provider's throw-away CA")])

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=2))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )

    signing = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    ca = (
        builder(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(signing, critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulated provider")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = (
        builder(subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(address, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    ca_file.write_bytes(ca.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain = folder / "provider.pem"
    chain.touch(mode=0o600)
    chain.write_bytes(private + leaf.public_bytes(pem))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain)
    return context
