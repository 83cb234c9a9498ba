"""Rules as grammars: the grammar takes good texts, refuses bad ones, and never accepts what the check refuses."""

from __future__ import annotations

import json

import pytest

from localllm.engine.constraint import compile_constraint
from localllm.engine.protocol import ConstraintSpec
from localllm.rules.compile import compile_rules
from localllm.rules.rulebook import Rulebook
from localllm.rules.ruleset import parse_ruleset
from tests.byte_vocabulary import ByteVocabulary

# type and fields as TOML, a text that follows the rule, one that breaks it
CASES: list[tuple[str, str, str]] = [
    ('type="words"\nmax=3', "one two three", "one two three four"),
    ('type="words"\nmin=3', "one two three.", "one two"),
    ('type="chars"\nmax=5', "abcde", "abcdef"),
    ('type="lines"\nexact=2', "a\nb", "a\nb\nc"),
    ('type="paragraphs"\nexact=2', "One.\n\nTwo.", "One."),
    ('type="bullets"\nexact=2', "* one\n* two", "* one"),
    ('type="bullets"\nmarker="*"\nmax_depth=1\nmin=1', "Two:\n* one\n* two", "- one\n- two"),
    ('type="numbered_list"\nexact=2', "1. one\n2. two", "1. one\n2. two\n3. three"),
    ('type="keywords"\nwords=["pump", "seal"]', "The pump and its seal.", "The pump alone."),
    ('type="keywords"\nwords=["pump"]\nmin=2', "A pump, a pump.", "A pump."),
    ('type="keywords"\nwords=["a", "b"]\nneed="any"', "say b now", "say c now"),
    ('type="forbid"\nwords=["cat", "dog"]', "A category.", "A Cat sat."),
    ('type="letter"\nletter="q"\nmax=1', "quick", "quiet queen"),
    ('type="case"\nstyle="lower"', "all small.", "Not small."),
    ('type="case"\nstyle="upper"', "ALL BIG 3.", "Not BIG."),
    ('type="punctuation"\nforbid=",;"', "None here.", "One, here."),
    ('type="starts_with"\ntext="Dear Ann,"', "Dear Ann, hello.", "Hello."),
    ('type="ends_with"\ntext="Bye."', "So long. Bye.", "Bye. Really."),
    ('type="wrapped"', '"Text."', "Text."),
    (
        'type="headings"\nrequired=["Summary", "Risks"]',
        "## Summary\nAll is well.\n## Risks\nFew.",
        "## Risks\nFew.\n## Summary\nAll.",
    ),
    ('type="sections"\nmin=2', "Section 1\nOne.\nSection 2\nTwo.", "Section 1\nOne."),
    ('type="title"', "<<A title>>\nText.", "A title\nText."),
    ('type="postscript"', "Text.\n\nP.S. More.", "Text."),
    ('type="highlights"\nmin=2', "A *big* and *fine* day.", "A *big* day."),
    ('type="enum"\nvalues=["yes", "no"]', "yes", "perhaps"),
    ('type="csv"\ncolumns=["id", "name"]\nmin_rows=1', "id,name\n1,Ann", "id;name\n1;Ann"),
    ('type="table"\ncolumns=["id", "name"]', "| id | name |\n| --- | --- |\n| 1 | Ann |", "id name"),
    ('type="citations"\nper="sentence"\nmust_resolve=false', "It runs [1]. It stops [2].", "It runs every day. It stops [2]."),  # noqa: E501
    ('type="regex"\nmatch="full"\npattern="[A-Z]{2}-[0-9]{3}"', "AB-123", "AB-12"),
    ('type="regex"\npattern="seal(ed)?"', "It is sealed.", "It is open."),
    ('type="regex"\nmatch="none"\npattern="[0-9]"', "No digits.", "1 digit."),
    ('type="json"\nroot="object"', '{"a": 1}', "[1]"),
    ('type="json_schema"\nschema=\'{"type": "integer", "minimum": 5}\'', "7", "3"),
    ("type=\"grammar\"\nsource='start: \"a\"+ \"b\"'", "aab", "ba"),
    ('type="punctuation:no_comma"', "None here.", "One, here."),
    ('type="keywords:existence"\nkeywords=["pump"]', "A pump.", "A seal."),
    ('type="keywords:frequency"\nkeyword="pump"\nfrequency=2', "A pump. A pump.", "A pump."),
    ('type="keywords:frequency"\nkeyword="pump"\nfrequency=2\nrelation="less than"', "A pump.", "A pump, a pump."),
    ('type="keywords:forbidden_words"\nforbidden_words=["cat"]', "A category.", "A cat."),
    ('type="keywords:letter_frequency"\nletter="z"\nlet_frequency=2\nlet_relation="at least"', "zoo zebra", "zoo"),
    ('type="length_constraints:number_words"\nnum_words=3\nrelation="at least"', "one two three", "one two"),
    ('type="length_constraints:number_words"\nnum_words=3\nrelation="less than"', "one two", "one two three"),
    (
        'type="length_constraints:number_sentences"\nnum_sentences=3\nrelation="less than"',
        "It is one. It is two.",
        "It is one. It is two. It is three.",
    ),
    ('type="length_constraints:number_paragraphs"\nnum_paragraphs=2', "One.\n***\nTwo.", "One."),
    (
        'type="length_constraints:nth_paragraph_first_word"\nnum_paragraphs=2\nnth_paragraph=2\nfirst_word="then"',
        "First.\n\nThen it ended.",
        "First.\n\nNow it ended.",
    ),
    ('type="detectable_content:number_placeholders"\nnum_placeholders=2', "[name] at [place]", "[name]"),
    ('type="detectable_content:postscript"\npostscript_marker="P.S."', "Text.\n\nP.S. More.", "Text."),
    ('type="detectable_format:number_bullet_lists"\nnum_bullets=2', "* one\n* two", "* one\n* two\n* three"),
    ('type="detectable_format:constrained_response"', "My answer is no.", "No."),
    ('type="detectable_format:number_highlighted_sections"\nnum_highlights=2', "A *big* and *fine* day.", "A *big* day."),  # noqa: E501
    ('type="detectable_format:multiple_sections"\nsection_spliter="Part"\nnum_sections=2', "Part 1\na\nPart 2\nb", "Part 1\na"),  # noqa: E501
    ('type="detectable_format:title"', "<<Title>>\nText.", "Text."),
    ('type="combination:two_responses"', "One.\n******\nTwo.", "One."),
    ('type="combination:repeat_prompt"\nprompt_to_repeat="Say it/now?"', "Say it/now?\n\nDone.", "Done."),
    ('type="startend:end_checker"\nend_phrase="Bye."', "So long. Bye.", "So long."),
    ('type="startend:quotation"', '"Text."', "Text."),
    ('type="change_case:english_lowercase"', "it is all small and it is fine.", "It is not."),
    ('type="change_case:capital_word_frequency"\ncapital_frequency=2\ncapital_relation="less than"', "one BIG word", "TWO BIG words"),  # noqa: E501
    ('type="language:response_language"\nlanguage="ru"', "Это дом и он не большой.", "This is a house."),
]  # fmt: skip


