"""Recorded calls for people to read, to keep and to hand on: conversations as one HTML file, as Markdown, as JSON.

`hiding`         what of a recording must not stand in an export
`conversations`  calls that go on with each other are one conversation
`comparing`      what a call's history has that the one before it had not, as a diff
`choosing`       which calls of a ledger are meant by an id, a run, a span of time
`facts`          what is told of a call beside what was said in it
`markdown`       what a model writes, as HTML that can do nothing
`parts`          turns and blocks as HTML
`page`           the file
`plain`          the same as Markdown and as JSON

Nothing here writes a file or speaks to anybody.
"""
