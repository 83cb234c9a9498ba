"""Single checks: what people count as words and sentences, what sources must say, what was left over."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localllm.rules import language, punkt, segments
from localllm.rules.outcome import Context
from localllm.rules.rulebook import Rulebook


def passes(rule: str, text: str, **context: object) -> bool:
    book = Rulebook.parse(f'[[rule]]\nid="r"\n{rule}')
    return book.check(text, book.context(**context)).passed


def sentences(text: str) -> list[str]:
    return [text[a:b] for a, b in segments.sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", 3),
        ("Dr. Smith met Mr. Jones. They left.", 2),
        ("It costs $3.50. Fine.", 2),
        ("He works at Acme Inc. in Ohio.", 1),
        ("J. R. Tolkien wrote it.", 1),
        ("Use e.g. a pump. Then stop.", 2),
        ("Wait... what? Yes.", 2),
        ('"Stop!" he said. She did.', 2),
        ("It ended.) Then more.", 2),
        ("# Heading\nText here.", 2),
        ("* one\n* two\n* three", 3),
        ("1. First item.\n2. Second item.", 2),
        ("Version 2.0 is out. Get it.", 2),
        ("これは文です。次の文です。", 2),
        ("", 0),
        ("...", 0),
    ],
)
def test_sentences_are_counted_as_people_do(text: str, expected: int) -> None:
    assert len(sentences(text)) == expected, sentences(text)


@given(st.text(max_size=200))
def test_sentence_spans_are_ordered_and_inside_the_text(text: str) -> None:
    for split in (segments.sentences, punkt.sentences):
        spans = split(text)
        assert all(0 <= a < b <= len(text) for a, b in spans)
        assert all(x[1] <= y[0] for x, y in itertools.pairwise(spans))


def test_words_are_what_people_call_words() -> None:
    text = "Don't use state-of-the-art 3.5 pumps, naïve Ünal!"
    assert [text[a:b] for a, b in segments.words(text)] == [
        "Don't",
        "use",
        "state-of-the-art",
        "3.5",
        "pumps",
        "naïve",
        "Ünal",
    ]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("en", "The seal of the pump is worn and must be replaced."),
        ("de", "Die Dichtung der Pumpe ist nicht in Ordnung und muss ersetzt werden."),
        ("fr", "Le joint de la pompe est usé et il faut le remplacer dans la semaine."),
        ("es", "La junta de la bomba está gastada y hay que cambiarla por una nueva."),
        ("it", "La guarnizione della pompa è consumata e non si può più usare."),
        ("pt", "A junta da bomba não está boa e tem de ser trocada por uma nova."),
        ("nl", "De pakking van de pomp is versleten en moet worden vervangen door een nieuwe."),
        ("fi", "Pumpun tiiviste on kulunut ja se ei ole enää hyvä."),
        ("pl", "Uszczelka pompy jest zużyta i nie może być już używana."),
        ("sw", "Hii ni pampu ya maji na ni kubwa sana kwa watu wa kijiji."),
        ("vi", "Đây là một máy bơm nước và nó không được dùng cho người."),
        ("ru", "Это прокладка насоса, и она не подходит для воды."),
        ("bg", "Това е помпа за вода и тя не се използва от хората."),
        ("hi", "यह पानी का पंप है और इसे लोगों के लिए नहीं बनाया गया है।"),
        ("mr", "हे पाण्याचे पंप आहे आणि ते लोकांसाठी नाही असे म्हणतात."),
        ("ne", "यो पानीको पम्प हो र यो मान्छेको लागि छ भनिन्छ।"),
        ("ar", "هذا هو المضخة التي في البيت وهي من الماء إلى هذا المكان."),
        ("fa", "این پمپ آب است و برای مردم در خانه ساخته شده است که می‌گویند."),
        ("ur", "یہ پانی کا پمپ ہے اور یہ لوگوں کے لیے نہیں ہے۔"),
        ("ko", "이것은 물 펌프입니다."),
        ("th", "นี่คือปั๊มน้ำ"),
        ("ta", "இது ஒரு நீர் பம்ப்."),
        ("te", "ఇది నీటి పంపు."),
        ("kn", "ಇದು ನೀರಿನ ಪಂಪ್."),
        ("gu", "આ પાણીનો પંપ છે."),
        ("pa", "ਇਹ ਪਾਣੀ ਦਾ ਪੰਪ ਹੈ।"),
        ("bn", "এটি একটি জলের পাম্প।"),
        ("ja", "これは水のポンプです。"),
        ("zh", "这是一个水泵。"),
        ("el", "Αυτή είναι μια αντλία νερού."),
        ("he", "זוהי משאבת מים."),
    ],
)
def test_languages_are_told_apart(code: str, text: str) -> None:
    assert language.detect(text) == code


def test_english_in_capitals_is_english() -> None:
    assert language.is_english("THE SEAL OF THE PUMP IS WORN AND MUST BE REPLACED.")
    assert language.detect("42 + 7 = 49") == ""


SOURCES = {"sources": ("The seal is replaced every 400 hours of operation.", "Use part QX-2291."), "has_sources": True}


def test_citations_must_exist_and_support_what_is_said() -> None:
    rule = 'type="citations"\nper="sentence"\nmin_support=0.5'
    assert passes(rule, "The seal is replaced every 400 hours [1]. Use part QX-2291 [2].", **SOURCES)
    assert not passes(rule, "The seal is replaced every 400 hours. Use part QX-2291 [2].", **SOURCES)
    assert not passes(rule, "The seal is replaced every 400 hours [7].", **SOURCES)
    assert not passes(rule, "Elephants migrate through winter forests [1].", **SOURCES)


def test_quotes_and_numbers_must_stand_in_the_sources() -> None:
    assert passes('type="quote_exact"', 'It says "every 400 hours of operation".', **SOURCES)
    assert not passes('type="quote_exact"', 'It says "every 500 hours of operation".', **SOURCES)
    assert passes('type="numbers_in_sources"', "After 400 hours [1].", **SOURCES)
    assert not passes('type="numbers_in_sources"', "After 450 hours [1].", **SOURCES)


def test_without_sources_nothing_about_sources_is_passed() -> None:
    for rule in ('type="quote_exact"', 'type="numbers_in_sources"'):
        assert not passes(rule, 'It says "something of the sort" in 1999.')


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ('type="placeholder_left"', "See [1] and [docs](x).", "Dear [Your Name],"),
        ('type="placeholder_left"', "All is done.", "TODO: more"),
        ('type="repetition"', "It rained. It stopped.", "It rained on us. " * 6),
        ('type="dates"\nmin=1\nafter="2024-01-01"', "On 2024-02-29.", "On 2023-02-28."),
        ('type="dates"', "On 2024-02-29.", "On 2023-02-29."),
        ('type="dates"', "None.", "On 3/4/2024."),
        ('type="refusal"', "Here it is.", "I'm sorry, but I can't help with that."),
        ('type="readability"\nmin_ease=60', "The dog ran. It was fun. We all sat down.", "Notwithstanding organisational considerations, implementation necessitates multidimensional evaluation."),  # noqa: E501
        ('type="code_fence"\nlanguage="python"\nparses=true', "```python\nx = 1\n```", "```python\nx = = 1\n```"),
        ('type="markdown_valid"', "# A\n```\n#b |\n```\n[x](http://a)\n| a | b |\n|---|---|\n| 1 | 2 |", "```\nx = 1"),
        ('type="markdown_valid"', "Item #3 and ## b", "#Heading"),
        ('type="markdown_valid"', "[x](http://a) (b", "See [x](http://a and more."),
        ('type="markdown_valid"', "a | b\n| not a table |", "| a | b |\n|---|---|\n| 1 |"),
        ('type="bullets"\nmarker="-"', "- one\n  - two", "- one\n* two"),
        ('type="bullets"\nmax_depth=1', "- one\n- two", "- one\n  - two"),
        ('type="bullets"\nmax_depth=2\nmin=3', "- one\n  - two\n- three\n  - four", "- a\n  - b\n    - c"),
        ('type="keywords"\nwords=["pump"]\nposition="first_sentence"', "The pump ran. Well.", "Well. The pump ran."),
        ('type="keywords"\nwords=["pump"]\nposition="last_paragraph"', "Well.\n\nThe pump ran.", "The pump.\n\nWell."),
        ('type="toml"', "a = 1", "a = = 1"),
        ('type="table"\nwidth=2\nmin_rows=1', "| a | b |\n|---|---|\n| 1 | 2 |", "| a | b |\n|---|---|"),
        ('type="csv"\nwidth=2', 'a,"b, c"\n1,2', "a,b\n1"),
        ('type="url_allowlist"\nhosts=["example.org"]', "https://docs.example.org/a", "https://example.org.evil.example/a"),
        ('type="expr"\ntest="total == sum(items.price)"', '{"total": 3, "items": [{"price": 1}, {"price": 2}]}', '{"total": 4, "items": [{"price": 1}]}'),  # noqa: E501
        ('type="expr"\ntest="a > 1"', '{"a": 2}', '{"b": 2}'),
        ('type="template"\ntext="Answer: [x]\\nWhy: [y]"', "Answer: yes\nWhy: so", "Why: so\nAnswer: yes"),
        ('type="unique_words"\nmin=3', "a b c", "a a a b"),
        ('type="forbid"\nwords=["cat"]', "A category.", "A c\u200bat."),
        ('type="forbid"\nwords=["cat"]', "A dog.", "A ｃａｔ."),
    ],
)  # fmt: skip
def test_a_good_and_a_bad_text(rule: str, good: str, bad: str) -> None:
    assert passes(rule, good)
    assert not passes(rule, bad)


def test_json_is_taken_out_of_other_words() -> None:
    book = Rulebook.parse('[[rule]]\nid="j"\ntype="json"')
    for text in ('Sure!\n```json\n{"a": 1}\n```\nBye', 'Here: {"a": 1} as asked', '{"a": 1}\n\nHope this helps'):
        assert book.fix(text)[0] == '{"a": 1}'
    assert book.fix("no json at all")[0] == "no json at all"


def test_a_long_answer_is_cut_at_the_end_of_a_sentence() -> None:
    book = Rulebook.parse('[[rule]]\nid="w"\ntype="words"\nmax=8')
    text, fixed = book.fix("One two three four five. Six seven eight nine ten. More.")
    assert text == "One two three four five."
    assert fixed == {"w"}


def test_no_remote_reference_is_ever_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*args: object, **more: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    book = Rulebook.parse("[[rule]]\nid='s'\ntype='json_schema'\nschema='{\"$ref\": \"http://example.org/s.json\"}'")
    verdict = book.check("{}")
    assert not verdict.passed
    assert "could not be applied" in verdict.rules[0].reason
    assert Context().sources == ()
