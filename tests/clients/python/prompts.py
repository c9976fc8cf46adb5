"""Ollama's client going on with a prompt: `prompts.py MODEL`, whole and streamed. What it got is told."""

import sys

import ollama
from telling import tell

client = ollama.Client()
asked = {"model": sys.argv[1], "prompt": "Greet me:"}

reply = client.generate(**asked)
tell("whole", [reply.response, reply.done_reason, reply.prompt_eval_count, reply.eval_count])

pieces = list(client.generate(**asked, stream=True))
last = pieces[-1]
text = "".join(piece.response for piece in pieces)
tell("streamed", [text, last.done_reason, last.prompt_eval_count, last.eval_count])
