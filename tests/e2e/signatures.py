"""AWS Signature Version 4, verified as the service does: from the bytes that arrived and the secret alone.

https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
"""

from __future__ import annotations

import re

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .upstream import Request

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<id>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, "
    r"SignedHeaders=(?P<headers>[^,]+), Signature=(?P<signature>[0-9a-f]{64})"
)


def assert_signed(request: Request, access_key: str, secret: str, token: str | None = None) -> None:
    """Fails unless the request carries a valid signature of its host, its path, its signed headers and its body, and
    the session token that belongs to the keys.
    """
    found = _AUTHORIZATION.fullmatch(request.values("authorization")[0].decode())
    assert found is not None, request.values("authorization")
    assert found["id"] == access_key
    headers = {name: request.values(name)[0].decode() for name in found["headers"].split(";")}
    assert "host" in headers
    assert request.values("x-amz-security-token") == ([token.encode()] if token else [])
    assert token is None or "x-amz-security-token" in headers
    signed = AWSRequest(
        request.method.decode(),
        f"https://{headers['host']}{request.target.decode()}",
        headers=headers,
        data=bytes(request.body),
    )
    signed.context["timestamp"] = request.values("x-amz-date")[0].decode()
    auth = SigV4Auth(Credentials(access_key, secret), found["service"], found["region"])
    expected = auth.signature(auth.string_to_sign(signed, auth.canonical_request(signed)), signed)
    assert found["signature"] == expected
