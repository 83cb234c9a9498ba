"""What speculation did in one answer, and how much quicker it made it."""

from __future__ import annotations

from dataclasses import dataclass

from localllm.events import Speculation


@dataclass(slots=True)
class Tally:
    """Counts and seconds since the answer began."""

    steps: int = 0
    plain_steps: int = 0
    """Those without a draft."""
    emitted: int = 0
    drafted: int = 0
    accepted: int = 0
    worth: float = 0.0
    """Seconds that plain decoding would have taken."""
    spent: float = 0.0
    """Seconds that it took, drafting included."""

    def add(self, emitted: int, accepted: int, drafted: int) -> None:
        """One step of the target: tokens that the answer gained, that it agreed with, and that were sent."""
        self.steps += 1
        self.plain_steps += drafted == 0
        self.emitted += emitted
        self.accepted += accepted
        self.drafted += drafted

    def report(self, drafter: str | None) -> Speculation:
        """What is told of it.

        Args:
            drafter: Who drafted most; None for nobody.
        """
        return Speculation(
            drafted=self.drafted,
            accepted=self.accepted,
            target_steps=self.steps,
            plain_steps=self.plain_steps,
            speedup=self.worth / self.spent if self.drafted and self.spent > 0 else 1.0,
            drafter=drafter,
        )
