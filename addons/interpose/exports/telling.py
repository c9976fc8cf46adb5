"""A recorded call as the material of its transcript, and of those of its attempts."""

from __future__ import annotations

from collections.abc import Mapping

from interpose.call import Headers
from interpose.recordings import Answered, Asked, Recorded
from interpose.transcripts import Material, Transcript, read


def transcript_of(call: Recorded) -> Transcript:
    """What the client asked and got."""
    record = call.record
    return _read(
        call.asked,
        call.answered,
        format_=(record.client_format or "") if record is not None else "",
        endpoint=record.endpoint if record is not None else "",
    )


def _read(asked: Asked, answered: Answered | None, *, format_: str, endpoint: str) -> Transcript:
    return read(
        Material(
            method=asked.method,
            url=str(asked.url),
            format=format_,
            endpoint=endpoint,
            request=asked.body or b"",
            request_headers=_named(asked.headers),
            request_cut=asked.size is not None,
            status=None if answered is None else answered.status,
            reply=(answered.body or b"") if answered is not None else b"",
            reply_headers=_named(answered.headers) if answered is not None else {},
            reply_cut=answered is not None and answered.size is not None,
        )
    )


def _named(headers: Headers) -> Mapping[str, str]:
    return {name.decode("latin-1").lower(): value.decode("utf-8", "replace") for name, value in headers}
