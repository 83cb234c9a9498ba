"""How an answer comes to a legal end: the words that rules still ask for, in the order in which they can stand."""

from __future__ import annotations

from collections.abc import Sequence

from localllm.rules.checks.shape import _PAIRS
from localllm.rules.ruleset import Rule

_STOP, _WORDS, _BLOCKS, _FULL_STOP, _TAIL, _END, _QUOTE = range(7)

_NAMES = "name date address phone email title city subject amount time place signature".split()
_MARKED = "summary details example result reason advice note outlook context background".split()


def closers_of(rules: Sequence[Rule]) -> tuple[str, ...]:
    """Texts to try, in order, where the model wants to end and a rule does not let it yet."""
    found: list[tuple[int, str]] = []
    for rule in rules:
        p = rule.params
        match rule.type:
            case "keywords":
                found += [(_WORDS, f" {w}") for w in p["words"]]
            case "keywords:existence":
                found += [(_WORDS, f" {w}") for w in p["keywords"]]
            case "keywords:frequency" if p["relation"] != "less than":
                found += [(_WORDS, f" {p['keyword']}.")] * p["frequency"]
            case "placeholders" | "detectable_content:number_placeholders":
                n = p.get("num_placeholders") or p.get("min") or p.get("exact") or 0
                found += [(_WORDS, f" [{name}]") for name in _NAMES[:n]]
            case "highlights" | "detectable_format:number_highlighted_sections":
                n = p.get("num_highlights") or p.get("min") or p.get("exact") or 0
                found += [(_WORDS, f" *{word}*") for word in _MARKED[:n]]
            case "detectable_format:number_bullet_lists":
                found += [(_BLOCKS, "\n* And so on.")] * p["num_bullets"]
            case "detectable_format:multiple_sections":
                found += [
                    (_BLOCKS, f"\n\n{p['section_spliter']} {i}\nAnd so on.") for i in range(1, p["num_sections"] + 1)
                ]
            case "length_constraints:number_paragraphs":
                found += [(_BLOCKS, "\n***\nAnd so on.")] * (p["num_paragraphs"] - 1)
            case "combination:two_responses":
                found += [(_BLOCKS, "\n******\nThe same in other words.")]
            case "postscript":
                found += [(_TAIL, f"\n\n{p['marker']} Thank you.")]
            case "detectable_content:postscript":
                found += [(_TAIL, f"\n\n{p['postscript_marker']} Thank you.")]
            case "ends_with":
                found += [(_END, f"\n\n{p['text']}"), (_END, f" {p['text']}")]
            case "startend:end_checker":
                found += [(_END, f"\n\n{p['end_phrase'].strip()}"), (_END, f" {p['end_phrase'].strip()}")]
            case "wrapped":
                found += [(_QUOTE, _PAIRS.get(p["mark"], p["mark"]))]
            case "startend:quotation":
                found += [(_QUOTE, '"')]
    if found:
        found += [(_STOP, "."), (_FULL_STOP, ".")]
        found.sort(key=lambda item: item[0])
    return tuple(text for _, text in found)
