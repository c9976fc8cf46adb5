"""Credentials that clouds hand out for a while, had through the clouds' own libraries: AWS's by botocore, Google's by
google-auth. Both are extras, imported when a rule asks for one.

The libraries look where they always do (environment, profiles, metadata services, single sign-on) and renew what runs
out. They block, so `SecretStore` asks them in a thread, once for all who wait.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from interpose.secret import AwsKeys, Secret

# https://cloud.google.com/vertex-ai/docs/reference/rest#authorization-scopes
GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
# The library's words for where it looks by itself.
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Lent:
    """A credential, and for how many seconds it is good; None if nobody said."""

    secret: Secret
    seconds: float | None = None


class Lender(Protocol):
    """What holds a cloud's session, and gives its present credential."""

    def __call__(self) -> Lent: ...


class CloudError(Exception):
    """Why a cloud's credential cannot be had, in words that hold nothing of it."""


def _library(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise CloudError(f"{name} is not installed: pip install 'interpose[{extra}]'") from None


def aws(name: str, profile: str) -> Lender:
    """The keys of an AWS profile, or of botocore's usual chain. Raises CloudError."""
    botocore: Any = _library("botocore.session", "bedrock")
    session: Any = botocore.Session(profile=None if profile == DEFAULT else profile)
    credentials: Any = None

    def lend() -> Lent:
        nonlocal credentials
        try:
            # Kept: it renews itself.
            credentials = credentials or session.get_credentials()
            keys = credentials.get_frozen_credentials() if credentials is not None else None
        except Exception as error:  # noqa: BLE001 — a provider in the chain may be anything, and quote what it read
            raise CloudError(f"AWS gave no credentials for {profile}: {type(error).__name__}") from None
        if keys is None or not keys.access_key or not keys.secret_key:
            raise CloudError(f"there are no AWS credentials for {profile} (environment, profile, role)")
        return Lent(AwsKeys(keys.access_key, keys.secret_key, keys.token, name))

    return lend


def google(name: str, file: str) -> Lender:
    """An access token of a service account's file, or of Application Default Credentials. Raises CloudError."""
    auth: Any = _library("google.auth", "vertex")
    transport: Any = _library("google.auth.transport.requests", "vertex")
    accounts: Any = _library("google.oauth2.service_account", "vertex")
    credentials: Any = None

    def lend() -> Lent:
        nonlocal credentials
        try:
            if credentials is None:
                if file == DEFAULT:
                    credentials, _ = auth.default(scopes=[GOOGLE_SCOPE])
                else:
                    # Of that kind alone: other files of credentials name programs to run and URLs to ask.
                    credentials = accounts.Credentials.from_service_account_file(file, scopes=[GOOGLE_SCOPE])
            if not credentials.valid:
                credentials.refresh(transport.Request())
        except Exception as error:  # noqa: BLE001 — as above; a refusal of the token's server quotes what it was sent
            raise CloudError(f"Google gave no token for {file}: {type(error).__name__}") from None
        seconds = None
        if credentials.expiry is not None:
            # It is told in UTC without saying so.
            seconds = (credentials.expiry.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()
        return Lent(Secret(credentials.token, name), seconds)

    return lend


LENDERS = {"aws": aws, "google": google}
