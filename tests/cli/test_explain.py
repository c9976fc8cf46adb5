"""`interpose explain`: the plan that the engine would execute, with reasons and losses, and the status."""

import json
from pathlib import Path

import pytest

from .conftest import Command

RULES = """version: 1
providers:
  claude: {format: anthropic, base_url: https://api.anthropic.com, credential: {env: ANTHROPIC_API_KEY}}
  azure: {format: openai, dialect: azure, base_url: https://team.openai.azure.com, credential: {env: AZURE_KEY}}
  bedrock:
    format: anthropic
    dialect: bedrock
    base_url: https://bedrock-runtime.us-east-1.amazonaws.com
    credential: {aws: default}
intercept: {placeholders: [sk-dummy]}
clients:
  keys:
    - {name: ci, sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", models: "gpt-*"}
routes:
  - {name: research, match: {endpoint: chat, header: {x-team: research}}, to: {provider: azure}}
  - {name: gpt-to-claude, match: {endpoint: chat, model: "gpt-*"}, to: {provider: claude, model: claude-sonnet-4-5}}
  - {name: spare, match: {endpoint: chat}, except: {stream: true}, to: {provider: bedrock, model: anthropic.claude-3}}
"""
CHAT = "https://api.openai.com/v1/chat/completions"


@pytest.fixture
def rules(tmp_path: Path) -> str:
    file = tmp_path / "rules.yaml"
    file.write_text(RULES)
    return str(file)


def test_which_route_and_why_not_the_others(interpose: Command, rules: str) -> None:
    """Each route has its reason in the words of the rules; the conversion, the URL and the credential's name follow."""
    done = interpose("explain", rules, "--url", CHAT, "--model", "gpt-4o")
    assert done.returncode == 0, done
    assert "     research       header x-team is not there, not research\n" in done.stdout
    assert "  →  gpt-to-claude  to claude as claude-sonnet-4-5\n" in done.stdout
    assert "     spare          would match, but stands behind gpt-to-claude\n" in done.stdout
    assert "  POST https://api.anthropic.com/v1/messages\n" in done.stdout
    assert "  x-api-key: <env:ANTHROPIC_API_KEY>\n" in done.stdout
    body = json.loads(done.stdout[done.stdout.index("\n{") :])
    assert (body["model"], body["messages"][0]["content"][0]["text"]) == ("claude-sonnet-4-5", "Hello")


@pytest.mark.parametrize(
    ("ledger", "route", "said", "kept"),
    [
        ("bodies", "", "its bodies are kept in the ledger (ledger.capture)", "bodies"),
        (
            "bodies",
            ", capture: metadata",
            "its bodies are not kept in the ledger (capture of the route one)",
            "metadata",
        ),
        ("metadata", ", capture: bodies", "its bodies are kept in the ledger (capture of the route one)", "bodies"),
        ("metadata", "", None, "metadata"),
    ],
)
def test_whether_bodies_would_be_kept(
    interpose: Command, tmp_path: Path, ledger: str, route: str, said: str | None, kept: str
) -> None:
    """And what of the rules says so; where they say nothing, nothing is said."""
    file = tmp_path / "capture.yaml"
    file.write_text(
        "version: 1\nproviders: {openai: {format: openai, base_url: https://api.openai.com/v1}}\n"
        f"ledger: {{capture: {ledger}}}\nroutes: [{{name: one, to: {{provider: openai}}{route}}}]\n"
    )
    done = interpose("explain", str(file), "--url", CHAT, "--model", "gpt-4o")
    assert (said in done.stdout) if said is not None else ("its bodies" not in done.stdout)
    told = interpose("explain", str(file), "--url", CHAT, "--model", "gpt-4o", "--format", "json")
    assert json.loads(told.stdout)["capture"] == kept


def test_losses_in_full_and_a_refusal(interpose: Command, rules: str) -> None:
    """A call that cannot be converted tells all that would be lost, and ends with 1."""
    body = {"model": "gpt-5", "n": 2, "temperature": 1.5, "messages": [{"role": "user", "content": "Hi"}]}
    done = interpose("explain", rules, "--url", CHAT, "--request", "-", stdin=json.dumps(body))
    assert done.returncode == 1
    assert "Lost (3)\n" in done.stdout
    assert "  approximated  temperature  Claude's temperature ends at 1\n" in done.stdout
    assert "  impossible    n            Claude gives one answer to a request\n" in done.stdout
    assert done.stdout.rstrip().endswith("Refused with 400 conversion_impossible")


def test_a_signature_is_shown_with_the_credentials_name(interpose: Command, rules: str) -> None:
    """What is signed stands there as it would be sent, without any key: none is asked for."""
    done = interpose("explain", rules, "--url", CHAT, "--model", "o3")
    assert done.returncode == 0
    assert "  POST https://bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude-3/invoke\n" in done.stdout
    assert "authorization: AWS4-HMAC-SHA256 Credential=<aws:default>/" in done.stdout


