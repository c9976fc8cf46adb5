"""The known AI hosts, as data: which host is whose, on which port, and what is mounted where. Each row has its source.

Hosts that serve a website or other services beside their AI API are marked `claimed=False`: their paths are known, but
they are decrypted only when the rules name them (law 8: what we don't decide, we don't touch). chatgpt.com, whose
website shares its host with Codex, is such a host; huggingface.co itself has no row at all.
"""

from __future__ import annotations

from .google import GEMINI, VERTEX, VERTEX_ANTHROPIC, VERTEX_LIVE, VERTEX_LLAMA, VERTEX_MISTRAL, VERTEX_UPLOADS
from .hostnames import HostRow, Mount
from .surfaces import (
    ANTHROPIC,
    AZURE_EXTENSIONS,
    BEDROCK,
    CLOUDFLARE_RUN,
    COHERE,
    DATABRICKS_INVOCATIONS,
    EMBEDDERS,
    MESSAGES,
    MISTRAL,
    OLLAMA,
    OPENAI,
    PERPLEXITY,
    PORTKEY_PROMPTS,
    REPLICATE,
    WRITER,
)

# https://learn.microsoft.com/azure/ai-foundry/openai/reference (deployments), …/openai/latest (v1),
# …/rest/api/aifoundry/modelinference/ and …/azure/foundry/foundry-models/how-to/use-foundry-models-claude
AZURE_MOUNTS = (
    Mount("/openai/deployments/{model}", OPENAI),
    Mount("/openai/deployments/{model}/extensions", AZURE_EXTENSIONS),
    Mount("/openai/v1", OPENAI),
    Mount("/openai", OPENAI),
    Mount("/api/projects/*/openai/v1", OPENAI),
    Mount("/models", OPENAI),
    Mount("/anthropic", ANTHROPIC),
)
# https://cloud.google.com/vertex-ai/generative-ai/docs/start/openai and …/docs/partner-models/claude; endpoints/openapi
# and a deployed endpoint of one's own answer alike.
VERTEX_MOUNTS = (
    *(
        mount
        for prefix in ("/{google}/projects/*/locations/*", "/{google}")
        for mount in (
            Mount(prefix, VERTEX),
            Mount(prefix, VERTEX_ANTHROPIC),
            Mount(prefix, VERTEX_MISTRAL),
            Mount(prefix, VERTEX_LLAMA),
            Mount("/upload" + prefix, VERTEX_UPLOADS),
            Mount(prefix + "/endpoints/*", OPENAI),
            Mount(prefix + "/publishers/*/v1", OPENAI),
        )
    ),
    Mount("/ws", VERTEX_LIVE),
)
# https://docs.aws.amazon.com/bedrock/latest/userguide/bedrock-mantle.html
MANTLE_MOUNTS = (Mount("/openai/v1", OPENAI), Mount("/v1", OPENAI), Mount("/anthropic", ANTHROPIC))
BEDROCK_MOUNTS = (Mount("", BEDROCK), Mount("/openai/v1", OPENAI))

# The URLs around a dialect's format, for providers that the rules configure.
DIALECT_MOUNTS = {"azure": AZURE_MOUNTS, "vertex": VERTEX_MOUNTS, "bedrock": (*BEDROCK_MOUNTS, *MANTLE_MOUNTS)}

V1 = (Mount("/v1", OPENAI),)
V1_AND_MESSAGES = (Mount("/v1", OPENAI), Mount("", MESSAGES))

_OPENAI_HOSTS = ("api.openai.com", "*.api.openai.com")
_VERTEX_HOSTS = (
    "aiplatform.googleapis.com",
    "*-aiplatform.googleapis.com",
    "aiplatform.*.rep.googleapis.com",
)
_AZURE_HOSTS = (
    "*.openai.azure.com",
    "*.services.ai.azure.com",
    "*.cognitiveservices.azure.com",
    "*.openai.azure.us",
)
_BEDROCK_HOSTS = (
    "bedrock-runtime.*.amazonaws.com",
    "bedrock-runtime-fips.*.amazonaws.com",
    "bedrock-runtime.*.amazonaws.com.cn",
    "bedrock-runtime.*.api.aws",
    "bedrock-runtime-fips.*.api.aws",
    "*.bedrock-runtime.*.vpce.amazonaws.com",
)


