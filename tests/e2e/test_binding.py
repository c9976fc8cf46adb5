"""Attacks on the binding of a credential to its origin: names, ports, schemes, certificates that disagree.

Whatever else an attack leads to, no credential of a provider arrives anywhere but at its own, verified origin. The
numbers are those of the list of attack cases.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.e2e.attacks import Watch, attack, direct, get, ok
from tests.e2e.certificates import Authority
from tests.e2e.clients import Client, client_tls, request_bytes
from tests.e2e.conftest import Farm
from tests.e2e.h2client import H2Client
from tests.e2e.proxy import Proxy
from tests.e2e.settings import (
    ANTHROPIC,
    BAD,
    ENVIRON,
    IDN,
    OLLAMA,
    OPENAI,
    PLACEHOLDER,
    acting_rules,
    real,
    rules_text,
)
from tests.e2e.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT = "/v1/chat/completions"
MODELS = "/v1/models"
BEARER = ("Authorization", f"Bearer {PLACEHOLDER}")
JSON = ("Content-Type", "application/json")


async def test_the_attacks_would_succeed_if_they_could(acting: Proxy, watch: Watch) -> None:
    """The honest form of the request does get the credential: what follows fails for its own reason."""
    assert await attack(acting, f"{OPENAI}:443", get(MODELS, OPENAI)) == 200
    assert len(watch.leaks) == 1


# 1


async def test_01_a_tunnel_to_one_host_with_the_host_header_of_another(acting: Proxy, watch: Watch) -> None:
    """A Host header that names another claimed host than the tunnel is a 403."""
    assert await attack(acting, f"{ANTHROPIC}:443", get(MODELS, OPENAI)) == 403
    assert await attack(acting, f"{OPENAI}:443", get("/v1/messages", ANTHROPIC)) == 403
    assert await attack(acting, f"{OPENAI}:443", get(MODELS, "evil.test")) == 403
    assert watch.requests == 0


async def test_01_a_tunnel_to_a_foreign_host_with_a_good_host_header(
    acting: Proxy, watch: Watch, stray: Upstream, plain_stray: Upstream
) -> None:
    """What is said inside a tunnel to a host that is not ours is not looked at, and gets no credential."""
    await attack(acting, stray.address, get(MODELS, OPENAI), sni="evil.test", verify=False)
    await attack(acting, plain_stray.address, get(MODELS, OPENAI), tls=False)
    await attack(acting, "evil.test:443", get(MODELS, OPENAI), verify=False)
    assert watch.leaks == []


# 2


async def test_02_an_absolute_url_that_differs_from_host(acting: Proxy, watch: Watch, plain_stray: Upstream) -> None:
    """An absolute-form URL and a Host header of two minds are a 403, outside of a tunnel and inside."""
    response = await direct(acting, get(f"http://{OLLAMA}/api/tags", OPENAI))
    assert response is not None
    assert response.status == 403
    assert watch.requests == 0
    assert await attack(acting, f"{OPENAI}:443", get(f"https://{OPENAI}{MODELS}", ANTHROPIC)) == 403
    assert await attack(acting, f"{OPENAI}:443", get(f"https://{ANTHROPIC}/v1/messages", OPENAI)) in (400, 403)
    assert watch.requests == 0
    await direct(acting, get(f"http://{plain_stray.address}/", OPENAI))
    assert watch.leaks == []


# 3


async def test_03_two_host_headers(acting: Proxy, watch: Watch) -> None:
    """Two Host headers are a 400, equal or not."""
    assert await attack(acting, f"{OPENAI}:443", get(MODELS, OPENAI, "evil.test")) == 400
    assert await attack(acting, f"{OPENAI}:443", get(MODELS, "evil.test", OPENAI)) == 400
    assert await attack(acting, f"{OPENAI}:443", get(MODELS, OPENAI, OPENAI)) == 400
    assert watch.requests == 0


async def test_03_no_host_header(acting: Proxy, watch: Watch) -> None:
    """No Host header is a 400."""
    assert await attack(acting, f"{OPENAI}:443", get(MODELS)) == 400
    assert watch.requests == 0


# 4


async def test_04_a_tunnel_to_one_host_and_a_handshake_with_another(
    acting: Proxy, watch: Watch, stray: Upstream
) -> None:
    """CONNECT and SNI that differ are a 403 where we decrypt; where we do not, there is no credential."""
    assert await attack(acting, f"{OPENAI}:443", get(MODELS, OPENAI), sni=ANTHROPIC, verify=False) == 403
    assert await attack(acting, f"{OPENAI}:443", get(MODELS, ANTHROPIC), sni=ANTHROPIC, verify=False) == 403
    assert await attack(acting, f"{OPENAI}:443", get(MODELS, OPENAI), sni="evil.test", verify=False) == 403
    assert watch.requests == 0
    await attack(acting, stray.address, get(MODELS, OPENAI), sni=OPENAI, verify=False)
    await attack(acting, "evil.test:443", get(MODELS, OPENAI), sni=OPENAI, verify=False)
    assert watch.leaks == []


# 5


@pytest.mark.parametrize(
    ("named", "extra", "status"),
    [
        (ANTHROPIC, [], 403),
        ("evil.test", [], 403),
        (f"{OPENAI}:8443", [], 403),
        (OPENAI, [("host", "evil.test")], (400, 403)),
        (f"user@{OPENAI}", [], (400, 403)),
    ],
)
async def test_05_an_http2_authority_that_differs_from_the_handshake(
    acting: Proxy, watch: Watch, named: str, extra: list[tuple[str, str]], status: int | tuple[int, ...]
) -> None:
    """Over HTTP/2, an :authority (or a Host beside it) that is not the connection's is refused."""
    tunnel = await Client.tunnel(acting.address, f"{OPENAI}:443", tls=client_tls(acting.ca, "h2"))
    async with await H2Client.over(tunnel) as client:
        key = ("authorization", f"Bearer {PLACEHOLDER}")
        pseudo = [(":method", "GET"), (":scheme", "https"), (":authority", named), (":path", MODELS)]
        stream = client.start([*pseudo, key, *extra])
        try:
            answered = (await client.response(stream)).status
        except ConnectionError:
            answered = 400  # a reset stream is as good a refusal
    assert answered in ((status,) if isinstance(status, int) else status)
    assert watch.requests == 0


