"""EmbedderProcess and RerankerProcess: one such model in a process of its own, for documents without a chat model.

Nothing is loaded until the first text: name, size and fingerprint come from the file's header. A failure in native
code ends that process only; it is started again once, and then said.
"""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localllm.engine.spawn import cause_of_death, detached, end_of, open_log, worker_environment
from localllm.engine.wire import Sender, receive
from localllm.errors import EngineDied, LocalLLMError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from localllm.models.header import Header


class _ModelProcess:
    """Asks the process, which it starts with the first question. Safe to use from several threads, one at a time.

    Args:
        path: GGUF file of an embedding or reranking model.
        log_path: Where the process's native output goes.
    """

    kind = ""

    def __init__(self, path: Path, log_path: Path) -> None:
        self.path = path
        self._log_path = log_path
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    @cached_property
    def _header(self) -> Header:
        from localllm.models.header import read_model_header

        return read_model_header(self.path)

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.path.stem

    @property
    def max_tokens(self) -> int:
        """Tokens that one text may have, special tokens included."""
        header = self._header
        return min(header.max_tokens, header.n_ctx_train) if header.n_ctx_train else header.max_tokens

    def close(self) -> None:
        """End the process; safe to call twice."""
        with self._lock:
            self._end()

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _call(self, method: str, *arguments: Any) -> Any:
        with self._lock:
            for attempt in (1, 2):
                process = self._process or self._start()
                try:
                    self._sender.send((method, arguments))
                    answer = next(self._answers)
                except (OSError, StopIteration):
                    cause = cause_of_death(end_of(process))
                    self._end()
                    if attempt == 2:
                        raise EngineDied(
                            f"The {self.kind} ended unexpectedly: {cause}.", f"Its log is {self._log_path}."
                        ) from None
                    continue
                except BaseException:  # interrupted: its answer would be taken for that to the next question
                    self._end()
                    raise
                if isinstance(answer, Exception):
                    raise answer
                return answer
        raise AssertionError("unreachable")

    def _start(self) -> subprocess.Popen[bytes]:
        frozen = bool(getattr(sys, "frozen", False))
        module = [sys.executable, "--embedder"] if frozen else [sys.executable, "-m", __name__]
        with open_log(self._log_path) as log:
            process = subprocess.Popen(
                [*module, str(self.path), str(self.max_tokens)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0,
                env=worker_environment(os.environ), **detached(),
            )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        self._sender, self._answers = Sender(process.stdin.fileno()), receive(process.stdout.fileno())
        self._process = process
        return process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


class EmbedderProcess(_ModelProcess):
    """See `engine.protocol.Embedder`."""

    kind = "embedder"

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        return self._header.n_embd

    @cached_property
    def fingerprint(self) -> str:
        """Changes whenever the vectors would."""
        from localllm.engine.embed import embedder_fingerprint

        return embedder_fingerprint(self.path, self.max_tokens)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Character span of each token in `text`, without special tokens."""
        spans: list[tuple[int, int]] = self._call("token_spans", text)
        return spans

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit-length rows, shape (len(texts), dim), float32."""
        rows: NDArray[np.float32] = self._call("embed", list(texts))
        return rows


class RerankerProcess(_ModelProcess):
    """See `rag.rerank.Reranker`."""

    kind = "reranker"

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """Relevance of each text, 0 to 1."""
        found: list[float] = self._call("scores", query, list(texts))
        return found


def run_embedder(path: Path, max_tokens: int) -> int:
    """The process itself, of an embedder or a reranker: answers until its standard input ends."""
    # What native code prints must not end up between our answers.
    out = os.dup(1)
    os.dup2(2, 1)
    sender, model = Sender(out), None
    faulthandler.enable(sys.__stderr__ or 2)
    for method, arguments in receive(0):
        try:
            if model is None:
                model = _loaded(path, max_tokens)
            answer: Any = getattr(model, method)(*arguments)
        except LocalLLMError as error:
            answer = error
        except Exception as error:
            answer = EngineDied(f"{path.name} failed: {type(error).__name__}: {error}")
        try:
            sender.send(answer)
        except OSError:
            return 1
    return 0


def _loaded(path: Path, max_tokens: int) -> Any:
    from localllm.engine.loading import cores_for_embedding
    from localllm.llama.log import native_log
    from localllm.models.header import read_model_header

    native_log().file = sys.stderr
    if read_model_header(path).purpose == "reranker":
        from localllm.engine.rerank import LlamaReranker

        return LlamaReranker(path, max_tokens=max_tokens, n_threads=cores_for_embedding())
    from localllm.engine.embed import LlamaEmbedder

    return LlamaEmbedder(path, max_tokens=max_tokens, n_contexts=cores_for_embedding())


if __name__ == "__main__":
    sys.exit(run_embedder(Path(sys.argv[1]), int(sys.argv[2])))