def _compatible(
    pattern: str, dialect: str, source: str, mounts: tuple[Mount, ...] = V1, *, claimed: bool = True
) -> HostRow:
    """A host whose own API is OpenAI's."""
    return HostRow(pattern, "openai", mounts, source, dialect, claimed=claimed)


def _local_ollama(host: str) -> HostRow:
    mounts = (Mount("", OLLAMA), *V1_AND_MESSAGES)
    source = "https://github.com/ollama/ollama/blob/main/docs/api.md"
    return HostRow(host, "ollama", mounts, source, scheme="http", ports=(11434,))


_FOUNDATION = (
    *(HostRow(host, "openai", V1, "https://platform.openai.com/docs/guides/your-data") for host in _OPENAI_HOSTS),
    HostRow(
        "api.anthropic.com",
        "anthropic",
        (Mount("", ANTHROPIC), Mount("/v1", OPENAI)),
        "https://docs.claude.com/en/api/openai-sdk",
    ),
    HostRow(
        "generativelanguage.googleapis.com",
        "gemini",
        (Mount("/{google}/openai", OPENAI), Mount("", GEMINI)),
        "https://ai.google.dev/gemini-api/docs/openai",
    ),
    *(
        HostRow(
            host,
            "gemini",
            VERTEX_MOUNTS,
            "https://cloud.google.com/vertex-ai/generative-ai/docs/learn/locations",
            "vertex",
        )
        for host in _VERTEX_HOSTS
    ),
    *(
        HostRow(
            host,
            "openai",
            AZURE_MOUNTS,
            "https://learn.microsoft.com/azure/ai-foundry/foundry-models/concepts/endpoints",
            "azure",
        )
        for host in _AZURE_HOSTS
    ),
    *(
        HostRow(
            # The second has the region in it: <name>.<region>.models.ai.azure.com.
            host,
            "openai",
            (*V1, Mount("", OPENAI)),
            "https://learn.microsoft.com/rest/api/aifoundry/modelinference/",
            "azure",
        )
        for host in ("*.models.ai.azure.com", "*.*.models.ai.azure.com")
    ),
    *(
        HostRow(
            host,
            "bedrock",
            BEDROCK_MOUNTS,
            "https://docs.aws.amazon.com/general/latest/gr/bedrock.html",
            "bedrock",
        )
        for host in _BEDROCK_HOSTS
    ),
    HostRow(
        "bedrock-mantle.*.api.aws",
        "openai",
        MANTLE_MOUNTS,
        "https://docs.aws.amazon.com/bedrock/latest/userguide/bedrock-mantle.html",
        "bedrock",
    ),
    *(
        HostRow(host, "mistral", (Mount("", MISTRAL),), "https://docs.mistral.ai/api")
        for host in ("api.mistral.ai", "codestral.mistral.ai")
    ),
    *(
        HostRow(
            host,
            "cohere",
            (Mount("/compatibility/v1", OPENAI), Mount("", COHERE)),
            "https://docs.cohere.com/docs/compatibility-api",
        )
        for host in ("api.cohere.com", "api.cohere.ai")
    ),
    *(_local_ollama(host) for host in ("localhost", "127.0.0.1", "::1", "host.docker.internal")),
    HostRow(
        "ollama.com",
        "ollama",
        (Mount("", OLLAMA), *V1_AND_MESSAGES),
        "https://docs.ollama.com/cloud",
    ),
)

