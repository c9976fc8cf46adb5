"""The neutral conversation: what is asked, what is answered, piece by piece, and what was used, in no format's words.

Every format's codec reads into these types and writes from them; nothing here knows a wire format. What only one format
has rides along as `Own`, and is written back by that format alone: for every other it is a loss, which is told.

`blocks`    what a message is made of
`request`   what is asked: messages, tools, settings
`reply`     what is answered, and the events of which a stream of it consists
`assembly`  events <-> reply: a stream collected, a whole reply told in pieces
`losses`    what a conversion could not keep
`usage`     tokens under one accounting, and what a meter reads out of a body
"""

from .assembly import Assembler, events_of
from .blocks import (
    Block,
    CacheMark,
    Citation,
    Foreign,
    Media,
    Message,
    Opaque,
    Own,
    Refused,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from .losses import Direction, Loss, Losses, Severity
from .reply import (
    Answer,
    BlockDelta,
    BlockEnd,
    BlockStart,
    Event,
    Failed,
    Finished,
    Ping,
    Reply,
    Started,
    Stop,
    Told,
    Used,
)
from .request import Output, Reasoning, Request, Sampling, Tool, ToolChoice
from .usage import Reading, Terms, Usage, UsageSource

__all__ = [
    "Answer",
    "Assembler",
    "Block",
    "BlockDelta",
    "BlockEnd",
    "BlockStart",
    "CacheMark",
    "Citation",
    "Direction",
    "Event",
    "Failed",
    "Finished",
    "Foreign",
    "Loss",
    "Losses",
    "Media",
    "Message",
    "Opaque",
    "Output",
    "Own",
    "Ping",
    "Reading",
    "Reasoning",
    "Refused",
    "Reply",
    "Request",
    "Sampling",
    "Severity",
    "Source",
    "Started",
    "Stop",
    "Terms",
    "Text",
    "Thinking",
    "Told",
    "Tool",
    "ToolCall",
    "ToolChoice",
    "ToolResult",
    "Usage",
    "UsageSource",
    "Used",
    "events_of",
]
