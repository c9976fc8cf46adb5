"""The certificates that clients see: one leaf per host, and the TLS context that shows it, made once and kept.

mitmproxy gives every connection the CA's own RSA key anew, and signs with it. Here a host's context holds an elliptic
leaf, whose handshake costs a fraction of it, and an RSA one for clients that know no other; OpenSSL shows each client
the kind it can take. Keys and leaves live in memory and die with the process: the CA alone is on disk.
"""

from __future__ import annotations

import datetime
import ipaddress
import time
from collections.abc import Callable
from functools import cached_property

from cachetools import TTLCache
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from mitmproxy.addons.tlsconfig import AppData, alpn_select_callback
from mitmproxy.net import tls as net_tls
from mitmproxy.proxy.layers.modes import HttpProxy
from mitmproxy.tls import TlsData
from OpenSSL import SSL

# Clients refuse leaves that are good for longer than 398 days; a clock may be slow by a day or two.
VALID = datetime.timedelta(days=180)
BACKDATED = datetime.timedelta(days=2)
# Hosts whose contexts are kept, and for how long: in a process that runs for months, no leaf may grow old.
KEPT = 256
KEPT_SECONDS = 24 * 3600.0
# https://datatracker.ietf.org/doc/html/rfc5280#appendix-A: the upper bound of a common name.
LONGEST_NAME = 64

LeafKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Leaves:
    """Gives clients of a master their TLS, ahead of mitmproxy's TlsConfig, which leaves alone what is there.

    `key` and `certificate` are the CA's.
    """

    def __init__(
        self,
        key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
        certificate: x509.Certificate,
        *,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key = key
        self._certificate = certificate
        self._contexts: TTLCache[tuple[str, ...], SSL.Context] = TTLCache(KEPT, KEPT_SECONDS, timer)

    @cached_property
    def _leaf_keys(self) -> tuple[LeafKey, ...]:
        """A leaf's keys: an elliptic one of this process; the CA's own where that is RSA, as mitmproxy has it."""
        elliptic = ec.generate_private_key(ec.SECP256R1())
        return (elliptic, self._key) if isinstance(self._key, rsa.RSAPrivateKey) else (elliptic,)

    def tls_start_client(self, data: TlsData) -> None:
        if data.ssl_conn is not None or data.is_dtls:
            return
        client, server = data.context.client, data.context.server
        names = [client.sni or client.sockname[0], *([server.address[0]] if server.address else [])]
        connection = SSL.Connection(self.context(tuple(dict.fromkeys(names))))
        # TLS with ourselves as an https:// proxy: CONNECT comes by HTTP/1 alone.
        outer = len(data.context.layers) == 2 and isinstance(data.context.layers[0], HttpProxy)
        alpn = b"http/1.1" if outer else client.alpn
        connection.set_app_data(AppData(client_alpn=alpn, server_alpn=server.alpn, http2=True))
        connection.set_accept_state()
        data.ssl_conn = connection

    def context(self, names: tuple[str, ...]) -> SSL.Context:
        """The TLS context that stands for those hosts. Raises ValueError for a name that no certificate can hold."""
        found = self._contexts.get(names)
        if found is None:
            found = self._contexts[names] = self._make(names)
        return found

    def _make(self, names: tuple[str, ...]) -> SSL.Context:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(net_tls.DEFAULT_OPTIONS)
        # An idle connection holds no buffers: 20 KB each.
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_alpn_select_callback(alpn_select_callback)
        if net_tls.log_master_secret is not None:
            context.set_keylog_callback(net_tls.log_master_secret)
        for key in self._leaf_keys:
            context.use_certificate(self.leaf(names, key))
            context.use_privatekey(key)
        return context

    def leaf(self, names: tuple[str, ...], key: LeafKey) -> x509.Certificate:
        """A certificate for those hosts with that key, signed by the CA."""
        now = datetime.datetime.now(datetime.UTC)
        common = [x509.NameAttribute(NameOID.COMMON_NAME, names[0])] if len(names[0]) < LONGEST_NAME else []
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(common))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(min(now + VALID, self._certificate.not_valid_after_utc))
            .add_extension(x509.SubjectAlternativeName([general_name(name) for name in names]), critical=not common)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        )
        # It must be what the CA says of itself: https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.1
        own = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
        return builder.add_extension(identifier, critical=False).sign(self._key, hashes.SHA256())


def general_name(name: str) -> x509.GeneralName:
    """A host as certificates name it. Raises ValueError for one that is no host name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name.encode("idna").decode())
