"""The rulebook: one object that the assistant, the command line and the server ask about rules.

    book = Rulebook.load("support-answer", allow_code=False)    # a file, a name, or a JSON Schema beside it
    book.check_question(text)     -> None, or a Checked (text after fixes, verdict, reject)
    book.guard(passages)          -> (passages that may be used, cleaned; notes)      book.guard is None without rules
    rules = book.compile(engine, settings)
    rules.system, rules.constraint, rules.attempts, rules.notes, rules.report
    rules.monitor(kept).feed(delta) -> None | Broken(rule, keep, ban)
    rules.check(text, reason, passages, repaired) -> Checked(text, verdict, repair, reject, notes)
    book.check(text, context)     -> Verdict                                          without any model

Everything that was enforced while decoding is checked again on the whole text, by code that knows nothing of grammars.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from localllm.engine.protocol import ConstraintSpec, Engine
from localllm.errors import RuleSyntax
from localllm.events import FinishReason, Passage, RuleState, Verdict
from localllm.rules.audit import AuditLog
from localllm.rules.compile import Compiled, compile_rules
from localllm.rules.fix import fix
from localllm.rules.guards.injection import canary, clean
from localllm.rules.guards.model import ask_guard
from localllm.rules.lint import budget_notes
from localllm.rules.monitor import RuleMonitor
from localllm.rules.outcome import Checked, Context
from localllm.rules.repair import plan_repair
from localllm.rules.ruleset import Rule, RuleSet, parse_ruleset, read_ruleset, schema_rule
from localllm.rules.schema import load_schema
from localllm.rules.verdict import judge
from localllm.settings import Settings

SETS = Path(__file__).parent / "sets"
MAX_INSTRUCTIONS = 4_000
"""Characters of instructions that a rule set may add to the system prompt."""

Guard = Callable[[Sequence[Passage]], tuple[Sequence[Passage], tuple[str, ...]]]


def ready_sets() -> dict[str, Path]:
    """The rule sets that come with localllm, by name."""
    return {path.stem: path for path in sorted(SETS.glob("*.toml"))}


def find_ruleset(name: str, folder: Path | None = None) -> Path:
    """The file of a rule set: a path, a name in the user's folder, or one of the ready sets.

    Raises:
        RuleSyntax: There is none.
    """
    candidates = [Path(name).expanduser()]
    if folder is not None:
        candidates += [folder / name, folder / f"{name}.toml"]
    for path in candidates:
        if path.is_file():
            return path
    if name in ready_sets():
        return ready_sets()[name]
    raise RuleSyntax(f"There is no rule set {name!r}.", f"Ready ones: {', '.join(ready_sets())}; or give a TOML file.")


class Rulebook:
    """A rule set that answers must follow.

    Args:
        ruleset: The rules.
        allow_code: Python rules may run; otherwise they fail, and say why.
        audit: Where each verdict is recorded.
    """

    def __init__(self, ruleset: RuleSet, *, allow_code: bool = False, audit: AuditLog | None = None) -> None:
        self.ruleset = ruleset
        self.allow_code = allow_code
        self.audit = audit
        self.guard_engine: Engine | None = None
        """Asked by ``guard_model`` rules: a guard model of its own, or else the model that answers."""
        self.asks_guard_model = any(rule.type == "guard_model" for rule in ruleset.walk())
        self.checks_questions = bool(ruleset.of_stage("input"))
        self._compiled: Compiled | None = None
        self.question = ""
        """The question that is being answered, for rules that compare the answer with it."""

    @classmethod
    def load(
        cls,
        name: str = "",
        *,
        schema: str | Path | None = None,
        folder: Path | None = None,
        allow_code: bool = False,
        audit: AuditLog | None = None,
    ) -> Rulebook:
        """Open a rule set by file or name, a JSON Schema file, or both together.

        Raises:
            RuleSyntax: Something can't be found or read.
        """
        ruleset = read_ruleset(find_ruleset(name, folder)) if name else RuleSet("schema")
        if schema is not None:
            path = Path(schema).expanduser()
            try:
                text = path.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise RuleSyntax(
                    f"{path} can't be read: {getattr(error, 'strerror', None) or 'no UTF-8 text'}.",
                    "Give a file with a JSON Schema.",
                ) from error
            rule = schema_rule(load_schema(text, path.name), path.name)
            digest = hashlib.sha256((ruleset.sha256 + text).encode()).hexdigest()
            ruleset = replace(ruleset, rules=(rule, *ruleset.rules), sha256=digest)
        return cls(ruleset, allow_code=allow_code, audit=audit)

    @classmethod
    def parse(cls, text: str, *, allow_code: bool = False) -> Rulebook:
        """A rulebook from TOML text."""
        return cls(parse_ruleset(text), allow_code=allow_code)

    def compiled(self) -> Compiled:
        """The output rules as a constraint, and the report.

        Raises:
            ConstraintRefused: A rule asks to be enforced while decoding and can't be.
        """
        if self._compiled is None:
            self._compiled = compile_rules(self.ruleset.of_stage("output"))
        return self._compiled

    def compile(self, engine: Engine, settings: Settings) -> CompiledRules:
        """The rule set against the loaded model's tokenizer and the token budget."""
        self.guard_engine = self.guard_engine or engine
        return CompiledRules(self, engine, settings)

    def context(self, **more: Any) -> Context:
        """A context for checks, with this book's folder and permission, and its guard model."""
        scratch: dict[str, object] = {}
        if (asked := self.guard_engine) is not None and self.asks_guard_model:
            scratch["guard"] = cache(lambda text, policy: ask_guard(asked, text, policy))  # fixes and verdict both ask
        return Context(folder=self.ruleset.folder, allow_code=self.allow_code, scratch=scratch, **more)

    def check(self, text: str, context: Context | None = None, stage: str = "output") -> Verdict:
        """The verdict on a text, by every rule of a stage."""
        return judge(self.ruleset.of_stage(stage), text, context or self.context())

    def fix(self, text: str, context: Context | None = None) -> tuple[str, frozenset[str]]:
        """The text after deterministic fixes, and the rules that were mended."""
        return fix(self.ruleset.of_stage("output"), text, context or self.context())

    def check_question(self, text: str) -> Checked | None:
        """The input rules: None when there are none; `reject` turns the question away; `text` goes to the model."""
        self.question = text
        rules = self.ruleset.of_stage("input")
        if not rules:
            return None
        context = self.context()
        mended, fixed = fix(rules, text, context)
        verdict = judge(rules, mended, context, fixed=fixed)
        reject = _rejected(rules, verdict)
        notes = tuple(
            f"Question: {r.reason} ({r.id})." for r in verdict.rules if r.verdict in (RuleState.WARN, RuleState.FAIL)
        )
        self._record("input", text, verdict, 0)
        return Checked(mended, verdict, None, reject, notes)

    @property
    def guard(self) -> Guard | None:
        """The retrieval rules, if there are any."""
        return self.guard_passages if self.ruleset.of_stage("retrieval") else None

    def guard_passages(self, passages: Sequence[Passage]) -> tuple[Sequence[Passage], tuple[str, ...]]:
        """The passages that may be used, cleaned, and notes on what was left out.

        Hidden characters and template marks are always taken out. A rule of severity error drops the passage with
        ``on_fail = "reject"``; a fix that works keeps it; everything else is a note.
        """
        rules = self.ruleset.of_stage("retrieval")
        kept: list[Passage] = []
        notes: list[str] = []
        context = self.context()
        for passage in passages:
            text, fixed = fix(rules, passage.text, context)
            verdict = judge(rules, text, context, fixed=fixed)
            where = f"{passage.source}, line {passage.line}"
            for rule in verdict.rules:
                if rule.verdict is RuleState.FIXED:
                    notes.append(f"{where}: cleaned by the rule {rule.id!r}.")
                elif rule.verdict is not RuleState.PASS:
                    notes.append(f"{where}: {rule.reason} ({rule.id}).")
            self._record("retrieval", passage.text, verdict, 0)
            if _rejected(rules, verdict):
                notes.append(f"{where}: left out.")
                continue
            kept.append(replace(passage, text=clean(text)))
        return kept, tuple(notes)

    def _record(self, stage: str, text: str, verdict: Verdict, attempt: int, model: str = "") -> None:
        if self.audit is not None:
            self.audit.write(self.ruleset, stage, text, verdict, attempt=attempt, model=model)


