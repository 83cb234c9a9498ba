"""The long harnesses at their full counts, one test file after the other; goes on where it stopped.

    python tests/soak.py [--again]

A file that passed is noted in build/soak.json with its time and is not run again until it or the code has changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
DONE = ROOT / "build" / "soak.json"


def fingerprint(test: Path) -> str:
    """Changes with the test file and with the code."""
    digest = hashlib.sha256(test.read_bytes())
    for folder in ("localllm", "tui"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def main() -> int:
    DONE.parent.mkdir(exist_ok=True)
    done = json.loads(DONE.read_text("utf-8")) if DONE.exists() and "--again" not in sys.argv else {}
    failed = []
    for test in sorted((ROOT / "tests").glob("test_*.py")):
        if "LOCALLLM_SOAK" not in test.read_text("utf-8"):
            continue
        name, now = test.name, fingerprint(test)
        if done.get(name, {}).get("fingerprint") == now:
            print(f"{name}: passed before in {done[name]['seconds']:.0f} s")
            continue
        started = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-q", str(test)]
        code = subprocess.run(command, cwd=ROOT, env={**os.environ, "LOCALLLM_SOAK": "1"}, check=False).returncode
        if code:
            failed.append(name)
            continue
        done[name] = {"fingerprint": now, "seconds": time.monotonic() - started}
        DONE.write_text(json.dumps(done, indent=1), "utf-8")
    print(f"{len(done)} passed, {len(failed)} failed" + (": " + ", ".join(failed) if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
