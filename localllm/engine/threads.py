"""Threads: how many cores there are for us, and how many threads to use while others want them too."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

_SLOW = 1.5
"""A step that takes this much longer than expected counts as slow; one this much quicker says that a crowd has left."""
_TRIAL = 4
"""Steps per trial of another thread count."""
_LOOK = 0.25
"""Seconds between two looks at what other programs use."""
_LOOKS = 6
"""Looks, a millisecond apart, at what runs at this instant."""
_ROUNDS = 4
"""Comparisons of the two ways to divide the work, as long as they take no more than `_SPLIT_SECONDS` together."""
_SPLIT_SECONDS = 0.2
_CLEARLY = 0.97
"""The other way is taken where steps take at most this share of the time."""


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


def processor_name() -> str:
    """The processor as its maker calls it, as far as the system says."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:  # noqa: PTH123
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def running_now() -> int | None:
    """Threads of others that keep running, or wanting to, for some milliseconds; None where the system does not say.

    To be asked while no thread of our own but the caller's is at work. One look would count whoever has just handed
    over a question and is about to sleep.
    """
    least = None
    for look in range(_LOOKS):
        if look:
            time.sleep(0.001)
        running = _running()
        if running is None:
            return None
        least = running if least is None else min(least, running)
        if least == 0:
            break
    return least


def _running() -> int | None:
    try:
        with open("/proc/loadavg", "rb") as file:  # noqa: PTH123
            return int(file.read().split()[3].split(b"/")[0]) - 1
    except (OSError, ValueError, IndexError):
        return None


def even_parts_are_quicker(
    step: Callable[[], object], split_evenly: Callable[[bool], object], clock: Callable[[], float] = time.perf_counter
) -> bool:
    """Compare the two ways to divide the work among threads (`llama.work_split`), some tenths of a second long.

    Args:
        step: Evaluates one token.
        split_evenly: Sets the way; the caller sets the one that is kept.
        clock: Seconds.
    """
    started = clock()
    total = {False: 0.0, True: 0.0}
    for _ in range(_ROUNDS):
        for even in (False, True):
            split_evenly(even)
            times = []
            for _ in range(2):  # the first one finds what the other way has left in the caches
                before = clock()
                step()
                times.append(clock() - before)
            total[even] += min(times)
        if clock() - started > _SPLIT_SECONDS:
            break
    return total[True] < _CLEARLY * total[False]


class OtherPrograms:
    """Measures how many cores all other programs of this machine use, and what a virtual machine is denied."""

    def __init__(self) -> None:
        self._last = self._read()

    @property
    def works(self) -> bool:
        """Whether this system says what is needed."""
        return self._last is not None

    def cores(self) -> float | None:
        """Cores that others used since the last call; None where the system does not say, or too soon."""
        now, last = self._read(), self._last
        if now is None or last is None or now[0] - last[0] < _LOOK:
            return None
        self._last = now
        return max(0.0, (now[1] - last[1]) / (now[0] - last[0]))

    @staticmethod
    def _read() -> tuple[float, float] | None:
        """Seconds on the clock, and processor seconds used by others so far."""
        try:
            with open("/proc/stat", "rb") as file:  # noqa: PTH123  (called often: a Path costs as much as the reading)
                user, nice, system, _idle, _wait, irq, softirq, steal = map(int, file.readline().split()[1:9])
            ticks = os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, AttributeError):
            return None
        own = os.times()
        busy = (user + nice + system + irq + softirq + steal) / ticks
        return time.monotonic(), busy - own.user - own.system


class ThreadGovernor:
    """Lowers the thread count while others want the same cores, and raises it again afterwards.

    Threads that work in step wait for the slowest: two threads on two crowded cores take five to fifteen times as
    long per token as one. Where the system says what others use, that decides, four times a second. Where it does not,
    trying tells: after a run of slow steps a lower count is tried for a few steps, and kept when it is faster; higher
    counts are tried again from time to time, less and less often as long as they don't pay.

    Args:
        n_threads: The count on a quiet machine.
        others: Measures the other programs; None goes by trying alone.
        clock: Seconds.
    """

    def __init__(
        self,
        n_threads: int,
        others: OtherPrograms | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.n_threads = n_threads
        """The count to use now."""
        self._most = n_threads
        self._others = others
        self._clock = clock
        self._look_at = 0.0
        self._recent: deque[float] = deque(maxlen=_TRIAL)
        self._expected = float("inf")
        self._before = 0.0
        self._old = 0  # the count before the trial that is going on, 0 for none
        self._crowded = 0.0  # seconds of a step when fewer threads were chosen, 0 for never
        self._wait = 8
        self._interval = 32

    def look(self, at_rest: bool = False) -> bool:
        """See what others use now; returns whether `n_threads` has changed.

        Args:
            at_rest: Nothing is evaluated at the moment, so that what others used a while ago can be checked against
                what runs at this instant: a program that has just ended is no reason to hold back.
        """
        cores = self._others.cores() if self._others is not None and self._most > 1 else None
        if cores is None:
            return False
        if at_rest and running_now() == 0:
            cores = 0.0
        wanted = max(1, min(self._most, int(self._most - cores + 0.6)))
        changed = wanted != self.n_threads
        if changed:
            self.n_threads, self._old, self._wait = wanted, 0, self._interval
            self._expected = float("inf")
            self._recent.clear()
        return changed

    def observe(self, seconds: float) -> bool:
        """A step of one token took so long; returns whether `n_threads` has changed."""
        if self._most == 1:
            return False
        if self._others is not None:
            now = self._clock()
            if now < self._look_at:
                return False
            self._look_at = now + _LOOK
            return self.look()
        return self._try_out(seconds)

    def _try_out(self, seconds: float) -> bool:
        self._recent.append(seconds)
        if self._old:
            if seconds > 2 * self._before:
                return self._end_trial(kept=False)
            if len(self._recent) < _TRIAL:
                return False
            return self._end_trial(kept=statistics.median(self._recent) < 0.9 * self._before)
        self._expected = min(self._expected * 1.001, seconds)  # it creeps up, as the context grows
        self._wait -= 1
        if len(self._recent) < _TRIAL:
            return False
        median = statistics.median(self._recent)
        if _SLOW * median < self._crowded:  # never mind how long ago more threads were tried in vain
            self._wait, self._interval, self._crowded = 0, 32, 0.0
        if self._wait > 0:
            return False
        if median > _SLOW * self._expected and self.n_threads > 1:
            return self._try(self.n_threads // 2, median)
        if self.n_threads < self._most:
            return self._try(min(self._most, 2 * self.n_threads), median)
        return False

    def _try(self, n_threads: int, median: float) -> bool:
        self._before, self._old, self.n_threads = median, self.n_threads, n_threads
        self._recent.clear()
        return True

    def _end_trial(self, kept: bool) -> bool:
        self._interval = 32 if kept else min(2 * self._interval, 1024)
        self._wait = self._interval
        if kept:
            self._expected = statistics.median(self._recent)
            self._crowded = self._expected if self.n_threads < self._old else 0.0
        else:
            self.n_threads = self._old
        self._old = 0
        self._recent.clear()
        return not kept


def make_governor(n_threads: int) -> ThreadGovernor:
    """A governor for this system, which measures what other programs use from now on."""
    others = OtherPrograms()
    return ThreadGovernor(n_threads, others if others.works else None)
