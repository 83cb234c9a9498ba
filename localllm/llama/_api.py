"""The C API, imported once: `C` is the module of raw bindings, `quick` holds calls that keep Python's lock.

Only the bindings module is loaded: the package's own ``__init__`` imports its high-level classes, a template engine and
a disk cache, which cost 85 ms at every start and are never used here.
"""

from __future__ import annotations

import ctypes
import os
import sys
import types
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localllm.errors import ModelLoadFailed

if TYPE_CHECKING:
    import llama_cpp.llama_cpp  # noqa: F401  (tells packagers which module is needed)


def _import_bindings() -> Any:
    if "llama_cpp" in sys.modules:
        return import_module("llama_cpp.llama_cpp")
    spec = find_spec("llama_cpp")
    if spec is None or spec.submodule_search_locations is None:
        raise ModelLoadFailed("llama-cpp-python is not installed.", "Install it: pip install llama-cpp-python.")
    package = types.ModuleType("llama_cpp")
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    sys.modules["llama_cpp"] = package
    try:
        return import_module("llama_cpp.llama_cpp")
    except (OSError, RuntimeError) as error:  # the shared library is missing or does not load
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelLoadFailed(
            f"llama.cpp does not load: {reason}.", "Install llama-cpp-python again for this machine."
        ) from error
    finally:
        sys.modules.pop("llama_cpp", None)  # whoever imports the package later gets the whole of it


C: Any = _import_bindings()

LIB_FOLDER = Path(C.__file__).parent / "lib"


class Quick:
    """Calls of microseconds through handles that keep Python's lock: handing it over and back costs more than they do.

    Never for calls that evaluate, load, or may call back into Python.
    """

    def __init__(self) -> None:
        lib = ctypes.PyDLL(C._lib._name, handle=C._lib._handle)
        pointer, token = ctypes.c_void_p, ctypes.c_int32
        self.get_logits = _bind(lib, "llama_get_logits", [pointer], pointer)
        self.get_embeddings_seq = _bind(lib, "llama_get_embeddings_seq", [pointer, ctypes.c_int32], pointer)
        self.sampler_apply = _bind(lib, "llama_sampler_apply", [pointer, pointer], None)
        self.is_eog = _bind(lib, "llama_vocab_is_eog", [pointer, token], ctypes.c_bool)
        self.get_attr = _bind(lib, "llama_vocab_get_attr", [pointer, token], ctypes.c_int)
        self.seq_rm = _bind(lib, "llama_memory_seq_rm", [pointer, token, token, token], ctypes.c_bool)
        self.set_n_threads = _bind(lib, "llama_set_n_threads", [pointer, ctypes.c_int32, ctypes.c_int32], None)
        self.token_to_piece = _bind(
            lib,
            "llama_token_to_piece",
            [pointer, token, ctypes.c_char_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_bool],
            ctypes.c_int32,
        )


def _bind(lib: ctypes.CDLL, name: str, argtypes: list[Any], restype: Any) -> Any:
    function = lib[name]  # a new function object, so that the bindings' own types stay as they are
    function.argtypes = argtypes
    function.restype = restype
    return function


quick = Quick()


def library(name: str) -> ctypes.CDLL | None:
    """A handle for functions of a library that libllama uses (``ggml``, ``ggml-base``), or None where there is none.

    Never by opening the file: it lies there under several names, and another name would load a second copy, with
    devices of its own that the models know nothing of.
    """
    if os.name != "nt":
        return ctypes.CDLL(C._lib._name, handle=C._lib._handle)  # symbols are looked up in what it depends on too
    for file in (f"{name}.dll", f"lib{name}.dll"):
        path = Path(C._lib._name).parent / file
        if path.exists():
            return ctypes.CDLL(str(path))
    return None


def strlen_as_abort_callback() -> Any:
    """libc's ``strlen``, typed as an abort callback.

    llama.cpp asks the callback after every node of the graph. A Python function there would take Python's lock a
    thousand times per token; ``strlen`` of a two-byte buffer answers 0 (go on) or 1 (stop) without any.
    """
    libc = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
    return ctypes.cast(libc.strlen, C.ggml_abort_callback)
