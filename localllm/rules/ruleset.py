"""Rule sets: TOML files that say what texts must look like.

    [ruleset]
    name = "support-answer"
    on_fail = "repair"                      # warn | fix | repair | reject
    repair = { max_attempts = 2, max_extra_tokens = 600, keep_prefix = true }

    [[rule]]
    id = "length"
    type = "words"
    min = 80
    max = 200
    severity = "warning"                    # info | warning | error

A rule may carry ``when`` (it counts only where that rule passes), ``pointer`` (it is applied to the values at a JSON
pointer, ``*`` for every item), or instead of ``type`` one of ``all``, ``any`` (lists of rules) and ``not`` (a rule).
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from localllm.errors import RuleSyntax
from localllm.rules.checks.catalogue import kinds
from localllm.rules.checks.kinds import CheckKind, read_fields
from localllm.rules.schema import load_schema
from localllm.rules.schema_check import check_schema

Stage = Literal["input", "retrieval", "output"]
STAGES = ("input", "retrieval", "output")
SEVERITIES = ("info", "warning", "error")
ON_FAIL = ("warn", "fix", "repair", "reject")
ENFORCE = ("auto", "decode", "check")
MODES = {"ifeval-compat": "compat", "strict": "strict"}
MAX_RULES, MAX_NESTING = 500, 8


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: a kind with its fields, or a combination of rules."""

    id: str
    kind: CheckKind | None
    params: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[str, ...] = ("output",)
    severity: str = "error"
    on_fail: str = "repair"
    enforce: str = "auto"
    combine: str = ""
    """``all``, ``any`` or ``not`` over `parts`; empty for a rule with a kind."""
    parts: tuple[Rule, ...] = ()
    when: Rule | None = None
    pointer: str = ""

    @property
    def type(self) -> str:
        """The kind's name, or the combination."""
        return self.kind.name if self.kind else self.combine


@dataclass(frozen=True, slots=True)
class RepairBudget:
    """How much a repair may cost."""

    max_attempts: int = 2
    max_extra_tokens: int = 600
    keep_prefix: bool = True


@dataclass(frozen=True, slots=True)
class RuleSet:
    """A rule set as read; `rules` in the order of the file."""

    name: str
    version: str = ""
    language: str = ""
    description: str = ""
    rules: tuple[Rule, ...] = ()
    repair: RepairBudget = field(default_factory=RepairBudget)
    stop_early: bool = True
    folder: Path | None = None
    sha256: str = ""

    def of_stage(self, stage: str) -> tuple[Rule, ...]:
        """The rules that apply at this stage."""
        return tuple(rule for rule in self.rules if stage in rule.stages)

    def walk(self) -> Iterator[Rule]:
        """Every rule, parts and conditions included."""
        stack = list(self.rules)
        while stack:
            rule = stack.pop()
            yield rule
            stack += [*rule.parts, *([rule.when] if rule.when else [])]


