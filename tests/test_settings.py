"""Settings: declared once, read from file and environment, written in place, documented as they are."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from localllm.errors import SettingsError
from localllm.settings import Paths, Settings, find_paths, load_settings, private_folder, rule_of, save_setting

DOCS = Path(__file__).parent.parent / "docs" / "settings.md"
NAMES = [f.name for f in fields(Settings)]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "home", tmp_path / "home" / "config.toml", tmp_path / "program")


def write(paths: Paths, text: str) -> None:
    private_folder(paths.home)
    paths.config.write_text(text, "utf-8")


# ---- reading --------------------------------------------------------------------------------------------------------


def test_without_a_file_everything_is_at_its_default(paths: Paths) -> None:
    assert load_settings(paths, {}) == Settings()
    assert not paths.home.exists()


def test_the_environment_wins_over_the_file(paths: Paths) -> None:
    write(paths, "temperature = 0.1\ntop_k = 5\noffline = true\n")
    loaded = load_settings(paths, {"LOCALLLM_TEMPERATURE": "0.9", "LOCALLLM_OFFLINE": "no", "LOCALLLM_MODEL": "m"})
    assert (loaded.temperature, loaded.top_k, loaded.offline, loaded.model) == (0.9, 5, False, "m")


def test_a_whole_number_may_stand_for_a_fraction(paths: Paths) -> None:
    write(paths, "temperature = 1\n")
    assert load_settings(paths, {}).temperature == 1.0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a = = 1", "line 1"),
        ("\n\nwarp = 9", "line 3: there is no setting 'warp'"),
        ("seed = 1\ntop_p = 2", "line 2: top_p must be at most 1"),
        ('seed = 1\nkv_type = "q3"', "line 2: kv_type must be one of f16, q8_0, q4_0"),
        ("offline = 1", "must be true or false"),
        ("top_k = 1.5", "line 1: top_k must be a whole number"),
        ("model = 3", "must be a text"),
        ('\ngpu_layers = "many"', "line 2: gpu_layers must be auto or a number"),
        ("temperature = nan", "temperature"),
        ("[model]\nname = 3", "model must be a text"),
    ],
)
def test_a_value_that_cant_be_used_is_named_with_file_and_line(paths: Paths, text: str, complaint: str) -> None:
    write(paths, text)
    with pytest.raises(SettingsError) as caught:
        load_settings(paths, {})
    assert str(paths.config) in caught.value.message and complaint in caught.value.message
    assert "\n" not in str(caught.value)


def test_a_misspelt_setting_gets_the_nearest_name(paths: Paths) -> None:
    write(paths, "temprature = 0.5")
    with pytest.raises(SettingsError, match="Did you mean 'temperature'"):
        load_settings(paths, {})


def test_a_variable_that_cant_be_used_is_named(paths: Paths) -> None:
    with pytest.raises(SettingsError, match=r"LOCALLLM_TOP_K: top_k must be a whole number, not 'many'"):
        load_settings(paths, {"LOCALLLM_TOP_K": "many"})


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_has_a_line_of_help_and_a_default_that_passes_its_own_check(name: str) -> None:
    rule = rule_of(name)
    assert rule.help.endswith(".") and rule.group
    assert getattr(Settings(**{name: getattr(Settings(), name)}), name) == getattr(Settings(), name)


def test_a_value_out_of_range_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="temperature must be at most 10"):
        Settings(temperature=11.0)
    assert Settings().with_changes(temperature=None, top_k=7) == Settings(top_k=7)


# ---- writing --------------------------------------------------------------------------------------------------------

VALUES: dict[type, st.SearchStrategy[Any]] = {
    str: st.text(),
    bool: st.booleans(),
    int: st.integers(0, 500),
    float: st.floats(0.2, 1.0),
}
FREE = [n for n in NAMES if not rule_of(n).choices and n not in ("gpu_layers", "passages")]


@given(st.lists(st.sampled_from(FREE).flatmap(lambda n: st.tuples(st.just(n), VALUES[type(getattr(Settings(), n))]))))
@hypothesis_settings(max_examples=60, deadline=None)
def test_what_is_saved_is_read_back(tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, Any]]) -> None:
    home = tmp_path_factory.mktemp("home")
    paths = Paths(home, home / "config.toml", home)
    expected = Settings()
    for name, value in changes:
        save_setting(paths, name, value)
        expected = expected.with_changes(**{name: value})
    assert load_settings(paths, {}) == expected


def test_saving_keeps_comments_and_the_other_lines(paths: Paths) -> None:
    write(paths, "# mine\ntemperature = 0.5  # warm\n\n# end\n")
    save_setting(paths, "temperature", 0.25)
    save_setting(paths, "model", 'a "b" \\ c')
    assert paths.config.read_text("utf-8") == '# mine\ntemperature = 0.25\n\n# end\nmodel = "a \\"b\\" \\\\ c"\n'
    assert paths.config.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in paths.home.iterdir()] == ["config.toml"]


@pytest.mark.parametrize("quotes", ['"""', "'''"])
def test_a_text_of_several_lines_is_replaced_as_a_whole(paths: Paths, quotes: str) -> None:
    write(paths, f"# mine\nsystem = {quotes}\nBe kind.\nmodel = none of your business\n{quotes}  # tone\nseed = 4\n")
    save_setting(paths, "model", "small")
    assert load_settings(paths, {}).system == "Be kind.\nmodel = none of your business\n"
    save_setting(paths, "system", "Be brief.")
    assert paths.config.read_text("utf-8") == '# mine\nsystem = "Be brief."\nseed = 4\nmodel = "small"\n'


