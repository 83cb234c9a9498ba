"""Data formats: JSON, JSON Schema, CSV, tables, TOML, YAML, code."""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
from typing import Any

from localllm.rules.checks.kinds import BOOL, STR, STRS, CheckKind, Field, Fragment, Params
from localllm.rules.checks.words import rust_literal
from localllm.rules.code_process import CodeFailed, TookTooLong, code_process
from localllm.rules.outcome import Context, Finding, failed, passed
from localllm.rules.schema import has_risky_pattern
from localllm.rules.schema_check import errors_of

_FENCE = re.compile(r"^\s*```[ \t]*[\w+-]*[ \t]*\n(.*?)\n?```\s*$", re.DOTALL)


def parse_json(text: str) -> tuple[Any, Finding | None]:
    """The value, or the finding that says where the JSON ends to be JSON."""
    try:
        return json.loads(text, parse_constant=_no_constant), None
    except json.JSONDecodeError as error:
        at = min(error.pos, max(0, len(text) - 1))
        return None, failed(f"no valid JSON: {error.msg}", error.msg, "JSON", (at, len(text)))
    except (ValueError, RecursionError) as error:
        return None, failed(f"no valid JSON: {str(error)[:100]}", None, "JSON", (0, len(text)))


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _json(params: Params, text: str, context: Context) -> Finding:
    value, fault = parse_json(text)
    if fault is not None:
        return fault
    name = "object" if isinstance(value, dict) else "array" if isinstance(value, list) else "value"
    if params["root"] != "any" and name != params["root"]:
        return failed(f"the JSON is an {name}, not an {params['root']}", name, params["root"], (0, len(text)))
    return passed(name, params["root"])


def json_fix(params: Params, text: str, context: Context) -> str | None:
    """The JSON inside: a code fence, or the one object or array between other words."""
    if fenced := re.search(r"```[ \t]*(?:json)?[ \t]*\n(.*?)```", text, re.DOTALL | re.IGNORECASE):
        candidate = fenced[1].strip()
        if parse_json(candidate)[1] is None:
            return candidate
    for opening in re.finditer(r"[\[{]", text):
        try:
            _, end = json.JSONDecoder().raw_decode(text, opening.start())
        except (json.JSONDecodeError, RecursionError):
            continue
        return text[opening.start() : end]
    return None


def _schema(params: Params, text: str, context: Context) -> Finding:
    value, fault = parse_json(text)
    if fault is not None:
        return fault
    schema = params["schema"]
    try:
        if has_risky_pattern(schema):
            errors = code_process().call("schema", {"schema": schema, "value": value}, params["timeout_ms"] / 1000)
        else:
            errors = errors_of(schema, value)
    except TookTooLong as late:
        return failed(f"the schema's patterns took too long ({late})", None, "JSON Schema")
    except CodeFailed as error:
        return failed(f"the schema could not be applied: {error}", None, "JSON Schema")
    if not errors:
        return passed("valid", "JSON Schema")
    pointer, message = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return failed(f"{pointer}: {message}{more}", pointer, "JSON Schema", span_of(text, pointer))


def span_of(text: str, pointer: str) -> tuple[int, int]:
    """Roughly where a JSON pointer points to in the text: the value behind the last name of it."""
    at, found = 0, False
    for part in pointer.strip("/").split("/"):
        if not part.isdigit() and (match := re.compile(re.escape(json.dumps(part)) + r"\s*:\s*").search(text, at)):
            at, found = match.end(), True
    if not found:
        return 0, len(text)
    try:
        _, end = json.JSONDecoder().raw_decode(text, at)
    except json.JSONDecodeError:
        end = len(text)
    return at, end


def read_csv(text: str, separator: str) -> list[list[str]]:
    """The rows; blank lines left out."""
    body = fenced[1] if (fenced := _FENCE.match(text)) else text
    return [row for row in csv.reader(io.StringIO(body.strip("\n")), delimiter=separator, strict=True) if row]


