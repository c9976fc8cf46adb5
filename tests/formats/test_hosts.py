"""The host table: whose a name is, and whose it is not."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from interpose.call import Origin
from interpose.formats.endpoints import classify
from interpose.formats.hosts import (
    KNOWN_HOSTS,
    HostRow,
    HostTable,
    canonical_host,
    generic_row,
    lookup,
    row_for_provider,
)
from interpose.formats.known_hosts import EVERY_ROW

CANONICAL = [
    ("api.openai.com", "api.openai.com"),
    ("API.OpenAI.com", "api.openai.com"),
    ("api.openai.com.", "api.openai.com"),
    ("API.OPENAI.COM.", "api.openai.com"),
    ("ａｐｉ.openai.com", "api.openai.com"),
    ("api。openai。com", "api.openai.com"),
    ("bücher.example", "xn--bcher-kva.example"),
    ("BÜCHER.example.", "xn--bcher-kva.example"),
    ("azure_resource.openai.azure.com", "azure_resource.openai.azure.com"),
    ("127.0.0.1", "127.0.0.1"),
    ("[::1]", "::1"),
    ("::1", "::1"),
    ("0:0:0:0:0:0:0:1", "::1"),
    ("[2001:DB8::1]", "2001:db8::1"),
]
MALFORMED = [
    "",
    ".",
    "api..openai.com",
    "api.openai.com..",
    ".openai.com",
    "api.openai.com\0.evil.test",
    "\0",
    "api.openai.com ",
    " api.openai.com",
    "api openai.com",
    "api.openai.com\r\nx: y",
    "api.openai.com\n",
    "user@api.openai.com",
    "user:password@api.openai.com",
    "api.openai.com:443",
    "api.openai.com/",
    "api.openai.com?x",
    "api.openai.com#x",
    "api.openai.com%00",
    "api\\openai.com",
    "*.openai.com",
    "[::1",
    "[api.openai.com]",
    "fe80::1%eth0",
    "[fe80::1%25eth0]",
    "a" * 64 + ".test",
    ".".join(["a" * 50] * 6),
    "ü" * 5000,
    "api.openai.com\u2044evil.test",
    "\u2100.test",
    "\ud800.test",
]

KNOWN = [
    ("api.openai.com", 443, "openai", None),
    ("eu.api.openai.com", 443, "openai", None),
    ("us.api.openai.com", 443, "openai", None),
    ("api.anthropic.com", 443, "anthropic", None),
    ("generativelanguage.googleapis.com", 443, "gemini", None),
    ("aiplatform.googleapis.com", 443, "gemini", "vertex"),
    ("us-east5-aiplatform.googleapis.com", 443, "gemini", "vertex"),
    ("aiplatform.eu.rep.googleapis.com", 443, "gemini", "vertex"),
    ("my-resource.openai.azure.com", 443, "openai", "azure"),
    ("my-resource.services.ai.azure.com", 443, "openai", "azure"),
    ("my-resource.cognitiveservices.azure.com", 443, "openai", "azure"),
    ("bedrock-runtime.us-east-1.amazonaws.com", 443, "bedrock", "bedrock"),
    ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", 443, "bedrock", "bedrock"),
    ("bedrock-runtime.cn-north-1.amazonaws.com.cn", 443, "bedrock", "bedrock"),
    ("vpce-0abc.bedrock-runtime.us-east-1.vpce.amazonaws.com", 443, "bedrock", "bedrock"),
    ("bedrock-mantle.us-east-1.api.aws", 443, "openai", "bedrock"),
    ("api.mistral.ai", 443, "mistral", None),
    ("codestral.mistral.ai", 443, "mistral", None),
    ("api.cohere.com", 443, "cohere", None),
    ("api.cohere.ai", 443, "cohere", None),
    ("api.groq.com", 443, "openai", "groq"),
    ("openrouter.ai", 443, "openai", "openrouter"),
    ("api.individual.githubcopilot.com", 443, "openai", "copilot"),
    ("localhost", 11434, "ollama", None),
    ("127.0.0.1", 11434, "ollama", None),
    ("::1", 11434, "ollama", None),
    ("[::1]", 11434, "ollama", None),
    ("ollama.com", 443, "ollama", None),
    ("API.OPENAI.COM.", 443, "openai", None),
    ("ａｐｉ.openai.com", 443, "openai", None),
]
FOREIGN = [
    # Attack case 7, and its kin: names that only look alike.
    ("api.openai.com.evil.test", 443),
    ("evilapi.openai.com", 443),
    ("openai.com", 443),
    ("evil.test.api.openai.com.evil.test", 443),
    ("a.b.api.openai.com", 443),
    ("api-openai.com", 443),
    ("xapi.anthropic.com", 443),
    ("api.anthropic.com.", 8443),
    ("openai.azure.com", 443),
    ("a.b.openai.azure.com", 443),
    ("evilopenai.azure.com", 443),
    ("my.openai.azure.com.evil.test", 443),
    ("aiplatform.googleapis.com.evil.test", 443),
    ("-aiplatform.googleapis.com", 443),
    ("evil.us-aiplatform.googleapis.com", 443),
    ("storage.googleapis.com", 443),
    ("bedrock-runtime.a.b.amazonaws.com", 443),
    ("bedrock-runtime..amazonaws.com", 443),
    ("bedrock-runtime.amazonaws.com", 443),
    ("evil.bedrock-runtime.us-east-1.amazonaws.com", 443),
    ("s3.us-east-1.amazonaws.com", 443),
    ("huggingface.co", 443),
    ("example.test", 443),
    ("com", 443),
    # Attack case 11: the right host on another port; attack case 12: plain HTTP's.
    ("api.openai.com", 8443),
    ("api.openai.com", 80),
    ("localhost", 443),
    ("localhost", 8080),
    ("127.0.0.1", 1234),
    ("2130706433", 11434),
    # Malformed names are nobody's.
    ("api.openai.com\0", 443),
    ("user@api.openai.com", 443),
    ("", 443),
    # Known, but claimed only when the rules name them.
    ("chatgpt.com", 443),
    ("api.cloudflare.com", 443),
    ("adb-1.2.azuredatabricks.net", 443),
    ("org-account.snowflakecomputing.com", 443),
]


@pytest.mark.parametrize(("host", "canonical"), CANONICAL)
def test_spellings_of_a_host_have_one_canonical_form(host: str, canonical: str) -> None:
    """Case, a trailing dot, full-width letters, IDN and IPv6 notation make no difference."""
    assert canonical_host(host) == canonical
    assert canonical_host(canonical) == canonical


@pytest.mark.parametrize("host", MALFORMED)
def test_what_no_host_can_be_is_a_value_error(host: str) -> None:
    """NUL, blanks, userinfo, ports, empty and overlong labels are refused, never repaired."""
    with pytest.raises(ValueError, match=r".+"):
        canonical_host(host)


@given(st.text(max_size=80) | st.from_regex(r"[A-Za-z0-9._\[\]:%-]{1,60}", fullmatch=True))
def test_canonicalising_never_fails_otherwise_and_settles(host: str) -> None:
    """Any text is either a ValueError or has a canonical form that is its own canonical form."""
    try:
        canonical = canonical_host(host)
    except ValueError:
        assert lookup(host, 443) is None
        return
    assert canonical_host(canonical) == canonical
    assert canonical == canonical.lower()
    assert lookup(host, 443) is lookup(canonical, 443)


@pytest.mark.parametrize(("host", "port", "form", "dialect"), KNOWN)
def test_known_hosts_are_found(host: str, port: int, form: str, dialect: str | None) -> None:
    """Each provider's hosts, regional ones included, have the row of their format and dialect."""
    row = lookup(host, port)
    assert row is not None
    assert (row.format, row.dialect) == (form, dialect)


