"""IFEval's 25 instructions: where the reference's oddities are kept, and where strict mode reads as people do."""

from __future__ import annotations

from typing import Any

import pytest

from localllm.errors import RuleSyntax
from localllm.rules.checks.catalogue import kinds
from localllm.rules.checks.ifeval import KINDS, loose_variants
from localllm.rules.checks.kinds import read_fields
from localllm.rules.outcome import Context


def follows(id: str, text: str, mode: str = "compat", **values: Any) -> bool:
    kind = kinds()[id]
    return kind.check(read_fields(kind, {**values, "mode": mode}, id), text, Context()).passed


def test_all_25_instructions_are_there() -> None:
    assert len(KINDS) == 25


# One row per pitfall: id, arguments, text, verdict of the reference, verdict of strict mode.
PITFALLS: list[tuple[str, dict[str, Any], str, bool, bool]] = [
    ("keywords:existence", {"keywords": ["intern"]}, "An international firm.", True, False),
    ("keywords:existence", {"keywords": ["a.c"]}, "abc", True, False),
    ("keywords:frequency", {"keyword": "cat", "frequency": 2, "relation": "at least"}, "cat concatenate", True, False),
    ("keywords:frequency", {"keyword": "cat", "frequency": 2, "relation": "less than"}, "cat cat", False, False),
    ("keywords:frequency", {"keyword": "cat", "frequency": 2, "relation": "at least"}, "Cat, CAT.", True, True),
    ("keywords:frequency", {"keyword": "a.c", "frequency": 1, "relation": "at least"}, "abc", True, False),
    ("keywords:forbidden_words", {"forbidden_words": ["run"]}, "He is running.", True, True),
    ("keywords:forbidden_words", {"forbidden_words": ["run"]}, "RUN!", False, False),
    ("keywords:letter_frequency", {"letter": "#", "let_frequency": 2, "let_relation": "at least"}, "# a # b", True, True),  # noqa: E501
    ("keywords:letter_frequency", {"letter": "A", "let_frequency": 3, "let_relation": "less than"}, "aaa", False, False),  # noqa: E501
    ("language:response_language", {"language": "de"}, "Das ist ein Haus und der Garten ist nicht groß.", True, True),
    ("language:response_language", {"language": "hi"}, "123 ...", True, False),
    ("language:response_language", {"language": "de"}, "https://example.org/", True, False),
    ("language:response_language", {"language": "de"}, "ok 🌞🌞🌞🌞🌞", True, False),
    ("language:response_language", {"language": "zh"}, "这是一个很好的房子。", False, True),
    ("language:response_language", {"language": "zh-cn"}, "这是一个很好的房子。", True, True),
    ("language:response_language", {"language": "hi"}, "यह एक अच्छा घर है और बहुत बड़ा है।", True, True),
    ("length_constraints:number_sentences", {"num_sentences": 3, "relation": "less than"}, "Dr. Smith paid $3.50. He left.", True, True),  # noqa: E501
    ("length_constraints:number_sentences", {"num_sentences": 3, "relation": "at least"}, "# Title\n* One thing\n* Another thing", False, True),  # noqa: E501
    ("length_constraints:number_sentences", {"num_sentences": 3, "relation": "at least"}, "1. Wash\n2. Dry", True, False),  # noqa: E501
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"}, "Fruit, e.g. apples", True, False),  # noqa: E501
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One.\n***\nTwo.", True, True),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One.\n\nTwo.", False, False),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "***\nOne.\n***\nTwo.\n***", True, True),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One.\n***\n***\nTwo.", False, False),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One.\n*****\nTwo.", True, False),
    ("length_constraints:number_words", {"num_words": 2, "relation": "less than"}, "don't", False, True),
    ("length_constraints:number_words", {"num_words": 2, "relation": "at least"}, "snake_case", False, False),
    ("length_constraints:number_words", {"num_words": 2, "relation": "at least"}, "这是一个很好的房子", False, False),
    ("length_constraints:number_words", {"num_words": 4, "relation": "at least"}, "state-of-the-art", True, False),
    ("length_constraints:number_words", {"num_words": 2, "relation": "at least"}, "3.5", True, False),
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"}, "First.\n\nThen, more.", True, True),  # noqa: E501
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"}, "First.\n\n\n\nThen more.", False, True),  # noqa: E501
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"}, "First.\n\n**Then** more.", False, True),  # noqa: E501
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "ΟΔΟΣ"}, "ΟΔΟΣ", False, True),  # noqa: E501
    ("detectable_content:number_placeholders", {"num_placeholders": 1}, "See [here](https://example.org).", True, False),  # noqa: E501
    ("detectable_content:number_placeholders", {"num_placeholders": 1}, "[ ] a task", True, False),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Text.\n\nP. S. More.", True, True),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "P.S. Early.\n\nAnd then the text.", True, False),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Text.\np.p.s more", True, True),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "* one\n---", False, True),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "* one\n-5 degrees", False, True),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "• one", False, True),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "+ one", False, True),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "1. one", False, False),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "* one\n**bold**", True, True),
    ("detectable_format:constrained_response", {}, "Well: My answer is yes. I think.", True, False),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "**bold**", False, False),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "* a list * item", True, False),
    ("detectable_format:multiple_sections", {"section_spliter": "Section", "num_sections": 1}, "Section 1\na\nSection 2\nb", True, False),  # noqa: E501
    ("detectable_format:multiple_sections", {"section_spliter": "Section", "num_sections": 1}, "Section I\na", False, False),  # noqa: E501
    ("detectable_format:json_format", {}, "7", True, False),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', True, True),
    ("detectable_format:title", {}, "<< >>", False, False),
    ("detectable_format:title", {}, "<< >> and x >> y", True, False),
    ("detectable_format:title", {}, "<<Title>> and text", True, True),
    ("combination:two_responses", {}, "One******Two", True, True),
    ("combination:two_responses", {}, "Same******Same", False, False),
    ("combination:two_responses", {}, "One************Two", False, False),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Write it. "}, "  WRITE IT. Done", True, True),
    ("startend:end_checker", {"end_phrase": "Bye. "}, 'He said: "bye."', True, True),
    ("startend:end_checker", {"end_phrase": "Bye."}, "Bye. Really.", False, False),
    ("startend:quotation", {}, "“Text.”", False, True),
    ("startend:quotation", {}, '"', False, False),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"}, "I saw A bird.", True, False),  # noqa: E501
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"}, "Q&A", True, False),  # noqa: E501
    ("change_case:capital_word_frequency", {"capital_frequency": 1, "capital_relation": "at least"}, "in the U.S. now", True, False),  # noqa: E501
    ("change_case:capital_word_frequency", {"capital_frequency": 1, "capital_relation": "at least"}, "Part 2*IX*a", True, True),  # noqa: E501
    ("change_case:english_capital", {}, "THIS IS A TEST OF THE RULE AND IT IS FINE.", True, True),
    ("change_case:english_capital", {}, "THIS Is not.", False, False),
    ("change_case:english_capital", {}, "HTTPS://EXAMPLE.ORG/", True, True),
    ("change_case:english_lowercase", {}, "this is a test of the rule and it is fine.", True, True),
    ("change_case:english_lowercase", {}, "das ist ein haus und der garten ist nicht groß.", False, False),
    ("punctuation:no_comma", {}, "1,000 things", False, False),
    ("punctuation:no_comma", {}, "你好，世界", True, False),
]  # fmt: skip


