"""How many threads: cores counted, and fewer used while others want them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from localllm.engine import threads
from localllm.engine.spawn import cause_of_death, worker_environment
from localllm.engine.threads import OtherPrograms, ThreadGovernor, physical_cores


def run(governor: ThreadGovernor, seconds: dict[int, float], steps: int) -> float:
    """Feed steps whose time depends on the thread count; returns the time they took in all."""
    total = 0.0
    for _ in range(steps):
        total += seconds[governor.n_threads]
        governor.observe(seconds[governor.n_threads])
    return total


QUIET = {1: 0.012, 2: 0.007}
CROWDED = {1: 0.030, 2: 0.155}


def test_a_quiet_machine_keeps_all_threads() -> None:
    governor = ThreadGovernor(2)
    assert run(governor, QUIET, 500) == pytest.approx(500 * QUIET[2])


def test_a_crowd_makes_it_yield_and_its_end_makes_it_return() -> None:
    governor = ThreadGovernor(2)
    run(governor, QUIET, 50)
    run(governor, CROWDED, 30)
    assert governor.n_threads == 1
    crowded = run(governor, CROWDED, 1000)
    assert crowded < 1.1 * 1000 * CROWDED[1], "trials of two threads cost little"
    run(governor, QUIET, 1100)
    assert governor.n_threads == 2


class Scripted(OtherPrograms):
    """Other programs that use as many cores as the test says."""

    def __init__(self, used: float) -> None:
        self.used = used

    def cores(self) -> float | None:
        return self.used


@pytest.mark.parametrize(
    ("n", "used", "expected"),
    [(2, 0, 2), (2, 0.3, 2), (2, 0.7, 1), (2, 2.0, 1), (8, 1.2, 7), (8, 4, 4), (8, 20, 1), (1, 3, 1)],
)
def test_where_the_system_says_what_others_use_that_decides(n: int, used: float, expected: int) -> None:
    governor = ThreadGovernor(n, Scripted(used))
    governor.look()
    assert governor.n_threads == expected


def test_the_machine_is_looked_at_four_times_a_second_at_most() -> None:
    now, others = 0.0, Scripted(2.0)
    governor = ThreadGovernor(2, others, clock=lambda: now)
    assert governor.observe(0.1)
    assert governor.n_threads == 1
    others.used = 0
    assert not governor.observe(0.1)
    now = 0.3
    assert governor.observe(0.1)
    assert governor.n_threads == 2


def test_a_program_that_has_just_ended_is_no_reason_to_hold_back(monkeypatch: pytest.MonkeyPatch) -> None:
    governor = ThreadGovernor(2, Scripted(2.0))
    monkeypatch.setattr(threads, "running_now", lambda: 0)
    governor.look(at_rest=True)
    assert governor.n_threads == 2
    monkeypatch.setattr(threads, "running_now", lambda: 2)
    governor.look(at_rest=True)
    assert governor.n_threads == 1


def test_who_only_hands_over_a_question_does_not_count_as_running(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([2, 1, 0, 3])
    monkeypatch.setattr(threads, "_running", lambda: next(looks))
    assert threads.running_now() == 0
    assert next(looks) == 3, "no look after an idle one"
    monkeypatch.setattr(threads, "_running", lambda: 2)
    assert threads.running_now() == 2


def test_a_minute_of_work_that_is_over_does_not_slow_the_next_worker_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (16.0, 16.0, 16.0))
    assert threads.make_governor(8).n_threads == 8


class Spell(OtherPrograms):
    """Two programs that want a core each until they end, on a clock of the test's own."""

    def __init__(self, end: float) -> None:
        self.now, self.end, self.last = 0.0, end, 0.0

    def cores(self) -> float | None:
        if self.now - self.last < 0.25:
            return None
        used = 2.0 * max(0.0, min(self.now, self.end) - min(self.last, self.end))
        used, self.last = used / (self.now - self.last), self.now
        return used


