"""The independent check of values: quick to load, and right about the formats that it checks itself."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localllm.errors import RuleSyntax
from localllm.rules.schema_check import check_schema, errors_of, is_iri

CASES = [
    ("http://example.org/a?b=c#d", True, True),
    ("http://exämple.org/ü", True, True),
    ("https://例え.jp/あ?q=あ#あ", True, True),
    ("http://a/?\ue000", True, True),
    ("http://a/\ue000", False, False),
    ("http://a/#\ue000", False, False),
    ("http://[::1]/", True, True),
    ("http://[ü]/", False, False),
    ("ünï:x", False, False),
    ("../ü?x", False, True),
    ("", False, True),
    ("http://a b/", False, False),
    ("http://a/%zz", False, False),
    ("http://a/\ufdd0", False, False),
    ("http://a/\ud800", False, False),
    ("mailto:a@b", True, True),
]


@pytest.mark.parametrize(("text", "iri", "reference"), CASES)
def test_international_addresses_are_judged_as_the_standard_says(text: str, iri: bool, reference: bool) -> None:
    assert is_iri(text, reference=False) is iri
    assert is_iri(text, reference=True) is reference
    assert bool(errors_of({"format": "iri"}, text)) is not iri
    assert bool(errors_of({"format": "iri-reference"}, text)) is not reference


@settings(max_examples=60, deadline=None)
@given(text=st.text(alphabet="ab:/?#[]@!%41üあ\ue000 .~-\ufdd0", max_size=14), reference=st.booleans())
def test_they_are_judged_as_a_parser_of_the_grammar_judges_in_the_basic_plane(text: str, reference: bool) -> None:
    import rfc3987_syntax as parser  # type: ignore[import-untyped]

    expected = parser.is_valid_syntax("iri_reference" if reference else "iri", text)
    assert is_iri(text, reference=reference) == expected


def test_older_drafts_know_no_international_addresses() -> None:
    schema = {"$schema": "http://json-schema.org/draft-06/schema#", "format": "iri"}
    assert errors_of(schema, "no iri") == []


def test_values_that_are_no_text_have_no_format() -> None:
    assert errors_of({"format": "iri"}, 3) == []


def test_checking_a_value_builds_no_parsers_and_leaves_no_trace() -> None:
    code = """
import sys
from localllm.rules.schema_check import errors_of
assert errors_of({"type": "string", "format": "iri"}, "http://a/") == []
assert errors_of({"format": "date"}, "2026-02-30")
assert "lark" not in sys.modules and "rfc3987_syntax" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"if": {"$ref": "#"}, "then": {"type": "object"}},
        {"anyOf": [{"type": "null"}, {"not": {"$ref": "#/anyOf/1"}}]},
        {"properties": {"a": {"$ref": "#/$defs/x%20y"}}, "$defs": {"x y": {"allOf": [{"$ref": "#/properties/a"}]}}},
    ],
)
def test_a_schema_that_asks_itself_about_the_same_value_is_refused_and_never_passes(schema: dict[str, object]) -> None:
    with pytest.raises(RuleSyntax, match="refers to itself"):
        check_schema(schema, "mine.json")
    assert errors_of(schema, {"a": {"a": {}}})


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"next": {"$ref": "#"}}},
        {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}], "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}},
        {"$ref": "#/nowhere"},
        {"enum": [{"$ref": "#"}]},
    ],
)
def test_a_schema_that_goes_on_inside_the_value_may_refer_to_itself(schema: dict[str, object]) -> None:
    assert check_schema(schema, "mine.json") == schema


def test_what_a_native_part_of_the_validator_throws_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        pass

    def panics(*args: object, **more: object) -> object:
        raise Panic("native code gave up")

    monkeypatch.setattr("jsonschema.Draft202012Validator.iter_errors", panics)
    assert errors_of({"type": "string"}, "text") == [("/", "the schema could not be applied: native code gave up")]
