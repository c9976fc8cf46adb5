"""Classification of request targets: what is known, what is not, and what must not be judged."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpose.formats.endpoints import classify, judged_path, replace_model, suspicious
from interpose.formats.hosts import HostRow, generic_row, lookup
from interpose.formats.known_hosts import EVERY_ROW

ARN = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.anthropic.claude-x-v1%3A0"
RAW_ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-x-v1:0"
SHORT = {"<P>": "/v1/projects/p/locations/us-east5/publishers", "<ARN>": ARN, "<RAW>": RAW_ARN}

# By host: METHOD target -> format wire endpoint api_path [model=…] [stream=…]; "=" is the target's own path.
TABLE = {
    "api.openai.com": """
        POST /v1/chat/completions -> openai openai-chat chat /chat/completions
        POST /v1/chat/completions/ -> openai openai-chat chat /chat/completions/
        POST /v1/chat/completions?x=/../ -> openai openai-chat chat /chat/completions
        GET /v1/chat/completions -> openai none other /chat/completions
        POST /v1/responses -> openai-responses openai-responses chat /responses
        GET /v1/responses -> openai-responses none realtime /responses
        GET /v1/responses/resp_1 -> openai-responses none other /responses/resp_1
        POST /v1/responses/input_tokens -> openai-responses none count_tokens /responses/input_tokens
        POST /v1/responses/compact -> openai-responses openai-responses other /responses/compact
        POST /v1/completions -> openai openai-completions completions /completions
        POST /v1/embeddings -> openai openai-embeddings embeddings /embeddings
        GET /v1/models -> openai none models /models
        GET /v1/models/gpt-x -> openai none models /models/gpt-x model=gpt-x
        DELETE /v1/models/ft%3Agpt-x -> openai none models /models/ft%3Agpt-x model=ft:gpt-x
        POST /v1/images/generations -> openai openai-other images /images/generations
        POST /v1/audio/speech -> openai openai-other audio /audio/speech
        POST /v1/moderations -> openai openai-other moderations /moderations
        POST /v1/files -> openai none files /files
        GET /v1/files/f/content -> openai none files /files/f/content
        POST /v1/batches -> openai none batches /batches
        GET /v1/realtime?model=gpt-x -> openai none realtime /realtime model=gpt-x
        POST /v1/threads/t/runs -> openai openai-other other /threads/t/runs
        POST /v1/threads/t/messages -> openai none other /threads/t/messages
        POST /v1/decisions -> openai openai-other other /decisions
        POST /v1/live/sessions/s/accept -> openai none realtime /live/sessions/s/accept
        POST /v1/audio/voices -> openai none audio /audio/voices
        POST /v1/content_provenance_checks -> openai none moderations /content_provenance_checks
        POST /v1/fine_tuning/alpha/graders/run -> openai none other /fine_tuning/alpha/graders/run
        POST /v1/containers/c/files -> openai none other /containers/c/files
    """,
    "api.anthropic.com": """
        POST /v1/messages -> anthropic anthropic chat =
        POST /v1/messages?beta=true -> anthropic anthropic chat =
        POST /v1/messages/count_tokens -> anthropic none count_tokens =
        GET /v1/messages/batches/b -> anthropic none batches =
        POST /v1/sessions/s/events -> anthropic none other =
        GET /v1/memory_stores -> anthropic none other =
        POST /v1/chat/completions -> openai openai-chat chat /chat/completions
        GET /v1/models -> anthropic none models =
    """,
    "generativelanguage.googleapis.com": """
        POST /v1beta/models/gemini-x:generateContent -> gemini gemini chat = model=gemini-x stream=False
        POST /v1/models/gemini-x:streamGenerateContent?alt=sse -> gemini gemini chat = model=gemini-x stream=True
        POST /v1beta/models/gemini-x%3AgenerateContent -> gemini gemini chat = model=gemini-x stream=False
        POST /v1alpha/tunedModels/t:generateContent -> gemini gemini chat = model=t stream=False
        POST /v1beta/models/e:batchEmbedContents -> gemini gemini embeddings = model=e
        POST /v1beta/models/g:countTokens -> gemini none count_tokens = model=g
        GET /v1beta/models?pageSize=5 -> gemini none models =
        POST /v1beta/openai/chat/completions -> openai openai-chat chat /chat/completions
        POST /v1beta/interactions -> gemini gemini-interactions chat =
        POST /v1beta/interactions/i/cancel -> gemini none other =
        POST /v1beta/decisions -> gemini gemini-interactions other =
        POST /v1beta/files:register -> gemini none files =
        POST /v1alpha/auth_tokens -> gemini none realtime =
        PATCH /v1beta/tunedModels/t -> gemini none models = model=t
        PUT /upload/v1beta/environments/e/files/a/b -> gemini none files =
        POST /v1beta/models/text-embedding-004:predict -> gemini none embeddings = model=text-embedding-004
        GET /v1beta/files/f:download?alt=media -> gemini none files =
    """,
    "us-east5-aiplatform.googleapis.com": """
        POST <P>/google/models/g:streamGenerateContent
            -> gemini gemini chat /v1beta/models/g:streamGenerateContent model=g stream=True
        POST <P>/anthropic/models/claude-x@20250101:rawPredict
            -> anthropic anthropic chat /v1/messages model=claude-x@20250101 stream=False
        POST <P>/anthropic/models/claude-x%4020250101:streamRawPredict
            -> anthropic anthropic chat /v1/messages model=claude-x@20250101 stream=True
        POST <P>/anthropic/models/count-tokens:rawPredict -> anthropic none count_tokens /v1/messages/count_tokens
        POST <P>/mistralai/models/mistral-x@001:rawPredict
            -> mistral mistral chat /v1/chat/completions model=mistral-x@001 stream=False
        POST <P>/mistralai/models/mistral-x:streamRawPredict
            -> mistral mistral chat /v1/chat/completions model=mistral-x stream=True
        POST <P>/meta/models/llama-x:rawPredict
            -> openai openai-chat chat /chat/completions model=llama-x stream=False
        POST /v1/projects/p/locations/l/endpoints/123:generateContent
            -> gemini gemini chat /v1beta/models/123:generateContent model=123 stream=False
        POST /v1/projects/p/locations/l/endpoints/123:rawPredict
            -> gemini none other /endpoints/123:rawPredict model=123
        POST /v1beta1/projects/p/locations/l/interactions
            -> gemini gemini-interactions chat /v1beta/interactions
    """,
    "aiplatform.googleapis.com": """
        POST /v1beta1/publishers/google/models/g:generateContent
            -> gemini gemini chat /v1beta/models/g:generateContent model=g stream=False
        POST <P>/google/models/text-embedding-005:predict
            -> gemini none embeddings /publishers/google/models/text-embedding-005:predict model=text-embedding-005
        POST /v1/projects/p/locations/l/endpoints/openapi/chat/completions -> openai openai-chat chat /chat/completions
    """,
    "r.openai.azure.com": """
        POST /openai/deployments/my-gpt/chat/completions?api-version=1
            -> openai openai-chat chat /chat/completions model=my-gpt
        POST /openai/deployments/my-gpt/extensions/chat/completions?api-version=1
            -> openai openai-chat chat /chat/completions model=my-gpt
        POST /openai/v1/responses -> openai-responses openai-responses chat /responses
    """,
    "m.eastus.models.ai.azure.com": """
        POST /v1/chat/completions -> openai openai-chat chat /chat/completions
    """,
    "m.models.ai.azure.com": """
        POST /chat/completions -> openai openai-chat chat =
    """,
    "r.cognitiveservices.azure.com": """
        POST /openai/responses?api-version=1 -> openai-responses openai-responses chat /responses
    """,
    "r.services.ai.azure.com": """
        POST /models/chat/completions?api-version=1 -> openai openai-chat chat /chat/completions
        POST /anthropic/v1/messages -> anthropic anthropic chat /v1/messages
    """,
    "bedrock-runtime.us-east-1.amazonaws.com": """
        POST /model/amazon.nova-x-v1%3A0/converse
            -> bedrock bedrock-converse chat = model=amazon.nova-x-v1:0 stream=False
        POST /model/amazon.nova-x-v1:0/converse-stream
            -> bedrock bedrock-converse chat = model=amazon.nova-x-v1:0 stream=True
        POST /model/<ARN>/invoke -> bedrock bedrock-invoke chat = model=<RAW> stream=False
        POST /model/<RAW>/invoke-with-response-stream -> bedrock bedrock-invoke chat = model=<RAW> stream=True
        POST /model/amazon.titan-embed-text-v2%3A0/invoke
            -> bedrock bedrock-invoke embeddings = model=amazon.titan-embed-text-v2:0 stream=False
        POST /model/us.amazon.nova-canvas-v1%3A0/invoke
            -> bedrock bedrock-invoke images = model=us.amazon.nova-canvas-v1:0 stream=False
        POST /model/m/count-tokens -> bedrock none count_tokens = model=m
        POST /openai/v1/chat/completions -> openai openai-chat chat /chat/completions
    """,
    "bedrock-runtime-fips.us-gov-west-1.api.aws": """
        POST /model/m.rerank-v1/invoke -> bedrock bedrock-invoke rerank = model=m.rerank-v1 stream=False
    """,
    "bedrock-mantle.us-east-1.api.aws": """
        POST /v1/responses -> openai-responses openai-responses chat /responses
        POST /anthropic/v1/messages -> anthropic anthropic chat /v1/messages
    """,
    "api.mistral.ai": """
        POST /v1/chat/completions -> mistral mistral chat =
        POST /v1/embeddings -> mistral openai-embeddings embeddings =
        POST /v1/conversations -> mistral openai-other chat =
        POST /v1/conversations/c -> mistral openai-other chat =
        POST /v1/conversations/c/restart -> mistral openai-other chat =
        GET /v1/conversations/c/history -> mistral none other =
    """,
    "codestral.mistral.ai": """
        POST /v1/fim/completions -> mistral mistral completions =
    """,
    "api.cohere.com": """
        POST /v2/chat -> cohere cohere chat =
        POST /v2/audio/transcriptions -> cohere openai-other audio =
    """,
    "api.cohere.ai": """
        POST /v1/rerank -> cohere cohere rerank =
        POST /compatibility/v1/chat/completions -> openai openai-chat chat /chat/completions
    """,
    "localhost": """
        POST /api/chat -> ollama ollama chat =
        POST /api/generate -> ollama ollama completions =
        GET /api/tags -> ollama none models =
        POST /v1/chat/completions -> openai openai-chat chat /chat/completions
        POST /v1/messages -> anthropic anthropic chat =
    """,
    "api.groq.com": """
        POST /openai/v1/chat/completions -> openai openai-chat chat /chat/completions
    """,
    "api.deepseek.com": """
        POST /chat/completions -> openai openai-chat chat =
        POST /v1/chat/completions -> openai openai-chat chat /chat/completions
        POST /anthropic/v1/messages -> anthropic anthropic chat /v1/messages
    """,
    "openrouter.ai": """
        POST /api/v1/chat/completions -> openai openai-chat chat /chat/completions
        POST /api/v1/messages -> anthropic anthropic chat /v1/messages
        GET /api/v1/models/meta-llama/llama-x/endpoints -> openai none models /models/meta-llama/llama-x/endpoints
    """,
    "api.perplexity.ai": """
        POST /chat/completions -> openai openai-chat chat =
        POST /async/chat/completions -> openai none batches =
        GET /async/chat/completions/r -> openai none batches =
    """,
    "router.huggingface.co": """
        POST /novita/v3/openai/chat/completions -> openai openai-chat chat /chat/completions
    """,
    "api.githubcopilot.com": """
        POST /responses -> openai-responses openai-responses chat =
    """,
    "api.writer.com": """
        POST /v1/chat -> openai openai-chat chat /chat/completions
    """,
    "api.z.ai": """
        POST /api/paas/v4/chat/completions -> openai openai-chat chat /chat/completions
    """,
    "gateway.ai.cloudflare.com": """
        POST /v1/account/gateway/openai/chat/completions -> openai openai-chat chat /chat/completions
        POST /v1/account/gateway/anthropic/v1/messages -> anthropic anthropic chat /v1/messages
    """,
}


class Case(NamedTuple):
    """One row of TABLE."""

    host: str
    method: str
    target: str
    format: str
    wire: str
    endpoint: str
    api_path: str
    model: str | None
    stream: bool | None


def cases() -> Iterator[Case]:
    for host, block in TABLE.items():
        text = block.replace("\n            ->", " ->")
        for short, long in SHORT.items():
            text = text.replace(short, long)
        for line in text.strip().splitlines():
            asked, _, expected = line.strip().partition(" -> ")
            method, _, target = asked.partition(" ")
            form, wire, endpoint, api_path, *rest = expected.split()
            named = dict(item.split("=", 1) for item in rest)
            stream = {"True": True, "False": False, None: None}[named.get("stream")]
            whole = target.partition("?")[0] if api_path == "=" else api_path
            yield Case(host, method, target, form, wire, endpoint, whole, named.get("model"), stream)


CASES = list(cases())


def row_of(host: str) -> HostRow:
    row = lookup(host, 11434 if host == "localhost" else 443)
    assert row is not None
    return row


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.host} {case.method} {case.target}")
def test_known_paths_are_classified(case: Case) -> None:
    """Each row of the table of real paths is known, with its format, wire, endpoint, path, model and stream."""
    match = classify(row_of(case.host), case.method, case.target)
    assert match.known
    assert (match.format, match.wire, match.endpoint, match.api_path, match.model, match.stream) == case[3:]
    assert (match.model is None) == (match.model_span is None)


UNKNOWN = [
    ("api.openai.com", "POST", "/"),
    ("api.openai.com", "POST", "*"),
    ("api.openai.com", "POST", ""),
    ("api.openai.com", "POST", "/v2/chat/completions"),
    ("api.openai.com", "POST", "/v1/chat/completionsx"),
    ("api.openai.com", "POST", "/v1/Chat/Completions"),
    ("api.openai.com", "post", "/v1/chat/completions"),
    ("api.openai.com", "OPTIONS", "/v1/chat/completions"),
    ("api.openai.com", "POST", "/x/v1/chat/completions"),
    # Administration is never reached with a shared credential by default.
    ("api.openai.com", "POST", "/v1/organization/admin_api_keys"),
    ("api.openai.com", "GET", "/v1/organization/usage/completions"),
    ("api.openai.com", "POST", "/v1/fine_tuning/checkpoints/c/permissions"),
    ("api.anthropic.com", "POST", "/v1/organizations/api_keys"),
    ("api.anthropic.com", "POST", "/v1/oauth/token"),
    ("api.anthropic.com", "POST", "/v1/tunnels/t/reveal_token"),
    ("generativelanguage.googleapis.com", "POST", "/v1beta/models/g:deleteEverything"),
    ("generativelanguage.googleapis.com", "POST", "/v1beta/models/a/b:generateContent"),
    ("generativelanguage.googleapis.com", "POST", "/v1beta/webhooks/w:rotateSigningSecret"),
    ("aiplatform.googleapis.com", "POST", "/v1/projects/p/locations/l/customJobs"),
    ("r.cognitiveservices.azure.com", "POST", "/speechtotext/v3.1/transcriptions"),
    ("bedrock-runtime.us-east-1.amazonaws.com", "POST", "/model/a/b/converse"),
    ("bedrock-runtime.us-east-1.amazonaws.com", "GET", "/model/m/converse"),
]


@pytest.mark.parametrize(("host", "method", "target"), UNKNOWN)
def test_other_paths_are_unknown(host: str, method: str, target: str) -> None:
    """What no table lists is "other", unmetered and not known: it gets no credential unless a route says so."""
    row = row_of(host)
    match = classify(row, method, target)
    assert (match.endpoint, match.wire, match.known, match.model, match.format) == (
        "other",
        "none",
        False,
        None,
        row.format,
    )


# Attack case 28, and its kin: (what is wrong, targets).
ATTACKS = {
    "a dot segment": (
        "/v1/../v1/chat/completions",
        "/v1/./chat/completions",
        "/v1/models/..",
        "/v1/chat/completions/.",
        "/v1/files/..;/chat/completions",
        "/v1/files/..%2fchat%2fcompletions",
        "/v1/files/..%3b/x",
        "/..",
    ),
    "a needlessly encoded character": (
        "/v1/%2e%2e/chat/completions",
        "/v1/%2E%2E/chat/completions",
        "/v1/.%2e/chat/completions",
        "/v1/models/%2e",
        "/v1/%63hat/completions",
        "/v1/chat/completion%73",
        "/v1/organ%69zation/costs",
    ),
    "a double encoding": (
        "/v1/%252e%252e/chat/completions",
        "/v1/chat%252fcompletions",
        "/v1/models/%255c",
        "/v1/models/x%25",
    ),
    "a backslash": ("/v1\\chat\\completions", "/v1%5cchat/completions", "/v1/%5Cchat/completions"),
    "an empty segment": (
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/v1/chat//completions",
        "/v1/chat/completions//",
        "/v1/%2fchat/completions",
        "/v1/models/a%2F%2Fb",
    ),
    "an encoded control character": (
        "/v1/chat/completions%00",
        "/v1/models/x%0d%0aHost:%20evil.test",
        "/v1/models/%7f",
    ),
    "a control character, blank or non-ASCII byte": (
        "/v1/chat/completions\0",
        "/v1/chat/completions x",
        "/v1/chat/completions\t",
        "/v1/chat/completions\n",
        "/v1/models/modèle",
        "/v1/models/\u2215",
    ),
    "a malformed escape": ("/v1/chat/%", "/v1/models/%zz", "/v1/models/x%2", "/v1/models/%u002f"),
    "a fragment": ("/v1/chat/completions#x",),
    "a path that does not begin with a slash": (
        "v1/chat/completions",
        "http://evil.test/v1/chat/completions",
        "",
        "?x",
    ),
    "a control character in the query": ("/v1/chat/completions?x=\0", "/v1/chat/completions?x\r\ny", "/v1/x?\n"),
}


@pytest.mark.parametrize(
    ("flaw", "target"), [(flaw, target) for flaw, targets in ATTACKS.items() for target in targets]
)
def test_ambiguous_targets_are_named_and_never_known(flaw: str, target: str) -> None:
    """A path that two servers could read differently says what is wrong with it, and is no known endpoint anywhere."""
    assert suspicious(target) == flaw
    for row in (*EVERY_ROW, generic_row("llm.corp.test")):
        for method in ("GET", "POST", "DELETE"):
            assert not classify(row, method, target).known


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/v1/chat/completions",
        "/v1/chat/completions/",
        "/v1/chat/completions?a=//&b=../..&c=%2e%2e&d=%252e&e=\\&f=%00&g=#",
        "/v1/models/meta-llama%2FLlama-3",
        "/v1/models/.hidden",
        "/v1/models/a..b",
        "/v1/models/...",
        "/v1/files/f:download",
        "/v1/models/a%20b%7Ec%5Fd",
        f"/model/{ARN}/converse",
        f"/model/{RAW_ARN}/converse",
    ],
)
def test_ordinary_targets_are_not_suspicious(target: str) -> None:
    """Escaped slashes and colons in a model's name are right, and a query may hold anything that is not a line end."""
    assert suspicious(target) is None


