"""Chat templates: programs from downloaded files, and user text that must stay text."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localllm.engine import template
from localllm.engine.answers import KnownAnswers
from localllm.engine.template import ChatTemplate
from localllm.errors import GenerationError
from localllm.events import Message, Role

CHATML = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


class ByteVocab:
    """Bytes as tokens, and three control tokens."""

    control: Mapping[str, int] = {"<|start|>": 300, "<|end|>": 301, "<s>": 302}
    bos, eos, add_bos = 302, 301, True

    def text(self, token: int) -> str:
        return {i: name for name, i in self.control.items()}.get(token, "")

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        ids: list[int] = []
        pattern = "(" + "|".join(map(re.escape, self.control)) + ")" if parse_special else "(?!)()"
        for part in re.split(pattern, text):
            if parse_special and part in self.control:
                ids.append(self.control[part])
            elif part:
                ids += part.encode()
        return ids


def user(text: str) -> Message:
    return Message(Role.USER, text)


def test_a_chat_is_rendered_with_its_control_tokens() -> None:
    rendered = ChatTemplate(CHATML, ByteVocab()).render([Message(Role.SYSTEM, "Be brief."), user(" Hi ")])
    assert rendered.text == "<|start|>system\nBe brief.<|end|>\n<|start|>user\nHi<|end|>\n<|start|>assistant\n"
    assert rendered.token_ids[:2] == (302, 300)
    assert rendered.token_ids.count(300) == 3
    assert rendered.token_ids.count(301) == 2


PARTS = ["<|end|>", "<|start|>", "<s>", "a", "<", "|", "\ue000", "\ue001", "é", "\n"]


@given(st.lists(st.sampled_from(PARTS), max_size=12))
@settings(max_examples=200, deadline=None)
def test_no_user_text_becomes_a_control_token(parts: list[str]) -> None:
    text = "x" + "".join(parts) + "x"
    rendered = ChatTemplate(CHATML, ByteVocab()).render([user(text)])
    assert [t for t in rendered.token_ids if t >= 256] == [302, 300, 301, 300]
    body = bytes(t for t in rendered.token_ids if t < 256).decode()
    assert body == f"user\n{text}\nassistant\n"
    assert f"user\n{text}<|end|>" in rendered.text


def test_a_bos_in_the_template_is_not_doubled() -> None:
    rendered = ChatTemplate("{{ bos_token }}" + CHATML, ByteVocab()).render([user("Hi")])
    assert rendered.token_ids.count(302) == 1


def test_known_answers_keep_their_tokens_and_the_template_still_sees_the_rest() -> None:
    vocab = ByteVocab()
    answers = KnownAnswers(lambda t: bytes([t % 256]), vocab.tokenize)
    answers.add("Yes.", [*b"Yes", 512 + ord(".")])  # another spelling of the full stop
    messages = [user("Yes."), Message(Role.ASSISTANT, "Yes."), user("Go on")]
    ids = ChatTemplate(CHATML, vocab, answers.find).render(messages).token_ids
    assert ids.count(512 + ord(".")) == 1, "in the answer, not in the question"


def test_a_template_that_takes_answers_apart_gets_them_as_text() -> None:
    vocab = ByteVocab()
    answers = KnownAnswers(lambda t: bytes([t]), vocab.tokenize)
    answers.add("think</t>Yes", list(b"think</t>Yes"))
    source = "{% for m in messages %}{{ m.content.split('</t>')[-1] }};{% endfor %}"
    rendered = ChatTemplate(source, vocab, answers.find).render([Message(Role.ASSISTANT, "think</t>Yes")])
    assert rendered.text == "Yes;"
    assert bytes(t for t in rendered.token_ids if t < 256) == b"Yes;"


def test_an_answer_prefix_ends_the_prompt() -> None:
    rendered = ChatTemplate(CHATML, ByteVocab()).render([user("Hi")], "Once")
    assert rendered.text.endswith("assistant\nOnce")
    assert bytes(rendered.token_ids[-4:]) == b"Once"


def test_a_system_prompt_goes_before_the_question_where_the_template_knows_none() -> None:
    source = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
    rendered = ChatTemplate(source, ByteVocab()).render([Message(Role.SYSTEM, "Be brief."), user("Hi")])
    assert "user\nBe brief.\n\nHi<|end|>" in rendered.text


def test_a_model_without_a_template_gets_a_plain_one() -> None:
    rendered = ChatTemplate("", ByteVocab()).render([Message(Role.SYSTEM, "Be brief."), user("Hi")])
    assert rendered.text == "Be brief.\n\nUser: Hi\n\nAssistant: "


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ 'a' * 999999999999 }}",
        "{{ [0] * 999999999 }}",
        "{{ 9 ** 999999999 }}",
        "{{ '%999999999d' % 1 }}",
        "{% for i in range(999999999) %}x{% endfor %}",
        "{{ undefined.thing }}",
        "{% if %}",
        "{{ raise_exception('never') }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_a_hostile_or_broken_template_is_one_clear_error(source: str) -> None:
    with pytest.raises(GenerationError, match="chat template") as caught:
        ChatTemplate(source, ByteVocab()).render([user("Hi")])
    assert "\n" not in str(caught.value)


def test_a_template_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "_MAX_SECONDS", 0.2)
    source = "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = a + b %}{% endfor %}{% endfor %}"
    with pytest.raises(GenerationError, match="too long"):
        ChatTemplate(source, ByteVocab()).render([user("Hi")])


@given(st.text(max_size=20), st.data())
@settings(max_examples=100, deadline=None)
def test_the_tokens_of_a_prefix_spell_the_prefix(text: str, data: st.DataObject) -> None:
    vocab = ByteVocab()
    answers = KnownAnswers(lambda t: bytes([t]), vocab.tokenize)
    text = "x" + text.replace("\r", "")
    answers.add(text, list(text.encode()))
    prefix = text[: data.draw(st.integers(1, len(text)))]
    assert bytes(answers.ids_of_prefix(prefix)).decode() == prefix
