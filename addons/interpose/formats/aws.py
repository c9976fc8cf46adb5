"""What is AWS's about a request to Bedrock: the region that a host names, and the signature.

https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html, as botocore does it.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

from interpose.call import Header, Headers, Url, header
from interpose.secret import AwsKeys

from .keys import strip

# What a client signed with, beside its keys: worth nothing once another signs.
_SIGNED_WITH = frozenset((b"x-amz-date", b"x-amz-content-sha256", b"x-amz-security-token"))
# https://docs.aws.amazon.com/general/latest/gr/bedrock.html, and interface endpoints of a VPC
_REGION = re.compile(r"(?:[a-z0-9-]+\.)?bedrock-(?:runtime|runtime-fips|mantle)\.([a-z]{2}(?:-[a-z]+)+-\d)\.")
SERVICE = "bedrock"


def region_of(host: str) -> str | None:
    """The region that the name of a Bedrock host says; None where it says none."""
    found = _REGION.match(host)
    return found[1] if found else None


def signed(method: str, url: Url, headers: Headers, body: bytes, keys: AwsKeys, region: str) -> tuple[Headers, Url]:
    """The request with a signature of its host, its path, its type and its body, and with no key of the client's.

    The clock is botocore's: a signature is good for five minutes around the present, whatever a plan was made for.
    """
    auth: Any = importlib.import_module("botocore.auth")
    request: Any = importlib.import_module("botocore.awsrequest")
    credentials: Any = importlib.import_module("botocore.credentials")
    kept, url = strip(headers, url)
    kept = tuple(pair for pair in kept if pair[0].lower() not in _SIGNED_WITH)
    # Of the headers only those that nobody on the way rewrites.
    kind = header(kept, b"content-type")
    types = {} if kind is None else {"Content-Type": kind.decode("latin-1")}
    made = request.AWSRequest(method, f"{url.origin}{url.target}", headers=types, data=body)
    frozen = credentials.Credentials(keys.access_key, keys.reveal(), keys.token)
    auth.SigV4Auth(frozen, SERVICE, region).add_auth(made)
    added: list[Header] = [
        (name.lower().encode(), str(made.headers[name]).encode())
        for name in ("Authorization", "X-Amz-Date", "X-Amz-Security-Token")
        if name in made.headers
    ]
    return (*kept, *added), url
