"""Rules of the user's own making: regular expressions, grammars, arithmetic over JSON fields, Python."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from localllm.rules.checks.formats import parse_json
from localllm.rules.checks.kinds import CheckKind, Field, Fragment, Params
from localllm.rules.code_process import CodeFailed, TookTooLong, code_process, risky
from localllm.rules.outcome import Context, Finding, failed, passed

# ---- regular expressions ----


def _flags(params: Params) -> int:
    return (re.IGNORECASE if params["ignore_case"] else 0) | (re.MULTILINE if params["multiline"] else 0)


def _regex(params: Params, text: str, context: Context) -> Finding:
    pattern, mode = params["pattern"], params["match"]
    arguments = {"pattern": pattern, "flags": _flags(params), "text": text, "whole": mode == "full"}
    try:
        if risky(pattern):
            spans = code_process().call("search", arguments, params["timeout_ms"] / 1000)
        else:
            compiled = re.compile(pattern, _flags(params))
            found = compiled.fullmatch(text) if mode == "full" else compiled.search(text)
            spans = [found.span()] if found else []
    except TookTooLong as late:
        return failed(f"the pattern took too long ({late})", None, pattern)
    except (CodeFailed, RecursionError) as error:
        return failed(f"the pattern could not be applied: {error}", None, pattern)
    if mode == "none":
        if spans:
            return failed(
                "a forbidden pattern occurs", text[slice(*spans[0])][:80], f"none of {pattern}", tuple(spans[0])
            )
        return passed(0, f"none of {pattern}")
    if spans:
        return passed(len(spans), pattern)
    return failed(
        "the pattern does not match" + (" the whole text" if mode == "full" else ""), None, pattern, (0, len(text))
    )


def _regex_valid(params: Params) -> str:
    try:
        re.compile(params["pattern"], _flags(params))
    except (re.error, RecursionError, OverflowError) as error:
        return f"the pattern is wrong: {error}"
    return ""


def _regex_grammar(params: Params) -> list[Fragment]:
    """Python's and Rust's syntax agree on what is left here; what does not compile is checked after."""
    pattern = params["pattern"]
    if re.search(r"\(\?[=!<P#]|\\[1-9bBAZ]|\(\?\(", pattern) or params["multiline"] or len(pattern) > 2000:
        return []
    body = pattern
    flags = "(?i:" if params["ignore_case"] else "(?:"
    if params["match"] == "full":
        return [Fragment(f"{flags}{body})")] if not re.search(r"(?<![\\\[])[\^$]", body) else []
    if re.search(r"(?<![\\\[])[\^$]", body):
        return []
    return [Fragment(rf"(?s:.)*{flags}{body})(?s:.)*", negated=params["match"] == "none")]


# ---- grammars ----


def _grammar_source(params: Params) -> str:
    if params["syntax"] == "gbnf":
        from llguidance.gbnf_to_lark import gbnf_to_lark

        converted: str = gbnf_to_lark(params["source"])
        return converted
    source: str = params["source"]
    return source


def _grammar_matcher(params: Params) -> Any:
    from llguidance import LLMatcher, LLTokenizer

    return LLMatcher(LLTokenizer("byte"), LLMatcher.grammar_from_lark(_grammar_source(params)), log_level=0)


def _grammar(params: Params, text: str, context: Context) -> Finding:
    matcher = _grammar_matcher(params)
    data = list(text.encode("utf-8", "replace"))
    n = matcher.try_consume_tokens(data)
    if matcher.is_error():
        return failed("the grammar could not be applied", None, "grammar")
    if n < len(data):
        at = len(bytes(data[:n]).decode("utf-8", "ignore"))
        return failed("the text leaves the grammar here", text[at : at + 20], "grammar", (at, len(text)))
    if not matcher.is_accepting():
        return failed("the text ends too early for the grammar", None, "grammar", (len(text), len(text)))
    return passed("matches", "grammar")


def _grammar_valid(params: Params) -> str:
    try:
        matcher = _grammar_matcher(params)
    except Exception as error:
        return f"the grammar can't be read: {str(error).splitlines()[0][:200]}"
    return f"the grammar is wrong: {matcher.get_error().splitlines()[0][:200]}" if matcher.is_error() else ""


# ---- expressions ----

_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Mod: operator.mod, ast.FloorDiv: operator.floordiv, ast.Eq: operator.eq, ast.NotEq: operator.ne,
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "len": len, "sum": sum, "min": min, "max": max, "abs": abs, "round": round, "lower": str.lower, "all": all, "any": any,  # noqa: E501
}  # fmt: skip


class _Expression:
    """Arithmetic and comparisons over the fields of a JSON answer; a missing field is an error, not a zero."""

    def __init__(self, root: Any) -> None:
        self._root = root

    def value(self, node: ast.AST) -> Any:
        """The value of a node; anything not listed here is refused."""
        if isinstance(node, ast.Expression):
            return self.value(node.body)
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str, bool, type(None))):
            return node.value
        if isinstance(node, (ast.List, ast.Tuple)):
            return [self.value(e) for e in node.elts]
        if isinstance(node, ast.Name):
            return self._root if node.id == "answer" else self._field(self._root, node.id)
        if isinstance(node, ast.Attribute):
            return self._field(self.value(node.value), node.attr)
        if isinstance(node, ast.Subscript):
            container, key = self.value(node.value), self.value(node.slice)
            return (
                [self._field(v, key) for v in container]
                if isinstance(container, list) and isinstance(key, str)
                else container[key]
            )
        if isinstance(node, ast.UnaryOp):
            inner = self.value(node.operand)
            return not inner if isinstance(node.op, ast.Not) else -inner if isinstance(node.op, ast.USub) else +inner
        if isinstance(node, ast.BoolOp):
            values = (bool(self.value(v)) for v in node.values)
            return all(values) if isinstance(node.op, ast.And) else any(values)
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            left, right = self.value(node.left), self.value(node.right)
            if isinstance(node.op, ast.Mult) and (isinstance(left, (str, list)) or isinstance(right, (str, list))):
                raise TypeError("only numbers can be multiplied")
            return _OPERATORS[type(node.op)](left, right)
        if isinstance(node, ast.Compare):
            left = self.value(node.left)
            for op, other in zip(node.ops, node.comparators, strict=True):
                right = self.value(other)
                if not _OPERATORS[type(op)](left, right):
                    return False
                left = right
            return True
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in _FUNCTIONS
            and not node.keywords
        ):
            return _FUNCTIONS[node.func.id](*[self.value(a) for a in node.args])
        raise ValueError(f"{type(node).__name__} is not allowed in an expression")

    @staticmethod
    def _field(value: Any, name: str) -> Any:
        if isinstance(value, list):
            return [_Expression._field(v, name) for v in value]
        if not isinstance(value, dict) or name not in value:
            raise LookupError(f"there is no field {name!r}")
        return value[name]


def _expr(params: Params, text: str, context: Context) -> Finding:
    value, fault = parse_json(text)
    if fault is not None:
        return fault
    try:
        result = _Expression(value).value(ast.parse(params["test"], mode="eval"))
    except Exception as error:  # an expression that can't be computed was not met
        return failed(f"the expression can't be computed: {error}", None, params["test"], (0, len(text)))
    if result is True:
        return passed("true", params["test"])
    return failed("the expression is not true", str(result)[:60], params["test"], (0, len(text)))


def _expr_valid(params: Params) -> str:
    if len(params["test"]) > 1000:
        return "the expression is longer than 1,000 characters"
    try:
        tree = ast.parse(params["test"], mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"the expression is wrong: {error}"
    allowed = (ast.Expression, ast.Constant, ast.List, ast.Tuple, ast.Name, ast.Attribute, ast.Subscript, ast.UnaryOp, ast.BoolOp,  # noqa: E501
               ast.BinOp, ast.Compare, ast.Call, ast.Load, ast.operator, ast.cmpop, ast.boolop, ast.unaryop)  # fmt: skip  # noqa: E501
    for node in ast.walk(tree):
        if not isinstance(node, allowed) or isinstance(node, (ast.Pow, ast.LShift, ast.RShift, ast.Is, ast.IsNot)):
            return f"{type(node).__name__} is not allowed in an expression"
        if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS):
            return f"this call is not allowed in an expression; there are {', '.join(_FUNCTIONS)}"
    return ""


# ---- Python ----


def _python(params: Params, text: str, context: Context) -> Finding:
    entry = f"{params['file']}:{params['function']}"
    if not context.allow_code:
        return failed("this rule is Python code, which is not allowed here; use --allow-code", None, entry)
    path = ((context.folder or Path()) / params["file"]).resolve()
    known = {"question": context.question, "sources": list(context.sources)}
    arguments = {"file": str(path), "function": params["function"], "text": text, "context": known}
    try:
        good, reason, span = code_process().call("python", arguments, params["timeout_ms"] / 1000)
    except TookTooLong as late:
        return failed(f"the rule took too long ({late})", None, entry)
    except CodeFailed as error:
        return failed(f"the rule failed: {error}", None, entry)
    if good:
        return passed(None, entry)
    inside = span is not None and 0 <= span[0] <= span[1] <= len(text)
    return failed(reason or "the rule says no", None, entry, tuple(span) if inside else None)


KINDS: tuple[CheckKind, ...] = (
    CheckKind(
        "regex",
        "A regular expression: found (search), matching everything (full), or nowhere (none).",
        {
            "pattern": Field("str", required=True),
            "match": Field("str", "search", choices=("search", "full", "none")),
            "ignore_case": Field("bool", False),
            "multiline": Field("bool", False),
            "timeout_ms": Field("int", 500, minimum=10),
        },
        _regex,
        grammar=_regex_grammar,
        validate=_regex_valid,
        stages=("input", "retrieval", "output"),
    ),
    CheckKind(
        "grammar",
        "A grammar (Lark as llguidance reads it, or GBNF) that the whole text follows.",
        {"source": Field("str", required=True), "syntax": Field("str", "lark", choices=("lark", "gbnf"))},
        _grammar,
        validate=_grammar_valid,
    ),
    CheckKind(
        "expr",
        "Arithmetic and comparisons over the fields of a JSON answer, such as total == sum(items.price).",
        {"test": Field("str", required=True)},
        _expr,
        validate=_expr_valid,
    ),
    CheckKind(
        "python",
        "A function in a Python file, run in a process of its own with a time limit (needs --allow-code).",
        {
            "file": Field("str", required=True),
            "function": Field("str", "check"),
            "timeout_ms": Field("int", 1000, minimum=10),
        },
        _python,
        stages=("input", "retrieval", "output"),
    ),
)
