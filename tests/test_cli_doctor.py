"""`localllm doctor`: says what works, what is missing and how to get it, and never fails to say it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localllm.cli import doctor, main
from localllm.settings import Paths

STARTER = Path(__file__).parent.parent / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    home = tmp_path / "home"
    monkeypatch.setattr(
        "localllm.cli.session.find_paths", lambda: Paths(home, home / "config.toml", tmp_path / "program")
    )

    def call(*args: str) -> tuple[int, dict[str, Any]]:
        code = main(args=["doctor", "--json", *args])
        out, err = capsys.readouterr()
        value = json.loads(out)
        assert value["ok"] == (code == 0) and err == ""
        return code, {finding["name"]: finding for finding in value["findings"]}

    return call


def test_a_fresh_machine_is_sound_and_learns_how_to_get_a_model(run: Run) -> None:
    code, found = run()
    assert code == 0
    assert found["models"]["state"] == found["embedder"]["state"] == "missing"
    assert "localllm models pull starter" in found["models"]["hint"]
    assert found["llama.cpp"]["state"] == "ok" and found["llama.cpp"]["data"]["features"]
    assert "FTS5" in found["SQLite"]["text"] and found["versions"]["data"]["llama-cpp-python"]
    assert found["memory"]["data"]["total"] > 0 and found["processor"]["data"]["cores"] >= 1
    assert {f["state"] for f in found.values()} <= {"ok", "note", "missing", "broken"}


def test_a_broken_settings_file_is_one_finding_among_others(run: Run, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "config.toml").write_text("temperature = 99\n")
    code, found = run()
    assert code == 1 and found["settings"]["state"] == "broken" and "line 1" in found["settings"]["text"]
    assert found["SQLite"]["state"] == "ok"


def test_a_damaged_history_and_a_damaged_model_are_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "home" / "models").mkdir(parents=True)
    (tmp_path / "home" / "history.db").write_bytes(b"junk" * 4096)
    (tmp_path / "home" / "models" / "cut.gguf").write_bytes(b"GGUF")
    code, found = run()
    assert code == 1 and "history.db is damaged" in found["history"]["text"]
    assert "cut.gguf" in found["model file"]["text"] and found["model file"]["state"] == "note"


def test_the_settings_that_differ_from_the_defaults_are_shown(run: Run, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "config.toml").write_text("temperature = 0.1\n")
    assert run()[1]["settings"]["data"] == {"changed": {"temperature": 0.1}}


def test_a_self_check_without_a_model_fails_with_the_way_out(run: Run) -> None:
    code, found = run("--self-check")
    assert code == 1 and "pull starter" in found["self-check"]["hint"]


def test_for_people_every_finding_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path))
    main(args=["doctor"])
    out = capsys.readouterr().out
    for name in ("versions", "llama.cpp", "processor", "memory", "settings", "data", "history", "SQLite"):
        assert f"  {name}" in out


def test_without_llama_cpp_the_rest_is_still_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import localllm.llama.devices

    monkeypatch.delattr(localllm.llama, "devices")
    monkeypatch.setitem(sys.modules, "localllm.llama.devices", None)
    code, found = run()
    assert code == 1 and found["llama.cpp"]["state"] == "broken" and found["SQLite"]["state"] == "ok"


@pytest.mark.model
def test_the_self_check_loads_the_model_and_gets_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not STARTER.exists():
        pytest.skip(f"{STARTER.name} is not here (make starter)")
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path))
    code = main(args=["doctor", "--self-check", "--json"])
    value = json.loads(capsys.readouterr().out)
    check = next(f for f in value["findings"] if f["name"] == "self-check")
    assert code == 0 and check["state"] == "ok" and check["data"]["tokens"] > 0 and check["data"]["text"].strip()


def test_sizes_read_well() -> None:
    assert doctor._gib(3 << 30) == "3.0 GiB" and doctor._gib(94 << 20) == "94 MiB"