LIVE = "google.ai.generativelanguage.v1.GenerativeService.BidiGenerateContent"


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("generativelanguage.googleapis.com", f"//ws/{LIVE}?key=k"),
        ("generativelanguage.googleapis.com", f"/ws/{LIVE}?key=k"),
        ("us-central1-aiplatform.googleapis.com", "//ws/google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent"),
        ("aiplatform.googleapis.com", "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent"),
    ],
)
def test_the_slash_that_googles_sdk_doubles_is_one(host: str, target: str) -> None:
    """google-genai's Live client sends it; rules judge the path without it, and no other doubled slash."""
    match = classify(row_of(host), "GET", target)
    assert (match.format, match.endpoint, match.known) == ("gemini", "realtime", True)
    assert suspicious(target) is None
    assert judged_path(target).startswith("/ws/google.")
    assert not classify(row_of("api.openai.com"), "GET", target).known
    for attacked in (f"///{target.lstrip('/')}", target.replace("/ws/", "/ws//"), target.replace("/ws/", "/x/..//ws/")):
        assert suspicious(attacked) is not None
        assert not classify(row_of(host), "GET", attacked).known


def test_a_model_behind_a_doubled_slash_is_replaced_where_it_stands() -> None:
    """On a host that nobody has described, any path may stand before a known one."""
    target = "//ws/google.ai.generativelanguage.x/v1beta/models/some-model:generateContent"
    match = classify(generic_row("llm.corp.test"), "POST", target)
    assert match.model == "some-model"
    assert replace_model(target, match, "other") == target.replace("some-model", "other")


