"""The paths of Google's APIs, as tables: Gemini on Google AI, and what Vertex AI serves of Gemini and of its partners.

Every other API is in `surfaces`; the hosts and prefixes under which these are mounted are in `known_hosts`. Webhooks,
whose signing secret is handed out, and Vertex' own administration are left out on purpose.
"""

from __future__ import annotations

from dataclasses import replace

from .paths import ANY, Path, Surface, under

# https://ai.google.dev/api (the SDK uses /v1 and /v1beta alike)
GOOGLE_VERBS = (
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
# https://ai.google.dev/gemini-api/docs/interactions, and what belongs to it: on Google AI below the version, on Vertex
# below the location.
AGENTIC = (
    Path("/interactions", "chat", "gemini-interactions", plain="/v1beta/interactions"),
    Path("/interactions/**", "other", methods=ANY),
    Path("/decisions", "other", "gemini-interactions"),
    # Credentials are written for agents to use, and never read back.
    *(
        Path(f"/{name}/**", "other", methods=ANY)
        for name in ("agents", "credentials", "environments", "triggers", "voices")
    ),
)
GEMINI = Surface(
    "gemini",
    (
        *under("/{google}/models/{google_model}", GOOGLE_VERBS),
        *under("/{google}/tunedModels/{google_model}", GOOGLE_VERBS),
        Path("/{google}/models/{embedding_model}{colon}predict", "embeddings"),
        Path("/{google}/models/{google_model}{colon}predict", "images"),
        Path("/{google}/models", "models", methods=("GET",)),
        Path("/{google}/models/{google_model}", "models", methods=("GET",)),
        Path("/{google}/models/*/operations/**", "other", methods=("GET", "DELETE")),
        Path("/{google}/tunedModels", "models", methods=("GET",)),
        # Begins a tuning job: https://ai.google.dev/api/tuning
        Path("/{google}/tunedModels", "other"),
        Path("/{google}/tunedModels/{google_model}", "models", methods=("GET", "PATCH", "DELETE")),
        Path("/{google}/tunedModels/{google_model}{colon}cancel", "other"),
        Path("/{google}/tunedModels/*/operations/**", "other", methods=("GET",)),
        *(replace(path, plain=None) for path in under("/{google}", AGENTIC)),
        Path("/upload/{google}/environments/**", "files", methods=ANY),
        # /files/{id}:download has no slash before its verb, nor has /fileSearchStores/{id}:uploadToFileSearchStore.
        Path("/{google}/files/**", "files", methods=ANY),
        Path("/{google}/files{colon}register", "files"),
        Path("/upload/{google}/files", "files", methods=ANY),
        Path("/upload/{google}/fileSearchStores/**", "files", methods=ANY),
        Path("/{google}/fileSearchStores/**", "files", methods=ANY),
        Path("/{google}/cachedContents/**", "other", methods=ANY),
        Path("/{google}/batches/**", "batches", methods=ANY),
        Path("/{google}/operations/**", "other", methods=("GET", "DELETE")),
        # A token for one Live session: https://ai.google.dev/gemini-api/docs/ephemeral-tokens
        Path("/{google}/auth_tokens", "realtime"),
        Path("/{google}/authTokens", "realtime"),
        Path("/ws/**", "realtime", methods=("GET",)),
    ),
)

# Below /v1/projects/P/locations/L, or directly below the version (express mode):
# https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference
_PUBLISHER = "/publishers/google/models/"
# A tuned Gemini answers at an endpoint of its own: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints
_GEMINI_AT = tuple(
    replace(verb, pattern=base + verb.pattern, plain="/v1beta/models/{model}:" + verb.pattern.removeprefix("{colon}"))
    for base in (_PUBLISHER + "{google_model}", "/endpoints/{google_model}")
    for verb in GOOGLE_VERBS
)
VERTEX = Surface(
    "gemini",
    (
        *_GEMINI_AT,
        Path(_PUBLISHER + "{embedding_model}{colon}predict", "embeddings"),
        Path(_PUBLISHER + "{image_model}{colon}predict", "images"),
        Path(_PUBLISHER + "{google_model}{colon}predict", "other"),
        Path("/publishers/*/models", "models", methods=("GET",)),
        Path("/publishers/*/models/{google_model}", "models", methods=("GET",)),
        Path("/publishers/*/models/*/operations/**", "other", methods=("GET",)),
        # A model of one's own behind an endpoint takes and gives what it likes.
        *(
            Path("/endpoints/{google_model}{colon}" + verb, "other")
            for verb in ("predict", "rawPredict", "streamRawPredict", "serverStreamingPredict")
        ),
        Path("/models", "models", methods=("GET",)),
        Path("/models/{google_model}", "models", methods=("GET", "PATCH", "DELETE")),
        *AGENTIC,
        Path("/cachedContents/**", "other", methods=ANY),
        Path("/batchPredictionJobs/**", "batches", methods=ANY),
        # As OpenAI's /fine_tuning/jobs.
        Path("/tuningJobs/**", "other", methods=("GET", "POST")),
        Path("/tuningJobs{colon}validateReinforcementTuningReward", "other"),
        Path("/tuningJobs{colon}rebaseTunedModel", "other"),
        Path("/operations/**", "other", methods=("GET",)),
    ),
)
# https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/multimodal-live
VERTEX_LIVE = Surface("gemini", (Path("/*/BidiGenerateContent", "realtime", methods=("GET",)),))
VERTEX_UPLOADS = Surface("gemini", (Path("/environments/**", "files", methods=ANY),))
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
# https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/mistral
_MISTRAL = "/publishers/mistralai/models/{google_model}{colon}"
VERTEX_MISTRAL = Surface(
    "mistral",
    (
        Path(_MISTRAL + "rawPredict", "chat", "mistral", stream=False, plain="/v1/chat/completions"),
        Path(_MISTRAL + "streamRawPredict", "chat", "mistral", stream=True, plain="/v1/chat/completions"),
    ),
)
# https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/llama: OpenAI's bodies.
_LLAMA = "/publishers/meta/models/{google_model}{colon}"
VERTEX_LLAMA = Surface(
    "openai",
    (
        Path(_LLAMA + "rawPredict", "chat", "openai-chat", stream=False, plain="/chat/completions"),
        Path(_LLAMA + "streamRawPredict", "chat", "openai-chat", stream=True, plain="/chat/completions"),
    ),
)
