"""What the transcript may cost: counted widgets, and CPU time against stock Markdown widgets in the same run."""

from __future__ import annotations

from bench.transcript import Ours, Stock, cost, long_answers, rich_message, streamed
from localllm_tui.widgets.transcript import Transcript


async def test_sixty_rich_messages_have_at_most_eight_widgets_each() -> None:
    app = Ours([rich_message(n) for n in range(1, 61)])
    async with app.run_test(size=(100, 40)) as pilot:
        await app.fill()
        await pilot.pause()
        views = app.query_one(Transcript).views
        assert len(views) == 60
        for view in views:
            assert 1 + sum(1 for _ in view.walk_children()) - 1 <= 8
        assert sum(1 for _ in app.screen.walk_children()) <= 60 * 8 + 10


async def test_mounting_is_five_and_focus_ten_times_cheaper_than_stock_widgets() -> None:
    ours, stock = await cost(Ours, 20), await cost(Stock, 20)
    assert stock.mount >= 5 * ours.mount, (ours, stock)
    assert stock.focus >= 10 * ours.focus, (ours, stock)


async def test_a_streamed_table_loses_nothing_on_its_way_to_the_screen() -> None:
    run = await streamed(long_answers()["table"][:800])
    assert not run.lost
