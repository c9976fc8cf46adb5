"""A request body between its client and the engine: what is handed over, and what still waits."""

from __future__ import annotations

from interpose.hosts.mitm.upload import SLICE, Upload


async def test_what_was_held_is_handed_over_in_slices() -> None:
    """Twenty uploads that begin at once would else be copied whole, on every layer; the order and the bytes stay."""
    waiting: list[int] = []
    upload = Upload(waiting.append)
    held = bytes(range(256)) * (3 * SLICE // 256) + b"rest"
    upload.feed(held)
    for piece in (b"and ", b"", b"some ", b"more"):
        upload.feed(piece)
    upload.finish()
    slices = [data async for data in upload]
    assert b"".join(slices) == held + b"and some more"
    assert [len(data) for data in slices] == [SLICE, SLICE, SLICE, len(b"restand some more")]
    assert waiting[-4:] == [2 * SLICE + 17, SLICE + 17, 17, 0]
