"""Bedrock's Converse and ConverseStream, whose streams are AWS event streams.

`requests_in`, `blocks_in`                             requests read
`requests_out`, `settings_out`, `blocks_out`, `media`  requests written
`reasoning`                                            how much to think, both ways
`replies`, `usage`, `errors`                           whole replies, both ways
`reader`, `writer`, `telling`                          streams
`families`, `names`                                    what is data
"""

from __future__ import annotations

from interpose.formats.codecs.codec import Codec

from . import errors, replies, requests_in, requests_out
from .names import FORMAT
from .reader import ConverseReader
from .writer import ConverseWriter

CODEC = Codec(
    name=FORMAT,
    stream_type="application/vnd.amazon.eventstream",
    read_request=requests_in.read_request,
    write_request=requests_out.write_request,
    read_reply=replies.read_reply,
    write_reply=replies.write_reply,
    reader=ConverseReader,
    writer=ConverseWriter,
    read_error=errors.read_error,
    write_error=errors.write_error,
    status_for=errors.status_for,
)
