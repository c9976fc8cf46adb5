"""The paths of each API, as tables: which method and path is which endpoint, in which wire format. Google's: `google`.

A `Surface` is one API without its host and its base path; the host table mounts surfaces under hosts. What is not in a
table is unknown: the administration of keys, users, roles and billing (`/v1/organization`, `/v1/organizations`), and
what hands out secrets of the account (webhooks, tunnels), are left out on purpose, since a shared credential must never
reach them by default.
"""

from __future__ import annotations

from .google import GEMINI, GOOGLE_VERBS
from .paths import ANY, Path, Surface

READ = ("GET", "DELETE")

# https://platform.openai.com/docs/api-reference
OPENAI_GENERATION = (
    Path("/chat/completions", "chat", "openai-chat"),
    Path("/responses", "chat", "openai-responses", format="openai-responses"),
    Path("/completions", "completions", "openai-completions"),
    Path("/embeddings", "embeddings", "openai-embeddings"),
)
OPENAI = Surface(
    "openai",
    (
        *OPENAI_GENERATION,
        Path("/models", "models", methods=("GET",)),
        # Model names of compatible hosts hold slashes: GET /v1/models/meta-llama/Llama-3.
        Path("/models/{model}", "models", methods=READ),
        Path("/models/**", "models", methods=READ),
        # A WebSocket: https://platform.openai.com/docs/guides/websocket-mode
        Path("/responses", "realtime", methods=("GET",), format="openai-responses"),
        Path("/responses/input_tokens", "count_tokens", format="openai-responses"),
        # Shrinks a conversation and bills for it, but answers with no assistant turn: it is not converted.
        Path("/responses/compact", "other", "openai-responses", format="openai-responses"),
        Path("/responses/**", "other", methods=ANY, format="openai-responses"),
        Path("/chat/completions/**", "other", methods=ANY),
        Path("/images/**", "images", "openai-other", ANY),
        Path("/videos", "images", "openai-other", ANY),
        Path("/videos/**", "images", methods=ANY),
        *(Path(f"/audio/{name}", "audio", "openai-other") for name in ("speech", "transcriptions", "translations")),
        Path("/audio/**", "audio", methods=ANY),
        Path("/moderations", "moderations", "openai-other"),
        Path("/content_provenance_checks", "moderations"),
        Path("/rerank", "rerank", "openai-other"),
        Path("/decisions", "other", "openai-other"),
        Path("/realtime/**", "realtime", methods=ANY),
        Path("/live/**", "realtime", methods=ANY),
        Path("/files/**", "files", methods=ANY),
        Path("/uploads/**", "files", methods=ANY),
        # A batch object names its whole usage every time it is polled: counting it would count it many times.
        Path("/batches/**", "batches", methods=ANY),
        *(
            Path(pattern, "other", "openai-other")
            for pattern in ("/assistants", "/threads/runs", "/threads/*/runs", "/threads/*/runs/*/submit_tool_outputs")
        ),
        # They run no model in their answer, and name none that a route could replace.
        *(
            Path(f"/{name}/**", "other", methods=ANY)
            for name in (
                "agents",
                "assistants",
                "chatkit",
                "containers",
                "conversations",
                "evals",
                "fine_tuning/alpha/graders",
                "fine_tuning/jobs",
                "skills",
                "threads",
                "vaults",
                "vector_stores",
            )
        ),
    ),
)

# https://docs.claude.com/en/api/overview
ANTHROPIC_GENERATION = (
    Path("/v1/messages", "chat", "anthropic"),
    Path("/v1/messages/count_tokens", "count_tokens"),
)
_BATCHES = Path("/v1/messages/batches/**", "batches", methods=ANY)
ANTHROPIC = Surface(
    "anthropic",
    (
        *ANTHROPIC_GENERATION,
        _BATCHES,
        Path("/v1/complete", "completions"),
        Path("/v1/models", "models", methods=("GET",)),
        Path("/v1/models/{model}", "models", methods=("GET",)),
        Path("/v1/files/**", "files", methods=ANY),
        # https://platform.claude.com/docs/en/managed-agents/overview: they run models later, out of the caller's sight.
        *(
            Path(f"/v1/{name}/**", "other", methods=ANY)
            for name in (
                "agents",
                "deployment_runs",
                "deployments",
                "dreams",
                "environments",
                "memory_stores",
                "sessions",
                "skills",
                "user_profiles",
                "vaults",
            )
        ),
    ),
)
# What is nobody else's; its files and lists of models stand where OpenAI's do.
BATCHES = Surface("anthropic", (_BATCHES,))
# Hosts that offer Messages beside OpenAI's API have no second list of models or files.
MESSAGES = Surface("anthropic", ANTHROPIC_GENERATION)

# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html
BEDROCK_GENERATION = (
    Path("/model/{bedrock_model}/converse", "chat", "bedrock-converse", stream=False),
    Path("/model/{bedrock_model}/converse-stream", "chat", "bedrock-converse", stream=True),
    # InvokeModel says by the model alone what it does; an ARN does not say it, and is taken for a chat model.
    Path("/model/{bedrock_embedding_model}/invoke", "embeddings", "bedrock-invoke", stream=False),
    Path("/model/{bedrock_image_model}/invoke", "images", "bedrock-invoke", stream=False),
    Path("/model/{bedrock_rerank_model}/invoke", "rerank", "bedrock-invoke", stream=False),
    Path("/model/{bedrock_model}/invoke", "chat", "bedrock-invoke", stream=False),
    Path("/model/{bedrock_model}/invoke-with-response-stream", "chat", "bedrock-invoke", stream=True),
)
BEDROCK = Surface(
    "bedrock",
    (
        *BEDROCK_GENERATION,
        Path("/model/{bedrock_model}/count-tokens", "count_tokens"),
        Path("/model/{bedrock_model}/invoke-with-bidirectional-stream", "realtime", stream=True),
        Path("/async-invoke/**", "batches", methods=("GET", "POST")),
        Path("/guardrail/**", "moderations"),
        Path("/guardrail-checks/invoke", "moderations"),
    ),
)

# https://docs.cohere.com/reference/about
COHERE_GENERATION = (
    Path("/v2/chat", "chat", "cohere"),
    Path("/v1/chat", "chat", "cohere"),
    Path("/v1/generate", "completions", "cohere"),
    Path("/v2/embed", "embeddings", "cohere"),
    Path("/v1/embed", "embeddings", "cohere"),
    Path("/v2/rerank", "rerank", "cohere"),
    Path("/v1/rerank", "rerank", "cohere"),
)
COHERE = Surface(
    "cohere",
    (
        *COHERE_GENERATION,
        Path("/v1/models", "models", methods=("GET",)),
        Path("/v1/models/{model}", "models", methods=("GET",)),
        Path("/v1/embed-jobs/**", "batches", methods=ANY),
        Path("/v2/batches/**", "batches", methods=ANY),
        Path("/v1/datasets/**", "files", methods=ANY),
        Path("/v2/audio/transcriptions", "audio", "openai-other"),
        *(Path(f"/v1/{name}", "other") for name in ("tokenize", "detokenize", "classify", "summarize")),
    ),
)

# https://docs.mistral.ai/api
MISTRAL = Surface(
    "mistral",
    (
        Path("/v1/chat/completions", "chat", "mistral"),
        Path("/v1/agents/completions", "chat", "mistral"),
        Path("/v1/fim/completions", "completions", "mistral"),
        Path("/v1/embeddings", "embeddings", "openai-embeddings"),
        Path("/v1/models", "models", methods=("GET",)),
        Path("/v1/models/{model}", "models", methods=READ),
        Path("/v1/moderations", "moderations", "openai-other"),
        Path("/v1/chat/moderations", "moderations", "openai-other"),
        Path("/v1/classifications", "moderations", "openai-other"),
        Path("/v1/chat/classifications", "moderations", "openai-other"),
        Path("/v1/audio/**", "audio", "openai-other", ANY),
        Path("/v1/files/**", "files", methods=ANY),
        Path("/v1/batch/jobs/**", "batches", methods=ANY),
        Path("/v1/ocr", "other", "openai-other"),
        # https://docs.mistral.ai/api/endpoint/beta/conversations: starting, continuing and restarting one generates.
        Path("/v1/conversations", "chat", "openai-other"),
        Path("/v1/conversations/*", "chat", "openai-other"),
        Path("/v1/conversations/*/restart", "chat", "openai-other"),
        *(Path(f"/v1/{name}/**", "other", methods=ANY) for name in ("conversations", "agents", "libraries")),
        *(Path(f"/v1/fine_tuning/{name}/**", "other", methods=ANY) for name in ("jobs", "models")),
    ),
)

# https://github.com/ollama/ollama/blob/main/docs/api.md
OLLAMA_GENERATION = (
    Path("/api/chat", "chat", "ollama"),
    Path("/api/generate", "completions", "ollama"),
    Path("/api/embed", "embeddings", "ollama"),
    Path("/api/embeddings", "embeddings", "ollama"),
)
OLLAMA = Surface(
    "ollama",
    (
        *OLLAMA_GENERATION,
        Path("/api/tags", "models", methods=("GET",)),
        Path("/api/ps", "models", methods=("GET",)),
        Path("/api/show", "models"),
        *(Path(f"/api/{name}", "other") for name in ("create", "copy", "pull", "push")),
        Path("/api/delete", "other", methods=("DELETE",)),
        Path("/api/version", "other", methods=("GET",)),
        Path("/api/blobs/*", "files", methods=("POST", "HEAD")),
    ),
)