def by_grammar(spec: ConstraintSpec, text: str) -> bool:
    from llguidance import LLMatcher, LLTokenizer

    make = {"lark": LLMatcher.grammar_from_lark, "json_schema": LLMatcher.grammar_from_json_schema}[spec.kind]
    matcher = LLMatcher(LLTokenizer("byte"), make(spec.source), log_level=0)
    data = list(text.encode())
    taken = matcher.try_consume_tokens(data)
    assert not matcher.is_error(), matcher.get_error()
    return bool(taken == len(data) and matcher.is_accepting())


@pytest.mark.parametrize(("rule", "good", "bad"), CASES, ids=[c[0].split("\n")[0] for c in CASES])
def test_the_grammar_and_the_check_agree(rule: str, good: str, bad: str) -> None:
    for mode in ("strict", "ifeval-compat"):
        book = Rulebook.parse(f'[ruleset]\nmode = "{mode}"\n[[rule]]\nid = "r"\n{rule}')
        assert book.check(good).passed, book.check(good)
        assert not book.check(bad).passed
        compiled = book.compiled()
        assert compiled.constraint is not None, compiled.report
        assert by_grammar(compiled.constraint, good)
        assert not by_grammar(compiled.constraint, bad)


def test_rules_are_intersected() -> None:
    book = Rulebook.parse(
        '[[rule]]\ntype="words"\nmax=6\n[[rule]]\ntype="punctuation"\nforbid=","\n[[rule]]\ntype="ends_with"\ntext="Bye."'
    )
    spec = book.compiled().constraint
    assert spec is not None
    assert by_grammar(spec, "So long. Bye.")
    assert not by_grammar(spec, "So, long. Bye.")
    assert not by_grammar(spec, "So very very very very very long. Bye.")


def test_a_minimum_of_words_in_quotes_with_keywords_is_enforced_to_the_end() -> None:
    """It was given up behind the first quote: the quotes were a negated expression, and the fuel was a third."""
    spec = Rulebook.parse(
        '[[rule]]\ntype="words"\nmin=25\n[[rule]]\ntype="wrapped"\n[[rule]]\ntype="keywords"\nwords=["pump", "tap"]'
    ).compiled().constraint  # fmt: skip
    assert spec is not None
    matcher = compile_constraint(spec, ByteVocabulary())
    for byte in ('"The "pumps": ' + "a pump and " * 11 + 'a tap."').encode():
        assert matcher.mask()[byte]
        matcher.commit([byte])
    assert matcher.accepting