@pytest.mark.parametrize(("host", "port"), FOREIGN)
def test_foreign_hosts_are_not_found(host: str, port: int) -> None:
    """A name that merely contains, ends in or begins with a known one belongs to someone else."""
    assert lookup(host, port) is None


GLOBS = [row for row in EVERY_ROW if "*" in row.pattern]


@given(st.sampled_from(GLOBS), st.from_regex(r"[a-z0-9]{1,8}(\.[a-z0-9]{1,8}){0,2}", fullmatch=True))
def test_a_glob_stands_for_one_label(row: HostRow, label: str) -> None:
    """A star is filled by one label; a dot in its place makes another name, unless another row lists that one."""
    table = HostTable([row])
    found = table.find(row.pattern.replace("*", label), row.ports[0])
    assert (found is row) == ("." not in label)


@given(
    st.sampled_from(KNOWN_HOSTS),
    st.from_regex(r"[a-z0-9]{1,10}", fullmatch=True),
    st.sampled_from(["{host}.{word}", "{host}.{word}.test", "{word}{host}", "{word}-{host}", "{host}{word}"]),
)
def test_affixes_never_match(row: HostRow, word: str, shape: str) -> None:
    """A name that has a known host in it, with anything before its first or after its last letter, is not that host."""
    assume(shape.startswith("{host}") or not row.pattern.startswith("*"))  # a resource's name may begin in any way
    assert HostTable([row]).find(shape.format(host=row.pattern.replace("*", "x"), word=word), row.ports[0]) is None


