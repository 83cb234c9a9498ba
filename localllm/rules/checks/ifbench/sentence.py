"""IFBench ``sentence:``. A keyword in a given sentence, and sentences that grow."""

from __future__ import annotations

import itertools
import re

from localllm.rules.checks.ifbench.kind import bare, instruction, integer, sentences
from localllm.rules.checks.kinds import CheckKind, Params


def _keyword(p: Params, text: str) -> bool:
    found, n = sentences(text), integer(p["N"])
    return 0 < n <= len(found) and bool(re.search(rf"\b{re.escape(p['word'])}\b", found[n - 1], re.I))


def _increment(p: Params, text: str) -> bool:
    lengths = [len(bare(s).split()) for s in sentences(text)]
    return all(b - a == integer(p["small_n"]) for a, b in itertools.pairwise(lengths))


KINDS: tuple[CheckKind, ...] = (
    instruction("sentence:keyword", "a keyword in the N-th sentence", _keyword, ("N", "word")),
    instruction("sentence:increment", "each sentence longer than the one before", _increment, ("small_n",)),
)
