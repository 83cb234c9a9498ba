"""The error tree: what is drawn is what there is."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from localllm import errors
from localllm.errors import ContextOverflow, LocalLLMError, NotGGUF


def classes() -> list[type[LocalLLMError]]:
    return [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, LocalLLMError)]


def drawn() -> dict[str, str | None]:
    """Name and parent's name, read from the picture in the docstring."""
    found: dict[str, str | None] = {}
    stack: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        name = line.strip().removeprefix("+ ")
        if not line.startswith("    ") or " " in name or not name:
            continue
        depth = len(line) - len(line.lstrip())
        while stack and stack[-1][0] >= depth:
            stack.pop()
        found[name] = stack[-1][1] if stack else None
        stack.append((depth, name))
    return found


def test_the_drawn_tree_is_the_tree_of_classes() -> None:
    real = {c.__name__: None if c is LocalLLMError else c.__base__.__name__ for c in classes() if c.__base__}
    assert drawn() == real


@pytest.mark.parametrize("error", classes(), ids=lambda c: c.__name__)
def test_every_error_has_one_sentence_and_a_name_in_snake_case(error: type[LocalLLMError]) -> None:
    assert (error.__doc__ or "").strip().splitlines()[0].endswith(".")
    kind = error.kind.fget(error.__new__(error))  # type: ignore[attr-defined]
    assert kind == kind.lower() and "__" not in kind and not kind.startswith("_")


def test_an_error_is_message_and_hint_on_one_line() -> None:
    error = LocalLLMError("It broke.", "Mend it.")
    assert str(error) == "It broke. Mend it."
    assert str(LocalLLMError("It broke.")) == "It broke."


def test_kinds_are_stable_names() -> None:
    assert ContextOverflow(5, 4).kind == "context_overflow"
    assert NotGGUF(Path("x"), "no").kind == "not_gguf"
    assert LocalLLMError("x").kind == "localllm_error"


@pytest.mark.parametrize(
    "error", [LocalLLMError("a", "b"), ContextOverflow(50_000, 8192), NotGGUF(Path("m.gguf"), "cut short", "Again.")]
)
def test_errors_travel_between_processes(error: LocalLLMError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(copy), copy.args, copy.message, copy.hint, copy.__dict__) == (
        type(error),
        error.args,
        error.message,
        error.hint,
        error.__dict__,
    )
