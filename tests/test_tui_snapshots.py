"""The screen as text at the sizes it folds at; ``LOCALLLM_UPDATE_SNAPSHOTS=1`` writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fakes import FakeEngine
from tests.tui import opened

FOLDER = Path(__file__).parent / "snapshots"
ANSWER = """Check the **seal**: it is replaced every 400 hours of operation, and the part is `QX-2291`.

1. Stop the pump.
2. Open it:
   - slowly
   - with water at hand

```python
def hours(days: int) -> int:
    return days * 24
```

| part | hours | 名前 |
|---|---:|:---:|
| QX-2291 | 400 | 世界 |

> Remember $E = mc^2$.
"""


def settled(text: str) -> str:
    """Without the status line, whose figures differ from run to run."""
    return "\n".join(line.rstrip() for line in text.split("\n")[:-1]) + "\n"


@pytest.mark.parametrize("size", [(120, 40), (100, 30), (80, 24), (40, 24)], ids=lambda s: f"{s[0]}x{s[1]}")
async def test_the_screen_at_this_size(size: tuple[int, int], tmp_path: Path) -> None:
    async with opened(tmp_path, FakeEngine([ANSWER]), size=size) as here:
        await here.ask("When is the seal replaced?")
        await here.until(lambda: here.screen.transcript.at_end)
        await here.pilot.pause(0.1)
        shown = settled(here.text())
    path = FOLDER / f"chat-{size[0]}x{size[1]}.txt"
    if os.environ.get("LOCALLLM_UPDATE_SNAPSHOTS"):
        path.write_text(shown, "utf-8")
    assert shown == path.read_text("utf-8")


@pytest.mark.parametrize("size", [(80, 24), (40, 24)], ids=lambda s: f"{s[0]}x{s[1]}")
async def test_chats_lie_over_the_transcript_where_there_is_no_room(size: tuple[int, int], tmp_path: Path) -> None:
    async with opened(tmp_path, size=size) as here:
        await here.ask("Hello")
        assert not here.screen.chat_list.display
        await here.pilot.press("ctrl+l")
        await here.until(lambda: "Search" in here.text(), "the overlay")
        await here.pilot.press("escape")
        await here.until(lambda: not here.screen.chat_list.display, "its end")
        assert here.screen.prompt.has_focus
