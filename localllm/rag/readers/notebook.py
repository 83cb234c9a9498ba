"""Jupyter notebooks: Markdown and code cells in order, and the text that code cells printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from localllm.rag.readers.builder import TextBuilder
from localllm.rag.readers.limits import Unreadable
from localllm.rag.readers.markdown import headings_of
from localllm.rag.readers.text import decoded
from localllm.rag.rows import Extract

_OUTPUT_CHARS = 2000
"""Of one output; the rest is seldom prose."""


def read(path: Path) -> Extract:
    """The cells."""
    source, encoding, _ = decoded(path.read_bytes())
    try:
        cells = json.loads(source)["cells"]
        pairs = [(str(c["cell_type"]), _joined(c.get("source", "")), c.get("outputs", [])) for c in cells]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unreadable("damaged: it is no notebook", skipped=False) from error
    builder, title = TextBuilder(), ""
    for kind, text, outputs in pairs:
        if not text.strip():
            continue
        if kind == "markdown":
            _add_markdown(builder, text)
            title = title or next((h.title for h in headings_of(text) if h.level == 1), "")
        else:
            builder.add(text.rstrip() + "\n")
            for output in outputs if isinstance(outputs, list) else ():
                builder.paragraph(_output(output))
        builder.add("\n")
    return builder.extract("notebook", title=title, encoding=encoding)


def _add_markdown(builder: TextBuilder, text: str) -> None:
    heads = {h.start: h for h in headings_of(text)}
    offset = 0
    for line in text.splitlines(keepends=True):
        if heading := heads.get(offset):
            builder.paragraph(line.lstrip("# "), level=heading.level)
        else:
            builder.add(line if line.endswith("\n") else line + "\n")
        offset += len(line)


def _joined(source: Any) -> str:
    return "".join(str(s) for s in source) if isinstance(source, list) else str(source)


def _output(output: Any) -> str:
    if not isinstance(output, dict):
        return ""
    data = output.get("data")
    text = _joined(output.get("text") or (data.get("text/plain", "") if isinstance(data, dict) else ""))
    return text[:_OUTPUT_CHARS]
