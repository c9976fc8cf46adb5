"""OpenTelemetry: spans, metrics and events of calls, sent to a collector over OTLP/HTTP. Off unless the rules ask.

Names are those of the GenAI conventions (`conventions`). Everything is made of a call's one record, after it has ended
and in a thread of its own (`telling`): a collector that is away or slow holds up nobody. What must be known before,
which trace a call belongs to, is decided on the way (`context`); of what is said, where the rules want that told, bytes
are held on to (`heard`), and read in the thread (`said`). Nothing here is imported while the rules have no
`telemetry`; what an engine knows of it is in `engine.tracing`.
"""
