"""How much an export may hold, so that whoever gets it can open it; and what was left out for want of room."""

from __future__ import annotations

from dataclasses import dataclass, field

MIB = 1024 * 1024
# A browser opens that without a thought; it is the size of a long run.
LIMIT = 32 * MIB
# Of one text, one piece of JSON, one medium.
MOST_TEXT = 256 * 1024
MOST_JSON = 64 * 1024
MOST_MEDIUM = 4 * MIB


@dataclass(slots=True)
class Room:
    """What is left of the `limit`, in characters. JSON beneath what is shown anyway takes half of it at most, media a
    half of what they find.
    """

    limit: int = LIMIT
    used: int = 0
    left_out: dict[str, int] = field(default_factory=dict)

    def take(self, text: str) -> str:
        """The text, counted."""
        self.used += len(text)
        return text

    @property
    def full(self) -> bool:
        return self.used >= self.limit

    def text(self, text: str) -> str:
        """As much of a text as there is room for, and what of it is missing said at its end."""
        most = max(min(MOST_TEXT, self.limit - self.used), 0)
        if len(text) <= most:
            return text
        self._miss("the rest of long texts")
        return f"{text[:most]}\n… ({len(text) - most:,} more characters are left out)"

    def json(self, text: str) -> str | None:
        """The same for JSON that stands beneath; None if there is no room for any."""
        if self.used + min(len(text), MOST_JSON) > self.limit // 2:
            self._miss("the JSON beneath turns")
            return None
        if len(text) <= MOST_JSON:
            return text
        self._miss("the rest of long JSON")
        return f"{text[:MOST_JSON]}\n… ({len(text) - MOST_JSON:,} more characters are left out)"

    def medium(self, data: str) -> bool:
        """Whether there is room for a medium of that base64."""
        if len(data) <= min(MOST_MEDIUM * 4 // 3, (self.limit - self.used) // 2):
            return True
        self._miss("large pictures and files")
        return False

    def call(self) -> bool:
        """Whether there is room for one more call at all."""
        if not self.full:
            return True
        self._miss("whole calls")
        return False

    def _miss(self, what: str) -> None:
        self.left_out[what] = self.left_out.get(what, 0) + 1

    def told(self) -> list[str]:
        """What was left out, most first."""
        return [f"{what} ({count:,}×)" for what, count in sorted(self.left_out.items(), key=lambda each: -each[1])]
