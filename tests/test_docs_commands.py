"""`localllm docs` as a user types it: what is printed, what comes as JSON, and the exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from localllm.cli.main import main
from localllm.models import shelf
from localllm.settings import find_paths
from tests import documents
from tests.models import EMBEDDER


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "my documents"
    documents.make_all(path)
    documents.pdf(path / "locked.pdf", password=b"secret")
    return path


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(shelf, "find_embedder", lambda *_: None)

    def run(*arguments: str | Path) -> Result:
        code = main(args=["docs", *map(str, arguments)])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


def test_a_folder_is_added_searched_and_removed(docs: Run, folder: Path) -> None:
    added = docs("add", folder)
    assert added.code == 0
    assert "16 added" in added.err
    assert "Left out" in added.err
    assert "password" in added.err
    assert "No embedding model" in added.err
    found = docs("search", "which seal interval hours", "-k", "3", "--json").json
    assert found["mode"] == "keyword"
    assert set(found["hits"][0]) == {
        "source", "title", "heading", "page", "line", "start", "end", "score", "text"
    }  # fmt: skip
    assert any(documents.SENTENCE in hit["text"] for hit in found["hits"])
    removed = docs("remove", folder, "-y")
    assert removed.code == 0
    assert docs("list", "--json").json["documents"] == []
    assert (folder / "plain.txt").exists()


def test_sync_is_incremental_and_tells_as_json(docs: Run, folder: Path) -> None:
    docs("add", folder)
    (folder / "new.md").write_text("# Fan\nThe fan has a belt.")
    (folder / "plain.txt").unlink()
    result = docs("sync", "--json").json
    assert (result["added"], result["removed"], result["errors"]) == (1, 1, 0)
    assert docs("sync", "--json").json["unchanged"] == 16
    assert docs("sync", "--deep", "--json").json["unchanged"] == 16


def test_what_was_left_out_is_listed_with_its_reason(docs: Run, folder: Path) -> None:
    docs("add", folder)
    listed = docs("list", "--skipped", "--json").json["documents"]
    assert [(Path(d["source"]).name, d["status"]) for d in listed] == [("locked.pdf", "skipped")]
    assert "password" in listed[0]["reason"]
    assert "password" in docs("list", "--skipped").out
    assert "locked.pdf" not in docs("list").out


def test_status_says_how_a_library_can_be_searched_and_why(docs: Run, folder: Path) -> None:
    docs("add", folder)
    state = docs("status", "--json").json
    assert (state["search"], state["documents"]["ok"], state["documents"]["skipped"]) == ("keyword", 16, 1)
    assert "models pull" in state["why"]
    assert state["indexing_process"] is None
    text = docs("status").out
    assert "16 documents" in text
    assert str(folder) in text


def test_a_folder_that_is_away_is_said_and_not_called_empty(docs: Run, folder: Path) -> None:
    docs("add", folder)
    folder.rename(folder.with_name("away"))
    told = docs("sync")
    assert told.code == 0
    assert "its documents are kept" in told.err
    assert "nothing new" in told.err
    assert "not there now" in docs("status").out
    assert docs("search", "seal", "--json").json["hits"]


def test_commands_that_are_suggested_can_be_pasted(docs: Run, folder: Path) -> None:
    docs("add", folder, "-d", "my work")
    docs("remove", folder, "-d", "my work", "-y")
    assert "-d 'my work'" in docs("status", "-d", "my work").out
    assert "-d 'my work'" in docs("sync", "-d", "my work").err
    assert "-d 'no such'" in docs("sync", "-d", "no such").err


def test_libraries_are_kept_apart(docs: Run, folder: Path, tmp_path: Path) -> None:
    docs("add", folder, "-d", "work")
    assert docs("list", "-d", "home").code == 1
    assert "no library" in docs("list", "-d", "home").err
    assert (tmp_path / "home" / "libraries" / "work.db").exists()


def test_verify_finds_a_sound_library_sound_and_a_tampered_one_not(docs: Run, folder: Path) -> None:
    docs("add", folder)
    assert docs("verify", "--json").json["ok"]
    import sqlite3

    with sqlite3.connect(find_paths().library("default")) as db:
        db.execute("UPDATE chunks SET start = start + 1 WHERE id = (SELECT min(id) FROM chunks)")
    db.close()
    broken = docs("verify", "--json")
    assert broken.code == 1
    assert "not the text it claims" in broken.json["faults"][0]
    told = docs("verify")
    assert told.code == 1
    assert "docs sync" in told.err
    assert docs("sync").code == 0
    assert docs("verify", "--json").json["ok"]


def test_a_folder_is_removed_by_the_name_it_was_added_by(
    docs: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dots, through a link, and when it is there no more."""
    inside = tmp_path / "here"
    inside.mkdir()
    monkeypatch.chdir(inside)
    docs("add", f"../{folder.name}", "--no-sync")
    assert docs("remove", f"../{folder.name}", "-y").code == 0
    (tmp_path / "link").symlink_to(folder)
    docs("add", tmp_path / "link", "--no-sync")
    assert docs("remove", tmp_path / "link", "-y").code == 0
    docs("add", folder, "--no-sync")
    folder.rename(tmp_path / "elsewhere")
    assert docs("remove", folder, "-y").code == 0
    assert docs("status", "--json").json["roots"] == []
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert docs("remove", tmp_path / "loop", "-y").code == 1


