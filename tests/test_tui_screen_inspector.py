"""The prompt inspector shows what was sent, and says what it can't show."""

from __future__ import annotations

from localllm.errors import EngineDied
from localllm_tui.screens.inspector import InspectorScreen, facts
from tests.tui_stage import Stage, screen_text, wait_until

PROMPT = "<|im_start|>user\nWhy? \x1b[31m[bold]\n<|im_end|>\n"


async def test_the_prompt_is_shown_as_it_is_with_its_length() -> None:
    copied: list[str] = []
    screen = InspectorScreen(lambda: PROMPT, n_ctx=8192, count_tokens=len, copy=copied.append)
    app = Stage(screen)
    async with app.run_test(size=(100, 30)) as pilot:
        await wait_until(pilot, lambda: "<|im_start|>user" in screen_text(app), "the prompt")
        shown = screen_text(app)
        assert f"about {len(PROMPT):,} tokens of 8,192" in shown
        assert "[bold]" in shown and "\x1b" not in shown
        await pilot.press("y")
        assert copied == [PROMPT]


async def test_before_the_first_question_it_says_so() -> None:
    app = Stage(InspectorScreen(lambda: ""))
    async with app.run_test(size=(100, 30)) as pilot:
        await wait_until(pilot, lambda: "Nothing was sent" in screen_text(app), "the remark")


async def test_a_dead_worker_is_said_in_one_line() -> None:
    def read() -> str:
        raise EngineDied("The model's process ended.", "Ask again.")

    app = Stage(InspectorScreen(read))
    async with app.run_test(size=(100, 30)) as pilot:
        await wait_until(pilot, lambda: "The model's process ended." in screen_text(app), "the failure")


def test_tokens_are_left_out_where_they_are_not_known() -> None:
    assert facts("abc", None, 100) == "3 characters"