def _csv(params: Params, text: str, context: Context) -> Finding:
    try:
        rows = read_csv(text, params["separator"])
    except csv.Error as error:
        return failed(f"no valid CSV: {error}", None, "CSV", (0, len(text)))
    return _grid(rows, params, text)


def _table(params: Params, text: str, context: Context) -> Finding:
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        for line in text.splitlines()
        if line.strip().startswith("|") or line.count("|") >= 1
    ]
    ruler = [i for i, row in enumerate(rows) if all(re.fullmatch(r":?-{1,}:?", cell) for cell in row)]
    if not ruler or ruler[0] != 1:
        return failed("there is no Markdown table with a header row", None, "table", (0, len(text)))
    return _grid(rows[:1] + rows[2:], {**params, "header": True}, text)


def _grid(rows: list[list[str]], params: Params, text: str) -> Finding:
    names = params["columns"]
    width = len(names) if names else params["width"]
    required = f"{width or 'equal'} columns, {params['min_rows'] or 0} to {params['max_rows'] or 'any number of'} rows"
    if not rows:
        return failed("there are no rows", 0, required, (0, len(text)))
    width = width or len(rows[0])
    for i, row in enumerate(rows):
        if len(row) != width:
            return failed(f"row {i + 1} has {len(row)} columns, not {width}", len(row), required, _row_span(text, row))
    if names and [c.strip().casefold() for c in rows[0]] != [n.casefold() for n in names]:
        return failed(
            f"the columns are {', '.join(rows[0])}", ", ".join(rows[0]), ", ".join(names), (0, text.find("\n"))
        )
    n = len(rows) - (1 if names or params["header"] else 0)
    if params["min_rows"] is not None and n < params["min_rows"]:
        return failed(f"{n} rows, at least {params['min_rows']} needed", n, required, (len(text), len(text)))
    if params["max_rows"] is not None and n > params["max_rows"]:
        return failed(f"{n} rows, at most {params['max_rows']} allowed", n, required, (0, len(text)))
    return passed(n, required)


def _row_span(text: str, row: list[str]) -> tuple[int, int]:
    at = text.find(row[0]) if row and row[0] else 0
    end = text.find("\n", max(at, 0))
    return max(at, 0), len(text) if end < 0 else end


def _csv_grammar(params: Params) -> list[Fragment]:
    names, separator = params["columns"], rust_literal(params["separator"])
    width = len(names) if names else params["width"]
    low, high = params["min_rows"] or 1, params["max_rows"]
    if not width or width > 20 or max(low, high or 0) > 40:
        return []
    cell = rf'([^"\n{separator}]+|"([^"]|"")*")'
    row = cell + rf"({separator}{cell}){{{width - 1}}}"
    head = (
        separator.join(rust_literal(n) for n in names) + r"\n" if names else (row + r"\n" if params["header"] else "")
    )
    return [Fragment(rf"{head}{row}(\n{row}){{{low - 1},{'' if high is None else high - 1}}}\n?")]


def _table_grammar(params: Params) -> list[Fragment]:
    names = params["columns"]
    width = len(names) if names else params["width"]
    low, high = params["min_rows"] or 1, params["max_rows"]
    if not width or width > 12 or max(low, high or 0) > 40:
        return []
    row = r"\|" + r" [^|\n]*[^|\s] \|" * width
    head = r"\|" + "".join(rf" {rust_literal(n)} \|" for n in names) if names else row
    ruler = r"\|" + r" --- \|" * width
    return [Fragment(rf"{head}\n{ruler}\n{row}(\n{row}){{{low - 1},{'' if high is None else high - 1}}}\n?")]


def _toml(params: Params, text: str, context: Context) -> Finding:
    body = fenced[1] if (fenced := _FENCE.match(text)) else text
    try:
        tomllib.loads(body)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return failed(f"no valid TOML: {error}", None, "TOML", (0, len(text)))
    return passed("TOML", "TOML")


