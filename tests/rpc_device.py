"""A software device to offload to: llama.cpp's RPC backend, served by another process on this machine's loopback.

As a program (``python -m tests.rpc_device LIBRARY PORT``) it is the server.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from localllm.llama._api import C, library


def rpc_library() -> Path | None:
    """The RPC backend of this build of llama.cpp, or the one that LOCALLLM_RPC_LIBRARY names."""
    if named := os.environ.get("LOCALLLM_RPC_LIBRARY"):
        return Path(named)
    found = Path(C._lib._name).parent / ("ggml-rpc.dll" if sys.platform == "win32" else "libggml-rpc.so")
    return found if found.exists() else None


def serve(path: Path, port: int) -> None:
    """Lend this process's CPU device to whoever asks on the loopback; never returns."""
    ggml = library("ggml")
    assert ggml is not None
    C.llama_backend_init()
    ggml.ggml_backend_dev_by_type.restype = ctypes.c_void_p
    ggml.ggml_backend_dev_by_type.argtypes = [ctypes.c_int]
    device = (ctypes.c_void_p * 1)(ggml.ggml_backend_dev_by_type(0))
    rpc = ctypes.CDLL(str(path))
    rpc.ggml_backend_rpc_start_server.restype = None
    rpc.ggml_backend_rpc_start_server.argtypes = [
        ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p,
    ]  # fmt: skip
    rpc.ggml_backend_rpc_start_server(f"127.0.0.1:{port}".encode(), None, 1, 1, device)


def start_server(path: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start a server on a free port and wait until it listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "tests.rpc_device", str(path), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return process, port
        time.sleep(0.1)
    process.kill()
    process.wait()
    raise RuntimeError("the RPC server did not start")


def add_device(path: Path, port: int) -> None:
    """Make the server's device known to llama.cpp in this process, for good."""
    ggml = library("ggml")
    assert ggml is not None
    rpc = ctypes.CDLL(str(path))
    rpc.ggml_backend_rpc_add_server.restype = ctypes.c_void_p
    rpc.ggml_backend_rpc_add_server.argtypes = [ctypes.c_char_p]
    registered = rpc.ggml_backend_rpc_add_server(f"127.0.0.1:{port}".encode())
    assert registered
    ggml.ggml_backend_register.argtypes = [ctypes.c_void_p]
    ggml.ggml_backend_register(registered)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