# 6


async def test_06_a_later_request_on_the_connection_is_checked_again(acting: Proxy, watch: Watch) -> None:
    """The second request of a kept connection that changes its Host is a 403."""
    async with await Client.tunnel(acting.address, f"{OPENAI}:443", tls=client_tls(acting.ca)) as client:
        assert (await client.request("GET", MODELS, OPENAI, BEARER)).status == 200
        assert (await client.request("GET", MODELS, ANTHROPIC, BEARER)).status == 403
    assert watch.requests == 1


# 7


@pytest.mark.parametrize(
    "host",
    ["api.openai.com.evil.test", "evilapi.openai.com.test", "evilapi.openai.com", "openai.com", "xapi.openai.com"],
)
async def test_07_a_host_that_only_looks_like_ours(acting: Proxy, watch: Watch, host: str) -> None:
    """A look-alike host is neither decrypted nor given a credential, by CONNECT, by Host or by absolute-form."""
    # Our certificate for that name would complete this handshake; nothing else that answers could.
    assert await attack(acting, f"{host}:443", get(MODELS, host)) not in range(200, 300)
    assert await attack(acting, f"{OPENAI}:443", get(MODELS, host)) == 403
    assert watch.requests == 0
    await direct(acting, get(f"http://{host}{MODELS}", host))
    assert watch.leaks == []


# 8


@pytest.mark.parametrize(
    ("connect", "sni", "host"),
    [
        ("API.OpenAI.com", OPENAI, "Api.OPENAI.com"),
        (f"{OPENAI}.", OPENAI, OPENAI),
        (OPENAI, OPENAI, f"{OPENAI}."),
        (OPENAI, "API.openai.COM", f"{OPENAI}:443"),
    ],
)
async def test_08_case_and_trailing_dot_are_canonicalised(
    acting: Proxy, watch: Watch, upstream: Upstream, connect: str, sni: str, host: str
) -> None:
    """The same host in other spelling is the same host, and the upstream is asked for the canonical one."""
    raw = get(MODELS, host)
    assert await attack(acting, f"{connect}:443", raw, sni=sni, verify=False) == 200
    assert upstream.request.values("authorization") == [f"Bearer {real('openai')}".encode()]
    assert upstream.request.connection.sni == OPENAI


async def test_08_punycode_is_the_name(acting: Proxy, watch: Watch, upstream: Upstream) -> None:
    """An internationalised host is matched by its punycode, in any case."""
    raw = get(MODELS, IDN.upper())
    assert await attack(acting, f"{IDN.upper()}:443", raw, sni=IDN, verify=False) == 200
    assert upstream.request.values("authorization") == [f"Bearer {real('house')}".encode()]


async def test_08_a_homograph_is_another_host(acting: Proxy, watch: Watch) -> None:
    """A host with a Cyrillic letter in it is not the host that it looks like."""
    homograph = "\u0430pi.openai.com"
    raw = request_bytes("GET", MODELS, homograph, BEARER)
    assert await attack(acting, f"{homograph}:443", raw, sni="xn--pi-7kc.openai.com", verify=False) not in range(
        200, 300
    )
    assert await attack(acting, f"{OPENAI}:443", raw) in (400, 403)
    assert watch.leaks == []


# 9


async def test_09_nul_in_the_connect_host(acting: Proxy, watch: Watch) -> None:
    """A NUL in the CONNECT target or in the Host header is a 400."""
    assert await attack(acting, f"{OPENAI}\0.evil.test:443", b"", tls=False) == 400
    assert await attack(acting, f"{OPENAI}:443", get(MODELS, f"{OPENAI}\0.evil.test")) in (400, 403)
    assert watch.requests == 0


# 10


