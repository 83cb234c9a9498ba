"""Constraints on the starter model's vocabulary: what is legal, what is forced, and how an answer is closed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llguidance import LLParserLimits

from localllm.engine import constraint
from localllm.engine.constraint import compile_constraint, nesting
from localllm.engine.delayed import DelayedMatcher
from localllm.engine.matcher import GrammarMatcher
from localllm.engine.protocol import ConstraintSpec
from localllm.engine.vocabulary import GrammarVocabulary
from localllm.errors import ConstraintRefused
from localllm.rules.rulebook import Rulebook

MODEL = Path(__file__).parent.parent / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(not MODEL.exists(), reason="the starter model is missing: make starter"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2},
        "age": {"type": "integer", "minimum": 200, "maximum": 210},
        "tags": {
            "type": "array",
            "items": {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]},
            "minItems": 2,
        },
        "kind": {"enum": ["alpha", "beta"]},
    },
    "required": ["name", "age", "tags", "kind"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def vocabulary() -> Iterator[GrammarVocabulary]:
    from localllm.llama.model import Model

    model = Model(MODEL, vocab_only=True)
    yield GrammarVocabulary(model.vocab.pointer, sorted(model.vocab.eog))
    model.close()


def matcher(vocabulary: GrammarVocabulary, kind: str, source: str, **more: object) -> GrammarMatcher | DelayedMatcher:
    return compile_constraint(ConstraintSpec(kind, source, **more), vocabulary)  # type: ignore[arg-type]


def ids(vocabulary: GrammarVocabulary, text: str) -> list[int]:
    return list(vocabulary.tokenizer.tokenize_str(text))


def test_a_valid_answer_is_legal_to_its_last_token_and_ends(vocabulary: GrammarVocabulary) -> None:
    m = matcher(vocabulary, "json_schema", json.dumps(PERSON))
    tokens = ids(vocabulary, '{"name": "Jo", "age": 205, "tags": [{"a": 1}, {"a": 2}], "kind": "beta"}')
    assert m.legal_prefix(tokens) == len(tokens)
    m.commit(tokens)
    assert m.accepting
    assert m.stopped
    assert m.closing(0) == []


def test_a_wrong_value_is_cut_before_its_token(vocabulary: GrammarVocabulary) -> None:
    m = matcher(vocabulary, "json_schema", json.dumps(PERSON))
    tokens = ids(vocabulary, '{"name": "Jo", "age": 305')
    legal = m.legal_prefix(tokens)
    assert vocabulary.tokenizer.decode_str(tokens[:legal]) == '{"name": "Jo", "age": '


def test_every_end_token_is_legal_where_the_answer_may_end_and_only_there(vocabulary: GrammarVocabulary) -> None:
    m = matcher(vocabulary, "regex", "ab*")
    assert not m.mask()[list(vocabulary.end_tokens)].any()
    m.commit(ids(vocabulary, "a"))
    assert m.mask()[list(vocabulary.end_tokens)].all()
    assert len(vocabulary.end_tokens) > 1
    assert all(m.legal_prefix([t]) == 1 for t in vocabulary.end_tokens)


def test_the_mask_and_the_legal_prefix_agree(vocabulary: GrammarVocabulary) -> None:
    m = matcher(vocabulary, "lark", 'start: "yes" | "no" | /[0-9]{2,4}/')
    mask = m.mask()
    assert mask.shape == (vocabulary.n_vocab,)
    for token in [*mask.nonzero()[0][:200].tolist(), *(~mask).nonzero()[0][:200].tolist()]:
        assert bool(m.legal_prefix([token])) == bool(mask[token])


def test_names_and_punctuation_are_forced(vocabulary: GrammarVocabulary) -> None:
    m = matcher(vocabulary, "json_schema", json.dumps(PERSON))
    forced = m.forced()
    assert vocabulary.tokenizer.decode_str(forced).startswith('{"name":')
    assert m.legal_prefix(forced) == len(forced)


def test_an_opening_quote_is_left_to_the_model_where_a_token_joins_it_to_what_follows(
    vocabulary: GrammarVocabulary,
) -> None:
    schema = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    m = matcher(vocabulary, "json_schema", json.dumps(schema))
    m.commit(m.forced())
    joined = m.token_of(b' "/')
    assert joined is not None
    assert m.forced() == [], "a path would lose its own beginning"
    assert m.legal_prefix([joined]) == 1


def test_a_token_that_is_not_legal_is_an_error_never_accepted(vocabulary: GrammarVocabulary) -> None:
    m = matcher(vocabulary, "regex", "[0-9]+")
    with pytest.raises(ConstraintRefused):
        m.commit(ids(vocabulary, "abc"))


@pytest.mark.parametrize(
    "written",
    ["", '{"', '{"name": "Joana Long', '{"name": "Jo", "age": 20', '{"name": "Jo", "age": 205, "tags": [{'],
)
def test_an_answer_is_closed_from_anywhere_and_the_result_is_valid(vocabulary: GrammarVocabulary, written: str) -> None:
    import jsonschema

    m = matcher(vocabulary, "json_schema", json.dumps(PERSON))
    m.commit(ids(vocabulary, written))
    way = m.closing(80)
    assert way
    assert m.legal_prefix(way) == len(way)
    jsonschema.validate(json.loads(written + vocabulary.tokenizer.decode_str(way)), PERSON)


def test_closing_within_too_small_a_budget_is_none(vocabulary: GrammarVocabulary) -> None:
    m = matcher(vocabulary, "json_schema", json.dumps(PERSON))
    assert m.closing(5) is None
    assert m.closing(80)


def test_closing_follows_the_way_it_found(vocabulary: GrammarVocabulary) -> None:
    m = matcher(vocabulary, "json_schema", json.dumps(PERSON))
    way = m.closing(80)
    assert way is not None
    for i, token in enumerate(way):
        m.commit([token])
        assert m.closing(80) == way[i + 1 :]
    assert m.accepting


def test_text_grammars_are_closed_too(vocabulary: GrammarVocabulary) -> None:
    m = matcher(vocabulary, "lark", 'start: item{3}\nitem: "* " /[^\\n]+/ "\\n"')
    way = m.closing(40)
    assert way is not None
    assert vocabulary.tokenizer.decode_str(way).count("* ") == 3


@pytest.mark.parametrize(
    "rules", ["", '[[rule]]\ntype="detectable_format:number_highlighted_sections"\nnum_highlights=2']
)
def test_a_quoted_text_is_closed_by_the_quote_alone(vocabulary: GrammarVocabulary, rules: str) -> None:
    """It ended with a token of quote and brackets, and with the rest of a way out that was no longer needed."""
    spec = Rulebook.parse(f'[[rule]]\ntype="startend:quotation"\n{rules}').compiled().constraint
    assert spec is not None
    m = compile_constraint(spec, vocabulary)
    assert b"]" not in vocabulary.bytes_of(m.closing(100) or ())
    m.commit(ids(vocabulary, '"The *pump* and the *seal* are most beautiful'))
    m.closing(60)
    m.commit(ids(vocabulary, " and"))
    way = m.closing(60)
    assert way is not None
    assert vocabulary.bytes_of(way) == b'"'


def test_the_first_refusal_in_a_text_does_not_lose_the_constraint(vocabulary: GrammarVocabulary) -> None:
    spec = Rulebook.parse(
        '[[rule]]\ntype="length_constraints:number_sentences"\nrelation="less than"\nnum_sentences=8\n'
        '[[rule]]\ntype="forbid"\nwords=["mileage", "fuel"]'
    ).compiled().constraint  # fmt: skip
    assert spec is not None
    m = compile_constraint(spec, vocabulary)
    said = "\"Get 40 miles per gallon on the highway, but don't forget to add a dash of fuel"
    for token in ids(vocabulary, said):
        assert m.legal_prefix([token]) == 1
        m.commit([token])
    (comma,) = ids(vocabulary, ",")
    assert m.legal_prefix([comma]) == 0, "the word would be one that is forbidden"
    assert not m.mask()[comma]


def test_behind_a_thought_the_grammar_starts_at_the_first_black_character(vocabulary: GrammarVocabulary) -> None:
    m = matcher(vocabulary, "json_schema", json.dumps(PERSON), after="</think>")
    tokens = ids(vocabulary, 'Let me {see}. </think>\n\n{"name": "Jo')
    assert m.legal_prefix(tokens) == len(tokens)
    assert not m.accepting
    assert m.forced() == []
    wrong = ids(vocabulary, 'Let me {see}. </think>\n\n{"nome": "Jo')
    assert "nome" not in vocabulary.tokenizer.decode_str(wrong[: m.legal_prefix(wrong)])
    assert m.legal_prefix([vocabulary.end_tokens[0]]) == 0
    m.commit(tokens)
    way = m.closing(80)
    assert way is not None
    assert json.loads('{"name": "Jo' + vocabulary.tokenizer.decode_str(way))["name"].startswith("Jo")


def test_behind_a_thought_it_makes_no_difference_how_the_tokens_are_cut(vocabulary: GrammarVocabulary) -> None:
    text = 'hm </think> {"name": "Jo", "age": 205'
    one, other = (matcher(vocabulary, "json_schema", json.dumps(PERSON), after="</think>") for _ in range(2))
    one.commit(ids(vocabulary, text))
    for c in text:
        other.commit(ids(vocabulary, c))
    assert (one.mask() == other.mask()).all()


@pytest.mark.parametrize(
    ("kind", "source", "says"),
    [
        ("json_schema", '{"type":"string","minLength":5,"maxLength":2}', "nsatisfiable"),
        ("json_schema", '{"type":', "can't be read"),
        ("json_schema", '{"type":"string","pattern":"(?=x)y"}', "look-around"),
        ("json_schema", '{"$ref":"http://example.org/x"}', "example.org"),
        ("json_schema", "false", "can't be read"),
        ("json_schema", "[" * 3000, "levels deep"),
        ("json_schema", " " * (1 << 21), "characters"),
        ("lark", "start: nothing", "nothing"),
        ("regex", "(a", "unclosed group"),
    ],
)
def test_what_cant_be_enforced_is_refused_with_a_reason(
    vocabulary: GrammarVocabulary, kind: str, source: str, says: str
) -> None:
    with pytest.raises(ConstraintRefused) as caught:
        matcher(vocabulary, kind, source)
    assert says in caught.value.message
    assert "\n" not in caught.value.message


def test_beyond_the_fuel_limit_is_an_error_and_no_silence(
    vocabulary: GrammarVocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        constraint, "_limits", lambda: LLParserLimits(step_lexer_fuel=50, precompute_large_lexemes=False)
    )
    with pytest.raises(ConstraintRefused, match=r"fuel|complex|too many"):
        m = matcher(vocabulary, "lark", "start: /(a{1,300}b){1,300}(?s:.)*x(?s:.){400}/")
        for _ in range(50):
            m.mask()
            m.commit(ids(vocabulary, "ab"))


def test_a_wish_to_end_is_led_to_a_legal_end(vocabulary: GrammarVocabulary) -> None:
    m = matcher(vocabulary, "lark", "start: /(?s:.)*pump(?s:.)*Bye\\./", closers=(".", " pump", "\n\nBye."))
    m.commit(ids(vocabulary, "The seal is worn"))
    end = vocabulary.end_tokens[0]
    assert m.legal_prefix([end]) == 0
    way = m.forced()
    assert vocabulary.tokenizer.decode_str(way) in (" pump\n\nBye.", ". pump\n\nBye.")
    assert m.mask().nonzero()[0].tolist() == way[:1]
    m.commit(way[:1])
    m.commit(m.forced())
    assert m.accepting
    assert m.stopped


@pytest.mark.parametrize("written", ["It ran", "It ran."])
def test_closers_put_no_stop_behind_a_stop(vocabulary: GrammarVocabulary, written: str) -> None:
    closers = (" pump.", ".", "\n\nBye.")
    m = matcher(vocabulary, "lark", "start: /(?s:.)*pump(?s:.)*Bye\\./", closers=closers)
    m.commit(ids(vocabulary, written))
    assert m.legal_prefix([vocabulary.end_tokens[0]]) == 0
    assert vocabulary.bytes_of(m.forced()).decode() == " pump.\n\nBye."


def test_without_a_wish_to_end_closers_change_nothing(vocabulary: GrammarVocabulary) -> None:
    m = matcher(vocabulary, "lark", "start: /(?s:.)*Bye\\./", closers=(" Bye.",))
    tokens = ids(vocabulary, "The seal is worn")
    assert m.legal_prefix(tokens) == len(tokens)
    m.commit(tokens)
    assert m.forced() == []
    assert m.closing(20) == ids(vocabulary, " Bye.")


def test_keywords_that_are_left_out_are_named(vocabulary: GrammarVocabulary) -> None:
    m = matcher(vocabulary, "json_schema", '{"type": "array", "uniqueItems": true, "not": {"maxItems": 1}}')
    assert any("uniqueItems" in note for note in m.notes)
    assert any("not" in note for note in m.notes)


@pytest.mark.parametrize("schema", [{"type": "string", "pattern": "^[\\d]{3}$"}, {"type": "string", "maxLength": 3000}])
def test_schemas_that_end_llama_cpps_own_converter_work(vocabulary: GrammarVocabulary, schema: object) -> None:
    m = matcher(vocabulary, "json_schema", json.dumps(schema))
    assert m.legal_prefix(ids(vocabulary, '"123"'))


def test_nesting_ignores_brackets_in_strings() -> None:
    assert nesting('{"a": ["[[[[\\"[", {}]}') == 3


schemas = st.recursive(
    st.sampled_from([{"type": t} for t in ("string", "integer", "number", "boolean", "null")]),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"type": st.just("array"), "items": inner, "minItems": st.integers(0, 2)}),
        st.dictionaries(st.sampled_from("abc"), inner, min_size=1).map(
            lambda p: {"type": "object", "properties": p, "required": sorted(p), "additionalProperties": False}
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda options: {"anyOf": options}),
    ),
    max_leaves=5,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schema=schemas, steps=st.lists(st.integers(0, 1 << 30), max_size=12))
def test_random_walks_stay_legal_and_close_to_valid_json(
    vocabulary: GrammarVocabulary, schema: dict[str, Any], steps: list[int]
) -> None:
    import jsonschema

    m = matcher(vocabulary, "json_schema", json.dumps(schema))
    out: list[int] = []
    for step in steps:
        if m.accepting:
            break
        choices = m.mask().nonzero()[0]
        token = int(choices[step % len(choices)])
        assert m.legal_prefix([token]) == 1
        m.commit([token])
        out.append(token)
    way = m.closing(200)
    if way is None:  # an open invitation to nest: the answer would be reported as truncated
        return
    data = vocabulary.tokenizer.decode_bytes(out + way)
    try:
        text = data.decode()
    except UnicodeDecodeError:  # a random byte token inside a string, cut short by the closing
        return
    jsonschema.validate(json.loads(text, strict=False), schema)
