"""E-mail: subject, sender, date and text of each message; attachments are named, not read."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

from localllm.rag.readers.builder import TextBuilder
from localllm.rag.readers.html import add_html
from localllm.rag.rows import Extract

_FROM_LINE = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\n\r\n))From [^\n]*\d{4}\r?$", re.MULTILINE)
"""Begins a message of a mailbox: at the start, or behind a blank line."""


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
        _add_body(builder, message, _body_line(message, raw, line))
    return builder.extract("mail", title=subject[:200] if single else "")


def _messages(data: bytes) -> Iterator[tuple[bytes, int]]:
    starts = [m.start() for m in _FROM_LINE.finditer(data)]
    line, counted = 1, 0  # counted on from message to message: a mailbox may hold tens of thousands
    for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
        body = data.find(b"\n", start) + 1
        line, counted = line + data.count(b"\n", counted, start), start
        yield data[body:end], line + 1


def _header(message: EmailMessage, name: str) -> str:
    try:
        return " ".join(str(message.get(name, "")).split())
    except (ValueError, IndexError, AttributeError):  # headers that no parser was written for
        return ""


def _body_line(message: EmailMessage, raw: bytes, line: int) -> int | None:
    """Line of the file where the body begins; None where it is encoded or in parts, so that lines can't be counted."""
    if message.is_multipart() or str(message.get("Content-Transfer-Encoding", "7bit")).lower() not in ("7bit", "8bit"):
        return None
    blank = re.search(rb"\r?\n\r?\n", raw)
    return line + raw.count(b"\n", 0, blank.end()) if blank else None


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Runs of lines that are not blank, each with the number of its first line from 0."""
    first, lines = 0, list[str]()
    for number, line in enumerate([*text.split("\n"), ""]):
        if line.strip():
            if not lines:
                first = number
            lines.append(line)
        elif lines:
            yield first, "\n".join(lines)
            lines = []


def _add_body(builder: TextBuilder, message: EmailMessage, line: int | None) -> None:
    part = message.get_body(("plain", "html"))
    if part is not None:
        try:
            content = part.get_content()
        except (LookupError, ValueError):
            content = (part.get_payload(decode=True) or b"").decode("utf-8", "replace")  # type: ignore[union-attr]
        if part.get_content_type() == "text/html":
            add_html(builder, str(content))
        else:
            for number, paragraph in _paragraphs(str(content).replace("\r\n", "\n")):
                if line is not None:
                    builder.line(line + number)
                builder.paragraph(paragraph)
                builder.add("\n")
    names = [a.get_filename() or a.get_content_type() for a in message.iter_attachments()]
    if names:
        builder.paragraph("Attachments: " + ", ".join(names))
