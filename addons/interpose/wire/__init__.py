"""Bytes to events and back, without I/O: server-sent events, NDJSON, AWS event streams, content codings, JSON edits.

Every decoder is a transducer: `feed(data)` gives what `data` completed, `finish()` what was left at the end. How the
bytes were cut into chunks never matters. Nothing here knows a provider; `error.WireError` is all that it raises.
"""
