"""The launcher: `localllm` without a command opens the app, with one it runs the command line."""

from __future__ import annotations

import os
import sys


def open_app() -> int:
    """Import and run the screen, or the chat without one where that is wanted; returns the exit code."""
    from localllm.cli.plain import plain_wanted, run_plain
    from localllm.settings import find_paths, load_settings

    if plain_wanted(load_settings(find_paths())):
        return run_plain()
    from localllm_tui.app import run

    return run()


def main() -> int:
    """Entry point of the program, of the packaged binary, and of its worker processes."""
    # The packaged binary has no `python -m`: it starts itself again as a worker.
    if os.environ.get("LOCALLLM_WORKER") and len(sys.argv) > 1 and sys.argv[1] == "--worker":
        from localllm.engine.worker import run_worker

        return run_worker()
    if os.environ.get("LOCALLLM_WORKER") and len(sys.argv) == 4 and sys.argv[1] == "--embedder":
        from pathlib import Path

        from localllm.engine.embedder_process import run_embedder

        return run_embedder(Path(sys.argv[2]), int(sys.argv[3]))
    if os.environ.get("LOCALLLM_READER") and len(sys.argv) > 1 and sys.argv[1] == "--reader":
        from localllm.rag.reader_process import run_reader

        return run_reader()
    if os.environ.get("LOCALLLM_RULES") and len(sys.argv) > 1 and sys.argv[1] == "--rules":
        from localllm.rules.code_process import run_rules

        return run_rules()
    try:
        from localllm.cli import main as run_command
    except KeyboardInterrupt:  # Ctrl-C while the command line is imported; from then on it answers by itself
        return 130
    return run_command(open_app)


if __name__ == "__main__":
    sys.exit(main())