async def test_10_userinfo_in_the_url(acting: Proxy, watch: Watch) -> None:
    """A user in the URL, in the CONNECT target or in the Host header is a 400."""
    for target in (f"http://user:pw@{OLLAMA}/api/tags", f"http://{OPENAI}@{OLLAMA}/api/tags"):
        response = await direct(acting, get(target, OLLAMA))
        assert response is not None
        assert response.status == 400
    assert await attack(acting, f"user@{OPENAI}:443", get(MODELS, OPENAI), tls=False) == 400
    assert await attack(acting, f"{OPENAI}:443", get(MODELS, f"user@{OPENAI}")) == 400
    assert watch.requests == 0


# 11, 12, 13


async def test_11_a_good_host_on_an_odd_port_gets_no_key(acting: Proxy, watch: Watch) -> None:
    """The credential is bound to the port too, in the tunnel and in the Host header."""
    await attack(acting, f"{OPENAI}:8443", get(MODELS, f"{OPENAI}:8443"), verify=False)
    assert await attack(acting, f"{OPENAI}:443", get(MODELS, f"{OPENAI}:8443")) == 403
    assert watch.leaks == []


async def test_12_plain_http_to_a_bound_host_gets_no_key(acting: Proxy, watch: Watch) -> None:
    """http:// to a host whose credential is bound to https gets no credential, on port 80 or 443."""
    for target, host in ((f"http://{OPENAI}{MODELS}", OPENAI), (f"http://{OPENAI}:443{MODELS}", f"{OPENAI}:443")):
        await direct(acting, get(target, host))
    assert watch.leaks == []


async def test_13_plaintext_in_a_tunnel_gets_no_key(acting: Proxy, watch: Watch) -> None:
    """A tunnel to port 443 in which plain HTTP is spoken is refused."""
    assert await attack(acting, f"{OPENAI}:443", get(MODELS, OPENAI), tls=False) in (400, 403)
    assert watch.requests == 0


# 14, 15


@pytest.mark.parametrize("bad", BAD)
async def test_14_a_wrong_certificate_is_a_502_and_the_key_unsent(
    acting: Proxy, bad_upstreams: dict[str, Upstream], bad: str
) -> None:
    """An upstream whose certificate is expired, another's or a stranger's never sees a request."""
    server, host, mark = bad_upstreams[bad], f"{bad}.test", acting.ledger.mark()
    with server.answering(ok):
        async with await Client.tunnel(acting.address, f"{host}:443", tls=client_tls(acting.ca)) as client:
            response = await client.request("POST", CHAT, host, BEARER, JSON, body=b"{}")
        assert server.sni == [host]
        assert not server.requests
    assert response.status == 502
    assert json.loads(response.body)["error"]["code"] == "upstream_certificate_invalid"
    row = await acting.ledger.row(mark)
    assert (row["outcome"], row["status"]) == ("error", 502)


async def test_15_verification_cannot_be_switched_off_from_outside(
    farm: Farm, authority: Authority, dial: dict[str, str], bad_upstreams: dict[str, Upstream], tmp_path: Path
) -> None:
    """mitmproxy's own configuration in the home folder changes nothing: a wrong certificate stays a 502."""
    home = tmp_path / "home"
    (home / ".mitmproxy").mkdir(parents=True)
    (home / ".mitmproxy" / "config.yaml").write_text("ssl_insecure: true\nignore_hosts: ['.*']\n")
    environ = {**ENVIRON, "HOME": str(home), "PYTHONHTTPSVERIFY": "0", "CURL_CA_BUNDLE": "", "SSL_CERT_FILE": ""}
    proxy = await farm.launch("insecure", acting_rules(authority, dial), environ)
    for bad, server in bad_upstreams.items():
        with server.answering(ok):
            assert await attack(proxy, f"{bad}.test:443", get(MODELS, f"{bad}.test")) == 502
            assert not server.requests
    assert await proxy.stop() == 0


# 16


async def test_16_a_tunnel_to_an_address_with_a_good_server_name(
    acting: Proxy, watch: Watch, stray: Upstream, upstream: Upstream
) -> None:
    """CONNECT to an IP address gets no credential, whatever name the handshake and the Host header claim."""
    for address in (stray.address, upstream.address, "127.0.0.1:443"):
        await attack(acting, address, get(MODELS, OPENAI), sni=OPENAI, verify=False)
    assert watch.leaks == []


async def test_16_a_claimed_address_with_another_server_name(
    farm: Farm, authority: Authority, upstream: Upstream
) -> None:
    """Where an address itself is claimed, a handshake that asks for a name cannot be verified: 502 or 403."""
    rules = rules_text(
        providers={
            "local": {
                "format": "openai",
                "base_url": f"https://{upstream.address}/v1",
                "credential": {"env": "FAKE_OPENAI_KEY"},
                "tls": {"ca": str(authority.pem)},
            }
        },
        intercept={"placeholders": [PLACEHOLDER]},
    )
    proxy = await farm.get("address", rules, ENVIRON)
    with upstream.answering(ok):
        assert await attack(proxy, upstream.address, get(MODELS, OPENAI), sni=OPENAI, verify=False) in (403, 502)
        assert not upstream.requests
        assert await attack(proxy, upstream.address, get(MODELS, upstream.address), sni="127.0.0.1") == 200
        assert upstream.request.values("authorization") == [f"Bearer {real('openai')}".encode()]