def test_saving_mends_the_damaged_line_of_that_setting_and_no_other(paths: Paths) -> None:
    write(paths, "temperature = hot\nmodel = big\n")
    save_setting(paths, "temperature", 0.5)
    save_setting(paths, "seed", 4)
    assert paths.config.read_text("utf-8") == "temperature = 0.5\nmodel = big\nseed = 4\n"


def test_a_setting_that_does_not_exist_or_fit_is_not_saved(paths: Paths) -> None:
    for name, value in (("warp", 1), ("temperature", "hot"), ("temperature", 99.0)):
        with pytest.raises(ValueError, match=name):
            save_setting(paths, name, value)
    assert not paths.config.exists()


# ---- paths ----------------------------------------------------------------------------------------------------------


def test_one_variable_moves_everything(tmp_path: Path) -> None:
    paths = find_paths({"LOCALLLM_HOME": str(tmp_path / "x")})
    assert paths.home == tmp_path / "x" and paths.config == tmp_path / "x" / "config.toml"
    for place in (paths.history, paths.libraries, paths.models, paths.sessions, paths.logs, paths.presets, paths.rules):
        assert tmp_path / "x" in place.parents


def test_without_it_the_platform_decides() -> None:
    paths = find_paths({})
    assert paths.home.name == "localllm" and not paths.portable
    assert (paths.program / "localllm" / "settings.py").exists()


def test_a_folder_is_made_for_the_user_alone(tmp_path: Path) -> None:
    assert private_folder(tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="can't be written to"):
        private_folder(tmp_path / "file" / "b")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 80, "a\0b"])
def test_a_library_name_that_is_no_file_name_is_refused(paths: Paths, name: str) -> None:
    with pytest.raises(ValueError, match="library name"):
        paths.library(name)
    assert paths.library("Notes 2").name == "Notes 2.db"


# ---- the docs -------------------------------------------------------------------------------------------------------


def rendered() -> str:
    """docs/settings.md, made from the declarations."""
    lines = [
        "# Settings",
        "",
        "Settings stand in `config.toml` in the settings folder (`localllm doctor` prints its path), one per line,",
        "such as `temperature = 0.2`. A variable `LOCALLLM_` and the name in capitals wins over the file, and a flag",
        "of a command wins over both. A value that can't be used is refused with file and line.",
        "",
        "This page is made from the declarations in `localllm/settings.py`; after a change there run",
        "`LOCALLLM_WRITE_DOCS=1 pytest tests/test_settings.py`.",
    ]
    group = ""
    for f in fields(Settings):
        rule = rule_of(f.name)
        if rule.group != group:
            group = rule.group
            lines += [
                "",
                f"## {group.capitalize()}",
                "",
                "| setting | default | values | meaning |",
                "|---|---|---|---|",
            ]
        values = ", ".join(f"`{choice or '(empty)'}`" for choice in rule.choices)
        if not values:
            low = "" if rule.minimum is None else f"from {rule.minimum:g}"
            high = "" if rule.maximum is None else f"to {rule.maximum:g}"
            kind = {str: "text", bool: "true, false", int: "whole number", float: "number"}[type(f.default)]
            values = " ".join(part for part in (kind, low, high) if part)
        default = (
            f"`{str(f.default).lower() if isinstance(f.default, bool) else f.default}`"
            if f.default != ""
            else "(empty)"
        )
        lines.append(f"| `{f.name}` | {default} | {values} | {rule.help} |")
    return "\n".join(lines) + "\n"


def test_the_docs_list_every_setting_as_it_is_declared() -> None:
    if os.environ.get("LOCALLLM_WRITE_DOCS"):
        DOCS.write_text(rendered(), "utf-8")
    assert DOCS.read_text("utf-8") == rendered()