@given(
    st.sampled_from(CASES),
    st.sampled_from(
        ["/..", "/.", "/%2e%2e", "/%2E.", "/%252e%252e", "/%5c", "\\", "//", "/%2f", "%00", "\0", "%252f", "%", "/..;x"]
    ),
    st.integers(min_value=0),
)
def test_no_known_path_survives_a_dangerous_insertion(case: Case, inserted: str, at: int) -> None:
    """Put anywhere into the path of any known endpoint, a confusing sequence makes it unknown and suspicious."""
    path, mark, query = case.target.partition("?")
    slashes = [i for i, character in enumerate(path) if character == "/"] + [len(path)]
    where = slashes[at % len(slashes)]
    # The inserted text stands between two segments, so that it cannot become a harmless part of a name.
    attacked = path[:where] + inserted + path[where:] + mark + query
    assert suspicious(attacked) is not None
    assert not classify(row_of(case.host), case.method, attacked).known


@given(st.sampled_from(EVERY_ROW), st.sampled_from(["GET", "POST", "DELETE", ""]), st.text(max_size=60))
def test_any_target_is_classified_without_an_exception(row: HostRow, method: str, target: str) -> None:
    """Hostile text as a target is "other" or a known endpoint, never an exception."""
    match = classify(row, method, "/" + target)
    assert match.known or match.endpoint == "other"
    if match.known:
        assert suspicious("/" + target) is None


