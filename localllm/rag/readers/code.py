"""Source code and configuration: the file as it is, with definitions as headings, so that it is cut between them."""

from __future__ import annotations

import re
from pathlib import Path

from localllm.rag.readers.limits import Unreadable
from localllm.rag.readers.text import decoded
from localllm.rag.rows import Extract, Heading, Layout

_DEFINITION = re.compile(
    r"^(?P<indent>[ \t]*)(?:(?:export|public|private|protected|internal|static|final|abstract|async|default"
    r"|pub(?:\([^)]{0,100}\))?|unsafe|override|virtual|inline|const|sealed|open|partial)\s+)*"
    r"(?:(?P<word>def|class|function\*?|fn|func|interface|trait|impl|struct|enum|module|namespace|type|object|record|sub"
    r"|defmodule|defp|protocol|extension)\s+(?P<name>[^\s({:;=<]+)"
    r"|(?P<arrow>(?:const|let|var)\s+\w+)\s*=\s*(?:async\s*)?(?:\([^)]{0,1000}\)|\w+)\s*=>"
    r"|(?P<c>[A-Za-z_][\w:<>,\s*&~\[\]]{0,200}?\s[*&]?[\w:~]{1,100})\s{0,9}\([^;{]{0,1000}\)\s*(?:const\s*)?\{[ \t]*$)",
    re.MULTILINE,
)
"""What may span lines is bounded: a search from every line to the end of the file takes minutes for a large one."""
_NO_DEFINITIONS = {
    ".json",
    ".json5",
    ".yaml",
    ".yml",
    ".toml",
    ".ini",
    ".cfg",
    ".conf",
    ".xml",
    ".css",
    ".scss",
    ".less",
}
_CONTROL = re.compile(r"\b(if|else|for|while|switch|catch|return|do|elif|try)\b")
_MINIFIED = 5000
"""Characters per line, on average, of a file that no one wrote by hand."""


def read(path: Path) -> Extract:
    """The file as it is.

    Raises:
        Unreadable: It is minified or generated: long lines without structure.
    """
    text, encoding, partial = decoded(path.read_bytes())
    if len(text) > 4 * _MINIFIED and len(text) > _MINIFIED * (text.count("\n") + 1):
        raise Unreadable("minified or generated: its lines are thousands of characters long")
    suffix = path.suffix.lower()
    headings = () if suffix in _NO_DEFINITIONS else tuple(_definitions(text))
    layout = Layout("code", suffix.lstrip("."), headings)
    return Extract(text, layout, "code", "", encoding, 0, "", partial)


def _definitions(text: str) -> list[Heading]:
    found: list[Heading] = []
    for match in _DEFINITION.finditer(text):
        name = match["name"] or match["arrow"] or match["c"]
        if match["c"] and _CONTROL.search(match["c"]):
            continue
        indent = len(match["indent"].expandtabs(4))
        if indent > 8:
            continue
        start = _with_decorators(text, match.start())
        title = f"{match['word']} {name}" if match["word"] else " ".join(name.split())
        end = text.find("\n", match.end())
        found.append(Heading(start, len(text) if end < 0 else end + 1, 1 + indent // 2, title[:120]))
    return found


def _with_decorators(text: str, start: int) -> int:
    """Comments, decorators and attributes above a definition belong to it."""
    while start > 0:
        previous = text.rfind("\n", 0, start - 1) + 1
        line = text[previous : start - 1].strip()
        if not line.startswith(("@", "#", "//", "/*", "*", "[", "--", ";;")) or line.startswith("#!"):
            break
        start = previous
    return start
