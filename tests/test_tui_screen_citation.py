"""A citation opened: the passage in its document, the cited words marked, no control sequence let through."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localllm.events import Citation, Passage, Role, SupportState
from localllm.history import MessageState, StoredMessage
from localllm_tui.screens.citation import CitationScreen, at_home, facts, passage_text
from tests.tui_stage import Stage, screen_text, wait_until

DOCUMENT = (
    "Pump manual.\n" + "Filler line.\n" * 200 + "Replace the seal every 400 hours. Use part QX-2291.\n" + "End.\n" * 50
)
START = DOCUMENT.index("Replace")
TEXT = "Replace the seal every 400 hours. Use part QX-2291."
PASSAGE = Passage(1, "docs/pump.md", "pump", "Service", None, 202, START, START + len(TEXT), 0.82, TEXT)
OTHER = Passage(2, "docs/holidays.txt", "holidays", "", 3, 1, 0, 9, 0.4, "Holidays.")
CITED = Citation(1, "docs/pump.md", None, 202, START, START + 33, TEXT[:33], SupportState.VERIFIED)


def answer(*citations: Citation) -> StoredMessage:
    return StoredMessage(
        1, 1, None, Role.ASSISTANT, "Every 400 hours [1].", MessageState.COMPLETE, 0.0,
        citations=citations, passages=(PASSAGE, OTHER),
    )  # fmt: skip


def marked(citations: list[Citation], document: str | None = DOCUMENT) -> list[str]:
    text, _ = passage_text(PASSAGE, citations, document)
    return [text.plain[s.start : s.end] for s in text.spans if "underline" in str(s.style)]


async def test_the_cited_words_stand_in_their_document_and_in_sight() -> None:
    app = Stage(CitationScreen(answer(CITED), 1, lambda passage: DOCUMENT))
    async with app.run_test(size=(100, 30)) as pilot:
        await wait_until(pilot, lambda: "Replace the seal" in screen_text(app), "the passage in sight")
        shown = screen_text(app)
        assert "Filler line." in shown and "docs/pump.md" in shown and "1 of 2" in shown
        assert "Service, line 202, score 0.82" in shown and "✓ verified" in shown


async def test_n_and_p_walk_through_the_sources() -> None:
    app = Stage(CitationScreen(answer(CITED), 1))
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("n")
        await wait_until(pilot, lambda: "holidays.txt" in screen_text(app), "the second source")
        assert "not used in the answer" in screen_text(app) and "page 3" in screen_text(app)
        await pilot.press("n")
        await wait_until(pilot, lambda: "pump.md" in screen_text(app), "the first again")
        await pilot.press("escape")
        await wait_until(pilot, lambda: app.results == [1], "the end, and which one was shown last")


async def test_a_path_longer_than_the_window_hides_no_file_name() -> None:
    long = replace(OTHER, source=f"/{'deep/' * 30}garden.txt")
    app = Stage(CitationScreen(replace(answer(), passages=(PASSAGE, long)), 2))
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_until(pilot, lambda: "[2] garden.txt   2 of 2" in screen_text(app), "the name in the title")
        assert screen_text(app).count("garden.txt") == 2, "and the whole path below it"


def test_a_path_in_the_home_folder_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("USERPROFILE", "/home/ada")
    assert at_home("/home/ada/manuals/pump.md") == "~/manuals/pump.md"
    assert at_home("/home/adam/pump.md") == "/home/adam/pump.md" and at_home("pump.md") == "pump.md"


def test_exactly_the_cited_span_is_marked() -> None:
    assert marked([CITED]) == ["Replace the seal every 400 hours."]
    assert marked([]) == []


def test_a_span_that_is_out_of_step_is_found_by_its_words() -> None:
    moved = Citation(1, "docs/pump.md", None, 202, 5, 9, "Use part QX-2291.", SupportState.NEAR)
    assert marked([moved]) == ["Use part QX-2291."]


def test_a_document_that_changed_since_leaves_the_passage_alone() -> None:
    text, first = passage_text(PASSAGE, [CITED], "Something else entirely.")
    assert text.plain == TEXT and first == 0


def test_an_answer_without_its_passages_shows_the_quotes() -> None:
    assert passage_text(None, [CITED], None)[0].plain == CITED.quote


@pytest.mark.parametrize("state", list(SupportState))
def test_each_state_is_a_word(state: SupportState) -> None:
    citation = Citation(1, "s", None, 1, 0, 1, "q", state)
    assert state.value.replace("_", " ") in facts(PASSAGE, [citation]).plain


@given(st.text(alphabet="ab\x1b[]\x07\r\u202e\x9bm;", max_size=60), st.integers(0, 60), st.integers(0, 60))
def test_no_control_sequence_of_a_document_gets_through(text: str, a: int, b: int) -> None:
    start, end = sorted((min(a, len(text)), min(b, len(text))))
    passage = Passage(1, "s", "t", "", None, 1, 10, 10 + len(text), 0.5, text)
    citation = Citation(1, "s", None, 1, 10 + start, 10 + end, text[start:end], SupportState.VERIFIED)
    shown, first = passage_text(passage, [citation], "\x1b[2J" + "x" * 6 + text + "\u202eafter")
    assert not set(shown.plain) & set("\x1b\x07\x9b\u202e\r")
    assert 0 <= first <= len(shown.plain)
