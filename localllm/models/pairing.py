"""Pairing: which models on this computer can draft for which, in which order, and why the others can't."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from localllm.errors import ModelError, NotGGUF
from localllm.models.catalog import find_in_catalog
from localllm.models.header import Header, read_model_header
from localllm.models.memory import Load, fits
from localllm.models.shelf import list_models
from localllm.settings import Paths

MOST_COST = 0.5
"""A draft's token may cost at most this share of the target's, in bytes of weights read: beyond, nothing is gained."""
LEAST_COVER = 0.5
"""Share of the draft's tokens that the target must know."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One model considered as the draft of another."""

    target: str
    draft: str
    path: str
    """File of the draft."""
    fits: bool
    reason: str
    """Why it does not fit; where it does, what there is to know about it."""
    cost: float
    """Of a drafted token in steps of the target, estimated from the sizes of the weights."""
    cover: float
    """Share of the draft's tokens that the target knows, 0 to 1; 1 where both have the same vocabulary."""
    score: float
    """For ranking alone: higher is better, 0 where it does not fit."""


def judge(target: Header, draft: Header) -> Pair:
    """Weigh one draft for one target by their headers alone."""
    cost = draft.weight_bytes / max(target.weight_bytes, 1)
    cover = 0.0
    reason = _unable(target, draft, cost)
    if not reason:
        cover = _cover(target, draft)
        if cover < LEAST_COVER:
            reason = f"its vocabulary is another one: {cover:.0%} of its tokens are known to the target"
    if reason:
        return Pair(target.name, draft.name, str(draft.path), False, reason, cost, cover, 0.0)
    known = find_in_catalog(target.name)
    listed = known is not None and known.draft == draft.name
    related = _family(target) == _family(draft) != ""
    remark = "the same vocabulary" if cover == 1.0 else f"{cover:.0%} of its tokens are known to the target"
    if listed:
        remark += ", named by the catalogue"
    elif related:
        remark += ", the same family"
    # Agreement matters more than cost: relatives first, then the shared vocabulary, then the cheaper one.
    score = 2.0 * listed + 1.0 * related + cover + (1.0 - cost)
    return Pair(target.name, draft.name, str(draft.path), True, remark, cost, cover, score)


def rank_pairs(target: Header, drafts: Iterable[Header]) -> list[Pair]:
    """All candidates: those that fit, best first, then the others."""
    pairs = [judge(target, d) for d in drafts if _real(d.path) != _real(target.path)]
    return sorted(pairs, key=lambda p: (-p.score, p.cost, p.draft))


def pairs_on_this_computer(paths: Paths, targets: Iterable[Path] | None = None) -> dict[str, list[Pair]]:
    """For each target (by default all models that generate text) its candidates, ranked; damaged files are left out.

    Args:
        paths: Where models are kept.
        targets: Files to find drafts for.
    """
    headers = list(_headers(Path(m.path) for m in list_models(paths) if m.usable))
    wanted = headers if targets is None else list(_headers(targets))
    return {target.name: rank_pairs(target, headers) for target in wanted}


def best_draft(target: Path, paths: Paths, load: Load | None = None) -> Path | None:
    """The draft that ``--draft auto`` loads: the best that fits, the free memory included; None where there is none."""
    try:
        header = read_model_header(target)
    except ModelError:
        return None
    for pair in rank_pairs(header, _headers(Path(m.path) for m in list_models(paths) if m.usable)):
        if not pair.fits:
            break
        draft = Path(pair.path)
        estimate = fits(header, load, read_model_header(draft))
        if not estimate.available or estimate.total <= estimate.available:
            return draft
    return None


def _unable(target: Header, draft: Header, cost: float) -> str:
    if target.recurrent:
        return "the target can't take tokens back, so nothing can be drafted for it"
    if draft.purpose not in ("chat", "base"):
        return f"it is {'an' if draft.purpose[0] in 'ae' else 'a'} {draft.purpose} file and generates no text"
    if draft.recurrent:
        return "it can't take tokens back"
    if not draft.weight_bytes or not target.weight_bytes:
        return "one of the files has no weights"
    if cost > MOST_COST:
        return f"it is too large: drafting a token would cost {cost:.0%} of what a token of the target costs"
    return ""


def _cover(target: Header, draft: Header) -> float:
    if draft.tokenizer_hash and draft.tokenizer_hash == target.tokenizer_hash:
        return 1.0
    theirs = draft.values("tokenizer.ggml.tokens")
    if not theirs:
        return 0.0
    known = set(target.values("tokenizer.ggml.tokens"))
    return min(sum(token in known for token in theirs) / len(theirs), 0.999)


def _family(header: Header) -> str:
    """``SmolLM2-135M-Instruct`` and ``SmolLM2-1.7B-Instruct`` are of the family ``smollm2``."""
    name = (header.title or header.name).replace("_", "-").replace(" ", "-").lower()
    parts: list[str] = []
    for part in name.split("-"):
        if part[:1].isdigit() and part[-1:] in "bmk":
            break
        parts.append(part)
    return "-".join(parts) if len(parts) < len(name.split("-")) else ""


def _headers(files: Iterable[Path]) -> Iterator[Header]:
    for file in files:
        try:
            yield read_model_header(file)
        except (ModelError, NotGGUF):
            continue


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except OSError:
        return path
