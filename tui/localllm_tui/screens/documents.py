"""The documents: libraries, the folders they follow, every file with its state, and the sync."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from localllm.counted import counted
from localllm.errors import LocalLLMError
from localllm_tui.dropped import is_there, paths_in
from localllm_tui.markdown.blocks import MUTED
from localllm_tui.markdown.clean import clean_line
from localllm_tui.screens.hint_row import HintRow
from localllm_tui.screens.pick import Pick
from localllm_tui.screens.text_dialog import TextDialog

if TYPE_CHECKING:
    from localllm.engine.protocol import Embedder
    from localllm.rag.index import Library
    from localllm.rag.progress import SyncEvent
    from localllm.rag.rows import Document, Root
    from localllm.settings import Paths

OpenEmbedder = Callable[["Library"], "Embedder | None"]
LISTED = 500
"""Files listed at most; the rest is counted."""
LONGEST_REMARK = 300
"""Characters of a remark on what can't be followed: what is pasted may be anything."""


class DocumentsScreen(ModalScreen[str | None]):
    """Manages one library at a time; the result is the name of the one this chat is to ask, or None.

    Args:
        paths: Where libraries are.
        library: The library shown first.
        open_embedder: Opens the library's embedding model, in the thread of the sync; None indexes keywords alone.
        folder: Where relative paths begin.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "leave", "Stop or close"),
        ("a", "add", "Add"),
        ("s", "sync", "Sync"),
        ("d", "remove", "Remove"),
        ("f", "faults", "Problems"),
        ("l", "library", "Library"),
        ("u", "use", "Use"),
    ]
    CSS = """
    DocumentsScreen .dialog { height: 85%; width: 85%; max-width: 110; }
    DocumentsScreen .dialog OptionList { height: 1fr; max-height: 100%; }
    DocumentsScreen #documents-facts { height: auto; color: $text-muted; margin: 0 0 1 0; }
    DocumentsScreen #documents-progress { height: auto; margin: 1 0 0 0; }
    """

    @dataclass
    class News(Message):
        """The sync got on, or ended: then `text` says how, and `over` is true."""

        text: str
        over: bool = False

    def __init__(
        self,
        paths: Paths,
        library: str = "default",
        open_embedder: OpenEmbedder | None = None,
        folder: Path | None = None,
    ) -> None:
        super().__init__()
        self.paths, self.library = paths, library
        self._open_embedder = open_embedder
        self._folder = folder or Path.cwd()
        self._cancel = threading.Event()
        self.syncing = False
        self._faults_only = False
        self._roots: list[Root] = []

    def compose(self) -> ComposeResult:
        """Title, facts, list, progress, keys."""
        with Vertical(classes="dialog"):
            yield Static("", id="documents-title", classes="dialog-title", markup=False)
            yield Static("", id="documents-facts", markup=False)
            yield OptionList(id="documents", compact=True, markup=False)
            yield Static("", id="documents-progress", markup=False)
            yield HintRow(
                [
                    ("a", "add", "add"),
                    ("s", "sync", "sync"),
                    ("d", "remove", "remove"),
                    ("f", "problems", "faults"),
                    ("l", "library", "library"),
                    ("u", "use in this chat", "use"),
                    ("Esc", "close", "leave"),
                ]
            )

    def on_mount(self) -> None:
        """Show what the library holds."""
        self.show()
        self.query_one(OptionList).focus()

    def on_unmount(self) -> None:
        """A sync that runs is stopped; the next one goes on where it was."""
        self._cancel.set()

    # ---- what is shown ----------------------------------------------------------------------------------------------

    def show(self) -> None:
        """Read the library and list its folders and files."""
        from localllm.rag.index import Library

        self.query_one("#documents-title", Static).update(Content(f"Documents: {clean_line(self.library)}"))
        roots: list[Root] = []
        documents: list[Document] = []
        n_chunks, facts = 0, ""
        path = self.paths.library(self.library)
        if path.exists():
            try:
                with Library(path) as library:
                    roots, documents, n_chunks = library.roots(), library.documents(), library.count_chunks()
            except LocalLLMError as error:
                facts = str(error)
        self._roots = roots
        read = [d for d in documents if d.status in ("ok", "partial")]
        faults = [d for d in documents if d.status in ("error", "skipped", "partial")]
        if not facts:
            facts = (
                f"{counted(len(read), 'file')}, {counted(n_chunks, 'passage')}, {len(faults):,} with problems"
                if roots
                else "Nothing here yet. Press a and name a folder or a file, or drop one here."
            )
        self.query_one("#documents-facts", Static).update(Content(facts))
        self._fill(roots, faults if self._faults_only else [d for d in documents if d.status != "ignored"])

    def _fill(self, roots: list[Root], documents: list[Document]) -> None:
        listing = self.query_one(OptionList)
        at = listing.highlighted
        listing.clear_options()
        left = LISTED
        for root in roots:
            listing.add_option(Option(root_line(root), id=f"root-{root.id}"))
            inside = [d for d in documents if d.root_id == root.id]
            for document in inside[: max(0, left)]:
                listing.add_option(Option(document_line(document), id=f"doc-{document.id}"))
            left -= len(inside)
        if left < 0:
            listing.add_option(Option(Content.styled(f"    and {-left:,} more files", MUTED), disabled=True))
        if self._faults_only and not documents and roots:
            listing.add_option(Option(Content.styled("    No problems.", MUTED), disabled=True))
        if listing.option_count:
            listing.highlighted = min(at or 0, listing.option_count - 1)

    def _say(self, text: str, style: str = "$accent") -> None:
        self.query_one("#documents-progress", Static).update(Content.styled(clean_line(text), style))

    # ---- actions ----------------------------------------------------------------------------------------------------

    @work
    async def action_add(self) -> None:
        """Ask for a folder or file, follow it, and read it."""
        if self._is_free():
            text = await self.app.push_screen_wait(TextDialog("A folder or file to follow", f"{self._folder}/"))
            self._follow(text or "")

    def on_paste(self, event: events.Paste) -> None:
        """What is dropped on the window is followed, too: the terminal pastes its path."""
        event.stop()
        if self._is_free():
            self._follow(event.text)

    def _follow(self, text: str) -> None:
        n_followed, refused = follow(self.paths.library(self.library), paths_in(text, self._folder))
        why = clean_line(" ".join(refused))
        why = why if len(why) <= LONGEST_REMARK else why[: LONGEST_REMARK - 1] + "…"
        if n_followed:
            self.show()
            self.action_sync()
            if why:
                self.notify(why, severity="warning", markup=False)
        elif why:
            self._say(why, "$error")

    def _is_free(self) -> bool:
        if self.syncing:
            self._say("A sync is running: stop it with Esc first.", "$warning")
        return not self.syncing

    def action_sync(self) -> None:
        """Bring the library in step with its folders, in a thread."""
        if self.syncing:
            return
        if not self._roots:
            self._say("There is nothing to read. Press a and name a folder or a file, or drop one here.")
            return
        self.syncing = True
        self._cancel.clear()
        self._say("Looking at the files.")
        self._sync()

    @work(thread=True, exclusive=True, group="sync", exit_on_error=False)
    def _sync(self) -> None:
        from localllm.rag.index import Library
        from localllm.rag.sync import sync

        embedder = None
        said = ""
        try:
            with Library(self.paths.library(self.library)) as library:
                embedder = self._open_embedder(library) if self._open_embedder else None
                for event in sync(library, embedder, cancel=self._cancel):
                    said = line_of(event) or said
                    self.post_message(self.News(said))
        except LocalLLMError as error:
            said = str(error)
        except Exception as error:  # one line for the user, whatever a reader's library raised
            said = f"{type(error).__name__}: {error}"
        finally:
            close = getattr(embedder, "close", None)
            if close is not None:
                close()
            self.post_message(self.News(said, over=True))

    @on(News)
    def _news(self, event: News) -> None:
        self._say(event.text)
        if event.over:
            self.syncing = False
            self.show()

    @work
    async def action_remove(self) -> None:
        """Follow the highlighted folder no more, after a question; its files on disk stay."""
        from localllm.rag.index import Library

        listing = self.query_one(OptionList)
        if listing.highlighted is None or self.syncing:
            return
        id = listing.get_option_at_index(listing.highlighted).id or ""
        root = next((r for r in self._roots if id == f"root-{r.id}"), None)
        if root is None:
            self._say("Go to a folder's own line to remove it.")
            return
        entries = [Content("Keep it"), Content("Drop its documents from the library; the files on disk stay")]
        if await self.app.push_screen_wait(Pick(clean_line(str(root.path)), entries)) != 1:
            return
        try:
            with Library(self.paths.library(self.library)) as library:
                n = library.remove_root(root.id)
        except LocalLLMError as error:
            self._say(str(error), "$error")
            return
        self._say(f"{counted(n, 'document was', 'documents were')} dropped from the library.")
        self.show()

    def action_faults(self) -> None:
        """Only the files with problems, or all of them."""
        self._faults_only = not self._faults_only
        self.show()

    @work
    async def action_library(self) -> None:
        """Choose another library, or name a new one."""
        if not self._is_free():
            return
        names = sorted({path.stem for path in self.paths.libraries.glob("*.db")} | {self.library})
        entries = [Content(clean_line(name)) for name in names] + [Content.styled("A new library", "$accent")]
        picked = await self.app.push_screen_wait(Pick("Library", entries, names.index(self.library)))
        if picked is None:
            return
        name = names[picked] if picked < len(names) else await self.app.push_screen_wait(TextDialog("Its name"))
        if not name or not name.strip():
            return
        try:
            self.paths.library(name.strip())
        except ValueError as error:
            self._say(str(error), "$error")
            return
        self.library, self._faults_only = name.strip(), False
        self._say("")
        self.show()

    def action_use(self) -> None:
        """This chat asks the library."""
        if self._roots:
            self.dismiss(self.library)
        else:
            self._say("The library is empty. Press a and name a folder or a file, or drop one here.")

    def action_leave(self) -> None:
        """Stop the sync; without one, close."""
        if self.syncing:
            self._cancel.set()
            self._say("Stopping.")
        else:
            self.dismiss(None)


def follow(library_file: Path, paths: Sequence[Path]) -> tuple[int, list[str]]:
    """Let a library follow folders and files; how many of them it does now, and for each of the others why not."""
    from localllm.rag.index import Library

    there = [path for path in paths if is_there(path)]
    refused = [f"There is no {path}." for path in paths if path not in there]
    if not there:
        return 0, refused
    try:
        with Library(library_file, create=True) as library:
            for path in there:
                inside = next((r for r in library.roots() if r.path in path.parents), None)
                if inside is None:
                    library.add_root(path, "folder" if path.is_dir() else "file")
                else:
                    refused.append(f"{path} is inside {inside.path}, which is followed already.")
    except LocalLLMError as error:
        return 0, [*refused, str(error)]
    return len(paths) - len(refused), refused


_MARKS = {
    "ok": ("✓", "$success"),
    "partial": ("!", "$warning"),
    "pending": ("…", MUTED),
    "skipped": ("-", MUTED),
    "error": ("✗", "$error"),
    "ignored": ("·", MUTED),
}


def root_line(root: Root) -> Content:
    """A folder, and whether it was there at the last sync."""
    line = Content.styled(clean_line(str(root.path)), "bold")
    if root.offline:
        return line + Content.styled("  not there now; its documents are kept", "$warning")
    return line + Content.styled("  not read yet", MUTED) if root.synced_at is None else line


def document_line(document: Document) -> Content:
    """A file: state, path in its folder, passages, and the reason where its state is not ok."""
    mark, style = _MARKS[document.status]
    line = Content.styled(f"  {mark} ", style) + Content(clean_line(document.relpath))
    if document.status in ("ok", "partial"):
        line = line + Content.styled(f"  {counted(document.n_chunks, 'passage')}", MUTED)
    if document.reason:
        line = line + Content.styled(f"  {clean_line(document.reason)}", style)
    return line


def line_of(event: SyncEvent) -> str:
    """What a sync says, in one line; empty for events that the list shows."""
    from localllm.rag.progress import Progress, RootOffline, Summary

    if isinstance(event, Progress):
        verb = {"scan": "Looking at", "read": "Reading", "cut": "Cutting", "embed": "Embedding"}[event.stage]
        total = f" of {event.total:,}" if event.total and event.stage != "scan" else ""
        left = f", {event.seconds_left:.0f} s left" if event.seconds_left else ""
        return f"{verb} {event.done:,}{total}{left}  {clean_line(event.path)}".rstrip()
    if isinstance(event, RootOffline):
        return f"{clean_line(event.path)} is not there; its documents are kept."
    if isinstance(event, Summary):
        faults = ((event.skipped, "left out"), (event.errors, "with errors"))
        parts = event.told + [f"{n:,} {word}" for n, word in faults if n]
        end = "Stopped; the next sync goes on from here" if event.cancelled else "Done"
        words = "; keywords alone, as no embedding model made vectors" if event.not_embedded else ""
        return f"{end}: {', '.join(parts) or 'nothing to do'}{words}."
    return ""