@pytest.mark.parametrize(
    ("options", "route", "why"),
    [
        (["--header", "X-Team: research", "--model", "gpt-4o"], "research", "to azure"),
        (["--header", "x-team: sales", "--model", "o3"], "research", "header x-team is sales, not research"),
        (["--model", "o3"], "gpt-to-claude", "model is o3, not gpt-*"),
        (["--request", "-"], "spare", "its except holds: stream"),
    ],
)
def test_reasons(interpose: Command, rules: str, options: list[str], route: str, why: str) -> None:
    """What the call has, and what the rule asks."""
    body = '{"model": "o3", "stream": true, "messages": [{"role": "user", "content": "Hi"}]}'
    done = interpose("explain", rules, "--url", CHAT, "--format", "json", *options, stdin=body)
    told = {each["name"]: each["why"] for each in json.loads(done.stdout)["routes"]}
    assert told[route] == why


def test_reasons_of_the_body(interpose: Command, tmp_path: Path) -> None:
    """Its size and what it brings along, in numbers."""
    (tmp_path / "b.yaml").write_text(
        "version: 1\nproviders: {p: {format: openai, base_url: https://a.test/v1}}\nroutes:\n"
        "- {name: large, match: {larger_than: 1MB}, to: {provider: p}}\n"
        "- {name: seeing, match: {has: [images, audio]}, to: {provider: p}}\n"
        "- {name: mine, match: {app: python*}, to: {provider: p}}\n"
        "- {name: spare, match: {quota_below: 20%}, to: {provider: p}}\n"
    )
    body = '{"model":"m","tools":[{"type":"function","function":{"name":"f"}}],"messages":[]}'
    done = interpose(
        "explain", str(tmp_path / "b.yaml"), "--url", CHAT, "--request", "-", "--format", "json", stdin=body
    )
    told = {each["name"]: each["why"] for each in json.loads(done.stdout)["routes"]}
    assert told == {
        "large": f"the body has {len(body)} bytes, not more than 1000000",
        "seeing": "has tools, not audio or images",
        "mine": "app is not known, not python*",
        "spare": "the quota left for the call is not known, not below 20%",
    }


def test_a_client_is_taken_at_its_name(interpose: Command, rules: str) -> None:
    """Without its key, which nobody has; what its key is not good for is refused."""
    good = interpose("explain", rules, "--url", CHAT, "--model", "gpt-4o", "--client", "ci")
    bad = interpose("explain", rules, "--url", CHAT, "--model", "o3", "--client", "ci")
    unknown = interpose("explain", rules, "--url", CHAT, "--client", "c1")
    assert "client ci\n" in good.stdout
    assert (good.returncode, bad.returncode, unknown.returncode) == (0, 1, 2)
    assert "Refused with 403 model_not_permitted" in bad.stdout
    assert unknown.stderr == (
        "interpose: --client c1 is no client of the rules, and no key was issued to it; there are ci\n"
    )


def test_a_client_with_an_issued_key_is_taken_at_its_name(interpose: Command, rules: str) -> None:
    """What `interpose keys` has made is known, its limits and its revocation included."""
    assert interpose("keys", "add", "desk", "--models", "gpt-4o").returncode == 0
    good = interpose("explain", rules, "--url", CHAT, "--model", "gpt-4o", "--client", "desk")
    bad = interpose("explain", rules, "--url", CHAT, "--model", "o3", "--client", "desk")
    assert "client desk\n" in good.stdout
    assert "Refused with 403 model_not_permitted" in bad.stdout
    misspelt = interpose("explain", rules, "--url", CHAT, "--client", "dsk")
    assert 'did you mean "desk"?' in misspelt.stderr
    assert interpose("keys", "revoke", "desk").returncode == 0
    revoked = interpose("explain", rules, "--url", CHAT, "--model", "gpt-4o", "--client", "desk")
    assert (revoked.returncode, "Refused with 401 invalid_api_key" in revoked.stdout) == (1, True)
    assert interpose("keys", "add", "desk").returncode == 0
    again = interpose("explain", rules, "--url", CHAT, "--model", "o3", "--client", "desk")
    assert again.returncode == 0


def test_what_is_not_intercepted_is_said(interpose: Command, rules: str) -> None:
    """Its connections pass undecrypted: that is no refusal."""
    done = interpose("explain", rules, "--url", "https://example.com/x")
    assert done.returncode == 0
    assert "passes undecrypted" in done.stdout