def read_ruleset(path: Path) -> RuleSet:
    """A rule set from a TOML file.

    Raises:
        RuleSyntax: The file can't be read, or something in it is unknown or wrong; the message names the place.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
    except OSError as error:
        raise RuleSyntax(
            f"{path} can't be read: {error.strerror or error}.", "`localllm rules list` shows the ready ones."
        ) from error
    except UnicodeDecodeError as error:
        raise RuleSyntax(f"{path} is no UTF-8 text.", "A rule set is a TOML file.") from error
    return parse_ruleset(text, path.name, path.parent)


def parse_ruleset(text: str, where: str = "rules", folder: Path | None = None) -> RuleSet:
    """A rule set from TOML text; `folder` is where the files it names are."""
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RuleSyntax(f"{where}: {_with_line(str(error))}.", "Rule sets are TOML files.") from error
    for name in table:
        if name not in ("ruleset", "rule"):
            raise RuleSyntax(f"{where}: there is no section {name!r}.", "A rule set has [ruleset] and [[rule]].")
    head = table.get("ruleset", {})
    rows = table.get("rule", [])
    if not isinstance(head, dict) or not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
        raise RuleSyntax(f"{where}: [ruleset] is a table and [[rule]] a list of tables.")
    known = {"name", "version", "language", "description", "on_fail", "mode", "repair", "stream"}
    for name in head:
        if name not in known:
            raise RuleSyntax(f"{where}: [ruleset] has no field {name!r}.", f"It has: {', '.join(sorted(known))}.")
    if not rows:
        raise RuleSyntax(f"{where}: there is no rule.", "Add a [[rule]] with a type.")
    if len(rows) > MAX_RULES:
        raise RuleSyntax(f"{where}: there are {len(rows)} rules; {MAX_RULES} are allowed.")
    reader = _Reader(
        where,
        folder,
        text,
        _choice(head, "on_fail", ON_FAIL, "repair", where),
        MODES[_choice(head, "mode", tuple(MODES), "strict", where)],
    )
    rules: list[Rule] = []
    for i, row in enumerate(rows):
        rule = reader.rule(row, f"rule-{i + 1}")
        if rule.id in {r.id for r in rules}:
            raise RuleSyntax(f"{where}: there are two rules {rule.id!r}.", "Give each rule an id of its own.")
        rules.append(rule)
    return RuleSet(
        name=str(head.get("name", Path(where).stem)),
        version=str(head.get("version", "")),
        language=str(head.get("language", "")),
        description=str(head.get("description", "")),
        rules=tuple(rules),
        repair=_repair(head.get("repair", {}), where),
        stop_early=_stream(head.get("stream", {}), where),
        folder=folder,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
    )


def schema_rule(schema: Any, where: str) -> Rule:
    """A rule that the answer is JSON that follows a schema, enforced while decoding."""
    kind = kinds()["json_schema"]
    params = read_fields(kind, {"schema": check_schema(schema, where)}, where)
    return Rule("schema", kind, params)


_COMMON = {"id", "type", "stage", "severity", "on_fail", "enforce", "when", "then", "pointer", "all", "any", "not"}


@dataclass(frozen=True, slots=True)
class _Reader:
    where: str
    folder: Path | None
    text: str
    on_fail: str
    mode: str

    def rule(self, row: Mapping[str, Any], default_id: str, depth: int = 0) -> Rule:
        rule_id = row.get("id", default_id)
        if not isinstance(rule_id, str) or not re.fullmatch(r"[\w.:/-]{1,80}", rule_id):
            raise RuleSyntax(f"{self.where}: {rule_id!r} can't be the id of a rule.", "Use letters, digits, dashes.")
        where = f"{self.where}, {self._line(rule_id)}rule {rule_id!r}"
        if depth > MAX_NESTING:
            raise RuleSyntax(f"{where}: rules are nested more than {MAX_NESTING} deep.")
        if "then" in row:  # when = {..}, then = {..}: the same as a rule with a condition
            inner = (
                {**row["then"], **{k: v for k, v in row.items() if k != "then"}}
                if isinstance(row["then"], dict)
                else {}
            )
            return self.rule(inner, default_id, depth + 1)
        given = [name for name in ("type", "all", "any", "not") if name in row]
        if len(given) != 1:
            raise RuleSyntax(
                f"{where}: a rule has one of type, all, any, not.", f"This one has {', '.join(given) or 'none'}."
            )
        severity = _choice(row, "severity", SEVERITIES, "error", where)
        shared: dict[str, Any] = {
            "severity": severity,
            "on_fail": _choice(row, "on_fail", ON_FAIL, self.on_fail if severity == "error" else "warn", where),
            "enforce": _choice(row, "enforce", ENFORCE, "auto", where),
            "when": self._part(row["when"], f"{rule_id}/when", depth, where) if "when" in row else None,
            "pointer": _pointer(row.get("pointer", ""), where),
        }
        if given[0] != "type":
            extra = set(row) - _COMMON
            if extra:
                raise RuleSyntax(f"{where}: {', '.join(sorted(extra))} belongs into a rule with a type.")
            listed = row[given[0]] if given[0] != "not" else [row["not"]]
            if not isinstance(listed, list) or not listed:
                raise RuleSyntax(f"{where}: {given[0]} is a list of rules.")
            parts = tuple(self._part(part, f"{rule_id}/{i + 1}", depth, where) for i, part in enumerate(listed))
            return Rule(rule_id, None, {}, self._stages(row, STAGES, where), combine=given[0], parts=parts, **shared)
        kind = kinds().get(row["type"]) if isinstance(row["type"], str) else None
        if kind is None:
            raise RuleSyntax(
                f"{where}: there is no rule type {row['type']!r}.", "`localllm rules list` shows the types."
            )
        values = {k: v for k, v in row.items() if k not in _COMMON}
        params = read_fields(kind, self._files(kind, values, where), where)
        if "mode" in kind.fields and "mode" not in values:
            params["mode"] = self.mode
        return Rule(rule_id, kind, params, self._stages(row, kind.stages, where), **shared)

    def _part(self, row: Any, part_id: str, depth: int, where: str) -> Rule:
        if not isinstance(row, dict):
            raise RuleSyntax(f'{where}: a part of a rule is a table such as {{ type = "words", max = 10 }}.')
        return self.rule({**row, "id": row.get("id", part_id)}, part_id, depth + 1)

    def _stages(self, row: Mapping[str, Any], allowed: tuple[str, ...], where: str) -> tuple[str, ...]:
        value = row.get("stage", "output" if "output" in allowed else allowed[0])
        stages = tuple(value) if isinstance(value, list) else (value,)
        for stage in stages:
            if stage not in STAGES:
                raise RuleSyntax(f"{where}: stage must be one of {', '.join(STAGES)}, not {stage!r}.")
            if stage not in allowed:
                raise RuleSyntax(
                    f"{where}: the type {row.get('type')} does not apply to the stage {stage}.",
                    f"It applies to: {', '.join(allowed)}.",
                )
        return stages

    def _files(self, kind: CheckKind, values: dict[str, Any], where: str) -> dict[str, Any]:
        """Fields that name a file, read: schema_file, source_file for grammars, words_file."""
        if kind.name == "json_schema":
            if "schema_file" in values:
                path = self._path(values.pop("schema_file"), where)
                values["schema"] = load_schema(_read(path, where), path.name)
            elif "schema" in values:
                values["schema"] = (
                    load_schema(values["schema"], where)
                    if isinstance(values["schema"], str)
                    else check_schema(values["schema"], where)
                )
        if kind.name == "grammar" and "source_file" in values:
            values["source"] = _read(self._path(values.pop("source_file"), where), where)
        if kind.name == "forbid" and "words_file" in values:
            lines = _read(self._path(values["words_file"], where), where).splitlines()
            words = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
            values = {**values, "words": [*values.get("words", []), *words]}
            del values["words_file"]
        return values

    def _path(self, name: Any, where: str) -> Path:
        if not isinstance(name, str):
            raise RuleSyntax(f"{where}: a file name is a text, not {name!r}.")
        return (self.folder or Path()) / name

    def _line(self, rule_id: str) -> str:
        match = re.search(rf"^[ \t]*id[ \t]*=[ \t]*[\"']{re.escape(rule_id)}[\"']", self.text, re.MULTILINE)
        return f"line {self.text.count(chr(10), 0, match.start()) + 1}, " if match else ""


def _read(path: Path, where: str) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RuleSyntax(f"{where}: {path} can't be read: {getattr(error, 'strerror', None) or error}.") from error


def _choice(table: Mapping[str, Any], name: str, choices: tuple[str, ...], default: str, where: str) -> str:
    value = table.get(name, default)
    if value not in choices:
        raise RuleSyntax(f"{where}: {name} must be one of {', '.join(choices)}, not {value!r}.")
    return str(value)


def _pointer(value: Any, where: str) -> str:
    if value == "" or (isinstance(value, str) and value.startswith("/")):
        return str(value)
    raise RuleSyntax(f"{where}: a pointer begins with a slash, such as /items/*/price.")


def _repair(value: Any, where: str) -> RepairBudget:
    if not isinstance(value, dict):
        raise RuleSyntax(f"{where}: repair is a table such as {{ max_attempts = 2 }}.")
    limits = {"max_attempts": 10, "max_extra_tokens": 1_000_000}
    for name, v in value.items():
        if name == "keep_prefix":
            good = isinstance(v, bool)
        else:
            good = name in limits and isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= limits[name]
        if not good:
            raise RuleSyntax(
                f"{where}: repair has no such value: {name} = {v!r}.",
                "It has max_attempts (0 to 10), max_extra_tokens, keep_prefix.",
            )
    return RepairBudget(**value)


def _stream(value: Any, where: str) -> bool:
    if (
        not isinstance(value, dict)
        or set(value) - {"stop_early"}
        or not isinstance(value.get("stop_early", True), bool)
    ):
        raise RuleSyntax(f"{where}: stream has one field, stop_early, true or false.")
    return bool(value.get("stop_early", True))


def _with_line(message: str) -> str:
    match = re.search(r"^(.*) \(at line (\d+), column (\d+)\)$", message)
    return f"line {match[2]}: {match[1]}" if match else message
