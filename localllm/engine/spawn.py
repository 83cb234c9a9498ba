"""Spawn: the command, environment and log file of the worker process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from localllm.settings import private_folder

_LOG_BYTES = 1 << 20
"""A log file that has grown beyond this is put aside, and the one put aside before is dropped."""


def worker_command() -> list[str]:
    """How to start a worker: this interpreter, or this very program when it is frozen."""
    if getattr(sys, "frozen", False):
        return [sys.executable, "--worker"]
    return [sys.executable, "-m", "localllm.engine.worker"]


def worker_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The worker's environment: ours, with weights in huge pages; what the user set there stays.

    How OpenMP's threads wait is left alone. A token takes some hundred barriers; threads that sleep at each
    (`OMP_WAIT_POLICY=passive`) took three times as long on a quiet machine (55 tokens/s instead of 180 on two cores).
    On a busy one the thread governor leaves one thread, which waits for nobody, and the policy made no difference.
    """
    env = dict(environ)
    env["LOCALLLM_WORKER"] = "1"
    if sys.platform == "linux" and "glibc.malloc.hugetlb" not in env.get("GLIBC_TUNABLES", ""):
        tunables = [t for t in (env.get("GLIBC_TUNABLES"), "glibc.malloc.hugetlb=1") if t]
        env["GLIBC_TUNABLES"] = ":".join(tunables)
    if not getattr(sys, "frozen", False):
        root = str(Path(__file__).resolve().parents[2])
        paths = [p for p in env.get("PYTHONPATH", "").split(os.pathsep) if p]
        if root not in paths:
            env["PYTHONPATH"] = os.pathsep.join([*paths, root])
    return env


def start_process(log_path: Path) -> subprocess.Popen[bytes]:
    """Start a worker with private pipes; whatever it prints goes to the log file, which only the user can read."""
    with open_log(log_path) as log:
        return subprocess.Popen(
            worker_command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=worker_environment(os.environ),
            bufsize=0,
            **detached(),
        )


def detached() -> dict[str, Any]:
    """Options of `Popen` for a process that Ctrl-C in our terminal does not reach: it is for us alone."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def open_log(path: Path) -> IO[bytes]:
    """The log file, for appending; a large one is put aside first."""
    private_folder(path.parent)
    try:
        if path.stat().st_size > _LOG_BYTES:
            path.replace(path.with_suffix(".old.log"))
    except OSError:
        pass
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def end_of(process: subprocess.Popen[bytes]) -> int | None:
    """The exit code of a process that has closed its pipe; None, and it is killed, where it goes on without one."""
    try:
        return process.wait(timeout=2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def cause_of_death(code: int | None) -> str:
    """Why a process ended, for people."""
    if code is None:
        return "it closed its pipe"
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        if name == "SIGKILL":
            return "it was killed, perhaps because the system ran out of memory"
        if name == "SIGABRT":
            return "llama.cpp gave up on an internal check"
        return f"it was ended by {name}"
    return f"exit code {code}"
