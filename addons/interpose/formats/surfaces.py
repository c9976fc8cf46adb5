"""The paths of each API, as tables: which method and path is which endpoint, in which wire format.

A `Surface` is one API without its host and its base path; the host table mounts surfaces under hosts. What is not in a
table is unknown: the administration of keys, users and billing (`/v1/organization`, `/v1/organizations`) is left out on
purpose, since a shared credential must never reach it by default.
"""

from __future__ import annotations

from .paths import Path, Surface, under

ANY = ("GET", "POST", "PUT", "PATCH", "DELETE")
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
        Path("/videos/**", "images", "openai-other", ANY),
        Path("/audio/**", "audio", "openai-other", ANY),
        Path("/moderations", "moderations", "openai-other"),
        Path("/rerank", "rerank", "openai-other"),
        Path("/realtime/**", "realtime", methods=ANY),
        Path("/files/**", "files", "openai-other", ANY),
        Path("/uploads/**", "files", "openai-other", ANY),
        # A batch object names its whole usage every time it is polled: counting it would count it many times.
        Path("/batches/**", "batches", methods=ANY),
        *(
            Path(f"/{name}/**", "other", "openai-other", ANY)
            for name in ("assistants", "threads", "vector_stores", "conversations", "containers", "evals", "skills")
        ),
        Path("/fine_tuning/jobs/**", "other", "openai-other", ANY),
    ),
)

# https://docs.claude.com/en/api/overview
ANTHROPIC_GENERATION = (
    Path("/v1/messages", "chat", "anthropic"),
    Path("/v1/messages/count_tokens", "count_tokens"),
)
ANTHROPIC = Surface(
    "anthropic",
    (
        *ANTHROPIC_GENERATION,
        Path("/v1/messages/batches/**", "batches", methods=ANY),
        Path("/v1/complete", "completions"),
        Path("/v1/models", "models", methods=("GET",)),
        Path("/v1/models/{model}", "models", methods=("GET",)),
        Path("/v1/files/**", "files", methods=ANY),
        Path("/v1/skills/**", "other", methods=ANY),
    ),
)
# Hosts that offer Messages beside OpenAI's API have no second list of models or files.
MESSAGES = Surface("anthropic", ANTHROPIC_GENERATION)

# https://ai.google.dev/api (the SDK uses /v1 and /v1beta alike)
_GOOGLE_VERBS = (
    Path("{colon}generateContent", "chat", "gemini", stream=False),
    Path("{colon}streamGenerateContent", "chat", "gemini", stream=True),
    Path("{colon}countTokens", "count_tokens"),
    Path("{colon}computeTokens", "count_tokens"),
    Path("{colon}embedContent", "embeddings", "gemini"),
    Path("{colon}batchEmbedContents", "embeddings", "gemini"),
    Path("{colon}batchGenerateContent", "batches"),
    Path("{colon}asyncBatchEmbedContent", "batches"),
    Path("{colon}predictLongRunning", "images"),
    Path("{colon}fetchPredictOperation", "other"),
)
GEMINI_GENERATION = (
    *under("/{google}/models/{google_model}", _GOOGLE_VERBS),
    *under("/{google}/tunedModels/{google_model}", _GOOGLE_VERBS),
)
GEMINI = Surface(
    "gemini",
    (
        *GEMINI_GENERATION,
        Path("/{google}/models/{embedding_model}{colon}predict", "embeddings"),
        Path("/{google}/models/{google_model}{colon}predict", "images"),
        Path("/{google}/models", "models", methods=("GET",)),
        Path("/{google}/models/{google_model}", "models", methods=("GET",)),
        Path("/{google}/models/*/operations/**", "other", methods=READ),
        # Interactions has its own events and usage: known, but neither metered nor converted.
        Path("/{google}/interactions/**", "other", methods=ANY),
        # /files/{id}:download has no slash before its verb, nor has /fileSearchStores/{id}:uploadToFileSearchStore.
        Path("/{google}/files/**", "files", methods=ANY),
        Path("/upload/{google}/files", "files", methods=ANY),
        Path("/upload/{google}/fileSearchStores/**", "files", methods=ANY),
        Path("/{google}/fileSearchStores/**", "files", methods=ANY),
        Path("/{google}/cachedContents/**", "other", methods=ANY),
        Path("/{google}/batches/**", "batches", methods=ANY),
        Path("/{google}/operations/**", "other", methods=READ),
        Path("/ws/**", "realtime", methods=("GET",)),
    ),
)

# Below /v1/projects/P/locations/L, or directly below the version (express mode):
# https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference
_PUBLISHER = "/publishers/google/models/"
VERTEX = Surface(
    "gemini",
    (
        *(
            Path(
                _PUBLISHER + "{google_model}" + p.pattern,
                p.endpoint,
                p.wire,
                stream=p.stream,
                plain="/v1beta/models/{model}:" + p.pattern.removeprefix("{colon}"),
            )
            for p in _GOOGLE_VERBS
        ),
        Path(_PUBLISHER + "{embedding_model}{colon}predict", "embeddings"),
        Path(_PUBLISHER + "{image_model}{colon}predict", "images"),
        Path(_PUBLISHER + "{google_model}{colon}predict", "other"),
        Path(_PUBLISHER + "{google_model}", "models", methods=("GET",)),
        Path("/cachedContents/**", "other", methods=ANY),
        Path("/batchPredictionJobs/**", "batches", methods=ANY),
    ),
)
# https://docs.claude.com/en/api/claude-on-vertex-ai
_CLAUDE = "/publishers/anthropic/models/"
VERTEX_ANTHROPIC = Surface(
    "anthropic",
    (
        # "count-tokens" stands where a model's name does; the model is in the body.
        Path(_CLAUDE + "count-tokens{colon}rawPredict", "count_tokens", plain="/v1/messages/count_tokens"),
        Path(_CLAUDE + "{google_model}{colon}rawPredict", "chat", "anthropic", stream=False, plain="/v1/messages"),
        Path(_CLAUDE + "{google_model}{colon}streamRawPredict", "chat", "anthropic", stream=True, plain="/v1/messages"),
    ),
)

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
        *(Path(f"/v1/{name}/**", "other", methods=ANY) for name in ("conversations", "agents", "libraries")),
        Path("/v1/fine_tuning/jobs/**", "other", methods=ANY),
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
            for p in _GOOGLE_VERBS
        ),
    ),
    Surface("bedrock", BEDROCK_GENERATION),
    Surface("cohere", COHERE_GENERATION),
    Surface("ollama", OLLAMA_GENERATION),
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
