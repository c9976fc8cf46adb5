"""How the clients of this folder work: a job a line comes in as JSON, and what the SDK gave its application goes out.

A job: `call` (which of the client's ways to ask), `model`, `stream`, `ask` (a text), `picture` (a PNG in base64, or
null), `tools` (names, all with SCHEMA), `results` (what the tools return, call by call; null: they are not run). A turn
of the answer: `text`, `thought`, `calls` ([name, arguments] each), `end` (as the SDK says it), `input` and `output` in
tokens, `model`. After calls that are answered comes another turn.
"""

import json
import sys

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def turn(*, text="", thought="", calls=(), end, tokens, model=None):
    given, made = tokens
    return {
        "text": text,
        "thought": thought,
        "calls": [list(call) for call in calls],
        "end": end,
        "input": given,
        "output": made,
        "model": model,
    }


def status_of(error):
    return getattr(error, "status_code", None) or getattr(error, "code", None)


def serve(ways, status_of=status_of):
    """Answers jobs until there are no more. A way is a generator of turns; whatever it raises is told."""
    for line in sys.stdin:
        job = json.loads(line)
        told, error = [], None
        try:
            told.extend(ways[job["call"]](job))  # keeps the turns before one that fails
        except Exception as raised:  # noqa: BLE001 - of whatever kind, it is told
            error = {"kind": type(raised).__name__, "status": status_of(raised), "message": str(raised)}
        print(json.dumps({"turns": told, "error": error}), flush=True)


def results(job):
    """What the tools return, one after the other."""
    return iter(job["results"])