@pytest.mark.parametrize("row", EVERY_ROW, ids=lambda row: row.pattern)
def test_rows_are_well_formed(row: HostRow) -> None:
    """Every row is canonical, names its source, and is the one that its own pattern finds."""
    example = row.pattern.replace("*", "x")
    assert canonical_host(example) == example
    assert row.source.startswith("https://")
    assert row.scheme == ("http" if row.ports == (11434,) else "https")
    assert HostTable(EVERY_ROW).find(example, row.ports[0]) is row
    assert (lookup(example, row.ports[0]) is row) == row.claimed


def test_a_glob_in_an_owners_labels_is_refused() -> None:
    """`*.com` would be everybody's; such a table cannot be built."""
    for pattern in ("*", "*.com", "api.*", "x*.com"):
        with pytest.raises(ValueError, match="last two labels"):
            HostTable([HostRow(pattern, "openai", (), "https://example.test")])


@pytest.mark.parametrize(
    ("method", "target", "form", "endpoint", "api_path"),
    [
        ("POST", "/v1/chat/completions", "openai", "chat", "/chat/completions"),
        ("POST", "/api/v1/chat/completions", "openai", "chat", "/chat/completions"),
        ("POST", "/router/v2/openai/v1/chat/completions", "openai", "chat", "/chat/completions"),
        ("POST", "/chat/completions", "openai", "chat", "/chat/completions"),
        ("POST", "/proxy/openai/responses", "openai-responses", "chat", "/responses"),
        ("POST", "/v1/embeddings", "openai", "embeddings", "/embeddings"),
        ("GET", "/v1/models", "openai", "models", "/models"),
        ("POST", "/v1/messages", "anthropic", "chat", "/v1/messages"),
        ("POST", "/gateway/anthropic/v1/messages", "anthropic", "chat", "/v1/messages"),
        ("POST", "/v1/messages/count_tokens", "anthropic", "count_tokens", "/v1/messages/count_tokens"),
        ("POST", "/v1beta/models/g:generateContent", "gemini", "chat", "/v1beta/models/g:generateContent"),
        (
            "POST",
            "/x/v1beta/models/g:streamGenerateContent",
            "gemini",
            "chat",
            "/v1beta/models/g:streamGenerateContent",
        ),
        ("POST", "/model/m/converse", "bedrock", "chat", "/model/m/converse"),
        ("POST", "/api/chat", "ollama", "chat", "/api/chat"),
        ("POST", "/v2/chat", "cohere", "chat", "/v2/chat"),
    ],
)
def test_a_host_that_the_rules_name_is_recognised_by_path(
    method: str, target: str, form: str, endpoint: str, api_path: str
) -> None:
    """On a host that is in no table, the path alone says which format a call is in."""
    match = classify(generic_row("llm.corp.test", 8443), method, target)
    assert (match.format, match.endpoint, match.api_path, match.known) == (form, endpoint, api_path, True)


