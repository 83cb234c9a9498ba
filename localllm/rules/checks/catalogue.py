"""All kinds of rules, by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from localllm.rules.checks.kinds import CheckKind


@lru_cache(maxsize=1)
def kinds() -> Mapping[str, CheckKind]:
    """Every kind under its name and its other names."""
    from localllm.rules.checks import counts, formats, ifbench, ifeval, markdown, patterns, prose, shape, sources, words
    from localllm.rules.guards import kinds as guards

    table: dict[str, CheckKind] = {}
    for module in (counts, markdown, words, shape, formats, sources, prose, patterns, guards, ifeval, ifbench):
        for kind in module.KINDS:
            for name in (kind.name, *kind.aliases):
                assert name not in table, name
                table[name] = kind
    return table
