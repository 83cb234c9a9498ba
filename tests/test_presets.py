"""Presets: what is saved is read back, and a file that can't be used is named with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from localllm.assistant import chat_settings
from localllm.errors import PresetNotFound, SettingsError
from localllm.presets import (
    PRESET_SETTINGS,
    Preset,
    chat_options,
    delete_preset,
    list_presets,
    load_preset,
    preset_names,
    preset_of,
    save_preset,
)
from localllm.settings import Paths, Settings, rule_of


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path, tmp_path / "config.toml", tmp_path)


def write(paths: Paths, name: str, text: str) -> None:
    paths.presets.mkdir(exist_ok=True)
    (paths.presets / f"{name}.toml").write_text(text, "utf-8")


FULL = Preset(
    "Manuals 1.7B",
    {
        "model": "big",
        "draft": "none",
        "system": 'Be "brief".\n\tAnd \\ true.\n',
        "temperature": 0.0,
        "seed": 7,
        "rules": "support-answer",
        "docs": "manuals",
    },
    "Short answers",
)


def test_what_is_saved_is_read_back_and_private(paths: Paths) -> None:
    path = save_preset(FULL, paths)
    assert load_preset(FULL.name, paths) == FULL
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert [p.name for p in paths.presets.iterdir()] == ["Manuals 1.7B.toml"]


def test_a_system_prompt_of_several_lines_is_readable_in_the_file(paths: Paths) -> None:
    text = save_preset(Preset("p", {"system": "One.\nTwo."}), paths).read_text("utf-8")
    assert text == 'system = """\nOne.\nTwo."""\n'


VALUES: dict[type, st.SearchStrategy[Any]] = {
    str: st.text() | st.text('"\\\n\r\t#= a', max_size=12),
    bool: st.booleans(),
    int: st.integers(0, 500),
    float: st.floats(0.2, 1.0),
}
FREE = [n for n in PRESET_SETTINGS if not rule_of(n).choices and n not in ("gpu_layers", "passages")]


@given(
    st.fixed_dictionaries({}, optional={n: VALUES[type(getattr(Settings(), n))] for n in FREE}),
    st.text(),
)
@hypothesis_settings(max_examples=80, deadline=None)
def test_any_preset_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any], description: str
) -> None:
    home = tmp_path_factory.mktemp("home")
    here = Paths(home, home / "config.toml", home)
    preset = Preset("any", values, description)
    save_preset(preset, here)
    assert load_preset("any", here) == preset


def test_a_preset_stands_on_top_of_the_settings_and_leaves_the_rest(paths: Paths) -> None:
    applied = FULL.apply(Settings(top_k=3, temperature=1.5, offline=True))
    assert (applied.top_k, applied.temperature, applied.offline, applied.docs) == (3, 0.0, True, "manuals")


def test_what_a_chat_keeps_gives_the_settings_of_the_preset() -> None:
    base = Settings(docs="other", rules="other", system="other", top_k=3)
    for preset in (FULL, Preset("p", {"docs": "", "rules": ""}), Preset("q", {})):
        options = chat_options(preset)
        assert options.preset == preset.name and "system" not in options.settings
        assert chat_settings(base, options) == preset.apply(base).with_changes(system="other")


def test_a_preset_is_made_of_what_differs() -> None:
    assert preset_of("x", Settings(top_k=3, theme="other", allow_code=True)).values == {"top_k": 3}
    assert preset_of("x", Settings(top_k=3, seed=1), Settings(top_k=3)).values == {"seed": 1}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a = = 1", "line 1"),
        ("seed = 1\n\nwarp = 9", "line 3: there is no setting 'warp'"),
        ("seed = 1\ntop_p = 2", "line 2: top_p must be at most 1"),
        ("theme = 'x'", "line 1: theme can't be set here"),
        ("allow_code = true", "line 1: allow_code can't be set here"),
        ("offline = false", "line 1: offline can't be set here"),
        ("\ndescription = 3", "line 2: description must be a text"),
    ],
)
def test_a_file_that_cant_be_used_is_named_with_its_line_and_hides_no_other(
    paths: Paths, text: str, complaint: str
) -> None:
    write(paths, "bad", text)
    save_preset(Preset("good", {"seed": 3}), paths)
    with pytest.raises(SettingsError) as caught:
        load_preset("bad", paths)
    assert str(paths.presets / "bad.toml") in caught.value.message and complaint in caught.value.message
    good, bad = list_presets(paths)
    assert [p.name for p in good] == ["good"] and [e.message for e in bad] == [caught.value.message]


def test_a_file_that_is_no_text_is_said_to_be_unreadable(paths: Paths) -> None:
    write(paths, "bad", "")
    (paths.presets / "bad.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="can't be read"):
        load_preset("bad", paths)


def test_names_that_are_no_file_names_never_leave_the_folder(paths: Paths) -> None:
    (paths.home / "secret.toml").write_text("seed = 1", "utf-8")
    for name in ("../secret", "a/b", "", ".", "..", "x\n", "a.", " a"):
        with pytest.raises(PresetNotFound):
            load_preset(name, paths)
        with pytest.raises(PresetNotFound):
            delete_preset(name, paths)
        with pytest.raises(ValueError, match="name"):
            Preset(name)
    assert (paths.home / "secret.toml").exists()


def test_a_missing_preset_is_answered_with_those_there_are(paths: Paths) -> None:
    with pytest.raises(PresetNotFound, match="TOML files in"):
        load_preset("x", paths)
    save_preset(Preset("brief"), paths)
    with pytest.raises(PresetNotFound, match="There are: brief"):
        load_preset("x", paths)


def test_a_removed_preset_is_gone(paths: Paths) -> None:
    save_preset(Preset("brief"), paths)
    delete_preset("brief", paths)
    assert preset_names(paths) == []
    with pytest.raises(PresetNotFound):
        delete_preset("brief", paths)


def test_a_value_that_cant_be_used_makes_no_preset() -> None:
    for values in ({"temperature": 99.0}, {"theme": "x"}, {"seed": "x"}):
        with pytest.raises(ValueError, match=next(iter(values))):
            Preset("p", values)


def test_a_folder_that_cant_be_written_to_is_said(paths: Paths) -> None:
    paths.presets.write_text("a file", "utf-8")
    with pytest.raises(SettingsError, match="can't be written"):
        save_preset(Preset("p"), paths)


def test_the_summary_is_one_line() -> None:
    assert FULL.summary.startswith('model big, draft none, system Be "brief". And') and "\n" not in FULL.summary
