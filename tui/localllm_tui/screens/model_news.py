"""The model on the screen: loading, ready, missing, fetched."""

from __future__ import annotations

from collections.abc import Callable

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


class ModelNews(ReadingAhead):
    """Tells how the model is doing, and gets the starter."""

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
        from localllm.engine.protocol import Engine
        from localllm.events import Loading
        from localllm.open import open_engine

        settings, paths = self.settings.with_changes(model=name), self.paths

        def opener(report: Callable[[Loading], None]) -> Engine:
            return open_engine(settings, paths, on_progress=report)

        self.settings = settings
        self.idle.stop()
        self.status.set(info=None)
        self.conversation.assistant.switch(opener)
        self.load_model()
