"""The certificates that clients see: kept per host, good for every kind of client, never older than a day."""

import datetime
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL

from interpose.hosts import authority
from interpose.hosts.mitm.leaves import Leaves


class Timer:
    """A clock that a test turns."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> authority.Authority:
    folder = tmp_path_factory.mktemp("ca")
    authority.prepare(folder)
    return authority.load(folder)


@pytest.fixture
def leaves(ca: authority.Authority) -> Leaves:
    return Leaves(ca.key, ca.certificate)


def trusting(ca: authority.Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(ca.certificate_path))


def shake(context: SSL.Context, client: ssl.SSLContext, host: str) -> x509.Certificate:
    """The certificate that a client accepts for `host`. Raises ssl.SSLError if it accepts none, SSL.Error if we do."""
    server = SSL.Connection(context)
    server.set_app_data({"client_alpn": None, "server_alpn": None, "http2": True})
    server.set_accept_state()
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = client.wrap_bio(to_client, to_server, server_hostname=host)
    for _ in range(10):
        try:
            connection.do_handshake()
        except ssl.SSLWantReadError:
            pass
        else:
            der = connection.getpeercert(True)
            assert der is not None
            return x509.load_der_x509_certificate(der)
        server.bio_write(to_server.read())
        try:
            server.do_handshake()
        except SSL.WantReadError:
            pass
        to_client.write(server.bio_read(1 << 16))
    raise AssertionError("the handshake does not end")


@pytest.mark.parametrize("host", ["api.openai.com", "127.0.0.1", "::1", f"{'a' * 60}.{'b' * 60}.test"])
def test_a_client_with_the_strictest_rules_accepts_it(leaves: Leaves, ca: authority.Authority, host: str) -> None:
    """Names, addresses, and names too long for a common name."""
    leaf = shake(leaves.context((host,)), trusting(ca), host)
    assert isinstance(leaf.public_key(), ec.EllipticCurvePublicKey)
    assert leaf.public_key() != ca.certificate.public_key()


def test_it_stands_for_every_name_of_the_connection(leaves: Leaves, ca: authority.Authority) -> None:
    """The server name that the client asks for, and the host that it connects to."""
    context = leaves.context(("alias.test", "api.openai.com"))
    for host in ("alias.test", "api.openai.com"):
        shake(context, trusting(ca), host)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(context, trusting(ca), "other.test")


def test_a_client_that_knows_rsa_alone_gets_rsa(leaves: Leaves, ca: authority.Authority) -> None:
    """TLS 1.2 as old programs speak it."""
    client = trusting(ca)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    leaf = shake(leaves.context(("api.openai.com",)), client, "api.openai.com")
    assert isinstance(leaf.public_key(), rsa.RSAPublicKey)


def test_a_host_costs_one_signature_and_its_context_is_kept(leaves: Leaves, ca: authority.Authority) -> None:
    """The same certificate for each connection, another for another host."""
    context = leaves.context(("api.openai.com",))
    first, second = (shake(context, trusting(ca), "api.openai.com") for _ in range(2))
    assert first == second
    assert leaves.context(("api.openai.com",)) is context
    assert leaves.context(("api.anthropic.com",)) is not context


def test_no_leaf_grows_old(ca: authority.Authority) -> None:
    """A process that runs for months shows certificates of the last day."""
    timer = Timer()
    leaves = Leaves(ca.key, ca.certificate, timer=timer)
    context = leaves.context(("api.openai.com",))
    timer.now += 23 * 3600
    assert leaves.context(("api.openai.com",)) is context
    timer.now += 2 * 3600
    assert leaves.context(("api.openai.com",)) is not context


def test_hosts_without_end_take_no_memory_without_end(leaves: Leaves) -> None:
    """A client may ask for any name."""
    for number in range(300):
        leaves.context((f"r{number}.openai.azure.com",))
    assert len(leaves._contexts) == 256


def test_a_leaf_ends_with_its_authority_at_the_latest(leaves: Leaves, ca: authority.Authority) -> None:
    """And is good for half a year otherwise, from two days ago: clocks differ."""
    leaf = shake(leaves.context(("api.openai.com",)), trusting(ca), "api.openai.com")
    assert leaf.not_valid_after_utc <= ca.certificate.not_valid_after_utc
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == datetime.timedelta(days=182)
