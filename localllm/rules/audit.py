"""The audit log: one line of JSON per verdict, append-only, hashes by default, texts only on request."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from pathlib import Path

from localllm.events import RuleVerdict, Verdict
from localllm.rules.ruleset import RuleSet
from localllm.settings import private_folder

MAX_BYTES = 5 << 20
KEPT_FILES = 5


class AuditLog:
    """Verdicts on disk, in ``rules-audit.jsonl``; full files become ``.1`` to ``.5``.

    Args:
        folder: Where the log is; made when first written to.
        texts: Keep the texts themselves, not only their hashes.
        max_bytes: A file that has grown beyond this is put aside.
    """

    def __init__(self, folder: Path, *, texts: bool = False, max_bytes: int = MAX_BYTES) -> None:
        self.path = folder / "rules-audit.jsonl"
        self._texts = texts
        self._max_bytes = max_bytes

    def write(
        self, ruleset: RuleSet, stage: str, text: str, verdict: Verdict, *, attempt: int = 0, model: str = ""
    ) -> None:
        """Append one record. A log that can't be written stops nothing: the verdict itself is shown to the user.

        Measured values and reasons can quote the text, so they are left out unless texts are kept.
        """
        record: dict[str, object] = {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            "ruleset": ruleset.name,
            "version": ruleset.version,
            "ruleset_sha256": ruleset.sha256,
            "stage": stage,
            "attempt": attempt,
            "model": model,
            "text_sha256": hashlib.sha256(text.encode("utf-8", "replace")).hexdigest(),
            "chars": len(text),
            "passed": verdict.passed,
            "rules": [self._rule(r) for r in verdict.rules],
        }
        if self._texts:
            record["text"] = text
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        try:
            private_folder(self.path.parent)
            self._rotate(len(line))
            # One write to a file opened for appending: two programs never mix their lines.
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(handle, line)
            finally:
                os.close(handle)
        except OSError:
            return

    def _rule(self, rule: RuleVerdict) -> dict[str, object]:
        span = [rule.span.start, rule.span.end] if rule.span else None
        record: dict[str, object] = {"id": rule.id, "verdict": rule.verdict.value, "span": span}
        if self._texts:
            record |= {"measured": rule.measured, "required": rule.required, "reason": rule.reason}
        return record

    def _rotate(self, coming: int) -> None:
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            return
        if size + coming <= self._max_bytes:
            return
        for n in range(KEPT_FILES, 0, -1):
            older = self.path.with_suffix(f".jsonl.{n}")
            newer = self.path.with_suffix(f".jsonl.{n - 1}") if n > 1 else self.path
            if newer.exists():
                newer.replace(older)
