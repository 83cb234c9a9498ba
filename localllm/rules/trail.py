"""The audit trail of one answer: its records in the log, every attempt, oldest first."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localllm.rules.audit import KEPT_FILES, AuditLog


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One verdict as the log holds it."""

    time: str
    """ISO 8601, UTC."""
    ruleset: str
    version: str
    ruleset_sha256: str
    stage: str
    attempt: int
    model: str
    text_sha256: str
    chars: int
    passed: bool
    rules: tuple[tuple[str, str], ...]
    """(rule, verdict)"""


def read_trail(folder: Path, text: str) -> tuple[AuditRecord, ...]:
    """The attempts that led to an answer, found by the hash of its text; empty when the log does not know it.

    Where the same text was checked more than once, the newest turn counts.
    """
    records = [r for r in _records(folder) if r.stage == "output"]
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    at = next((i for i in range(len(records) - 1, -1, -1) if records[i].text_sha256 == digest), None)
    if at is None:
        return ()
    found = [records[at]]
    same = [(i, r) for i, r in enumerate(records) if _same_turn(r, found[0])]
    for _, record in reversed([pair for pair in same if pair[0] < at]):
        if record.attempt != found[0].attempt - 1:
            break
        found.insert(0, record)
    for _, record in [pair for pair in same if pair[0] > at]:
        if record.attempt != found[-1].attempt + 1:
            break
        found.append(record)
    return tuple(found)


def _same_turn(record: AuditRecord, other: AuditRecord) -> bool:
    return (record.ruleset_sha256, record.model) == (other.ruleset_sha256, other.model)


def _records(folder: Path) -> list[AuditRecord]:
    """All records, oldest first; lines that are torn or of another kind are skipped."""
    newest = AuditLog(folder).path
    files = [newest.with_suffix(f".jsonl.{n}") for n in range(KEPT_FILES, 0, -1)] + [newest]
    found: list[AuditRecord] = []
    for path in files:
        try:
            lines = path.read_text("utf-8", "replace").splitlines()
        except OSError:
            continue
        for line in lines:
            try:
                found.append(_record(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
    return found


def _record(row: dict[str, Any]) -> AuditRecord:
    rules = tuple((str(rule["id"]), str(rule["verdict"])) for rule in row["rules"])
    return AuditRecord(
        time=str(row["time"]), ruleset=str(row["ruleset"]), version=str(row["version"]),
        ruleset_sha256=str(row["ruleset_sha256"]), stage=str(row["stage"]), attempt=int(row["attempt"]),
        model=str(row["model"]),
        text_sha256=str(row["text_sha256"]), chars=int(row["chars"]), passed=bool(row["passed"]), rules=rules,
    )  # fmt: skip
