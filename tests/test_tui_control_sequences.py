"""Nothing that others wrote commands the terminal: not a model, a document, a file name, a title, or an error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.app import App

from localllm.assistant import Assistant
from localllm.errors import GenerationError, ModelLoadFailed
from localllm.events import Role
from localllm.history import ChatOptions, History, MessageState
from localllm.models.shelf import Model
from localllm.settings import Settings
from localllm_tui.screens.models import ModelsScreen
from localllm_tui.widgets.chat_list import ChatList
from tests.fakes import FakeEngine
from tests.test_assistant_seams import FakeGrounding, FakeLibrary
from tests.tui import Opened, opened

EVIL = "\x1b[2J\x1b]0;owned\x07\x1b]52;c;b3duZWQ=\x1b\\\x9b31m\x00\x08\u202e\u2066\U000e0041[bold red]E[/]\x1bPq\x1b\\"
FORBIDDEN = set("\x00\x07\x08\x1b\x9b\u202e\u2066\U000e0041")


def clean_everywhere(app: App[Any]) -> None:
    """What goes to the terminal: the text of every strip of every screen, without the codes that styles become."""
    for screen in app.screen_stack:
        for strip in screen._compositor.render_strips():
            for segment in strip:
                assert not FORBIDDEN & set(segment.text), segment.text
                assert segment.control is None or not segment.control


async def until_shown(here: Opened, text: str) -> None:
    await here.until(lambda: text in here.text(), text)
    clean_everywhere(here.app)


async def test_of_questions_answers_and_titles_of_the_model(tmp_path: Path) -> None:
    engine = FakeEngine([f"Said {EVIL} so.\n\n```py\n{EVIL}code\n```\n\n| a{EVIL} | b |\n|---|---|\n| {EVIL} | x |\n"])
    engine.title = "The title \x1b[2J\x9b31m\x07\u202e\x00said so"
    async with opened(tmp_path, engine) as here:
        await here.ask(f"Why {EVIL} said, title?")
        await until_shown(here, "Said")
        await here.until(lambda: here.history.chat(1).title.startswith("The title"), "the title of the model")
        await until_shown(here, "The title")
        here.history.rename(1, f"By hand {EVIL}")
        here.screen.refresh_title()
        await until_shown(here, "By hand")
        here.screen.query_one(ChatList).search("Why")
        await until_shown(here, "Why")
        await here.pilot.press("escape", "ctrl+k", *"byhand")
        await until_shown(here, "chat")


async def test_of_documents_their_names_and_the_notes_on_them(tmp_path: Path) -> None:
    grounding = FakeGrounding(notes=(f"Left out {EVIL}.",))
    passage = replace(
        grounding.passages[0],
        source=f"pu{EVIL}mp.md",
        title=EVIL,
        heading=f"Ser{EVIL}vice",
        text=f"Every {EVIL} 400 h.",
    )
    grounding.passages = (passage,)
    assistant = Assistant(
        FakeEngine([f"Every 400 hours {EVIL} [1]."]), history=History(None), library=FakeLibrary(grounding)
    )
    async with opened(tmp_path, assistant=assistant) as here:
        await here.ask("When?")
        await until_shown(here, "Left out")
        await here.pilot.press("shift+tab", "enter")
        await until_shown(here, "score")


@pytest.mark.parametrize("kind", ["load", "turn"])
async def test_of_errors_and_the_names_of_models(tmp_path: Path, kind: str) -> None:
    engine = FakeEngine([])
    engine._info = replace(engine.info, model=f"Mo{EVIL}del.Q4_0", quantization="Q4_0", notes=(f"Note {EVIL}",))

    def fail(*_: object, **__: object) -> Any:
        raise (ModelLoadFailed if kind == "load" else GenerationError)(f"Broken {EVIL} file.", f"Hint {EVIL}.")

    if kind == "turn":
        engine.stream = fail  # type: ignore[method-assign]
    assistant = Assistant(opener=fail) if kind == "load" else Assistant(engine)
    async with opened(tmp_path, assistant=assistant) as here:
        if kind == "turn":
            await here.ask("Hello?")
        await until_shown(here, "Broken")


async def test_of_names_of_libraries_rules_and_stored_answers(tmp_path: Path) -> None:
    with History(tmp_path / "history.db") as history:
        options = ChatOptions(docs=f"lib{EVIL}", rules=f"ru{EVIL}les")
        chat = history.create_chat(f"Old {EVIL}", options=options).id
        question = history.add_message(chat, Role.USER, f"Q {EVIL}")
        answer = history.add_message(chat, Role.ASSISTANT, f"A {EVIL}", parent=question.id, model=f"m{EVIL}.gguf")
        history.update_message(answer.id, state=MessageState.ERROR, reason=f"R {EVIL}", notes=(f"N {EVIL}",))
        history.save_draft(chat, f"draft {EVIL}")
    async with opened(tmp_path, settings=Settings()) as here:
        await until_shown(here, "Old")
        await until_shown(here, "draft")


async def test_of_a_message_that_is_edited_and_of_what_is_pasted(tmp_path: Path) -> None:
    async with opened(tmp_path, FakeEngine([f"An answer {EVIL} end."])) as here:
        await here.ask("Hello?")
        await here.pilot.press("shift+tab", "e")
        await until_shown(here, "Editing the answer")
        assert not FORBIDDEN & set(here.screen.prompt.text)
        await here.pilot.press("escape")
        here.screen.prompt.post_message(events.Paste(f"pasted {EVIL} text"))
        await until_shown(here, "pasted")
        assert not FORBIDDEN & set(here.screen.prompt.text)
        here.screen.action_rename()
        await until_shown(here, "Title of this chat")


async def test_of_names_of_files_on_the_models_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(f"Ti{EVIL}ny", f"/m/{EVIL}.gguf", f"app{EVIL}", 12, purpose="chat", problem=f"cut {EVIL} short")
    monkeypatch.setattr("localllm_tui.screens.models.list_models", lambda paths: [model])
    async with opened(tmp_path) as here:
        here.app.push_screen(ModelsScreen(here.screen.paths, Settings()))
        await until_shown(here, "short")


async def test_of_names_of_files_that_complete_a_mention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    try:
        Path("no\x1b[2Jtes\x07.txt").write_text("x")
    except OSError:
        pytest.skip("this file system has no such names")
    async with opened(tmp_path) as here:
        Path("notes.txt").write_text("x")
        await here.pilot.press(*"@no")
        await until_shown(here, "notes.txt")
