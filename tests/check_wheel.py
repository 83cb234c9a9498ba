"""Builds the wheel and checks it as a user gets it: the right files, and a command that starts without dev packages."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = {"localllm", "localllm_tui"}
DATA = {".toml": "localllm", ".tcss": "localllm_tui"}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(work), str(ROOT)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wheel = next(work.glob("*.whl"))
        names = zipfile.ZipFile(wheel).namelist()
        tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
        assert tops == PACKAGES, f"the wheel holds {sorted(tops)}"
        assert not [name for name in names if name.endswith(".gguf")], "the wheel holds model weights"
        for package in PACKAGES:
            assert f"{package}/py.typed" in names, f"{package} lacks py.typed"
        in_tree = {
            p.relative_to(base).as_posix()
            for base, package in ((ROOT, "localllm"), (ROOT / "tui", "localllm_tui"))
            for p in (base / package).rglob("*")
            if p.is_file() and "__pycache__" not in p.parts
        }
        missing = in_tree - set(names)
        assert not missing, f"the wheel lacks {sorted(missing)}"

        # The help must need nothing but click: heavy packages are imported only by the commands that use them.
        bare = work / "bare"
        venv.create(bare, with_pip=True)
        python = next(p for p in (bare / "bin" / "python", bare / "Scripts" / "python.exe") if p.exists())
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
        subprocess.run([*pip, "--no-deps", "click", "platformdirs"], check=True)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        shown = subprocess.run(
            [str(python.with_name("localllm")), "--help"], check=True, capture_output=True, text=True, env=environment
        )
        assert "Commands:" in shown.stdout
    print(f"wheel ok: {len(names)} files")


if __name__ == "__main__":
    main()
