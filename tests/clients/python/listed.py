"""Cohere's, Mistral's and Ollama's clients at a gateway: `listed.py BASE_URL KEY` tells the models that each lists."""

import sys

import cohere
import ollama
from mistralai.client import Mistral
from telling import tell

url, key = sys.argv[1:]
told = cohere.ClientV2(api_key=key, base_url=url).models.list(page_size=100).models
tell("cohere", [[each.name, each.context_length, each.endpoints] for each in told])
told = Mistral(api_key=key, server_url=url).models.list().data
tell("mistral", [[each.id, each.max_context_length, each.capabilities.completion_chat] for each in told])
told = ollama.Client(host=url, headers={"authorization": f"Bearer {key}"}).list().models
tell("ollama", [each.model for each in told])
