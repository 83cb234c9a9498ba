"""Six kinds of text to generate, from sure copies to free prose, for the benchmark of speculation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from localllm.engine.protocol import RenderedPrompt, Request, Sampling
from localllm.events import Message, Role

PASSAGES = (
    "The lantern of Morrow Bay was built in 1847 by Ines Calloway, a glassmaker who had lost two brothers to the rocks "
    "below the cliff. She ground the lens herself over eleven winters, and the light could be seen for nineteen miles "
    "on a clear night. When the harbour company refused to pay for oil, she sold her workshop and kept the flame alive "
    "with whale fat and candle ends. In 1872 the tower burned, but the lens survived, wrapped in wet sailcloth by the "
    "keeper's daughter, and it stands today in the hall of the fishermen's guild.",
    "Article 7. The tenant shall keep the premises in good repair and shall not alter the walls, floors or "
    "windows without the written consent of the landlord. Article 8. Rent is due on the third working day of each "
    "month and is paid by bank transfer. Article 9. If the rent is late by more than fourteen days, the landlord "
    "may charge interest at four per cent per year. Article 10. Either party may end this agreement with three "
    "months' notice, given in writing and received before the first day of the month.",
    "To descale the boiler, empty the tray and fill the tank with one litre of warm water and two spoons of citric "
    "acid. Press the steam key for six seconds until the lamp blinks green, and let half of the tank run through the "
    "wand. Wait for twenty minutes with the machine switched off. Then rinse the tank, fill it with clear water, and "
    "let all of it run through the group head. The hardness of the water is set with the small wheel behind the tank: "
    "one for soft, three for hard. In a hard town the boiler should be descaled every nine weeks.",
    "The council of Ostrava Street met on 12 March with eleven members present. Ruth Amsel reported that the new "
    "bicycle shed had cost 4,310 euros, which is 190 euros less than planned. Tomas Berg asked that the rest be spent "
    "on lamps for the back yard, and eight members agreed. The cellar of house 6 was flooded twice in February; the "
    "pump will be replaced before Easter by the firm of Kolar and Sons. The next meeting takes place on 9 April at "
    "seven in the evening in the laundry room of house 2.",
)
CODE = """def mean(values):
    total = 0
    for value in values:
        total = total + value
    return total / len(values)


def variance(values):
    centre = mean(values)
    total = 0
    for value in values:
        total = total + (value - centre) ** 2
    return total / len(values)
"""
CLASS = """class Basket:
    def __init__(self, owner):
        self.owner = owner
        self.items = []

    def add(self, name, price, count=1):
        if count < 1:
            raise ValueError("count must be positive")
        self.items.append((name, price, count))

    def total(self):
        return sum(price * count for name, price, count in self.items)

    def names(self):
        return sorted(name for name, price, count in self.items)
"""
QUESTIONS = (
    "Tell me a long story about a lighthouse keeper.",
    "Why is the sky blue? Explain at length.",
    "Write a letter to a friend about a week in the mountains.",
)


@dataclass(frozen=True)
class Workload:
    """Some prompts of one kind."""

    name: str
    prompts: tuple[str, ...]
    raw: bool = False
    """The prompts are continued as they are, without the chat template."""
    temperature: float = 0.0
    corpus: tuple[str, ...] = ()

    def request(self, prompt: str, n: int, speculation: str, seed: int = 1) -> Request:
        sampling = Sampling(temperature=self.temperature, seed=seed)
        mode = "auto" if speculation == "auto" else "none"
        if self.raw:
            return Request(
                prompt=prompt, max_tokens=n, sampling=sampling, corpus=self.corpus,
                speculation="auto" if mode == "auto" else "none",
            )  # fmt: skip
        return Request(
            (Message(Role.USER, prompt),), max_tokens=n, sampling=sampling, corpus=self.corpus,
            speculation="auto" if mode == "auto" else "none",
        )  # fmt: skip

    def text(self, prompt: str, render: Callable[[Sequence[Message]], RenderedPrompt]) -> str:
        """The prompt as the model sees it, for peers."""
        return prompt if self.raw else render((Message(Role.USER, prompt),)).text


def _copied(passage: str) -> str:
    """Quoted four times already and begun a fifth time: what follows is a copy, even by a very small model."""
    quoted = f'"{passage}"\n\n'
    return f'{quoted * 4}"{" ".join(passage.split()[:6])}'


WORKLOADS = {
    w.name: w
    for w in (
        Workload("copy", tuple(_copied(PASSAGES[i]) for i in (0, 2, 3)), raw=True),
        Workload(
            "quote",
            tuple(f"Repeat this text word for word, and nothing else:\n\n{p}" for p in PASSAGES),
        ),
        Workload(
            "code",
            (
                f"Rename the variable total to result in this Python code and show all of it:\n\n```python\n{CODE}```",
                f"Rename the class Basket to Cart in this Python code and show all of it:\n\n```python\n{CLASS}```",
                f"Add a docstring to each function of this Python code and show all of it:\n\n```python\n{CODE}```",
                f"Add type annotations to this Python code and show all of it:\n\n```python\n{CLASS}```",
            ),
        ),
        Workload(
            "json",
            (
                "Write a JSON array of eight objects with the keys id, name, city and age, for eight invented people.",
                f"Turn each sentence into a JSON object with the keys number and text:\n\n{PASSAGES[1]}",
                f"Write the facts of this text as a JSON object:\n\n{PASSAGES[3]}",
                "Write a JSON object that describes a library with three books, their authors and years.",
            ),
        ),
        Workload("summary", tuple(f"Summarise this text in five sentences:\n\n{p}" for p in PASSAGES)),
        Workload("prose", QUESTIONS),
        Workload("prose-0.8", QUESTIONS, temperature=0.8),
    )
}


def share_copied(prompt: Sequence[int], answer: Sequence[int], order: int = 3) -> float:
    """Share of the answer's tokens that continue a place of the prompt: their `order` predecessors stand there too."""
    seen: dict[tuple[int, ...], set[int]] = {}
    text = list(prompt)
    for i in range(order, len(text)):
        seen.setdefault(tuple(text[i - order : i]), set()).add(text[i])
    text += answer
    start = len(prompt)
    hits = sum(text[i] in seen.get(tuple(text[i - order : i]), ()) for i in range(start, len(text)))
    return hits / max(len(answer), 1)