def _rejected(rules: Sequence[Rule], verdict: Verdict) -> bool:
    on_fail = {rule.id: rule.on_fail for rule in rules}
    return any(
        r.verdict in (RuleState.FAIL, RuleState.NOT_EVALUATED) and on_fail[r.id] == "reject" for r in verdict.rules
    )


class CompiledRules:
    """A rulebook against a loaded model: what the assistant uses for one answer."""

    def __init__(self, book: Rulebook, engine: Engine, settings: Settings) -> None:
        self._book = book
        self._engine = engine
        self._rules = book.ruleset.of_stage("output")
        self._compiled = book.compiled()
        self._canary = canary() if any(r.type == "canary" for r in book.ruleset.walk()) else ""
        self._tokens_spent = 0
        self._attempt = 0
        self._started = time.monotonic()
        self.constraint: ConstraintSpec | None = self._compiled.constraint
        self.must_enforce = any(rule.enforce == "decode" for rule in self._rules)
        self.report = self._compiled.report
        self.attempts: int = book.ruleset.repair.max_attempts if self._rules else 0
        self.system: str = self._instructions()
        self.notes: tuple[str, ...] = budget_notes(
            self._rules, settings.max_tokens, engine.info.n_ctx, engine.count_tokens
        )

    def monitor(self, kept: str) -> RuleMonitor:
        """A monitor for an answer that begins with `kept`."""
        rules = self._rules if self._book.ruleset.stop_early else ()
        return RuleMonitor([r for r in rules if r.id not in self._compiled.enforced], kept)

    def check(self, text: str, reason: FinishReason, passages: Sequence[Passage], repaired: frozenset[str]) -> Checked:
        """Every rule on the whole text, after fixes. `repaired` names rules broken by earlier attempts."""
        context = self._context(passages)
        mended, fixed = fix(self._rules, text, context)
        verdict = judge(self._rules, mended, context, reason, fixed, repaired)
        self._attempt += 1
        self._book._record("output", mended, verdict, self._attempt, self._engine.info.model)
        repair = None
        budget = self._book.ruleset.repair
        broken = next(
            (
                (rule, found)
                for rule in self._rules
                for found in verdict.rules
                if found.id == rule.id and found.verdict is RuleState.FAIL and rule.on_fail in ("repair", "reject")
            ),
            None,
        )
        notes: tuple[str, ...] = ()
        if broken is not None and budget.max_attempts:
            if self._attempt > 1:
                self._tokens_spent += self._engine.count_tokens(text)
            if self._tokens_spent >= budget.max_extra_tokens:
                notes = (
                    f"No further repair: {self._tokens_spent} of {budget.max_extra_tokens} extra tokens are used.",
                )
            else:
                repair = plan_repair(*broken, mended, budget.keep_prefix)
        return Checked(mended, verdict, repair, _rejected(self._rules, verdict), notes)

    def _context(self, passages: Sequence[Passage]) -> Context:
        highest = max((p.n for p in passages), default=0)
        by_number = {p.n: p.text for p in passages}
        sources = tuple(by_number.get(n, "") for n in range(1, highest + 1))
        return self._book.context(
            question=self._book.question, system=self.system, canary=self._canary, sources=sources,
            has_sources=bool(passages), count_tokens=self._engine.count_tokens,
        )  # fmt: skip

    def _instructions(self) -> str:
        lines: list[str] = []
        for rule in self._rules:
            if rule.kind is not None and rule.kind.tell is not None and rule.when is None and not rule.pointer:
                told = rule.kind.tell(rule.params)
                if told:
                    lines.append(f"- {told}")
        text = "Follow these rules in your answer:\n" + "\n".join(lines) if lines else ""
        if len(text) > MAX_INSTRUCTIONS:
            text = text[:MAX_INSTRUCTIONS].rsplit("\n", 1)[0]
        if self._canary:
            text += f"\n{self._canary} is secret: never write it."
        return text.strip()