MODEL_TARGETS = [case for case in CASES if case.model is not None]


@pytest.mark.parametrize("case", MODEL_TARGETS, ids=lambda case: case.target)
@pytest.mark.parametrize("model", ["new-model", "vendor/model:1@2 x", "größe", "..x", "a%2Fb", "?#&"])
def test_a_model_in_the_url_is_replaced_in_place(case: Case, model: str) -> None:
    """The new name stands, escaped, exactly where the old one stood; every other byte stays, and it reads back."""
    row, method, target = row_of(case.host), case.method, case.target
    match = classify(row, method, target)
    assert match.model_span is not None
    start, end = match.model_span
    replaced = replace_model(target, match, model)
    assert replaced.startswith(target[:start])
    assert replaced.endswith(target[end:])
    if "%25" not in replaced:
        again = classify(row, method, replaced)
        assert again.model == model
        assert again.known


def test_replacing_is_refused_or_without_effect_where_it_has_no_place() -> None:
    """A model that would be a dot segment is a ValueError; a URL that names no model stays as it is."""
    row = row_of("generativelanguage.googleapis.com")
    target = "/v1beta/models/gemini-x:generateContent"
    match = classify(row, "POST", target)
    for model in ("", ".", ".."):
        with pytest.raises(ValueError, match="cannot be a model's name"):
            replace_model(target, match, model)
    plain = "/v1beta/models"
    assert replace_model(plain, classify(row, "GET", plain), "x") == plain


