"""The app: asking, stopping, going on, branches, chats, on a fake engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from textual.widgets import Input, OptionList

from localllm.assistant import Assistant
from localllm.engine.protocol import Cancel, Engine, EngineEvent, Request, TokenEvent
from localllm.errors import EngineDied, ModelNotFound
from localllm.events import Loading, Role, Stats
from localllm.history import History, MessageState
from localllm.settings import Paths, Settings
from localllm_tui.actions import ACTIONS
from localllm_tui.app import LocalLLMApp
from localllm_tui.screens.help import Help
from localllm_tui.screens.text_dialog import TextDialog
from localllm_tui.widgets.message_view import MessageView
from localllm_tui.widgets.welcome import Welcome
from tests.fakes import FakeEngine
from tests.tui import opened

LONG = "A sentence of an answer that goes on. " * 40


def slow(*answers: str, hold: int = 60) -> FakeEngine:
    """The first answer stands half done until it is stopped or released, however slow the machine is."""
    return FakeEngine(answers or (LONG,), seconds_per_token=0.004, hold=hold)


async def test_a_question_is_answered_on_the_screen(tmp_path: Path) -> None:
    async with opened(tmp_path, FakeEngine(["The **answer** is 42."])) as here:
        await here.ask("What is it?")
        assert "What is it?" in here.text()
        assert here.text().count("The answer is 42.") == 1
        assert [m.state for m in here.history.path(1)] == [MessageState.COMPLETE] * 2
        assert "tok/s" in here.text() and "Fake-1B Q4_0" in here.text() and "CPU 2 threads" in here.text()


async def test_stopping_keeps_the_text_and_marks_it(tmp_path: Path) -> None:
    async with opened(tmp_path, slow()) as here:
        here.screen.prompt.put("Go")
        await here.pilot.press("enter")
        await here.until(lambda: here.screen.turn and here.screen.turn.n_tokens > 40, "some text")
        await here.pilot.press("escape", "escape")
        await here.until(lambda: here.screen.turn is None, "the end")
        answer = here.history.path(1)[-1]
        assert answer.state is MessageState.STOPPED and 40 < len(answer.content) < len(LONG)
        assert "Stopped. The text is kept." in here.text()
        assert here.screen.transcript.views[-1].text == answer.content


async def test_a_stopped_answer_is_continued_in_place(tmp_path: Path) -> None:
    async with opened(tmp_path, slow("one two three " * 60, "and four.")) as here:
        here.screen.prompt.put("Count")
        await here.pilot.press("enter")
        await here.until(lambda: here.screen.turn and here.screen.turn.n_tokens > 40)
        await here.pilot.press("escape")
        await here.until(lambda: here.screen.turn is None)
        before = here.history.path(1)[-1].content
        await here.pilot.press("alt+c")
        await here.until(lambda: here.screen.turn is None and here.history.path(1)[-1].content != before, "going on")
        await here.until(lambda: here.screen.transcript.views[-1].text == before + "and four.", "the whole text")
        assert len(here.history.messages(1)) == 2


async def test_an_answer_made_again_stands_beside_the_first(tmp_path: Path) -> None:
    async with opened(tmp_path, FakeEngine(["First answer.", "Second answer."])) as here:
        await here.ask("Say")
        await here.pilot.press("alt+a")
        await here.until(lambda: here.screen.turn is None and "Second answer." in here.text(), "the second answer")
        assert "‹ 2/2 ›" in here.text()
        await here.pilot.press("shift+tab", "up", "down", "left_square_bracket")
        await here.until(lambda: "First answer." in here.text(), "the first branch")
        assert "‹ 1/2 ›" in here.text() and "Second answer." not in here.text()
        await here.pilot.press("right_square_bracket")
        await here.until(lambda: "Second answer." in here.text(), "the second branch")


async def test_a_branch_is_switched_with_the_mouse(tmp_path: Path) -> None:
    async with opened(tmp_path, FakeEngine(["First answer.", "Second answer."])) as here:
        await here.ask("Say")
        await here.pilot.press("alt+a")
        await here.until(lambda: here.screen.turn is None and "‹ 2/2 ›" in here.text(), "the switcher")
        lines = here.text().split("\n")
        y = next(n for n, line in enumerate(lines) if "‹" in line)
        await here.pilot.click(offset=(lines[y].index("‹"), y))
        await here.until(lambda: "First answer." in here.text(), "the first branch")


async def test_an_edited_question_branches_off_and_nothing_is_lost(tmp_path: Path) -> None:
    async with opened(tmp_path, FakeEngine(["Paris.", "Rome."])) as here:
        await here.ask("Capital of France?")
        here.screen.prompt.put("half a thought")
        await here.pilot.press("alt+e")
        assert here.screen.prompt.text == "Capital of France?" and "Editing your question" in here.text()
        here.screen.prompt.put("Capital of Italy?")
        await here.pilot.press("enter")
        await here.until(lambda: here.screen.turn is None and "Rome." in here.text(), "the new branch")
        assert "Paris." not in here.text() and "‹ 2/2 ›" in here.text()
        assert here.screen.prompt.text == "half a thought"
        assert {m.content for m in here.history.messages(1)} == {
            "Capital of France?",
            "Paris.",
            "Capital of Italy?",
            "Rome.",
        }


async def test_leaving_an_edit_gives_the_prompt_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        await here.ask("One")
        here.screen.prompt.put("mine")
        await here.pilot.press("alt+e", "escape")
        assert here.screen.prompt.text == "mine" and here.screen.editing is None


async def test_an_edited_answer_is_continued(tmp_path: Path) -> None:
    engine = FakeEngine(["The sky is green.", " because of scattering."])
    async with opened(tmp_path, engine) as here:
        await here.ask("Why?")
        await here.pilot.press("shift+tab", "e")
        assert "Editing the answer" in here.text()
        here.screen.prompt.put("The sky is blue")
        await here.pilot.press("enter")
        await here.until(lambda: "The sky is blue" in here.text(), "the edited answer")
        await here.pilot.press("alt+c")
        await here.until(
            lambda: here.history.path(1)[-1].content == "The sky is blue because of scattering.", "the rest"
        )
        assert engine.requests[-1].prefix == "The sky is blue"


async def test_prompts_wait_while_an_answer_is_written(tmp_path: Path) -> None:
    engine = slow("First. " * 80, "Second.", "Third.")
    async with opened(tmp_path, engine) as here:
        here.screen.prompt.put("1")
        await here.pilot.press("enter")
        await here.until(lambda: here.screen.turn and here.screen.turn.n_tokens > 4)
        for text in ("2", "3"):
            here.screen.prompt.put(text)
            await here.pilot.press("enter")
        assert here.screen.queue == ["2", "3"] and "Waiting:" in here.text()
        engine.release.set()
        await here.until(lambda: "Third." in here.text() and here.screen.turn is None, "all three")
        assert [m.content for m in here.history.path(1) if m.role is Role.USER] == ["1", "2", "3"]


async def test_stopping_gives_waiting_prompts_back(tmp_path: Path) -> None:
    async with opened(tmp_path, slow()) as here:
        here.screen.prompt.put("1")
        await here.pilot.press("enter")
        await here.until(lambda: here.screen.turn and here.screen.turn.n_tokens > 4)
        here.screen.prompt.put("2")
        await here.pilot.press("enter", "escape")
        await here.until(lambda: here.screen.turn is None)
        assert here.screen.prompt.text == "2" and not here.screen.queue


async def test_nothing_is_drawn_while_the_user_reads_further_up(tmp_path: Path) -> None:
    engine = slow("A line.\n\n" * 200)
    async with opened(tmp_path, engine, size=(80, 24)) as here:
        here.screen.prompt.put("Go")
        await here.pilot.press("enter")
        await here.until(lambda: here.screen.transcript.max_scroll_y > 5, "enough text")
        here.screen.transcript.scroll_home(animate=False)
        await here.pilot.pause()
        engine.release.set()
        await here.until(lambda: "below, End shows them" in here.text(), "the line that says so")
        view, rows = here.screen.transcript.views[-1], here.screen.transcript.views[-1].size.height
        await here.pilot.pause(0.2)
        assert view.size.height == rows and here.screen.transcript.scroll_offset.y == 0
        await here.screen.action_bottom()
        await here.until(lambda: view.size.height > rows and here.screen.transcript.at_end, "catching up")
        await here.pilot.press("escape")
        await here.until(lambda: here.screen.turn is None)
        assert view.text == here.history.path(1)[-1].content


async def test_the_last_chat_and_the_draft_are_there_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path, FakeEngine(["Remember me."])) as here:
        await here.ask("Hello")
        here.screen.prompt.put("not sent yet")
        await here.pilot.press("ctrl+q")
        assert here.app.return_code == 0
    async with opened(tmp_path) as here:
        assert "Remember me." in here.text() and here.screen.prompt.text == "not sent yet"


async def test_a_second_app_works_beside_the_first(tmp_path: Path) -> None:
    async with opened(tmp_path, FakeEngine(["One."])) as first:
        await first.ask("Hello")
        async with opened(tmp_path, FakeEngine(["Two."])) as second:
            await second.ask("And again")
            await second.pilot.press("ctrl+n")
            await second.ask("Another chat")
        assert len(first.history.chats()) == 2


async def test_a_temporary_chat_leaves_nothing_behind(tmp_path: Path) -> None:
    async with opened(tmp_path, FakeEngine(["Secret answer."])) as here:
        await here.pilot.press("alt+t")
        await here.ask("Secret question")
        assert "Secret answer." in here.text() and "temporary" in here.text()
        assert here.history.chats() == []
        await here.pilot.press("ctrl+n")
        assert "Secret" not in here.text()
    assert b"Secret" not in (tmp_path / "history.db").read_bytes()


async def test_chats_are_searched_opened_renamed_forked_deleted_and_brought_back(tmp_path: Path) -> None:
    async with opened(tmp_path, FakeEngine(["About pumps.", "About bread."])) as here:
        await here.ask("Pumps?")
        await here.pilot.press("ctrl+n")
        await here.ask("Bread?")
        await here.pilot.press("ctrl+f")
        await here.until(lambda: here.screen.chat_list.query_one(Input).has_focus)
        await here.pilot.press(*"pumps", "enter")
        await here.until(lambda: "About pumps." in here.text(), "the chat found")
        here.screen.chat_list.query_one(Input).value = ""
        here.screen.prompt.put("/rename Water")
        await here.pilot.press("enter")
        await here.until(lambda: here.history.chat("Water"), "the new title")
        here.screen.prompt.put("/fork")
        await here.pilot.press("enter")
        await here.until(lambda: len(here.history.chats()) == 3, "the fork")
        await here.until(lambda: "Water (fork)" in here.text())
        await here.pilot.press("alt+d")
        await here.until(lambda: len(here.history.chats()) == 2, "deletion")
        await here.pilot.press("alt+z")
        await here.until(lambda: len(here.history.chats()) == 3 and "Water (fork)" in here.text(), "undo")


async def test_files_are_attached_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("The code is 1234.")
    engine = FakeEngine(["Read."])
    async with opened(tmp_path / "home", engine) as here:
        await here.pilot.press(*"Look at @no")
        await here.until(lambda: here.screen.completions.has_class("-on"), "completions")
        await here.pilot.press("tab")
        assert here.screen.prompt.text == "Look at @notes.txt "
        await here.pilot.press("enter")
        await here.until(lambda: here.screen.turn is None and "Read." in here.text())
        assert "The code is 1234." in engine.requests[0].messages[-1].content


async def test_commands_complete_and_unknown_ones_are_told(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        await here.pilot.press(*"/hel")
        await here.until(lambda: here.screen.completions.has_class("-on"))
        await here.pilot.press("enter")
        await here.until(lambda: isinstance(here.app.screen, Help), "help")
        await here.pilot.press("escape")
        here.screen.prompt.put("/nonsense")
        await here.pilot.press("enter")
        assert here.screen.prompt.text == "/nonsense" and not here.history.chats()
        await here.ask(" /nonsense as text")
        assert here.history.path(1)[0].content.strip() == "/nonsense as text"


async def test_words_are_found_in_the_chat(tmp_path: Path) -> None:
    async with opened(tmp_path, FakeEngine(["Apples.", "Pears."])) as here:
        await here.ask("One")
        await here.ask("Two")
        await here.pilot.press("shift+tab", "slash")
        await here.until(lambda: isinstance(here.app.screen, TextDialog))
        await here.pilot.press(*"apples", "enter")
        await here.until(lambda: (v := here.screen.transcript.focused_view) and v.text == "Apples.", "the place")


async def test_a_chat_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened(tmp_path / "home", FakeEngine(["Exported text."])) as here:
        await here.ask("A title")
        here.screen.prompt.put("/export html")
        await here.pilot.press("enter")
        await here.until(lambda: (tmp_path / "A title.html").exists(), "the file")
        assert "Exported text." in (tmp_path / "A title.html").read_text()


async def test_the_worker_may_die_and_the_next_message_starts_another(tmp_path: Path) -> None:
    class Dying(FakeEngine):
        def stream(self, request: Request, cancel: Cancel | None = None) -> Iterator[EngineEvent]:
            yield TokenEvent("Half an ans", (1, 2))
            raise EngineDied("The model's process ended unexpectedly: killed.", "Ask again to start it anew.")

    opens: list[int] = []

    def opener(report: Callable[[Loading], None]) -> Engine:
        opens.append(1)
        return Dying() if len(opens) == 1 else FakeEngine(["A whole answer."])

    async with opened(tmp_path, assistant=Assistant(opener=opener, history=History(None))) as here:
        await here.ask("Go")
        assert "Half an ans" in here.text() and "ended unexpectedly" in here.text()
        await here.ask("Again")
        assert "A whole answer." in here.text() and len(opens) == 2


async def test_the_screen_is_usable_while_the_model_loads(tmp_path: Path) -> None:
    gate = threading.Event()

    def opener(report: Callable[[Loading], None]) -> Engine:
        report(Loading("Big", 0.4))
        gate.wait(300)
        return FakeEngine(["At last."])

    async with opened(tmp_path, assistant=Assistant(opener=opener, history=History(None)), loaded=False) as here:
        await here.until(lambda: "loading Big 40 %" in here.text(), "the progress")
        await here.pilot.press(*"typed early")
        assert here.screen.prompt.text == "typed early"
        await here.pilot.press("enter")
        await here.until(lambda: "typed early" in here.text() and here.screen.turn)
        gate.set()
        await here.until(lambda: "At last." in here.text(), "the answer")


async def test_without_a_model_the_starter_is_offered(tmp_path: Path) -> None:
    def opener(report: Callable[[Loading], None]) -> Engine:
        raise ModelNotFound("There is no model on this computer yet.", "Get one.")

    async with opened(tmp_path, assistant=Assistant(opener=opener, history=History(None))) as here:
        assert "There is no model on this computer yet." in here.text()
        assert "Press Enter to get the starter" in here.text()
        pressed: list[str] = []
        here.screen.action_get_starter = lambda: pressed.append("yes")  # type: ignore[method-assign]
        await here.pilot.press("enter")
        await here.until(lambda: pressed, "the download")


async def test_control_sequences_of_a_model_never_reach_the_terminal(tmp_path: Path) -> None:
    async with opened(
        tmp_path, FakeEngine(["a\x1b[31mred\x1b[0m \x1b]0;title\x07[bold]markup[/bold] \u202eend"])
    ) as here:
        await here.ask("[red]x[/red]\x1b[2J")
        shown = here.text()
        assert "\x1b" not in shown and "\u202e" not in shown and "\x07" not in shown
        assert "ared [bold]markup[/bold] end" in shown and "[red]x[/red]" in shown


async def test_reasoning_is_folded_away(tmp_path: Path) -> None:
    async with opened(tmp_path, FakeEngine(["<think>Let me see now.</think>\n\nSeven."])) as here:
        await here.ask("3 + 4?")
        assert "▸ Thought" in here.text() and "4 words" in here.text() and "Let me see" not in here.text()
        await here.pilot.press("shift+tab", "t")
        assert "Let me see now." in here.text()
        assert here.screen.transcript.views[-1].text == "Seven."


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0, "▸ Thought, 4 words"), (12.3, "▸ Thought for 12 s, 4"), (125.0, "▸ Thought for 2 min 5 s")],
)
async def test_reasoning_says_how_long_it_took_after_a_restart_too(tmp_path: Path, seconds: float, said: str) -> None:
    async with opened(tmp_path, FakeEngine(["<think>Let me see now.</think>\n\nSeven."])) as here:
        await here.ask("3 + 4?")
        here.history.update_message(here.history.path(1)[-1].id, stats=Stats(thinking_seconds=seconds))
    async with opened(tmp_path) as here:
        await here.until(lambda: said in here.text(), said)


async def test_keys_change_at_once_and_are_kept(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        await here.ask("One")
        here.screen.prompt.put("/keys vim")
        await here.pilot.press("enter")
        await here.until(lambda: here.screen.key_set == "vim")
        await here.pilot.press("escape")
        assert isinstance(here.app.focused, MessageView)
        await here.pilot.press("k")
        assert here.screen.transcript.focused_view is here.screen.transcript.views[0]
        await here.pilot.press("i")
        assert here.screen.prompt.has_focus
    assert 'keys = "vim"' in (tmp_path / "config.toml").read_text()


async def test_every_action_has_a_method_and_is_in_the_palette(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        for action in ACTIONS:
            assert callable(getattr(here.screen, f"action_{action.id}", None)), action.id
        await here.pilot.press("ctrl+k")
        await here.until(lambda: here.app.screen.query(OptionList), "the palette")
        await here.pilot.press(*"rename")
        await here.until(lambda: "Rename this chat" in here.text(), "the action in the palette")


async def test_the_welcome_says_what_to_do(tmp_path: Path) -> None:
    async with opened(tmp_path, settings=Settings(offline=True)) as here:
        assert len(here.screen.query(Welcome)) == 1
        assert "Fake-1B.Q4_0 is ready." in here.text() and "offline" in here.text()


async def test_arrow_keys_go_from_message_to_message(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        await here.ask("One")
        await here.pilot.press("shift+tab", "up")
        assert here.screen.transcript.focused_view is here.screen.transcript.views[0]
        await here.pilot.press("down", "down")
        assert here.screen.prompt.has_focus


async def test_a_command_typed_faster_than_its_completions_is_the_one_that_runs(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        await here.ask("One")
        here.screen.prompt.insert("/")
        await here.until(lambda: here.screen.completions.has_class("-on"))
        here.screen.prompt.insert("new")  # the list still stands for "/"
        here.screen.prompt.completing = True
        await here.pilot.press("enter")
        await here.until(lambda: len(here.screen.query(Welcome)) == 1, "the new chat")


async def test_a_mistake_inside_the_app_is_one_line_and_a_log_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = Paths(tmp_path, tmp_path / "config.toml", tmp_path)
    with History(paths.history) as history:
        app = LocalLLMApp(Settings(), paths, Assistant(FakeEngine(), history=history))

        def fail() -> None:
            raise RuntimeError("a mistake")

        with pytest.raises(RuntimeError):
            async with app.run_test() as pilot:
                app.call_later(fail)
                await pilot.pause(0.2)
    assert "a mistake" in (tmp_path / "logs" / "app.log").read_text()
    said = capsys.readouterr().err
    assert "Something went wrong inside the app" in said and "Traceback" not in said


async def test_the_row_of_keys_follows_the_focus_and_long_titles_end_in_dots(tmp_path: Path) -> None:
    async with opened(tmp_path, size=(40, 20)) as here:
        assert "/ commands" in here.text(), "the whole of the placeholder"
        await here.ask("Explain in three sentences why the sky is blue and the sunset is red")
        title = here.text().split("\n")[0]
        assert title.startswith("Explain in three") and title.endswith("…")
        assert "Enter send" in here.text()
        await here.pilot.press("shift+tab")
        await here.until(lambda: "↑ up" in here.text() and "Enter send" not in here.text(), "the keys of messages")
        await here.pilot.press("escape")
        await here.until(lambda: "Enter send" in here.text() and "↑ up" not in here.text(), "the keys of the prompt")
