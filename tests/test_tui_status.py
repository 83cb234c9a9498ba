"""The status line: what it says, and what it leaves out first where there is no room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from localllm.engine.protocol import EngineInfo
from localllm.events import Speculation, Stats
from localllm_tui.widgets.status_line import Status, bar, line_of

INFO = EngineInfo(
    model="SmolLM2-135M-Instruct.Q4_1", path=None, architecture="llama", quantization="Q4_1", n_params=135_000_000,
    n_ctx=8192, n_ctx_train=8192, n_layer=30, n_gpu_layers=0, n_threads=2,
)  # fmt: skip
STATS = Stats(500, 0, 199, 0.0, 0.1, 1.0, 8192, Speculation(100, 62, 90, 10, 1.3, "ngram"))
FULL = Status(info=INFO, stats=STATS, context_used=812, offline=True)


def test_everything_is_said_where_there_is_room() -> None:
    assert line_of(FULL, 200).plain == (
        "SmolLM2-135M-Instruct Q4_1 · CPU 2 threads · 198 tok/s · 1.3x by n-gram 62 % · first token 0.1 s"
        " · context ▓░░░░░░░ 812/8,192 · offline"
    )


def test_what_was_left_out_of_the_context_is_told() -> None:
    assert "3 left out" in line_of(Status(info=INFO, context_used=8000, dropped=3), 120).plain


def test_trouble_outlives_everything_else() -> None:
    assert line_of(Status(info=INFO, activity="no model", problem=True, stats=STATS), 12).plain == "no model"


@given(st.integers(1, 200))
def test_the_line_always_fits(width: int) -> None:
    assert line_of(FULL, width).cell_length <= width


def test_a_bar_shows_little_and_all() -> None:
    assert bar(0.0) == "░" * 8 and bar(0.001) == "▓" + "░" * 7 and bar(1.0) == "▓" * 8 and bar(2.0) == "▓" * 8
