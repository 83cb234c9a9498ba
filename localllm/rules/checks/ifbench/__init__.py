"""Verifiable instructions of IFBench that serve real users, under their own ids and with their own arguments.

``group:name`` is defined in the file of its group: ``words:alphabet`` in ``words.py``; ``format:`` in
``formatting.py``, ``repeat:`` beside ``custom:``. As with IFEval, ``compat`` decides as the reference checker does and
``strict`` as a reader would; where the two would say the same, or a reader could not object, there is one decision.
"""

from __future__ import annotations

from localllm.rules.checks.ifbench import count, custom, formatting, ratio, sentence, words
from localllm.rules.checks.kinds import CheckKind

__all__ = ["KINDS"]

KINDS: tuple[CheckKind, ...] = (
    *count.KINDS,
    *ratio.KINDS,
    *sentence.KINDS,
    *words.KINDS,
    *formatting.KINDS,
    *custom.KINDS,
)
