"""Calls as people read them: who said what, in turns of typed blocks, from whatever format the bodies are in.

`model`        what a transcript is
`recognising`  which format a call is in, by its URL or, where that says nothing, by its bodies
`material`     what is known of a call before it is read
`mending`      JSON that was cut off, closed
`reading`      the bodies of one call -> its transcript: `asking` and `answering`, by the formats' codecs; `matching`
               finds the result of each tool call
`blocks`       blocks of the neutral conversation -> blocks of a transcript
`generic`      what no codec reads: embeddings, images, sound, lists, and bodies that are broken
`documents`    JSON as people can look at it: vectors and base64 cut short
`text`         a transcript as plain text

Pure: no I/O, no HTML, no clock. Nothing here raises on what a stranger has sent: what cannot be read is shown as JSON
or as text, and a note says so.
"""

from .material import Material
from .model import (
    Answer,
    Block,
    Call,
    Citation,
    Data,
    Failure,
    Media,
    Offer,
    Raw,
    Refusal,
    Result,
    Text,
    Thinking,
    Transcript,
    Turn,
)
from .reading import read
from .text import render, render_answers

__all__ = [
    "Answer",
    "Block",
    "Call",
    "Citation",
    "Data",
    "Failure",
    "Material",
    "Media",
    "Offer",
    "Raw",
    "Refusal",
    "Result",
    "Text",
    "Thinking",
    "Transcript",
    "Turn",
    "read",
    "render",
    "render_answers",
]
