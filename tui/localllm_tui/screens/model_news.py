"""The model on the screen: loading, ready, missing, fetched; and the one that a chat asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath

from textual import on
from textual.widgets import TextArea

from localllm.errors import LocalLLMError
from localllm.settings import Settings
from localllm_tui.engine_news import (
    Download,
    DownloadOver,
    ModelFailed,
    ModelLoading,
    ModelReady,
    load_in_thread,
    one_line,
    pull_in_thread,
)
from localllm_tui.markdown.clean import clean_line
from localllm_tui.screens.reading_ahead import ReadingAhead
from localllm_tui.widgets.welcome import Welcome

LOADS = ("model", "draft", "embedder", "ctx", "gpu_layers", "threads", "kv_type", "kv_type_v")
"""Settings that the model is loaded with."""


class ModelNews(ReadingAhead):
    """Tells how the model is doing, gets the starter, and loads what a chat asks for."""

    _told: int | None = None
    """The chat whose model was named last."""

    def on_model_loading(self, news: ModelLoading) -> None:
        """Show how far it is."""
        share = f"{news.fraction:.0%}".replace("%", " %")
        self.status.set(activity=f"loading {clean_line(news.model)} {share}", problem=False)

    def on_model_ready(self, news: ModelReady) -> None:
        """The first question may be answered."""
        self.no_model = None
        self.transcript.speaker = news.info.model
        activity = "answering" if self.turn is not None else ""
        self.status.set(info=news.info, activity=activity, problem=False)
        for welcome in self.query(Welcome):
            welcome.ready(news.info.model)
        for note in news.info.notes:
            self.say(note)
        self.read_ahead()

    def on_model_failed(self, news: ModelFailed) -> None:
        """Say why, and offer the starter in an empty chat."""
        self.no_model = news.error
        self.status.set(info=None, activity="no model", problem=True)
        welcomes = self.query(Welcome)
        for welcome in welcomes:
            welcome.no_model(one_line(news.error), self.settings.offline)
        if not welcomes:
            self.say(one_line(news.error), "error")

    def on_download(self, news: Download) -> None:
        """Progress."""
        self.status.set(activity=clean_line(news.text), problem=False)
        for welcome in self.query(Welcome):
            welcome.progress(news.text)

    def on_download_over(self, news: DownloadOver) -> None:
        """Load it, or say what failed."""
        self.downloading = False
        if news.error is not None:
            self.on_model_failed(ModelFailed(news.error))
        else:
            self.load_model()

    def load_at_start(self) -> None:
        """Load the model that the chat on the screen will use, so that no other is loaded in vain."""
        before = self.settings
        self.load_for_chat()
        if self.settings is before:
            self.load_model()

    def load_model(self) -> None:
        """Load what the settings name."""
        self.no_model = None
        self.status.set(activity="loading the model", problem=False)
        for welcome in self.query(Welcome):
            welcome.ready("")
        load_in_thread(self.conversation.assistant, self.post_message)

    def action_get_starter(self) -> None:
        """Fetch the starter models."""
        if self.downloading:
            self.say("It is being fetched already.")
            return
        self.downloading = True
        self.status.set(activity="fetching the starter", problem=False)
        pull_in_thread(self.settings, self.paths, self.post_message)

    def switch_model(self, name: str) -> None:
        """Answer with another model from now on."""
        self.settings = self.settings.with_changes(model=name)
        self._close_model()
        self.load_model()

    def unload_model(self) -> None:
        """Give its memory back; the next question loads it again."""
        self._close_model()
        self.status.set(activity="model unloaded", problem=False)
        self.say("The model's memory is free. The next question loads it again.")

    def _close_model(self) -> None:
        from localllm.engine.protocol import Engine
        from localllm.events import Loading
        from localllm.open import open_engine

        settings, paths = self.settings, self.paths

        def opener(report: Callable[[Loading], None]) -> Engine:
            return open_engine(settings, paths, on_progress=report)

        self.idle.stop()
        self.status.set(info=None)
        self.conversation.assistant.switch(opener)

    # ---- the model of a chat ----------------------------------------------------------------------------------------

    def _loads_of_chat(self) -> Settings:
        """The settings with the model, draft and so on that the chat on the screen was given."""
        chat = self.conversation.chat
        own = chat.options.settings if chat is not None else {}
        try:
            return self.settings.with_changes(**{name: own[name] for name in LOADS if name in own})
        except (TypeError, ValueError):
            return self.settings  # asking says what is wrong with them

    async def show_chat(self, message_id: int | None = None) -> None:
        """A chat that asks for another model says so: it is loaded when the user writes, not while they browse."""
        await super().show_chat(message_id)
        wanted, chat = self._loads_of_chat(), self.conversation.chat
        if wanted != self.settings and chat is not None and self._told != chat.id:
            self._told = chat.id
            name = PurePath(wanted.model).stem if wanted.model != self.settings.model else "its own settings"
            self.say(f"This chat uses {name or 'the default model'}; it is loaded when you write.")

    @on(TextArea.Changed, "#prompt")
    def wake_model(self) -> None:
        """Whoever writes in a chat wants its model."""
        if self.prompt.has_focus and self.prompt.text.strip() and not self.prompt.text.startswith("/"):
            self.load_for_chat()

    def load_for_chat(self) -> None:
        """Load the model that the chat on the screen was given, where it is another one."""
        from localllm.open import engine_spec

        wanted = self._loads_of_chat()
        if wanted == self.settings or self.turn is not None or wanted == self._refused:
            return
        try:
            spec = engine_spec(wanted, self.paths)
        except LocalLLMError as error:
            self._refused = wanted
            self.say(f"{error} What is loaded answers instead.", "warning")
            return
        loaded, self.settings = self._spec_now(), wanted
        if spec != loaded:
            self.switch_model(wanted.model)

    _refused: Settings | None = None
    """What could not be loaded: said once."""

    def _spec_now(self) -> object:
        """What is loaded by the present settings; None when that can't be said."""
        from localllm.open import engine_spec

        try:
            return engine_spec(self.settings, self.paths) if self.status.status.info is not None else None
        except LocalLLMError:
            return None
