"""How much memory this computer has left, asked of the system without any package."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Bytes that new work may use now, the limit of a container included; 0 where the system does not say."""
    try:
        if sys.platform == "win32":
            return _windows()[1]
        if sys.platform == "darwin":
            return _macos_available()
        free = _meminfo().get("MemAvailable", 0)
        room = _container_room()
        return min(free, room) if room is not None else free
    except (OSError, ValueError, AttributeError):
        return 0


def total_memory() -> int:
    """Bytes of memory in this computer, or that this container may use; 0 where the system does not say."""
    try:
        if sys.platform == "win32":
            return _windows()[0]
        if sys.platform == "darwin":
            return _sysctl("hw.memsize")
        total, limit = _meminfo().get("MemTotal", 0), _container_limit()
        return min(total, limit) if limit is not None else total
    except (OSError, ValueError, AttributeError):
        return 0


def _meminfo(path: Path = Path("/proc/meminfo")) -> dict[str, int]:
    """Linux: the kernel's figures, in bytes."""
    figures = {}
    for line in path.read_text("ascii").splitlines():
        name, _, rest = line.partition(":")
        figures[name] = int(rest.split()[0]) * (1024 if rest.endswith("kB") else 1)
    return figures


def _container_limit(root: Path = _CGROUP) -> int | None:
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # version 2, version 1
        text = _first_line(root / name)
        if text.isdecimal() and int(text) < 1 << 60:
            return int(text)
    return None


def _container_room(root: Path = _CGROUP) -> int | None:
    """What the container's limit leaves; cached files can be dropped and don't count as used."""
    limit = _container_limit(root)
    if limit is None:
        return None
    for used_name, stat_name, key in (
        ("memory.current", "memory.stat", "inactive_file "),
        ("memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file "),
    ):
        used = _first_line(root / used_name)
        if used.isdecimal():
            lines = (root / stat_name).read_text("ascii").splitlines()
            cached = next((int(line[len(key) :]) for line in lines if line.startswith(key)), 0)
            return max(0, limit - max(0, int(used) - cached))
    return limit


def _first_line(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except OSError:
        return ""


def _sysctl(name: str) -> int:
    value, size = ctypes.c_uint64(0), ctypes.c_size_t(8)
    libc = ctypes.CDLL(None)
    failed = libc.sysctlbyname(name.encode(), ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0))
    return 0 if failed else value.value


def _macos_available() -> int:
    """Free and inactive pages, from the Mach kernel's statistics."""
    libc = ctypes.CDLL(None)
    libc.mach_host_self.restype = ctypes.c_uint32
    words = (ctypes.c_uint32 * 64)()
    count = ctypes.c_uint32(38)  # HOST_VM_INFO64_COUNT
    if libc.host_statistics64(libc.mach_host_self(), 4, words, ctypes.byref(count)):
        return 0
    free, _, inactive = words[0], words[1], words[2]
    return (free + inactive) * _sysctl("hw.pagesize")


def _windows() -> tuple[int, int]:
    """Total and available bytes."""

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            ("total", ctypes.c_uint64),
            ("available", ctypes.c_uint64),
            ("rest", ctypes.c_uint64 * 5),
        )

    status = Status()
    status.length = ctypes.sizeof(Status)
    windll = getattr(ctypes, "windll")  # noqa: B009  absent elsewhere, and type checkers say so
    windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return status.total, status.available
