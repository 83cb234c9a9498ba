"""What goes on with the model, told to the screen from threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message

from localllm.assistant import Assistant
from localllm.engine.protocol import EngineInfo
from localllm.errors import LocalLLMError

if TYPE_CHECKING:
    from localllm.models.download import Progress
    from localllm.settings import Paths, Settings


@dataclass
class ModelLoading(Message):
    """The model is being loaded; `fraction` is 0 to 1."""

    model: str
    fraction: float


@dataclass
class ModelReady(Message):
    """The model is loaded."""

    info: EngineInfo


@dataclass
class ModelFailed(Message):
    """No model could be loaded."""

    error: Exception


@dataclass
class Download(Message):
    """The starter is being fetched."""

    text: str


@dataclass
class DownloadOver(Message):
    """The starter is here, or could not be fetched."""

    error: Exception | None


Post = Callable[[Message], object]


def load_in_thread(assistant: Assistant, post: Post) -> None:
    """Load the model of the assistant; the screen stays usable meanwhile."""

    def run() -> None:
        shown = -1.0
        try:
            for loading in assistant.load():
                if loading.fraction - shown >= 0.02:
                    shown = loading.fraction
                    post(ModelLoading(loading.model, loading.fraction))
            if assistant.engine is not None:
                post(ModelReady(assistant.engine.info))
        except Exception as error:
            post(ModelFailed(error))

    threading.Thread(target=run, name="localllm-loading", daemon=True).start()


def pull_in_thread(settings: Settings, paths: Paths, post: Post) -> None:
    """Fetch the starter models; what was received before is taken up again."""

    def run() -> None:
        from localllm.models.pull import Sources, pull
        from localllm.models.shelf import own_folders

        shown = ("", -1)

        def report(progress: Progress) -> None:
            nonlocal shown
            percent = 100 * progress.done // progress.total if progress.total else 0
            if (progress.name, percent) == shown:
                return
            shown = (progress.name, percent)
            sizes = f"{progress.done / 1e6:,.0f} of {progress.total / 1e6:,.0f} MB" if progress.total else ""
            post(Download(f"{progress.step.capitalize()} {progress.name.removesuffix('.part')} {sizes} {percent} %"))

        try:
            pull("starter", paths.models, Sources(offline=settings.offline), have=own_folders(paths), report=report)
            post(DownloadOver(None))
        except Exception as error:
            post(DownloadOver(error))

    threading.Thread(target=run, name="localllm-download", daemon=True).start()


def one_line(error: BaseException) -> str:
    """What a user should read of an error."""
    if isinstance(error, LocalLLMError):
        return str(error)
    return " ".join(f"Something went wrong inside localllm ({type(error).__name__}: {error}).".split())
