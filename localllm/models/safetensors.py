"""Read tensors from a safetensors file: an 8-byte length, a JSON header, then the raw data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localllm.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""

_NUMPY_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """Every tensor of the file by name, mapped from the file and read only when touched.

    Floating-point tensors come as float32 except float16 and float64, which stay as they are; bfloat16 is widened.

    Raises:
        ModelError: The file is not a safetensors file or is cut short.
    """
    import numpy as np

    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
                raise ModelError(f"{path} is not a safetensors file, or is cut short.", "Download it again.")
            header = json.loads(file.read(length))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} can't be read as safetensors: {error}.", "Download it again.") from error
    data = np.memmap(path, np.uint8, "r", offset=8 + length) if size > 8 + length else np.zeros(0, np.uint8)
    try:
        return {name: _tensor(data, entry) for name, entry in header.items() if name != "__metadata__"}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path} has a broken safetensors header, or is cut short.", "Download it again.") from error


def _tensor(data: NDArray[np.uint8], entry: dict[str, Any]) -> NDArray[Any]:
    import numpy as np

    start, end = entry["data_offsets"]
    if not 0 <= start <= end <= len(data):
        raise ValueError("a tensor lies outside the file")
    array: NDArray[Any] = data[start:end].view(_NUMPY_TYPES[entry["dtype"]]).reshape(entry["shape"])
    if entry["dtype"] == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array
