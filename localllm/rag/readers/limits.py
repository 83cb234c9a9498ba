"""What a file may cost, and the error for a file that can't be read."""

from __future__ import annotations

from dataclasses import dataclass


class Unreadable(Exception):
    """The file has no text for us; `str()` is the reason, as the user reads it after the file's name.

    Args:
        reason: In a few words.
        skipped: It is no fault of the file's: binary, protected, no text layer.
    """

    def __init__(self, reason: str, *, skipped: bool = True) -> None:
        super().__init__(reason, skipped)
        # Parsers quote what they find: several lines, and halves of characters that no database takes.
        self.reason = " ".join(reason.encode("utf-8", "replace").decode().split())
        self.skipped = skipped

    def __str__(self) -> str:
        return self.reason

    def __reduce__(self) -> tuple[object, ...]:
        return _unreadable, (self.reason, self.skipped)  # it travels from the reader process


def _unreadable(reason: str, skipped: bool) -> Unreadable:
    return Unreadable(reason, skipped=skipped)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one file."""

    seconds: float = 60.0
    memory_bytes: int = 2 << 30
    """Address space of the reader process; pdfium maps what it reads."""
    file_bytes: int = 200_000_000
    text_chars: int = 20_000_000
    """Text beyond is left out, and the document is marked partial."""
    archive_members: int = 10_000
    archive_bytes: int = 200_000_000
    """Unpacked size of all members that are read."""
    archive_ratio: int = 200
    """Unpacked over packed size of one member of more than a megabyte."""
    pages: int = 5_000


LIMITS = Limits()