@pytest.mark.parametrize(("id", "values", "text", "compat", "strict"), PITFALLS)
def test_each_pitfall_is_decided_as_the_mode_says(
    id: str, values: dict[str, Any], text: str, compat: bool, strict: bool
) -> None:
    assert follows(id, text, "compat", **values) is compat
    assert follows(id, text, "strict", **values) is strict


def test_every_instruction_has_a_pitfall_here() -> None:
    assert {row[0] for row in PITFALLS} == {kind.name for kind in KINDS}


def test_an_argument_that_is_null_counts_as_absent() -> None:
    params = read_fields(kinds()["length_constraints:number_words"], {"num_words": 2, "relation": None}, "x")
    assert params["relation"] == "at least"
    with pytest.raises(RuleSyntax, match="num_words"):
        read_fields(kinds()["length_constraints:number_words"], {"num_words": None}, "x")


def test_the_loose_score_has_eight_readings() -> None:
    variants = loose_variants("Sure!\n*a*\nBye")
    assert len(variants) == 8
    assert "*a*" in variants
    assert "a" in variants


def test_a_keyword_that_is_no_pattern_is_a_fail_and_no_crash() -> None:
    from localllm.rules.ruleset import Rule
    from localllm.rules.verdict import evaluate

    kind = kinds()["keywords:existence"]
    rule = Rule("x", kind, read_fields(kind, {"keywords": ["(a"], "mode": "compat"}, "x"))
    finding = evaluate(rule, "(a", Context())
    assert not finding.passed
    assert "could not be applied" in finding.reason