@pytest.mark.parametrize(
    "target",
    [
        "/model/" + "." * 200_000 + "x/invoke",
        "/model/" + "arn:" * 50_000 + "/x",
        "/model/" + "embe" * 50_000 + "/invoke",
        "/v1beta/models/" + "x" * 200_000,
        "/v1beta/models/" + "embe" * 50_000 + ":predict",
        "/v1/" + "a/" * 100_000,
        "/a" * 100_000 + "/chat/completion",
        "/v1/models/" + "%2F.a" * 40_000,
    ],
    ids=lambda target: target[:12],
)
def test_a_hostile_length_costs_no_more_than_its_length(target: str) -> None:
    """No pattern of any row backtracks over a long path: all rows together judge 200 kB within a few seconds."""
    started = time.perf_counter()
    for row in (*EVERY_ROW, generic_row("llm.corp.test")):
        for method in ("GET", "POST"):
            classify(row, method, target)
    assert time.perf_counter() - started < 20


HOSTILE = {
    "embeddings on Bedrock": ("/model/", "embe", "/invoke"),
    "embeddings on Bedrock, the word throughout": ("/model/", "embed", "/invok"),
    "rerankers on Bedrock": ("/model/", ".rerank", "/invok"),
    "embeddings on Google": ("/v1beta/models/", "embed", ":predic"),
    "embeddings on Google, the other word": ("/v1beta/models/", "gecko", ":predic"),
    "images on Google": ("/v1/projects/p/locations/l/publishers/google/models/", "imagen", ":predic"),
    "segments": ("", "/a", "/chat/completion"),
    "colons": ("/v1beta/models/", "%3A", ":predict"),
}


