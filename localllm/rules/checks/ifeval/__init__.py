"""The 25 verifiable instructions of IFEval, under their own ids and with their own arguments.

``group:name`` is defined in the file of its group: ``change_case:english_capital`` in ``change_case.py``. Each has two
modes. ``compat`` decides as the reference checker does, oddities included, so that scores compare; only its trained
sentence splitter and its language detector are replaced by our own. ``strict`` decides as a reader would.
"""

from __future__ import annotations

from localllm.rules.checks.ifeval import (
    change_case,
    combination,
    detectable_content,
    detectable_format,
    keywords,
    language,
    length_constraints,
    punctuation,
    startend,
)
from localllm.rules.checks.ifeval.scoring import loose_variants
from localllm.rules.checks.kinds import CheckKind

__all__ = ["KINDS", "loose_variants"]

KINDS: tuple[CheckKind, ...] = (
    *keywords.KINDS,
    *language.KINDS,
    *length_constraints.KINDS,
    *detectable_content.KINDS,
    *detectable_format.KINDS,
    *combination.KINDS,
    *startend.KINDS,
    *change_case.KINDS,
    *punctuation.KINDS,
)