def test_a_generic_host_knows_nothing_else() -> None:
    """Other paths of such a host stay unknown."""
    row = generic_row("llm.corp.test")
    for target in ("/", "/login", "/v1/organization/admin_api_keys", "/x/files", "/chat/completions/../../admin"):
        assert not classify(row, "POST", target).known


def test_generic_rows_prefer_what_is_known() -> None:
    """A host named by the rules keeps its own row, also one that is not claimed by default or is on another port."""
    for host in ("chatgpt.com", "api.cloudflare.com", "api.openai.com"):
        assert generic_row(host).pattern == host
    assert generic_row("API.OpenAI.com.", 8443).pattern == "api.openai.com"
    assert generic_row("localhost", 8080).format == "openai"
    assert generic_row("localhost", 11434).format == "ollama"
    assert generic_row("llm.corp.test", 8080).scheme is None


@pytest.mark.parametrize(
    ("form", "dialect", "base", "method", "target", "expected"),
    [
        ("openai", None, "/v1", "POST", "/v1/chat/completions", ("openai", "chat", "/chat/completions")),
        ("openai", None, "/v1/", "POST", "/v1/responses", ("openai-responses", "chat", "/responses")),
        ("openai", None, "/llm/v1", "POST", "/llm/v1/embeddings", ("openai", "embeddings", "/embeddings")),
        ("openai", None, "/llm/v1", "POST", "/llm/v1/messages", ("anthropic", "chat", "/v1/messages")),
        ("openai-responses", None, "/v1", "POST", "/v1/responses", ("openai-responses", "chat", "/responses")),
        ("anthropic", None, "", "POST", "/v1/messages", ("anthropic", "chat", "/v1/messages")),
        ("anthropic", None, "/claude", "POST", "/claude/v1/messages", ("anthropic", "chat", "/v1/messages")),
        (
            "gemini",
            None,
            "",
            "POST",
            "/v1/models/m:countTokens",
            ("gemini", "count_tokens", "/v1/models/m:countTokens"),
        ),
        ("gemini", None, "", "POST", "/v1beta/openai/embeddings", ("openai", "embeddings", "/embeddings")),
        ("bedrock", None, "", "POST", "/model/m/converse", ("bedrock", "chat", "/model/m/converse")),
        ("cohere", None, "", "POST", "/v2/rerank", ("cohere", "rerank", "/v2/rerank")),
        ("mistral", None, "", "POST", "/v1/fim/completions", ("mistral", "completions", "/v1/fim/completions")),
        ("ollama", None, "", "POST", "/v1/chat/completions", ("openai", "chat", "/chat/completions")),
        (
            "openai",
            "azure",
            "/openai/v1",
            "POST",
            "/openai/deployments/d/chat/completions?api-version=1",
            ("openai", "chat", "/chat/completions"),
        ),
        (
            "anthropic",
            "vertex",
            "",
            "POST",
            "/v1/projects/p/locations/l/publishers/anthropic/models/m:rawPredict",
            ("anthropic", "chat", "/v1/messages"),
        ),
    ],
)
def test_a_providers_row_knows_its_base_path(
    form: str, dialect: str | None, base: str, method: str, target: str, expected: tuple[str, str, str]
) -> None:
    """A configured provider answers its format below its base path, and its dialect's URLs."""
    origin = Origin("http", "gpu.corp.test", 8000)
    row = row_for_provider(form, dialect, base, origin)
    match = classify(row, method, target)
    assert (match.format, match.endpoint, match.api_path) == expected
    assert (row.scheme, row.ports, row.pattern) == ("http", (8000,), "gpu.corp.test")
    assert not classify(row, method, "/elsewhere" + target).known
    assert row_for_provider(form, dialect, base).scheme is None