@pytest.mark.parametrize(("start", "word", "end"), HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("size", [4_000, 30_000, 60_000])
def test_a_repeated_word_costs_no_more_than_its_length(start: str, word: str, end: str, size: int) -> None:
    """Whatever a path repeats, no row needs more than a fifth of a second for it, short or long."""
    target = start + word * (size // len(word)) + end
    for host in (
        "bedrock-runtime.us-east-1.amazonaws.com",
        "generativelanguage.googleapis.com",
        "aiplatform.googleapis.com",
    ):
        began = time.perf_counter()
        for method in ("GET", "POST"):
            assert not classify(row_of(host), method, target).known or size == 4_000
        assert time.perf_counter() - began < 0.2


def test_the_rows_alone_are_linear() -> None:
    """The patterns themselves, without the bound on a path's length, judge 60 kB at once too."""
    for row in EVERY_ROW:
        for mount in row.mounts:
            for start, word, end in HOSTILE.values():
                target = start + word * (60_000 // len(word)) + end
                began = time.perf_counter()
                mount.surface.find("POST", target, 0)
                assert time.perf_counter() - began < 0.2


@pytest.mark.parametrize("host", ["api.openai.com", "llm.corp.test"])
def test_a_path_over_4_kb_is_no_endpoint(host: str) -> None:
    """No endpoint has a path of more than 4096 bytes; the query does not count."""
    row = lookup(host, 443) or generic_row(host)
    fits = "/v1/models/" + "x" * (4096 - len("/v1/models/"))
    assert classify(row, "GET", fits + "?" + "x" * 100_000).known
    assert not classify(row, "GET", fits + "x").known
