"""Answers checked against their passages: citations, quotes, numbers, names."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localllm.events import Passage, SupportState
from localllm.rag.grounding import check, facts_in, quote_remarks
from localllm.rag.quotes import find_quote, folded, quotes_in
from localllm.rag.sentences import sentence_spans

PUMP = "Replace the seal every 400 hours of operation. Use part QX-2291.\nNever run the pump dry."
BRIDGE = "The bridge was opened in 1932 by Anna Keller. It is 1,503 metres long."


def passage(n: int, text: str, start: int = 0, line: int = 1) -> Passage:
    return Passage(n, f"/docs/{n}.md", f"File {n}", "", None, line, start, start + len(text), 0.5, text)


PASSAGES = (passage(1, PUMP, start=100, line=9), passage(2, BRIDGE))


def marked(answer: str, question: str = "") -> tuple[str, list[int], list[str]]:
    """The text, the numbers cited, and what is marked as unsupported."""
    result = check(answer, PASSAGES, question=question)
    return result.text, [c.n for c in result.citations], [result.text[s.start : s.end] for s in result.unsupported]


def test_a_true_sentence_with_its_mark_stays_as_it_is() -> None:
    text, cited, unsupported = marked("The seal is replaced every 400 hours of operation [1].")
    assert text == "The seal is replaced every 400 hours of operation [1]."
    assert (cited, unsupported) == ([1], [])


def test_a_citation_points_at_the_exact_sentence_in_the_document() -> None:
    (citation,) = check("Never run it dry, the pump [1].", PASSAGES).citations
    assert citation.quote == "Never run the pump dry."
    at = PUMP.index("Never")
    assert (citation.start, citation.end) == (100 + at, 100 + len(PUMP))
    assert citation.line == 10
    assert citation.state is SupportState.VERIFIED


def test_a_missing_mark_is_added() -> None:
    text, cited, unsupported = marked("The bridge was opened in 1932.")
    assert text == "The bridge was opened in 1932 [2]."
    assert (cited, unsupported) == ([2], [])


def test_marks_of_passages_that_do_not_exist_are_dropped() -> None:
    result = check("The bridge was opened in 1932 [7][2].", PASSAGES)
    assert result.text == "The bridge was opened in 1932 [2]."
    assert result.dropped_marks == 1


def test_a_wrong_mark_is_replaced_by_the_passage_that_says_it() -> None:
    text, cited, _ = marked("The bridge was opened in 1932 [1].")
    assert (text, cited) == ("The bridge was opened in 1932 [2].", [2])


def test_an_invented_sentence_is_marked_and_nothing_else() -> None:
    text, cited, unsupported = marked("The bridge was opened in 1932 [2]. Cats enjoy long walks in the rain.")
    assert unsupported == ["Cats enjoy long walks in the rain."]
    assert cited == [2]
    assert text.endswith("Cats enjoy long walks in the rain.")


def test_an_answer_without_any_support_is_not_in_the_documents() -> None:
    assert not check("Paris is the capital of France.", PASSAGES).supported
    assert check("The seal is replaced every 400 hours.", PASSAGES).supported


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ("The bridge was opened in 1933 [2].", "1933"),
        ("The seal is replaced every 300 hours of operation [1].", "300"),
        ("The bridge is 1,530 metres long [2].", "1,530"),
    ],
)
def test_a_wrong_number_is_never_supported(answer: str, wrong: str) -> None:
    _, _, unsupported = marked(answer)
    assert any(wrong in span for span in unsupported)


def test_a_wrong_name_is_marked() -> None:
    _, _, unsupported = marked("The bridge was opened in 1932 by Anna Miller [2].")
    assert unsupported == ["Miller"]


def test_numbers_are_the_same_however_they_are_written() -> None:
    assert marked("The bridge is 1503 metres long [2].")[2] == []


def test_names_of_the_question_are_not_claims() -> None:
    assert marked("For Mr Smith: replace the seal every 400 hours of operation [1].", "What does Smith do?")[2] == []


def test_facts_are_numbers_and_names() -> None:
    assert facts_in("The bridge of Anna Keller opened on 3 May 1932.") == ["3", "1932", "Anna", "Keller", "May"]


def test_a_quote_is_found_despite_typography() -> None:
    text = "It said: the co\u00adoperation of “Smith” and Jones—a ﬁne inter-\nnational   effort—ended."
    match = find_quote(
        "\"the COOPERATION of 'Smith' and Jones-a fine international effort\"".strip('"'),
        text.replace("“", "‘").replace("”", "’"),
    )
    assert match.state is SupportState.VERIFIED
    assert text[match.start : match.end].startswith("the co")
    assert text[match.start : match.end].endswith("effort")


def test_a_near_quote_shows_what_differs() -> None:
    match = find_quote(
        "Replace the seal after every 400 hours of operation and use part QX-2291",
        "Replace the seal every 400 hours of operation and use part QX-2291.",
    )
    assert match.state is SupportState.NEAR
    assert "[-after-]" in match.diff


def test_the_reader_is_told_what_a_quote_changes_and_which_is_nowhere() -> None:
    source = "Replace the worn seal every 400 hours of operation and write the date into the log."
    near = "replace the old seal every 400 hours of operation and write the date into the log"
    answer = f'It says "{near}" [1]. It says "paint the whole pump bright red" [1]. It says "every 400 hours" [1].'
    remarks = quote_remarks(check(answer, (passage(1, source),)))
    assert len(remarks) == 2
    assert "passage 1" in remarks[0] and "replace the [-old-] {+worn+} seal every" in remarks[0]
    assert remarks[1] == "The quote “paint the whole pump bright red” stands in no passage."


@pytest.mark.parametrize(
    "quote",
    [
        "Replace the seal every 500 hours of operation. Use part QX-2291.",
        "Never replace the seal every 400 hours of operation. Use part QX-2291.",
        "A sentence that stands nowhere at all in this text",
    ],
)
def test_numbers_and_negations_must_agree(quote: str) -> None:
    assert find_quote(quote, PUMP.split("\n")[0]).state is SupportState.NOT_FOUND


def test_a_quote_that_leaves_out_the_negation_is_not_near() -> None:
    text = "The committee did not find any evidence that the seal was ever replaced by the operator."
    quote = "The committee did find any evidence that the seal was ever replaced by the operator"
    assert find_quote(quote, text).state is SupportState.NOT_FOUND


def test_invented_quotes_are_marked() -> None:
    result = check('The manual says "replace the seal every day of the week" [1].', PASSAGES)
    (quote,) = result.quotes
    assert quote.n is None
    assert any(s.start <= quote.span.start and quote.span.end <= s.end for s in result.unsupported)
    (quote,) = check('The manual says "Replace the seal every 400 hours" [1].', PASSAGES).quotes
    assert quote.n == 1


@given(st.text(max_size=80))
def test_folding_keeps_a_map_to_the_original(text: str) -> None:
    plain, offsets = folded(text)
    assert len(plain) == len(offsets)
    assert offsets == sorted(offsets)
    assert all(0 <= i < len(text) for i in offsets)


@given(st.text(alphabet="ab cdé-“”'.\n12ﬁ", min_size=5, max_size=80), st.data())
def test_every_piece_of_a_text_is_found_in_it(text: str, data: st.DataObject) -> None:
    a = data.draw(st.integers(0, len(text) - 1))
    b = data.draw(st.integers(a + 1, len(text)))
    if folded(text[a:b])[0].strip(" .,;:…") in folded(text)[0] and folded(text[a:b])[0].strip(" .,;:…"):
        assert find_quote(text[a:b], text).state is SupportState.VERIFIED


@given(st.text(alphabet='ab. \n!?[1]2"Dr', max_size=80))
def test_sentences_lose_no_letter(text: str) -> None:
    spans = sentence_spans(text)
    assert all(a < b for a, b in spans)
    assert all(x[1] <= y[0] for x, y in pairwise(spans))
    assert "".join("".join(text[a:b].split()) for a, b in spans) == "".join(text.split())


@given(st.text(alphabet='The bridge was opened 1932[]2.\n"', max_size=120))
def test_spans_lie_inside_the_answer_and_marks_match_citations(answer: str) -> None:
    result = check(answer, PASSAGES)
    for span in result.unsupported:
        assert 0 <= span.start < span.end <= len(result.text)
    assert {c.n for c in result.citations} <= {1, 2}


def test_abbreviations_do_not_end_a_sentence() -> None:
    text = "Dr. Keller opened it. See Fig. 3 for more. It was 1932!"
    assert [text[a:b] for a, b in sentence_spans(text)] == [
        "Dr. Keller opened it.",
        "See Fig. 3 for more.",
        "It was 1932!",
    ]


def test_quotations_are_found_in_an_answer() -> None:
    text = 'He said "this is a long quote" and “so is this one here”, not "this".'
    assert [text[a:b] for a, b in quotes_in(text)] == ["this is a long quote", "so is this one here"]