def _yaml(params: Params, text: str, context: Context) -> Finding:
    import yaml  # type: ignore[import-untyped, unused-ignore]

    body = fenced[1] if (fenced := _FENCE.match(text)) else text
    try:
        value = yaml.safe_load(body)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        return failed(f"no valid YAML: {str(error).splitlines()[0]}", None, "YAML", (0, len(text)))
    if not isinstance(value, (dict, list)):
        return failed(
            "the text is a single YAML value, not a mapping or list", type(value).__name__, "YAML", (0, len(text))
        )
    return passed("YAML", "YAML")


def _yaml_present(params: Params) -> str:
    try:
        import yaml  # noqa: F401
    except ImportError:
        return "the rule type yaml needs the package PyYAML, which is not installed"
    return ""


def _code(params: Params, text: str, context: Context) -> Finding:
    wanted = (params["language"] or "").lower()
    blocks = re.findall(r"^```[ \t]*([\w+#.-]*)[ \t]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    chosen = [code for language, code in blocks if not wanted or language.lower() == wanted]
    required = f"a {wanted or 'code'} block"
    if not chosen:
        return failed(f"there is no {wanted or 'code'} block", len(blocks), required, (0, len(text)))
    if params["only"] and not re.fullmatch(r"\s*```.*?```\s*", text, re.DOTALL):
        return failed("there is text around the code block", None, required, (0, len(text)))
    if params["parses"]:
        for code in chosen:
            if complaint := _does_not_parse(wanted, code):
                at = text.find(code)
                return failed(complaint, None, f"{required} that parses", (at, at + len(code)))
    return passed(len(chosen), required)


def _does_not_parse(language: str, code: str) -> str:
    try:
        if language in ("python", "py"):
            compile(code, "answer", "exec", dont_inherit=True)
        elif language == "json":
            json.loads(code)
        elif language == "toml":
            tomllib.loads(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"the {language} code does not parse: {str(error)[:100]}"
    return ""


_GRID = {
    "columns": STRS, "width": Field("int", minimum=1), "min_rows": Field("int", minimum=0),
    "max_rows": Field("int", minimum=0), "header": Field("bool", False),
}  # fmt: skip

KINDS: tuple[CheckKind, ...] = (
    CheckKind(
        "json",
        "The whole text is one JSON value.",
        {"root": Field("str", "any", choices=("any", "object", "array"))},
        _json,
        fix=json_fix,
        tell=lambda p: "Answer with JSON only, without any other text.",
    ),
    CheckKind(
        "json_schema",
        "The whole text is JSON that follows a JSON Schema (2020-12, formats checked).",
        {"schema": Field("any", required=True), "timeout_ms": Field("int", 2000, minimum=10)},
        _schema,
        fix=json_fix,
        tell=lambda p: (
            f"Answer with JSON only, following this JSON Schema: {json.dumps(p['schema'], ensure_ascii=False)}"
            if len(json.dumps(p["schema"])) < 4000
            else "Answer with JSON only."
        ),
    ),
    CheckKind(
        "csv",
        "The whole text is CSV: columns and number of rows.",
        {**_GRID, "separator": Field("str", ",")},
        _csv,
        grammar=_csv_grammar,
        tell=lambda p: (
            "Answer with CSV only" + (f", with the columns {', '.join(p['columns'])}." if p["columns"] else ".")
        ),
    ),
    CheckKind(
        "table",
        "There is a Markdown table: columns and number of rows.",
        _GRID,
        _table,
        grammar=_table_grammar,
        tell=lambda p: (
            "Answer with a Markdown table" + (f" with the columns {', '.join(p['columns'])}." if p["columns"] else ".")
        ),
    ),
    CheckKind("toml", "The whole text is TOML.", {}, _toml, tell=lambda p: "Answer with TOML only."),
    CheckKind(
        "yaml",
        "The whole text is a YAML mapping or list (needs PyYAML).",
        {},
        _yaml,
        validate=_yaml_present,
        tell=lambda p: "Answer with YAML only.",
    ),
    CheckKind(
        "code_fence",
        "There is a fenced code block; it parses (Python, JSON, TOML).",
        {"language": STR, "parses": Field("bool", False), "only": BOOL},
        _code,
        tell=lambda p: f"Put the {p['language'] or ''} code into a fenced code block.",
    ),
)