@pytest.mark.parametrize("idle", [0.0, 1.5])
def test_all_threads_are_back_half_a_second_after_a_busy_spell(idle: float, monkeypatch: pytest.MonkeyPatch) -> None:
    spell = Spell(end=20.0)
    governor = ThreadGovernor(2, spell, clock=lambda: spell.now)

    def write(until: float) -> None:
        while spell.now < until:
            spell.now += 0.03 if spell.now < spell.end else 0.006
            governor.observe(0.01)

    write(20.0)
    assert governor.n_threads == 1
    spell.now += idle
    monkeypatch.setattr(threads, "running_now", lambda: 1)  # whoever asks may still be running
    governor.look(at_rest=True)
    write(spell.now + 0.5)
    assert governor.n_threads == 2


def test_a_worker_that_starts_in_a_busy_spell_is_told_by_what_others_used_meanwhile() -> None:
    spell = Spell(end=20.0)
    governor = ThreadGovernor(2, spell, clock=lambda: spell.now)
    spell.now = 0.4  # the weights are read
    governor.look()
    assert governor.n_threads == 1


def test_where_trying_alone_tells_the_end_of_a_long_crowd_is_seen_at_once() -> None:
    governor = ThreadGovernor(2)
    run(governor, QUIET, 50)
    run(governor, CROWDED, 3000)
    assert governor.n_threads == 1
    run(governor, QUIET, 12)
    assert governor.n_threads == 2


def test_our_own_work_is_not_that_of_others() -> None:
    others = OtherPrograms()
    if not others.works:
        pytest.skip("this system does not say what others use")
    began, cpu = time.monotonic(), time.process_time()
    while time.monotonic() < began + 0.4:
        pass
    ours = (time.process_time() - cpu) / (time.monotonic() - began)  # on a crowded machine we get little
    used = others.cores()
    assert used is not None
    assert used <= (os.cpu_count() or 1) - ours + 0.25
    assert others.cores() is None, "too soon to say"


def test_where_fewer_threads_do_not_pay_nothing_changes_for_long() -> None:
    slow = {1: 0.05, 2: 0.03}
    governor = ThreadGovernor(2)
    run(governor, QUIET, 50)
    assert run(governor, slow, 500) < 1.1 * 500 * slow[2]
    assert governor.n_threads == 2


def test_many_threads_go_down_by_halves() -> None:
    seconds = {8: 0.2, 4: 0.1, 2: 0.05, 1: 0.08}
    governor = ThreadGovernor(8)
    run(governor, {8: 0.02, 4: 0.03, 2: 0.05, 1: 0.08}, 30)
    run(governor, seconds, 200)
    assert governor.n_threads <= 4


def test_cores_are_counted_within_what_a_container_may_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert physical_cores() >= 1
    quota = tmp_path / "cpu.max"
    for text, expected in (("max 100000", 0), ("150000 100000", 2), ("50000 100000", 1), ("nonsense", 0)):
        quota.write_text(text)
        assert threads._cpu_quota(quota) == expected
    monkeypatch.setattr(threads, "_cpu_quota", lambda: 1)
    assert physical_cores() == 1


def test_the_workers_environment_keeps_what_the_user_set() -> None:
    env = worker_environment({"GLIBC_TUNABLES": "glibc.malloc.check=1", "OMP_WAIT_POLICY": "active"})
    assert env["OMP_WAIT_POLICY"] == "active"
    assert env["LOCALLLM_WORKER"] == "1"
    assert "glibc.malloc.check=1" in env["GLIBC_TUNABLES"]


def test_threads_never_sleep_at_barriers_however_busy_the_last_minute_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (16.0, 16.0, 16.0))  # an answer of our own a moment ago does as much
    assert "OMP_WAIT_POLICY" not in worker_environment({})


def test_a_death_is_explained_in_words() -> None:
    assert "out of memory" in cause_of_death(-9)
    assert "internal check" in cause_of_death(-6)
    assert "SIGSEGV" in cause_of_death(-11)
    assert "3" in cause_of_death(3)
