"""The table of the matrix, client by provider, as it is shown at the end of a run and in the README.

A cell says how many recorded replies came through as recorded, and in how many conversations tools were called and
answered. `python -m tests.e2e.matrix.table` writes what is planned into the README.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.corpus import ROOT

from .clients import CLIENTS, Client
from .providers import PROVIDERS, Provider, loops, recordings

Cell = tuple[str, str]
README = ROOT / "README.md"
BEGIN, END = "<!-- the matrix: scripts/matrix --write -->\n", "<!-- end of the matrix -->\n"


def met(client: Client, provider: Provider) -> bool:
    """Whether that client's calls get such answers: to Bedrock itself, what asks for InvokeModel goes as it is."""
    return client.codec == provider.codec or client.format != "bedrock" or provider.format != "bedrock"


def planned() -> Mapping[Cell, Mapping[str, int]]:
    """What the tests demand of every pair."""
    return {
        (client.name, provider.name): {"recordings": len(recordings(provider)), "loops": len(loops(provider))}
        for client in CLIENTS
        for provider in PROVIDERS
        if met(client, provider)
    }


def table(cells: Mapping[Cell, Mapping[str, int]]) -> str:
    """In Markdown."""
    head = ["the application uses", *(provider.name for provider in PROVIDERS)]
    rows = [
        [client.name, *(_cell(cells.get((client.name, provider.name))) for provider in PROVIDERS)] for client in CLIENTS
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *rows))


def _cell(counts: Mapping[str, int] | None) -> str:
    return "–" if not counts else f"{counts.get('recordings', 0)} + {counts.get('loops', 0)}"


def shown(text: str) -> str:
    """The table in that text."""
    return text.partition(BEGIN)[2].partition(END)[0]


def write() -> None:
    before, _, rest = README.read_text().partition(BEGIN)
    README.write_text(before + BEGIN + table(planned()) + END + rest.partition(END)[2])


if __name__ == "__main__":
    write()
