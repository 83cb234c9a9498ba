"""E-mail: subject, sender, date and text of each message; attachments are named, not read."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

from localllm.rag.index import Extract
from localllm.rag.readers.builder import TextBuilder
from localllm.rag.readers.html import add_html

_FROM_LINE = re.compile(rb"^From .*\d{4}\r?$", re.MULTILINE)


def read(path: Path) -> Extract:
    """All messages of the file."""
    builder, subject = TextBuilder(), ""
    data = path.read_bytes()
    single = path.suffix.lower() != ".mbox"
    for raw, line in [(data, 1)] if single else _messages(data):
        if builder.full:
            break
        message = email.message_from_bytes(raw, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        builder.chapter()
        builder.line(line)
        subject = subject or _header(message, "Subject")
        builder.paragraph(_header(message, "Subject") or "(no subject)", level=1)
        for name in ("From", "To", "Date"):
            if value := _header(message, name):
                builder.paragraph(f"{name}: {value}")
        _add_body(builder, message)
    return builder.extract("mail", title=subject[:200] if single else "")


def _messages(data: bytes) -> Iterator[tuple[bytes, int]]:
    starts = [
        m.start() for m in _FROM_LINE.finditer(data) if m.start() == 0 or data[m.start() - 2 : m.start()] == b"\n\n"
    ]
    for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
        body = data.find(b"\n", start) + 1
        yield data[body:end], data.count(b"\n", 0, start) + 1


def _header(message: EmailMessage, name: str) -> str:
    try:
        return " ".join(str(message.get(name, "")).split())
    except (ValueError, IndexError, AttributeError):  # headers that no parser was written for
        return ""


def _add_body(builder: TextBuilder, message: EmailMessage) -> None:
    part = message.get_body(("plain", "html"))
    if part is not None:
        try:
            content = part.get_content()
        except (LookupError, ValueError):
            content = (part.get_payload(decode=True) or b"").decode("utf-8", "replace")  # type: ignore[union-attr]
        if part.get_content_type() == "text/html":
            add_html(builder, str(content))
        else:
            for paragraph in re.split(r"\n\s*\n", str(content).replace("\r\n", "\n")):
                builder.paragraph(paragraph)
                builder.add("\n")
    names = [a.get_filename() or a.get_content_type() for a in message.iter_attachments()]
    if names:
        builder.paragraph("Attachments: " + ", ".join(names))