def test_verify_of_a_damaged_text_names_it_and_the_next_sync_reads_it_again(docs: Run, folder: Path) -> None:
    docs("add", folder)
    import sqlite3

    with sqlite3.connect(find_paths().library("default")) as db:
        db.execute("UPDATE texts SET body = substr(body, 1, 9)")
    db.close()
    broken = docs("verify", "--json")
    assert (broken.code, len(broken.json["faults"]), broken.err) == (1, 16, "")
    assert docs("search", "seal hours", "--mode", "keyword").code in (0, 1)
    assert docs("sync", "--json").json["changed"] == 16
    assert docs("verify", "--json").json["ok"]


def test_removing_a_whole_library_removes_its_file(docs: Run, folder: Path, tmp_path: Path) -> None:
    docs("add", folder, "-d", "work")
    assert docs("remove", "--all", "-d", "work", "-y").code == 0
    assert list((tmp_path / "home" / "libraries").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (("add", "nowhere/at/all"), 1, "input_error"),
        (("sync",), 1, "library_not_found"),
        (("remove", "--json"), 2, "usage"),
        (("remove", "--all"), 2, "usage"),
        (("search", "x", "-d", "../x"), 2, "usage"),
        (("reembed",), 1, "input_error"),
        (("eval", "nowhere.csv"), 1, "input_error"),
    ],
)
def test_mistakes_are_one_line_with_a_way_out(docs: Run, arguments: tuple[str, ...], code: int, kind: str) -> None:
    result = docs(*arguments, *(() if "--json" in arguments else ("--json",)))
    assert result.code == code
    assert result.json["error"]["kind"] == kind
    assert "\n" not in result.json["error"]["message"].strip()
    assert "Traceback" not in result.err


def test_a_folder_inside_a_followed_one_is_not_read_twice(docs: Run, folder: Path) -> None:
    docs("add", folder)
    (folder / "sub").mkdir()
    (folder / "sub" / "a.md").write_text("inner words")
    assert "followed already" in docs("add", folder / "sub").err
    assert len(docs("search", "inner", "--json").json["hits"]) == 1


def test_a_folder_around_a_followed_one_takes_it_over(docs: Run, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "a.md").write_text("inner words")
    docs("add", folder / "sub")
    docs("add", folder)
    assert [Path(r["path"]).name for r in docs("status", "--json").json["roots"]] == ["my documents"]
    assert len(docs("search", "inner", "--json").json["hits"]) == 1


def test_patterns_of_add_hold_for_later_syncs(docs: Run, folder: Path) -> None:
    docs("add", folder, "--include", "*.md", "--include", "*.txt")
    (folder / "later.md").write_text("later")
    (folder / "later.csv").write_text("later,row")
    docs("sync")
    names = {Path(d["source"]).name for d in docs("list", "--json").json["documents"]}
    assert names == {"guide.md", "plain.txt", "later.md"}


def test_eval_scores_the_users_own_questions(docs: Run, folder: Path, tmp_path: Path) -> None:
    docs("add", folder, "--include", "guide.md", "--include", "data.json")
    (tmp_path / "q.csv").write_text("question,expected\nhow often is the pump seal replaced,guide.md\n")
    report = docs("eval", tmp_path / "q.csv", "--json").json
    assert (report["questions"], report["mode"], report["hit_at_k"]) == (1, "keyword", 1.0)
    assert "nDCG@10" in docs("eval", tmp_path / "q.csv").out


def test_nothing_found_is_no_error(docs: Run, folder: Path) -> None:
    docs("add", folder)
    result = docs("search", "zyzzyva")
    assert (result.code, result.out) == (0, "")
    assert "Nothing was found" in result.err


def test_a_missed_question_moves_no_cursor(docs: Run, folder: Path, tmp_path: Path) -> None:
    docs("add", folder)
    (tmp_path / "q.csv").write_text("question,expected\nWhere is\x1b[2J the lighthouse?,nowhere.md\n", "utf-8")
    assert "missed: Where is [2J the lighthouse?" in docs("eval", tmp_path / "q.csv").out


@pytest.mark.model
@pytest.mark.skipif(not EMBEDDER.exists(), reason="needs the starter embedder (make starter)")
def test_with_an_embedder_the_search_is_hybrid(docs: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs("add", folder, "--include", "*.md")
    monkeypatch.setattr(shelf, "find_embedder", lambda *_: EMBEDDER)
    assert docs("status", "--json").json["search"] == "keyword"
    result = docs("sync", "--json").json
    assert result["cut"] == 1
    assert result["embedded"] == result["chunks"] > 0
    assert docs("status", "--json").json["search"] == "hybrid"
    found = docs("search", "maintenance of the gasket", "--json").json
    assert found["mode"] == "hybrid"
    assert found["hits"]
    assert docs("reembed", "--json").json["embedded"] == 0
    assert docs("verify", "--json").json["ok"]


def test_where_nobody_can_be_asked_nothing_is_removed_without_y(docs: Run, folder: Path) -> None:
    docs("add", folder)
    refused = docs("remove", folder)
    assert refused.code == 2 and "needs -y" in refused.err
    assert docs("list", "--json").json["documents"]
    assert docs("remove", folder, "-y").code == 0
