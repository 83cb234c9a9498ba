"""ChatTemplate: messages to token ids, by the template in the model's file, with user text kept harmless.

The template is a program from a downloaded file. It runs in jinja2's immutable sandbox, with limits on what its
arithmetic and loops can produce. Three private-use characters, chosen so that no message contains them, are put into
the messages before rendering and found again after it:

- a *break* inside every spelling of a control token in a message, so that ``<|im_end|>`` typed by a user or found in a
  document stays text. The template still sees the real words, so that trimming and splitting work.
- a *begin* and an *end* around answers whose token ids are known, so that they are put in as generated: cutting the
  same text again can give other tokens, and other tokens would throw the cache away.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from types import FrameType
from typing import Any, Protocol

from localllm.engine.protocol import RenderedPrompt
from localllm.errors import GenerationError
from localllm.events import Message, Role

PLAIN_TEMPLATE = (
    "{% for m in messages %}{{ {'system': '', 'user': 'User: ', 'assistant': 'Assistant: '}[m.role] }}"
    "{{ m.content }}\n\n{% endfor %}{% if add_generation_prompt %}Assistant: {% endif %}"
)
"""For models whose file has no template; they were not trained for chats."""

_MAX_TEXT = 10_000_000
"""Characters that a template may make out of one expression."""
_MAX_SECONDS = 5.0
"""That a template may take; real ones take a millisecond."""


class TemplateVocab(Protocol):
    """What rendering needs of a vocabulary; `localllm.llama.vocab.Vocab` has it."""

    @property
    def control(self) -> Mapping[str, int]:
        """Control tokens by their written form, the longest first."""
        ...

    @property
    def bos(self) -> int:
        """The token that begins a text, or -1."""
        ...

    @property
    def eos(self) -> int:
        """The token that ends a text, or -1."""
        ...

    @property
    def add_bos(self) -> bool:
        """Whether texts begin with `bos`."""
        ...

    def text(self, token: int) -> str:
        """How a token is written, control tokens included."""
        ...

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        """Token ids of a text."""
        ...


class ChatTemplate:
    """Renders chats for one model.

    Args:
        source: The jinja2 template; empty means `PLAIN_TEMPLATE`.
        vocab: Of the model.
        known_ids: The token ids that an answer's text was made of, or None.
    """

    def __init__(
        self, source: str, vocab: TemplateVocab, known_ids: Callable[[str], Sequence[int] | None] = lambda _: None
    ) -> None:
        self._source = source or PLAIN_TEMPLATE
        self._vocab = vocab
        self._known_ids = known_ids
        self._bos = vocab.text(vocab.bos) if vocab.bos >= 0 else ""
        self._eos = vocab.text(vocab.eos) if vocab.eos >= 0 else ""

    def render(
        self, messages: Sequence[Message], prefix: str = "", *, prefix_ids: Sequence[int] | None = None
    ) -> RenderedPrompt:
        """The prompt for the next answer, which begins with `prefix`.

        Args:
            messages: The chat, the last user's message last.
            prefix: Text of the answer that stands already.
            prefix_ids: The tokens it was made of, where they are known.

        Raises:
            GenerationError: The template can't render these messages.
        """
        marks = _Marks.for_texts([m.content for m in messages])
        marked = []
        for message in messages:
            content = self._break(message.content, marks)
            if message.role is Role.ASSISTANT and self._known_ids(message.content) is not None:
                content = marks.begin + content + marks.end
            marked.append({"role": str(message.role), "content": content})
        text = self._apply(marked)
        ids = self._to_ids(text, marks)
        if prefix:
            ids += prefix_ids if prefix_ids is not None else self._vocab.tokenize(prefix)
        return RenderedPrompt(marks.remove(text) + prefix, tuple(ids))

    # ---- the program from the file ----

    @cached_property
    def _template(self) -> Any:
        try:
            return _environment().from_string(self._source)
        except Exception as error:
            raise _bad_template(error) from error

    def _apply(self, messages: list[dict[str, str]]) -> str:
        try:
            return self._run(messages)
        except Exception as error:
            system = [m["content"] for m in messages if m["role"] == "system"]
            rest = [dict(m) for m in messages if m["role"] != "system"]
            if system and rest and rest[0]["role"] == "user":
                # some templates know no system role: its text goes before the first question then
                rest[0]["content"] = "\n\n".join([*system, rest[0]["content"]])
                try:
                    return self._run(rest)
                except Exception as second:
                    raise _bad_template(second) from second
            raise _bad_template(error) from error

    def _run(self, messages: list[dict[str, str]]) -> str:
        template = self._template
        with _time_limit(_MAX_SECONDS):
            text: str = template.render(
                messages=messages,
                add_generation_prompt=True,
                bos_token=self._bos,
                eos_token=self._eos,
                tools=None,
                documents=None,
            )
        return text

    # ---- text to ids ----

    def _break(self, content: str, marks: _Marks) -> str:
        pattern = self._control_pattern
        if pattern is None:
            return content
        return pattern.sub(lambda m: m[0][:1] + marks.stop + m[0][1:], content)

    @cached_property
    def _control_pattern(self) -> re.Pattern[str] | None:
        names = [name for name in self._vocab.control if len(name) > 1]
        return re.compile("|".join(map(re.escape, names))) if names else None

    def _to_ids(self, text: str, marks: _Marks) -> list[int]:
        ids: list[int] = []
        if self._vocab.add_bos and self._bos and not text.startswith(self._bos):
            ids.append(self._vocab.bos)
        for piece, known in self._split_known(text, marks):
            ids += known if known is not None else self._tokenize(piece, marks)
        return ids

    def _split_known(self, text: str, marks: _Marks) -> Iterator[tuple[str, Sequence[int] | None]]:
        """Cut out the answers whose ids are known; a template that took one apart gets its text cut anew."""
        pattern = re.compile(f"{marks.begin}([^{marks.begin}{marks.end}]*){marks.end}")
        done = 0
        for match in pattern.finditer(text):
            known = self._known_ids(match[1].replace(marks.stop, ""))
            if known is not None:
                yield text[done : match.start()], None
                yield "", known
                done = match.end()
        yield text[done:], None

    def _tokenize(self, text: str, marks: _Marks) -> list[int]:
        text = text.replace(marks.begin, "").replace(marks.end, "")
        if not text:
            return []
        if marks.stop not in text:
            return self._vocab.tokenize(text, parse_special=True)
        assert self._control_pattern is not None
        ids: list[int] = []
        done = 0
        # between the template's own control tokens: text with a break in it is cut without reading control tokens
        for match in self._control_pattern.finditer(text):
            ids += self._tokenize_between(text[done : match.start()], marks)
            ids.append(self._vocab.control[match[0]])
            done = match.end()
        return ids + self._tokenize_between(text[done:], marks)

    def _tokenize_between(self, text: str, marks: _Marks) -> list[int]:
        return self._vocab.tokenize(text.replace(marks.stop, "")) if text else []


class _Marks:
    """Three private-use characters that occur in none of the texts."""

    def __init__(self, stop: str, begin: str, end: str) -> None:
        self.stop, self.begin, self.end = stop, begin, end

    @staticmethod
    def for_texts(texts: Sequence[str]) -> _Marks:
        used = set().union(*texts)
        free = (c for code in range(0xE000, 0xF8FF) if (c := chr(code)) not in used)
        return _Marks(next(free), next(free), next(free))

    def remove(self, text: str) -> str:
        return text.translate({ord(self.stop): None, ord(self.begin): None, ord(self.end): None})


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """End Python code that runs for too long, such as loops within loops, by looking at the clock on every line."""
    if sys.gettrace() is not None:  # a debugger or a coverage tool is at work: leave it alone
        yield
        return
    end = time.monotonic() + seconds

    def look(_frame: FrameType, _event: str, _argument: Any) -> Any:
        if time.monotonic() > end:
            raise TimeoutError("it takes too long")
        return look

    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(None)


def _environment() -> Any:
    import jinja2
    from jinja2.exceptions import SecurityError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Sandbox(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"*", "**", "%"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            """Refuse arithmetic that would fill the memory."""
            if operator == "**" or (operator == "%" and isinstance(left, str)):
                raise SecurityError(f"{operator} is not allowed in a chat template")
            if operator == "*":
                for many, times in ((left, right), (right, left)):
                    is_long = isinstance(many, (str, list, tuple)) and isinstance(times, int)
                    if is_long and len(many) * times > _MAX_TEXT:
                        raise SecurityError("a chat template makes too much text")
            return super().call_binop(context, operator, left, right)

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(str(message))

    def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **_options: Any) -> str:
        import json

        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)

    environment = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    environment.filters["tojson"] = tojson
    return environment


def _bad_template(error: Exception) -> GenerationError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return GenerationError(
        f"The model's chat template can't render this chat: {reason.rstrip('.')}.",
        "Leave out the system prompt, or use another model.",
    )
