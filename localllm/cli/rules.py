"""`localllm rules`: check texts against rule sets, find what is wrong with a rule set, list sets and rule types."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localllm.cli.answer_json import verdict_json
from localllm.cli.complete import rule_names
from localllm.cli.session import Session, common_options, print_json
from localllm.counted import counted
from localllm.errors import RuleSyntax

if TYPE_CHECKING:
    from localllm.events import Verdict
    from localllm.rules.rulebook import Rulebook

BROKEN_RULE = 3


@click.group()
def command() -> None:
    """Check texts against rule sets."""


@command.command()
@click.argument("rules", shell_complete=rule_names)
@click.argument("file", default="-")
@click.option("--schema", metavar="FILE", help="A JSON Schema that the text must follow, on top of the rules.")
@click.option("--fix", is_flag=True, help="Print the text after deterministic fixes, and judge that.")
@click.option("--stage", type=click.Choice(["input", "retrieval", "output"]), default="output", show_default=True)
@click.option("--question", default="", metavar="TEXT", help="The question that the text answers.")
@click.option("--source", "sources", multiple=True, metavar="FILE", help="A passage, for citations; in order of [n].")
@click.option("--allow-code", is_flag=True, help="Let the rule set run its own Python code.")
@common_options
@click.pass_obj
def check(
    session: Session, /, rules: str, file: str, schema: str | None, fix: bool, stage: str, question: str,
    sources: tuple[str, ...], allow_code: bool, as_json: bool,
) -> int:  # fmt: skip
    """Check FILE (or standard input) against RULES, a file or the name of a set. Exit code 3: a rule is broken.

    FILE may be a folder of fixtures for your own tests: texts in its folder pass/ must pass and those in fail/ must
    fail; `name.RULE-ID.txt` in fail/ must break that rule.
    """
    from localllm.rules.rulebook import Rulebook

    allow = allow_code or session.settings.allow_code
    book = Rulebook.load(
        "" if rules == "-" and schema else rules, schema=schema, folder=session.paths.rules, allow_code=allow
    )
    passages = tuple(_read(Path(source)) for source in sources)
    path = Path(file)
    with _guard_model(session, book):
        if file != "-" and path.is_dir():
            return _fixtures(session, book, path, as_json)
        context = book.context(question=question, sources=passages, has_sources=bool(passages))
        text = (sys.stdin.read() if file == "-" else _read(path)).removesuffix("\n")
        if fix:
            text, _ = book.fix(text, context)
        verdict = book.check(text, context, stage)
    if as_json:
        shown = verdict_json(verdict)  # the shape that `ask --json` has too; the reasons are messages for people
        print_json({**shown, "text": text} if fix else shown)
    elif fix:
        click.echo(text)
    _say(session, verdict, text)
    return 0 if verdict.passed else BROKEN_RULE


@contextmanager
def _guard_model(session: Session, book: Rulebook) -> Iterator[None]:
    """The guard model of the settings stands by, where there is one and a rule asks it."""
    if not book.asks_guard_model or not session.settings.guard_model:
        yield
        return
    from localllm.open import open_guard

    with closing(open_guard(session.settings, session.paths)) as book.guard_engine:
        yield


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise RuleSyntax(f"{path} is no UTF-8 text.", "Only texts can be checked.") from error
    except OSError as error:
        raise RuleSyntax(f"{path} can't be read: {error.strerror or error}.", "Check the name.") from error


def _say(session: Session, verdict: Verdict, text: str) -> None:
    marks = {"pass": "✓", "fixed": "✓", "repaired": "✓", "warn": "!", "not_evaluated": "?"}
    for rule in verdict.rules:
        line = f"{marks.get(rule.verdict.value, '✗')} {rule.id}: {rule.verdict.value}"
        if rule.reason:
            line += f", {rule.reason}"
        if rule.span is not None and rule.reason:
            row = text.count("\n", 0, rule.span.start) + 1
            line += f" (line {row})"
        session.say(line)
    good = sum(r.verdict.value in ("pass", "fixed", "repaired") for r in verdict.rules)
    session.say(f"{good} of {len(verdict.rules)} rules followed.")


def _fixtures(session: Session, book: Rulebook, folder: Path, as_json: bool) -> int:
    results = []
    for path, wanted, rule_id in _fixture_files(folder):
        verdict = book.check(_read(path).removesuffix("\n"), book.context())
        if rule_id:
            broken = [r.id for r in verdict.rules if r.verdict.value not in ("pass", "fixed", "repaired")]
            good = rule_id in broken
        else:
            good = verdict.passed == wanted
        results.append({"file": str(path.relative_to(folder)), "expected": "pass" if wanted else "fail", "as_expected": good, **verdict_json(verdict, reasons=True)})  # fmt: skip  # noqa: E501
        if not good and not as_json:
            session.say(f"✗ {path.relative_to(folder)}: {'should pass' if wanted else 'should fail'}")
            _say(session, verdict, _read(path))
    if not results:
        raise RuleSyntax(f"{folder} has no texts in pass/ or fail/.", "Put texts that must pass into pass/, others into fail/.")  # fmt: skip  # noqa: E501
    wrong = sum(not r["as_expected"] for r in results)
    if as_json:
        print_json({"passed": not wrong, "files": results})
    else:
        session.say(f"{len(results) - wrong} of {len(results)} texts as expected.")
    return BROKEN_RULE if wrong else 0


def _fixture_files(folder: Path) -> Iterator[tuple[Path, bool, str]]:
    for name, wanted in (("pass", True), ("fail", False)):
        for path in sorted((folder / name).rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                parts = path.name.split(".")
                yield path, wanted, parts[1] if not wanted and len(parts) > 2 else ""


@command.command()
@click.argument("rules", shell_complete=rule_names)
@click.option("-n", "--max-tokens", type=click.IntRange(min=0), default=0, help="Token budget of an answer.")
@click.option("--schema", metavar="FILE", help="A JSON Schema on top of the rules.")
@common_options
@click.pass_obj
def lint(session: Session, /, rules: str, max_tokens: int, schema: str | None, as_json: bool) -> int:
    """What is wrong with RULES, and what becomes of each rule: enforced while decoding, checked after, or refused.

    Exit code 3: no text can meet the rules.
    """
    from localllm.errors import ConstraintRefused
    from localllm.rules.lint import lint as find
    from localllm.rules.rulebook import Rulebook

    book = Rulebook.load("" if rules == "-" and schema else rules, schema=schema, folder=session.paths.rules)
    complaints = find(book.ruleset, max_tokens or session.settings.max_tokens)
    try:
        report = book.compiled().report
    except ConstraintRefused:
        report = ()  # it stands among the complaints
    if as_json:
        print_json({"passed": not any(c.severity == "error" for c in complaints), "complaints": complaints, "report": report})  # fmt: skip  # noqa: E501
    else:
        for placed in report:
            where_in = f" {placed.pointer}/{placed.keyword}" if placed.keyword else f" ({placed.type})"
            added_to_all = placed.where == "default" and not placed.pointer
            what = placed.rule_id if added_to_all else f"{placed.rule_id}{where_in}"
            where = {"decode": "enforced while decoding", "check": "checked after", "default": "by default"}[
                placed.where
            ]
            click.echo(f"{what}: {where}{', ' + placed.reason if placed.reason else ''}")
        for complaint in complaints:
            click.echo(
                f"{complaint.severity}: {', '.join(complaint.rule_ids)}: {complaint.message}".replace(": : ", ": ")
            )
        if not complaints:
            session.say("Nothing is wrong with it.")
    return BROKEN_RULE if any(c.severity == "error" for c in complaints) else 0


@command.command("list")
@click.option("--types", is_flag=True, help="The types of rules and their fields instead of the sets.")
@common_options
@click.pass_obj
def list_(session: Session, /, types: bool, as_json: bool) -> None:
    """The rule sets that are there: your own and the ready ones."""
    from localllm.rules.rulebook import ready_sets
    from localllm.rules.ruleset import read_ruleset

    if types:
        _list_types(as_json)
        return
    own = {p.stem: p for p in sorted(session.paths.rules.glob("*.toml"))} if session.paths.rules.is_dir() else {}
    rows: list[dict[str, Any]] = []
    for name, path in {**ready_sets(), **own}.items():
        try:
            found = read_ruleset(path)
            rows.append({"name": name, "path": str(path), "rules": len(found.rules), "description": found.description})
        except RuleSyntax as error:
            rows.append({"name": name, "path": str(path), "rules": 0, "description": "", "error": error.message})
    if as_json:
        print_json({"sets": rows})
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        told = row.get("error") or row["description"]
        click.echo(f"{row['name']:<{width}}  {counted(row['rules'], 'rule'):<8}  {told}")


def _list_types(as_json: bool) -> None:
    from localllm.rules.checks.catalogue import kinds

    table = kinds()
    if as_json:
        print_json(
            {
                "types": [
                    {"name": name, "help": kind.help, "stages": kind.stages, "fields": {f: s.type for f, s in kind.fields.items()},  # noqa: E501
                     "enforced_while_decoding": kind.grammar is not None or name in ("json", "json_schema", "grammar"), "has_fix": kind.fix is not None}  # noqa: E501
                    for name, kind in table.items()
                ]
            }
        )  # fmt: skip
        return
    for name, kind in table.items():
        click.echo(f"{name}: {kind.help}")
        if kind.fields:
            click.echo(f"    {', '.join(kind.fields)}")