_COMPATIBLE = (
    _compatible("api.groq.com", "groq", "https://console.groq.com/docs/openai", (Mount("/openai/v1", OPENAI),)),
    _compatible(
        "api.deepseek.com",
        "deepseek",
        "https://api-docs.deepseek.com/guides/anthropic_api",
        (Mount("/anthropic", ANTHROPIC), Mount("/v1", OPENAI), Mount("/beta", OPENAI), Mount("", OPENAI)),
    ),
    _compatible(
        "openrouter.ai",
        "openrouter",
        "https://openrouter.ai/docs/api-reference/overview",
        (Mount("/api/v1", OPENAI), Mount("/api", MESSAGES)),
    ),
    _compatible("api.x.ai", "xai", "https://docs.x.ai/docs/api-reference", V1_AND_MESSAGES),
    _compatible("*.api.x.ai", "xai", "https://docs.x.ai/docs/key-information/regions", V1_AND_MESSAGES),
    _compatible("api.together.xyz", "together", "https://docs.together.ai/docs/openai-api-compatibility"),
    _compatible("api.together.ai", "together", "https://docs.together.ai/docs/openai-api-compatibility"),
    _compatible(
        "api.perplexity.ai",
        "perplexity",
        "https://docs.perplexity.ai/guides/chat-completions-guide",
        (*V1, Mount("", PERPLEXITY)),
    ),
    _compatible(
        "api.fireworks.ai",
        "fireworks",
        "https://docs.fireworks.ai/tools-sdks/openai-compatibility",
        (Mount("/inference/v1", OPENAI), Mount("/inference", MESSAGES)),
    ),
    _compatible("api.cerebras.ai", "cerebras", "https://inference-docs.cerebras.ai/resources/openai"),
    _compatible("integrate.api.nvidia.com", "nvidia", "https://docs.api.nvidia.com/nim/reference/llm-apis"),
    _compatible(
        "api.sambanova.ai", "sambanova", "https://docs.sambanova.ai/cloud/docs/capabilities/openai-compatibility"
    ),
    _compatible("api.hyperbolic.xyz", "hyperbolic", "https://docs.hyperbolic.xyz/docs/rest-api"),
    _compatible(
        "api.deepinfra.com",
        "deepinfra",
        "https://deepinfra.com/docs/openai_api",
        (Mount("/v1/openai", OPENAI), *V1, Mount("/anthropic", MESSAGES)),
    ),
    _compatible(
        "router.huggingface.co",
        "huggingface",
        "https://huggingface.co/docs/inference-providers",
        # The provider's own path follows its name: /together/v1, /novita/v3/openai.
        (*V1, Mount("/*/v1", OPENAI), Mount("/*/v3/openai", OPENAI), Mount("/*/openai/v1", OPENAI)),
    ),
    *(
        _compatible(
            host,
            "moonshot",
            "https://platform.moonshot.ai/docs/guide/agent-support",
            (*V1, Mount("/anthropic", MESSAGES)),
        )
        for host in ("api.moonshot.ai", "api.moonshot.cn")
    ),
    *(
        _compatible(
            host,
            "zai",
            "https://docs.z.ai/guides/develop/openai/python",
            (
                Mount("/api/paas/v4", OPENAI),
                Mount("/api/coding/paas/v4", OPENAI),
                Mount("/api/anthropic", MESSAGES),
            ),
        )
        for host in ("api.z.ai", "open.bigmodel.cn")
    ),
    *(
        _compatible(
            host,
            "dashscope",
            "https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope",
            (
                Mount("/compatible-mode/v1", OPENAI),
                Mount("/compatible-api/v1", OPENAI),
                Mount("/apps/anthropic", MESSAGES),
            ),
        )
        for host in ("dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com", "dashscope-us.aliyuncs.com")
    ),
    *(
        _compatible(
            host,
            "minimax",
            "https://platform.minimax.io/docs/api-reference/text-anthropic-api",
            (*V1, Mount("/anthropic", MESSAGES)),
        )
        for host in ("api.minimax.io", "api.minimaxi.com")
    ),
    _compatible("api.voyageai.com", "voyage", "https://docs.voyageai.com/reference", (Mount("/v1", EMBEDDERS),)),
    _compatible("api.jina.ai", "jina", "https://jina.ai/embeddings", (Mount("/v1", EMBEDDERS),)),
    _compatible("api.ai21.com", "ai21", "https://docs.ai21.com/reference", (Mount("/studio/v1", OPENAI),)),
    _compatible("api.replicate.com", "replicate", "https://replicate.com/docs/reference/http", (Mount("", REPLICATE),)),
    _compatible("ai-gateway.vercel.sh", "vercel", "https://vercel.com/docs/ai-gateway/openai-compat", V1_AND_MESSAGES),
    _compatible(
        "api.venice.ai", "venice", "https://docs.venice.ai/api-reference/api-spec", (Mount("/api/v1", OPENAI),)
    ),
    _compatible("api.doubleword.ai", "doubleword", "https://docs.doubleword.ai"),
    _compatible(
        "api.portkey.ai",
        "portkey",
        "https://portkey.ai/docs/api-reference",
        (*V1_AND_MESSAGES, Mount("/v1", PORTKEY_PROMPTS)),
    ),
    _compatible("api.writer.com", "writer", "https://dev.writer.com/api-reference", (Mount("/v1", WRITER),)),
    _compatible(
        "gateway.ai.cloudflare.com",
        "cloudflare",
        "https://developers.cloudflare.com/ai-gateway/usage/providers/",
        (
            Mount("/v1/*/*/compat", OPENAI),
            Mount("/v1/*/*/openai", OPENAI),
            Mount("/v1/*/*/anthropic", ANTHROPIC),
            Mount("/v1/*/*/google-ai-studio", GEMINI),
            *(Mount(f"/v1/*/*/google-vertex-ai{mount.prefix}", mount.surface) for mount in VERTEX_MOUNTS),
            Mount("/v1/*/*/aws-bedrock/bedrock-runtime/*", BEDROCK),
            Mount("/v1/*/*/mistral", MISTRAL),
            Mount("/v1/*/*/cohere", COHERE),
            Mount("/v1/*/*/*", OPENAI),
            Mount("/v1/*/*/*/v1", OPENAI),
        ),
    ),
    *(
        _compatible(
            host,
            "copilot",
            "https://docs.github.com/copilot/reference/copilot-allowlist-reference",
            (*V1_AND_MESSAGES, Mount("", OPENAI)),
        )
        for host in ("api.githubcopilot.com", "api.*.githubcopilot.com")
    ),
    _compatible(
        "models.github.ai",
        "github",
        "https://docs.github.com/rest/models/inference",
        (Mount("/inference", OPENAI), Mount("/orgs/*/inference", OPENAI)),
    ),
    _compatible(
        "models.inference.ai.azure.com", "github", "https://docs.github.com/github-models", (*V1, Mount("", OPENAI))
    ),
    _compatible("*.inference.heroku.com", "heroku", "https://devcenter.heroku.com/articles/heroku-inference"),
    _compatible("api.avian.io", "avian", "https://avian.io/docs"),
    _compatible("api.inference.crusoecloud.com", "crusoe", "https://docs.crusoecloud.com/managed-inference/overview"),
)