# https://replicate.com/docs/reference/http: its own format, which no contract name covers.
REPLICATE = Surface(
    "openai",
    (
        Path("/v1/predictions/**", "other", methods=("GET", "POST")),
        Path("/v1/models/*/*/predictions", "other"),
        Path("/v1/deployments/*/*/predictions", "other"),
        Path("/v1/models/**", "models", methods=("GET",)),
    ),
)

# https://docs.voyageai.com/reference and https://jina.ai/embeddings
EMBEDDERS = Surface(
    "openai",
    (
        Path("/embeddings", "embeddings", "openai-embeddings"),
        Path("/multimodalembeddings", "embeddings", "openai-embeddings"),
        Path("/contextualizedembeddings", "embeddings", "openai-embeddings"),
        Path("/rerank", "rerank", "openai-other"),
        Path("/classify", "other", "openai-other"),
        Path("/models", "models", methods=("GET",)),
    ),
)

# https://dev.writer.com/api-reference/completion-api/chat-completion: OpenAI's shapes at a path of its own.
WRITER = Surface("openai", (Path("/chat", "chat", "openai-chat", plain="/chat/completions"), *OPENAI.paths))
# https://docs.perplexity.ai/api-reference: an asynchronous call is asked for until it is done, as a batch is.
PERPLEXITY = Surface(
    "openai",
    (
        Path("/async/chat/completions/**", "batches", methods=("GET", "POST")),
        Path("/search", "other"),
        *OPENAI.paths,
    ),
)
# https://learn.microsoft.com/azure/ai-foundry/openai/references/on-your-data
AZURE_EXTENSIONS = Surface("openai", (Path("/chat/completions", "chat", "openai-chat"),))
# https://portkey.ai/docs/api-reference/inference-api/prompts/prompt-completion: a stored prompt, which stays there.
PORTKEY_PROMPTS = Surface("openai", (Path("/prompts/*/completions", "other", "openai-chat"),))

# https://developers.cloudflare.com/workers-ai/get-started/rest-api/ and
# https://docs.databricks.com/api/workspace/servingendpoints/query: a model's own shape, known but not read.
CLOUDFLARE_RUN = Surface("openai", (Path("/run/**", "other"),))
DATABRICKS_INVOCATIONS = Surface("openai", (Path("/{model}/invocations", "other", "openai-other"),))

# On a host that nobody has described, the paths of generation are recognised below any prefix, and nothing else is.
ANYWHERE = (
    Surface(
        "openai",
        tuple(
            Path("{gateway}" + p.pattern, p.endpoint, p.wire, format=p.format, plain=p.pattern)
            for p in OPENAI_GENERATION
        ),
    ),
    Surface(
        "anthropic",
        tuple(Path("{gateway}" + p.pattern, p.endpoint, p.wire, plain=p.pattern) for p in ANTHROPIC_GENERATION),
    ),
    Surface(
        "gemini",
        tuple(
            Path(
                "{gateway}/models/{google_model}" + p.pattern,
                p.endpoint,
                p.wire,
                stream=p.stream,
                plain="/v1beta/models/{model}:" + p.pattern.removeprefix("{colon}"),
            )
            for p in GOOGLE_VERBS
        ),
    ),
    Surface("bedrock", BEDROCK_GENERATION),
    Surface("cohere", COHERE_GENERATION),
    Surface("ollama", OLLAMA_GENERATION),
)

# The gateway's own lists of models: one of all providers, for clients of any format. OpenAI's stands below what is
# taken for its /v1.
_READ_ONLY = ("GET", "HEAD")
LISTS = Surface(
    "openai",
    (
        Path("/models", "models", methods=_READ_ONLY),
        Path("/models/{listed_model}", "models", methods=_READ_ONLY),
    ),
)
OTHER_LISTS = (
    Surface(
        "gemini",
        (
            Path("/{google}/models", "models", methods=_READ_ONLY),
            Path("/{google}/models/{listed_model}", "models", methods=_READ_ONLY),
        ),
    ),
    Surface("ollama", (Path("/api/tags", "models", methods=_READ_ONLY),)),
)

# What a provider of each format answers below its base_url.
SURFACES = {
    "openai": OPENAI,
    "openai-responses": OPENAI,
    "anthropic": ANTHROPIC,
    "gemini": GEMINI,
    "bedrock": BEDROCK,
    "cohere": COHERE,
    "mistral": MISTRAL,
    "ollama": OLLAMA,
}
