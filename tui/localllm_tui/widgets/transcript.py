"""The transcript: the messages of the active branch, the newest in sight."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widgets import Static

from localllm.history import StoredMessage
from localllm_tui.actions import bindings
from localllm_tui.widgets.message_view import MessageView


class Transcript(VerticalScroll, can_focus=False, inherit_bindings=False):
    """Holds one `MessageView` per message."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("transcript"),
        *[Binding(str(n), f"screen.citation({n})", f"Source {n}", show=False) for n in range(1, 10)],
    ]

    BLANK = True  # nothing but the messages is drawn

    class Behind(Message):
        """Text waits below while the user reads further up; 0 lines when all is drawn."""

        def __init__(self, lines: int) -> None:
            super().__init__()
            self.lines = lines

    class Earlier(Message):
        """The user asked for earlier messages."""

    class Later(Message):
        """The user asked for later messages."""

    def __init__(self) -> None:
        super().__init__(id="transcript")
        self.views: list[MessageView] = []
        self.speaker = ""
        """Name over answers whose model is not known yet."""
        self.following = True
        """New rows scroll into sight; false once the user has scrolled up."""
        self._waiting = 0
        self._pending: MessageView | None = None
        self._selected_from: int | None = None
        """The message where the selection begins; it ends at the one in focus."""

    async def fill(
        self, messages: list[tuple[StoredMessage, tuple[int, int]]], n_earlier: int = 0, n_later: int = 0
    ) -> None:
        """Show these messages, and that `n_earlier` more stand before them and `n_later` behind."""
        with self.app.batch_update():
            await self.remove_children()
            self.views = [MessageView(message, place, self.speaker) for message, place in messages]
            self._pending, self._waiting = None, 0
            widgets: list[Static | MessageView] = list(self.views)
            if n_earlier:
                widgets.insert(0, MoreLink(f"↑ {n_earlier:,} earlier messages", self.Earlier))
            if n_later:
                widgets.append(MoreLink(f"↓ {n_later:,} later messages", self.Later))
            await self.mount_all(widgets)
        self.follow()
        self.post_message(self.Behind(0))

    async def add(self, message: StoredMessage, place: tuple[int, int]) -> MessageView:
        """Append one message and go to the end."""
        view = MessageView(message, place, self.speaker)
        self.views.append(view)
        await self.mount(view)
        self.follow()
        return view

    async def cut(self, n: int) -> None:
        """Keep the first `n` messages only."""
        gone, self.views[n:] = self.views[n:], []
        if gone:
            await self.remove_children(gone)

    def view_of(self, message_id: int | None) -> MessageView | None:
        """The view of a message, if it is shown."""
        return next((view for view in self.views if view.message.id == message_id), None)

    @property
    def focused_view(self) -> MessageView | None:
        """The message in focus."""
        return next((view for view in self.views if view.has_focus), None)

    @property
    def selected(self) -> list[MessageView]:
        """From where the selection began to the message in focus; empty without a selection."""
        begin, end = self.view_of(self._selected_from), self.focused_view
        if begin is None or end is None:
            return []
        first, last = sorted((self.views.index(begin), self.views.index(end)))
        return self.views[first : last + 1]

    def select_from_here(self) -> None:
        """Begin a selection at the message in focus; it grows as the focus moves."""
        self._selected_from = view.message.id if (view := self.focused_view) is not None else None
        self._show_selected()

    def unselect(self) -> bool:
        """End the selection; False where there was none."""
        was, self._selected_from = self.selected, None
        self._show_selected()
        return bool(was)

    def on_descendant_focus(self) -> None:
        """The selection goes along."""
        self._show_selected()

    def _show_selected(self) -> None:
        selected = self.selected
        for view in self.views:
            view.set_class(view in selected, "-selected")

    def on_mount(self) -> None:
        """Keep to the end as the transcript grows."""
        self.watch(self, "virtual_size", self._hold, init=False)

    def follow(self) -> None:
        """Go to the end and stay there."""
        self.following = True
        self._hold()
        self.scroll_end(animate=False)

    def _hold(self) -> None:
        # An anchor would hang a short chat from the bottom: it is used only once there is something to scroll.
        tall = self.virtual_size.height > self.scrollable_content_region.height > 0
        if self.following and tall != self.is_anchored:
            self.anchor(tall)

    def release_anchor(self) -> None:
        """The user scrolls."""
        self.following = False
        super().release_anchor()

    @property
    def at_end(self) -> bool:
        """The newest row is in sight."""
        return self.scroll_offset.y >= self.max_scroll_y - 1

    def grow(self, view: MessageView, text: str) -> None:
        """More of an answer; drawn now only where the user can see it."""
        view.feed(text)
        if self.following or self.at_end:
            view.draw()
        else:
            self._pending = view
            self._waiting += text.count("\n")
            self.post_message(self.Behind(max(1, self._waiting)))

    def catch_up(self) -> None:
        """Draw what waited."""
        view, self._pending = self._pending, None
        if view is not None:
            self._waiting = 0
            view.draw()
            self.post_message(self.Behind(0))

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Back at the end: draw what waited."""
        super().watch_scroll_y(old_value, new_value)
        if not self.following and new_value > old_value and self.at_end:
            self.following = True
            if self._pending is not None:
                self.catch_up()
                self.call_after_refresh(self.scroll_end, animate=False)

    def to_end(self) -> None:
        """Go to the newest row and stay there."""
        self.catch_up()
        self.follow()

    def focus_step(self, step: int, message_id: int | None = None) -> None:
        """Focus the message above (-1) or below (1) the one in focus, or the one given."""
        if not self.views:
            return
        here = self.view_of(message_id) or self.focused_view
        at = self.views.index(here) + step if here is not None else len(self.views) - 1
        view = self.views[max(0, min(at, len(self.views) - 1))]
        self.screen.set_focus(view, scroll_visible=False)  # at once: the next key may be on its way
        view.scroll_visible(animate=False)


class MoreLink(Static):
    """Loads messages before or behind those that are shown."""

    auto_links = False

    def __init__(self, text: str, asks: type[Transcript.Earlier | Transcript.Later]) -> None:
        super().__init__(text, classes="more", markup=False)
        self._asks = asks

    def on_click(self) -> None:
        """Ask for them."""
        self.post_message(self._asks())
