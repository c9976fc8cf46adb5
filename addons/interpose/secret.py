"""Secrets that redact themselves, and the register that keeps them out of logs.

`Secret` shows `***` wherever it is printed, formatted or logged; only `reveal()` gives the value, and only the last
step before the wire calls it.
"""

from __future__ import annotations

import hmac
import logging
from typing import NoReturn

MASK = "***"

# A header value must not be able to end its line: a secret with these is a load error, not a smuggled header.
FORBIDDEN = ("\r", "\n", "\0")


class Secret:
    """A credential's value. Compares in constant time, hashes by identity, refuses to be pickled."""

    __slots__ = ("__value", "name")

    def __init__(self, value: str, name: str) -> None:
        """`name` is what logs and ledger may say. Raises ValueError on an empty value, CR, LF or NUL."""
        if not value:
            raise ValueError(f"the secret {name} is empty")
        if any(character in value for character in FORBIDDEN):
            raise ValueError(f"the secret {name} contains a line break or NUL, which no header can carry")
        self.__value = value
        self.name = name

    def reveal(self) -> str:
        return self.__value

    def texts(self) -> tuple[str, ...]:
        """Every text that must be seen nowhere."""
        return (self.__value,)

    def masked(self, text: str) -> str:
        """The text without this secret."""
        for value in self.texts():
            text = text.replace(value, MASK)
        return text

    def masked_bytes(self, data: bytes) -> bytes:
        for value in self.texts():
            data = data.replace(value.encode(), MASK.encode())
        return data

    def equals(self, other: str) -> bool:
        return hmac.compare_digest(self.__value.encode(), other.encode())

    def __repr__(self) -> str:
        return f"Secret({self.name}: {MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is never serialised")


class AwsKeys(Secret):
    """What AWS signs with: the secret key is the value, `access_key` its public name. `token` comes with keys that are
    good for a while, and is as secret as they are.
    """

    __slots__ = ("__token", "access_key")

    def __init__(self, access_key: str, secret_key: str, token: str | None, name: str) -> None:
        super().__init__(secret_key, name)
        if any(character in access_key + (token or "") for character in FORBIDDEN):
            raise ValueError(f"the secret {name} contains a line break or NUL, which no header can carry")
        self.access_key = access_key
        self.__token = token

    @property
    def token(self) -> str | None:
        return self.__token

    def texts(self) -> tuple[str, ...]:
        return (self.reveal(), *([self.__token] if self.__token else ()))


class Scrubber(logging.Filter):
    """Replaces every known secret in text by `***`; as a logging filter, in every record that passes a
    handler.

    The last line of defence: nothing is meant to log a secret in the first place.
    """

    def __init__(self) -> None:
        super().__init__()
        self._values: set[str] = set()

    def learn(self, secret: Secret) -> None:
        # A very short value would mask ordinary text; no provider issues one.
        self._values.update(value for value in secret.texts() if len(value) >= 8)

    @property
    def values(self) -> tuple[str, ...]:
        """All of them, for those who look for a secret in other spellings."""
        return tuple(self._values)

    def scrub(self, text: str) -> str:
        for value in self._values:
            if value in text:
                text = text.replace(value, MASK)
        return text

    def scrub_bytes(self, data: bytes, *, cut: bool = False) -> bytes:
        """The same in a body; where that is `cut`, also in the beginning of a secret at its end."""
        for value in self._values:
            secret = value.encode()
            data = data.replace(secret, MASK.encode())
            if cut:
                longest = next((size for size in range(len(secret) - 1, 3, -1) if data.endswith(secret[:size])), 0)
                data = data[: len(data) - longest]
        return data

    def guard(self, logger: logging.Logger) -> None:
        """Stands before every handler that the logger has now. A filter of the logger itself would not be asked for
        what comes from the loggers below it.
        """
        for handler in logger.handlers:
            handler.addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        if self._values:
            message = record.getMessage()
            scrubbed = self.scrub(message)
            if scrubbed != message:
                record.msg, record.args = scrubbed, None
            if record.exc_info and record.exc_info[1] is not None:
                formatted = logging.Formatter().formatException(record.exc_info)
                if (clean := self.scrub(formatted)) != formatted:
                    # Into the message: there are formatters that make their own text of an exception.
                    record.msg, record.args = f"{scrubbed}\n{clean}", None
                    record.exc_info = record.exc_text = None
        return True
