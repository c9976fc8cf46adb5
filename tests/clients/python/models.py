"""Cohere's and Ollama's clients listing models: `models.py CLIENT PROVIDER…`. A header says who is to be asked."""

import sys

import cohere
import ollama
from telling import tell


def by_cohere(headers):
    options = {"additional_headers": headers}
    reply = cohere.ClientV2().models.list(page_size=2, request_options=options)
    names = [each.name for each in reply.models]
    while reply.next_page_token:
        reply = cohere.ClientV2().models.list(page_size=2, page_token=reply.next_page_token, request_options=options)
        names += [each.name for each in reply.models]
    return names


def by_ollama(headers):
    return [each.model for each in ollama.Client(headers=headers).list().models]


CLIENTS = {"cohere": by_cohere, "ollama": by_ollama}

for provider in sys.argv[2:]:
    tell(provider, CLIENTS[sys.argv[1]]({"x-ask": provider}))
