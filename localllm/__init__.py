"""localllm: a private assistant in your terminal, and the library beneath it."""

from __future__ import annotations

__version__ = "0.1.0"