# Known, but not claimed by default: websites, databases and whole clouds.
_SHARED = (
    _compatible(
        "chatgpt.com",
        "codex",
        "https://github.com/openai/codex",
        (Mount("/backend-api/codex", OPENAI),),
        claimed=False,
    ),
    _compatible(
        "api.cloudflare.com",
        "cloudflare",
        "https://developers.cloudflare.com/workers-ai/configuration/open-ai-compatibility/",
        (Mount("/client/v4/accounts/*/ai/v1", OPENAI), Mount("/client/v4/accounts/*/ai", CLOUDFLARE_RUN)),
        claimed=False,
    ),
    *(
        _compatible(
            host,
            "databricks",
            "https://docs.databricks.com/aws/en/machine-learning/model-serving/score-foundation-models",
            (
                Mount("/serving-endpoints", OPENAI),
                Mount("/serving-endpoints/anthropic", MESSAGES),
                Mount("/serving-endpoints", DATABRICKS_INVOCATIONS),
            ),
            claimed=False,
        )
        for host in ("*.cloud.databricks.com", "*.*.azuredatabricks.net", "*.*.gcp.databricks.com")
    ),
    *(
        _compatible(
            host,
            "snowflake",
            "https://docs.snowflake.com/en/user-guide/snowflake-cortex/cortex-rest-api",
            (Mount("/api/v2/cortex/v1", OPENAI), Mount("/api/v2/cortex", MESSAGES)),
            claimed=False,
        )
        for host in ("*.snowflakecomputing.com", "*.*.snowflakecomputing.com", "*.*.*.snowflakecomputing.com")
    ),
)

EVERY_ROW: tuple[HostRow, ...] = (*_FOUNDATION, *_COMPATIBLE, *_SHARED)
KNOWN_HOSTS: tuple[HostRow, ...] = tuple(row for row in EVERY_ROW if row.claimed)
