"""One worker of `interpose serve`: the gateway's ASGI application, with what it is to serve.

The server calls `application` in each of its processes; what it is to serve comes by the environment, since that is all
that a process is given.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from .application import Gateway

VARIABLE = "INTERPOSE_SERVES"
# Calls in flight get so long to end when we stop.
DRAIN = 30.0


@dataclass(frozen=True, slots=True)
class Service:
    """What a worker is to serve. Paths are absolute."""

    rules: str
    state: str
    drain: float = DRAIN

    def written(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Service:
        return cls(**json.loads(environ[VARIABLE]))


def application() -> Gateway:
    """For a server that imports us by name."""
    service = Service.read(os.environ)
    return Gateway(Path(service.rules), state=service.state, follow=True, drain=service.drain)
