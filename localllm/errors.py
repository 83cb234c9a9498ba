"""Every error that localllm raises on purpose.

    LocalLLMError
      + ModelError
        + ModelNotFound
        + NotGGUF
        + ModelDoesNotFit
        + ModelLoadFailed
        + DraftMismatch
      + GenerationError
        + ContextOverflow
        + EngineClosed
        + EngineDied
      + RuleError
        + RuleSyntax
        + ConstraintRefused
      + RetrievalError
        + LibraryNotFound
        + TextTooLong
        + SchemaTooNew
        + LibraryBusy
        + LibraryDamaged
        + LibraryFull
      + DownloadError
        + ChecksumMismatch
        + NotEnoughSpace
        + Offline
      + InputError
      + SettingsError
        + PresetNotFound
      + HistoryError
        + ChatNotFound

A mistake of the calling program stays a ``ValueError`` or ``TypeError``; these are failures of the user's world. Each
says in ``message`` what is wrong and in ``hint`` what to do next, and both fit on one line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class LocalLLMError(Exception):
    """Something in the user's world went wrong.

    Args:
        message: What is wrong, in one line, with the numbers and paths that matter.
        hint: What to do next, in one line; empty where nothing helps.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    @property
    def kind(self) -> str:
        """The name of the error in JSON output: ``ModelNotFound`` becomes ``model_not_found``."""
        name = type(self).__name__.replace("GGUF", "Gguf").replace("LocalLLM", "Localllm")
        return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[object, ...]:
        # Errors travel between processes; subclasses whose arguments differ could not be made again from theirs.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[LocalLLMError], args: tuple[object, ...], state: dict[str, object]) -> LocalLLMError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class ModelError(LocalLLMError):
    """A model file can't be used."""


class ModelNotFound(ModelError):
    """No model of that name or path is on this computer."""


class NotGGUF(ModelError):
    """The file is not a GGUF file, is cut short, or has a header that can't be true."""

    def __init__(self, path: Path, reason: str, hint: str = "Download it again, or choose another file.") -> None:
        super().__init__(f"{path}: {reason}.", hint)
        self.path = path
        self.reason = reason


class ModelDoesNotFit(ModelError):
    """The model needs more memory than there is; both figures are in the message."""


class ModelLoadFailed(ModelError):
    """llama.cpp refused the model; the message carries its own last words."""


class DraftMismatch(ModelError):
    """The draft model can't serve this target model; the message says why."""


class GenerationError(LocalLLMError):
    """An answer could not be generated."""


class ContextOverflow(GenerationError):
    """The prompt alone is longer than the context window.

    Args:
        n_prompt: Tokens in the prompt.
        n_ctx: Tokens that the context window holds.
    """

    def __init__(self, n_prompt: int, n_ctx: int) -> None:
        super().__init__(
            f"The prompt has {n_prompt:,} tokens and the context window holds {n_ctx:,}.",
            "Shorten the prompt, or choose a larger window with --ctx.",
        )
        self.n_prompt = n_prompt
        self.n_ctx = n_ctx


class EngineClosed(GenerationError):
    """The engine was closed and can't answer any more."""


class EngineDied(GenerationError):
    """The worker process ended unexpectedly; the text so far is kept and the next message starts a new worker."""


class RuleError(LocalLLMError):
    """A rule set can't be used."""


class RuleSyntax(RuleError):
    """A rule file can't be read; the message names file and line."""


class ConstraintRefused(RuleError):
    """A rule can't be enforced while decoding, and was asked to be."""


class RetrievalError(LocalLLMError):
    """Something went wrong with a document library."""


class LibraryNotFound(RetrievalError):
    """There is no library of that name."""


class TextTooLong(RetrievalError):
    """A text is longer than the embedder can read in one piece."""


class SchemaTooNew(RetrievalError):
    """The file was written by a newer version of localllm."""


class LibraryBusy(RetrievalError):
    """Another process is indexing this library."""


class LibraryDamaged(RetrievalError):
    """The library file is not intact; it is set aside and rebuilt, never deleted."""


class LibraryFull(RetrievalError):
    """The disk is full; what was indexed before stays."""


class DownloadError(LocalLLMError):
    """A download failed; what was received is kept for the next try."""


class ChecksumMismatch(DownloadError):
    """The file that arrived is not the file that was asked for."""


class NotEnoughSpace(DownloadError):
    """The disk is too full; the message says how much is missing."""


class Offline(DownloadError):
    """A network connection was needed and ``--offline`` forbids it."""


class InputError(LocalLLMError):
    """What was typed, piped or named as a file can't be used."""


class SettingsError(LocalLLMError):
    """The settings file or an environment variable holds a value that can't be used."""


class PresetNotFound(SettingsError):
    """There is no preset of that name."""


class HistoryError(LocalLLMError):
    """The chat history can't be read or written."""


class ChatNotFound(HistoryError):
    """There is no chat of that id or name."""
