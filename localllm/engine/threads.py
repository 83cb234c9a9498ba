"""Threads: how many cores there are for us, and how many threads to use while others want them too."""

from __future__ import annotations

import os
import statistics
import sys
from collections import deque
from pathlib import Path

_SLOW = 1.5
"""A step that takes this much longer than expected counts as slow."""
_TRIAL = 4
"""Steps per trial of another thread count."""


def physical_cores() -> int:
    """Physical cores that this process may use: hyper-threads counted once, affinity and container limits honoured."""
    try:
        allowed = os.sched_getaffinity(0) if sys.platform == "linux" else set(range(os.cpu_count() or 1))
    except OSError:
        allowed = set(range(os.cpu_count() or 1))
    cores = set()
    for cpu in allowed:
        try:
            path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
            cores.add(path.read_text("ascii").strip())
        except OSError:
            cores.add(str(cpu))
    n = len(cores)
    if sys.platform in ("darwin", "win32") and n > 1:
        n = _physical_by_system(n)
    quota = _cpu_quota()
    return max(1, min(n, quota) if quota else n)


def _physical_by_system(n_logical: int) -> int:
    if sys.platform == "darwin":
        import subprocess

        # performance cores alone, where there are two kinds
        for name in ("hw.perflevel0.physicalcpu", "hw.physicalcpu"):
            done = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=False)
            if done.stdout.strip().isdecimal():
                return int(done.stdout)
        return n_logical
    return max(1, n_logical // 2)  # Windows: two threads per core is what nearly all processors have


def _cpu_quota(path: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Whole processors that a container may use, 0 for no limit."""
    try:
        quota, period = path.read_text("ascii").split()[:2]
        return 0 if quota == "max" else max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        return 0


def machine_is_busy() -> bool:
    """Whether others keep at least half of the cores busy; False where the system does not say."""
    try:
        return os.getloadavg()[0] >= 0.5 * (os.cpu_count() or 1)
    except (OSError, AttributeError):
        return False


class ThreadGovernor:
    """Lowers the thread count while others want the same cores, and raises it again afterwards.

    Threads that work in step wait for the slowest: two threads on two cores with two other busy programs take five
    times as long per token as one thread. What pays is found by trying, as nothing else tells it: after a run of slow
    steps a lower count is tried for a few steps, and kept when it is faster. Higher counts are tried again from time
    to time, less and less often as long as they don't pay.

    Args:
        n_threads: The count on a quiet machine.
        busy: The machine is busy now, so that a lower count is tried at once.
    """

    def __init__(self, n_threads: int, busy: bool = False) -> None:
        self.n_threads = n_threads
        """The count to use now."""
        self._most = n_threads
        self._recent: deque[float] = deque(maxlen=_TRIAL)
        self._expected = float("inf")
        self._suspicious = busy
        self._before = 0.0
        self._old = 0  # the count before the trial that is going on, 0 for none
        self._wait = 0 if busy else 8
        self._interval = 32

    def observe(self, seconds: float) -> bool:
        """A step of one token took so long; returns whether `n_threads` has changed."""
        if self._most == 1:
            return False
        self._recent.append(seconds)
        if self._old:
            if seconds > 2 * self._before:
                return self._end_trial(kept=False)
            if len(self._recent) < _TRIAL:
                return False
            return self._end_trial(kept=statistics.median(self._recent) < 0.9 * self._before)
        self._expected = min(self._expected * 1.001, seconds)  # it creeps up, as the context grows
        self._wait -= 1
        if self._wait > 0 or len(self._recent) < _TRIAL:
            return False
        median = statistics.median(self._recent)
        slow = median > _SLOW * self._expected or self._suspicious
        if slow and self.n_threads > 1:
            return self._try(self.n_threads // 2, median)
        if self.n_threads < self._most:
            return self._try(min(self._most, 2 * self.n_threads), median)
        return False

    def _try(self, n_threads: int, median: float) -> bool:
        self._suspicious = False
        self._before, self._old, self.n_threads = median, self.n_threads, n_threads
        self._recent.clear()
        return True

    def _end_trial(self, kept: bool) -> bool:
        self._interval = 32 if kept else min(2 * self._interval, 1024)
        self._wait = self._interval
        if kept:
            self._expected = statistics.median(self._recent)
        else:
            self.n_threads = self._old
        self._old = 0
        self._recent.clear()
        return not kept