def test_a_list_is_asked_for_with_get(interpose: Command, rules: str) -> None:
    """The method is the one that the URL takes."""
    done = interpose("explain", rules, "--url", "api.openai.com/v1/models")
    assert done.returncode == 0
    assert done.stdout.startswith("GET https://api.openai.com/v1/models\n")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--url", "http://[x"], "--url http://[x is no URL; write for example https://"),
        (["--url", CHAT, "--header", "x-team"], "--header x-team has no colon; write for example"),
        (["--url", CHAT, "--format", "yaml"], "--format yaml is not known: there are text, json"),
        (["--url", CHAT, "--request", "/nonexistent"], "/nonexistent: No such file or directory"),
    ],
)
def test_what_cannot_be_asked_is_one_line(interpose: Command, rules: str, options: list[str], said: str) -> None:
    """Where, what, and what to do instead."""
    done = interpose("explain", rules, *options)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith(f"interpose: {said}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://api.openai.com/v1/embeddings", {"content": {"parts": [{"text": "Hello"}]}}),
        ("https://api.openai.com/v1/completions", {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}),
        (
            "https://api.anthropic.com/v1/messages/count_tokens",
            {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]},
        ),
    ],
)
def test_each_kind_of_call_has_an_example(
    interpose: Command, tmp_path: Path, url: str, sent: dict[str, object]
) -> None:
    """Without a body, one word is asked for in the client's own format."""
    (tmp_path / "g.yaml").write_text(
        "version: 1\nproviders: {g: {format: gemini, base_url: 'https://generativelanguage.googleapis.com'}}\n"
        "routes: [{name: all, match: {method: POST}, to: {provider: g, model: gemini-embedding-001}}]\n"
    )
    done = interpose("explain", str(tmp_path / "g.yaml"), "--url", url, "--format", "json")
    assert done.returncode == 0, done
    body = json.loads(json.loads(done.stdout)["sent"]["body"])
    assert {name: body[name] for name in sent} == sent


SEVERAL = """version: 1
providers:
  openai: {format: openai, base_url: https://api.openai.com/v1, credential: [{env: KEY_A}, {env: KEY_B}]}
  claude: {format: anthropic, base_url: https://api.anthropic.com, credential: {env: ANTHROPIC_API_KEY}}
intercept: {placeholders: [sk-dummy]}
routes:
  - name: first
    match: {endpoint: chat}
    to: [{provider: openai, weight: 9}, {provider: openai, model: gpt-5, weight: 1}]
    fallback: [{provider: claude, model: claude-sonnet-4-5}]
    retry: {attempts: 5, on: [429, 5xx]}
    hold: content
    hedge: 2s
"""


def test_the_attempts_stand_there_in_their_order(interpose: Command, tmp_path: Path) -> None:
    """Each key of a pool, then the fallback; how often, what for, and how the target was chosen."""
    file = tmp_path / "rules.yaml"
    file.write_text(SEVERAL)
    done = interpose("explain", str(file), "--url", CHAT, "--model", "gpt-4o")
    assert done.returncode == 0, done
    assert "  →  first  to openai (9) or openai as gpt-5 (1), then claude as claude-sonnet-4-5\n" in done.stdout
    assert "  chosen by weight (openai 9, openai as gpt-5 1): openai\n" in done.stdout
    assert "Attempts (sent 5 times at most)\n" in done.stdout
    assert "  1.  openai  gpt-4o             env:KEY_A\n" in done.stdout
    assert "  2.  openai  gpt-4o             env:KEY_B\n" in done.stdout
    assert "  3.  claude  claude-sonnet-4-5  env:ANTHROPIC_API_KEY  converted\n" in done.stdout
    assert "  the next one on 429, 5xx; then again from the first, after 0.5 s and more, up to 20 s\n" in done.stdout
    assert "  a reply is withheld until its content begins: what fails before is no reply\n" in done.stdout
    assert "  after 2 s of silence, the next one beside it; the first to answer wins\n" in done.stdout
    told = json.loads(interpose("explain", str(file), "--url", CHAT, "--format", "json").stdout)
    assert [each["credential"] for each in told["attempts"]] == ["env:KEY_A", "env:KEY_B", "env:ANTHROPIC_API_KEY"]
    assert (told["sends"], told["left_out"]) == (5, [])


