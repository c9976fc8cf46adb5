"""Streams a chat by pyreqwest, which is Rust's reqwest with rustls, and writes what comes as it comes."""

import sys

from pyreqwest.client import SyncClientBuilder

BODY = '{"model": "gpt-4o-mini", "stream": true, "messages": [{"role": "user", "content": "Hi"}]}'

with SyncClientBuilder().build() as client:
    request = client.post("https://api.openai.com/v1/chat/completions").body_text(BODY)
    request = request.header("Authorization", f"Bearer {sys.argv[1]}").header("Content-Type", "application/json")
    # By itself it would read 64 KiB ahead before it gives any.
    request = request.streamed_read_buffer_limit(0)
    with request.build_streamed() as reply:
        while data := reply.body_reader.read_chunk():
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
