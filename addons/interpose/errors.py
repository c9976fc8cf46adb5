"""Refusals: the one way in which we answer a call ourselves.

A `Refusal` says what is wrong and what to do instead; a format renders it in the client's own error shape. It is an
exception, so that it can be raised where it is found and translated once, at the engine's boundary.
"""

from __future__ import annotations

from typing import Literal

Outcome = Literal["ok", "error", "refused", "limited", "aborted", "truncated"]

# The `type` that OpenAI's error object carries for a status, where it is none of the two for all others:
# https://platform.openai.com/docs/guides/error-codes
ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    408: "timeout_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}


class InterposeError(Exception):
    """Base of the errors that a person is meant to read: a message that says where, what and what to do instead."""


class Refusal(InterposeError):
    """A call answered locally.

    `status` is the HTTP status, `code` a stable machine-readable word, `param` the JSON path or header at fault.
    `outcome` is what the ledger says of it, `headers` stand on the reply besides those of the format.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        outcome: Outcome = "refused",
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.outcome: Outcome = outcome
        self.headers = headers

    @property
    def type(self) -> str:
        return ERROR_TYPES.get(self.status, "api_error" if self.status >= 500 else "invalid_request_error")