def test_the_report_names_every_rule_and_what_was_given_up() -> None:
    book = Rulebook.parse(
        '[[rule]]\nid="shape"\ntype="json_schema"\nschema=\'{"type": "array", "uniqueItems": true}\'\n'
        '[[rule]]\nid="words"\ntype="words"\nmax=5\n[[rule]]\nid="pii"\ntype="pii"\n'
        '[[rule]]\nid="soft"\ntype="words"\nmax=5\nseverity="warning"\n[[rule]]\nid="check"\ntype="json"\nenforce="check"'
    )
    report = book.compiled().report
    places = {(p.rule_id, p.keyword): (p.where, p.reason) for p in report}
    assert places["shape", ""][0] == "decode"
    assert places["shape", "uniqueItems"][0] == "check"
    assert "fixes the whole format" in places["words", ""][1]
    assert {p.rule_id for p in report} == {"shape", "words", "pii", "soft", "check"}
    assert all(p.where == "decode" or p.reason for p in report)


def test_rules_that_leave_no_text_together_are_not_enforced_in_silence() -> None:
    ruleset = parse_ruleset(
        '[[rule]]\nid="a"\ntype="starts_with"\ntext="A"\n[[rule]]\nid="b"\ntype="starts_with"\ntext="B"'
    )
    compiled = compile_rules(ruleset.rules)
    placed = [p for p in compiled.report if p.where != "default"]
    assert [(p.rule_id, p.where) for p in placed] == [("a", "decode"), ("b", "check")]
    assert "no text is left" in placed[1].reason


def test_a_text_is_not_padded_with_white_space_unless_a_rule_asks_for_it() -> None:
    book = Rulebook.parse('[[rule]]\ntype="words"\nmax=4')
    spec = book.compiled().constraint
    assert spec is not None and spec.most_words == 4
    assert by_grammar(spec, "One\n\n \ntwo" + " " * 60 + "three.")
    assert not by_grammar(spec, "One\n \n\n\ntwo")
    assert not by_grammar(spec, "One two three four\n"), "nothing follows the last word"
    assert [p.reason for p in book.compiled().report if p.keyword == "blank lines"] == [
        "a text has at most two blank lines in a row"
    ]
    asked = Rulebook.parse('[[rule]]\ntype="starts_with"\ntext="A\\n\\n\\n\\nB"').compiled()
    assert asked.constraint is not None and by_grammar(asked.constraint, "A\n\n\n\nB")
    assert not any(p.keyword == "blank lines" for p in asked.report)


def test_what_is_added_to_a_schema_is_listed_value_by_value() -> None:
    schema = {
        "type": "object",
        "properties": {
            "free": {"type": "string"},
            "short": {"type": "string", "maxLength": 9},
            "kind": {"type": "string", "enum": ["a", "b"]},
            "tags/all": {"type": ["array", "null"], "items": {"type": "string"}},
        },
    }
    book = Rulebook.parse(f"[[rule]]\nid='s'\ntype='json_schema'\nschema='''{json.dumps(schema)}'''")
    added = {(p.pointer, p.keyword): p.reason for p in book.compiled().report if p.where == "default"}
    assert set(added) == {
        ("", "layout"),
        ("/properties/free", "maxLength"),
        ("/properties/tags/all", "maxItems"),
        ("/properties/tags/all/items", "maxLength"),
    }
    assert "512 tokens" in added["/properties/free", "maxLength"]


def test_a_grammar_can_start_behind_a_thought() -> None:
    ruleset = parse_ruleset('[[rule]]\ntype="json"')
    spec = compile_rules(ruleset.rules, after="</think>").constraint
    assert spec is not None
    assert spec.after == "</think>"


def test_gbnf_is_read_too() -> None:
    book = Rulebook.parse('[[rule]]\ntype="grammar"\nsyntax="gbnf"\nsource=\'root ::= "yes" | "no"\'')
    assert book.check("yes").passed
    assert not book.check("maybe").passed


def test_a_schema_that_cant_be_enforced_still_gives_json_and_is_checked_after() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(?=x)x+$"}}, "required": ["a"]}
    book = Rulebook.parse(f"[[rule]]\nid='s'\ntype='json_schema'\nschema='''{json.dumps(schema)}'''")
    compiled = book.compiled()
    assert compiled.constraint is not None
    assert by_grammar(compiled.constraint, '{"a": "y"}')
    assert "checked after" in compiled.report[0].reason
    assert not book.check('{"a": "y"}').passed
    assert book.check('{"a": "xx"}').passed