def test_names_of_models_and_preferences_are_told(interpose: Command, tmp_path: Path) -> None:
    """What a name stands for at each provider, what each would cost, and in which order they are tried."""
    (tmp_path / "p.yaml").write_text(
        "version: 1\nproviders:\n"
        "  openai: {format: openai, base_url: https://api.openai.com/v1, credential: {env: A}}\n"
        "  claude: {format: anthropic, base_url: https://api.anthropic.com, credential: {env: B}}\n"
        "  own: {format: openai, base_url: https://llm.test/v1, credential: {env: C}}\n"
        "prices: {gpt-5: {input: 5, output: 50}, house: {input: 1, output: 1}}\n"
        "models:\n- {id: smart, provider: openai, model: gpt-5}\n- {id: smart, provider: own, model: house}\n"
        "routes:\n"
        "- {name: best, match: {endpoint: chat}, prefer: cheapest, fallback: {provider: claude, model: claude-x},\n"
        "   to: [{provider: openai}, {provider: own}]}\n"
    )
    done = interpose("explain", str(tmp_path / "p.yaml"), "--url", CHAT, "--model", "smart", "--format", "json")
    told = json.loads(done.stdout)
    assert [(each["provider"], each["model"]) for each in told["attempts"]] == [
        ("own", "house"), ("openai", "gpt-5"), ("claude", "claude-x"),
    ]  # fmt: skip
    assert told["routes"][0]["why"] == "to the cheapest of openai, own, then claude as claude-x"
    assert "openai calls smart gpt-5 (models)" in told["decided"]
    (prefers,) = [reason for reason in told["decided"] if reason.startswith("prefers the cheapest: own ($0.0005")]
    assert "openai ($0.0251" in prefers
    embeddings = "https://api.openai.com/v1/embeddings"
    done = interpose("explain", str(tmp_path / "p.yaml"), "--url", embeddings, "--model", "smart", "--format", "json")
    told = json.loads(done.stdout)
    assert (told["alias"], told["route"], told["attempts"][0]["model"]) == ("smart", None, "gpt-5")
    there = "no route matches, but smart is a model of the rules: to openai as gpt-5, then own as house"
    assert there in told["decided"]


def test_a_budgets_reservation_is_told_in_dollars(interpose: Command, tmp_path: Path) -> None:
    """What the call may cost at the target's price; and that a budget cannot hold what has no price."""
    file = tmp_path / "rules.yaml"
    budget = "limits: [{name: spend, per: client, budget: $50/day}]\n"
    file.write_text(RULES + budget)
    body = {"model": "gpt-4o", "max_tokens": 1000, "messages": [{"role": "user", "content": "Hi"}]}
    done = interpose("explain", str(file), "--url", CHAT, "--request", "-", stdin=json.dumps(body))
    assert "the budget spend of $50/day reserves $0.0150" in done.stdout
    file.write_text(RULES.replace("model: claude-sonnet-4-5", "model: my-own") + budget)
    done = interpose("explain", str(file), "--url", CHAT, "--request", "-", stdin=json.dumps(body))
    assert "the budget spend of $50/day cannot hold this call: my-own has no known price" in done.stdout


def test_the_gateways_decision_at_the_virtual_host(interpose: Command, tmp_path: Path) -> None:
    """As for a client with a key, which each needs there; what one without would get is said. A path of nobody's is a
    404.
    """
    file = tmp_path / "v.yaml"
    file.write_text(
        "version: 1\n"
        "providers: {claude: {format: anthropic, base_url: https://api.anthropic.com, credential: {env: K}}}\n"
        "intercept: {virtual_host: ai.internal}\n"
        "models: [{id: gpt-4, provider: claude, model: claude-sonnet-4-5}]\n"
    )
    url = "https://ai.internal/v1/chat/completions"
    done = interpose("explain", str(file), "--url", url, "--model", "gpt-4")
    assert done.returncode == 0, done
    assert "without a key it would be a 401" in done.stdout
    assert "gpt-4 is a model of the rules: to claude as claude-sonnet-4-5" in done.stdout
    assert "  POST https://api.anthropic.com/v1/messages\n" in done.stdout
    wrong = interpose("explain", str(file), "--url", url, "--header", "x-api-key: vk-FAKE")
    nowhere = interpose("explain", str(file), "--url", "https://ai.internal/nothing")
    assert "Refused with 401 invalid_api_key" in wrong.stdout
    assert "Refused with 404" in nowhere.stdout


def test_a_path_alone_is_asked_of_the_gateway(interpose: Command) -> None:
    """Whose clients are taken to have a key, and whose calls go by their model's name."""
    example = str(Path(__file__).parents[2] / "rules" / "gateway.yaml")
    done = interpose("explain", example, "--url", "/v1/chat/completions", "--model", "claude-haiku-4-5")
    assert done.returncode == 0, done
    assert "client anybody" in done.stdout
    assert "  POST https://api.anthropic.com/v1/messages\n" in done.stdout
    assert "  x-api-key: <env:ANTHROPIC_API_KEY>\n" in done.stdout


def test_no_model_is_made_up_for_what_names_none(interpose: Command) -> None:
    """Files go to the only provider of their format, as they would without `explain`."""
    example = str(Path(__file__).parents[2] / "rules" / "gateway.yaml")
    done = interpose("explain", example, "--url", "/v1/batches")
    assert done.returncode == 0, done
    assert "openai batches, no model" in done.stdout
    assert "  no route matches: to openai, the only provider of the format openai\n" in done.stdout
