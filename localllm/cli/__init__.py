"""The command line: one file per command group, each imported only when its command runs."""

from __future__ import annotations

from localllm.cli.main import cli, main

__all__ = ["cli", "main"]
