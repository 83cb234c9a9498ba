"""`localllm doctor`: what works here, what is missing, and how to get it. It loads no model without --self-check."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import click

from localllm import __version__
from localllm.cli.main import FAILED
from localllm.cli.session import Session, common_options, print_json
from localllm.counted import counted
from localllm.errors import LocalLLMError

PACKAGES = ("llama-cpp-python", "numpy", "sqlite-utils", "textual", "llguidance", "jsonschema", "pypdfium2", "httpx")
GIB = 1 << 30


@dataclass
class Finding:
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "note", "missing", "broken"]
    """`missing` limits what can be done, `broken` stops the program from doing its work."""
    text: str
    """What was found, in one line."""
    hint: str = ""
    """What to do about it."""
    data: dict[str, Any] = field(default_factory=dict)
    """The same for scripts."""


@click.command()
@click.option("--self-check", is_flag=True, help="Load the model and let it answer once.")
@common_options
@click.pass_obj
def command(session: Session, /, self_check: bool, as_json: bool) -> int:
    """Say what works here, what is missing, and how to get it."""
    findings = [versions(), *llama(), processor(), memory(), *settings(session), *files(session), *models(session)]
    findings.append(full_text())
    if self_check:
        findings.append(answer(session))
    broken = [finding for finding in findings if finding.state == "broken"]
    if as_json:
        rows = [
            {"name": f.name, "state": f.state, "text": f.text, "hint": f.hint, **({"data": f.data} if f.data else {})}
            for f in findings
        ]
        print_json({"ok": not broken, "findings": rows})
    else:
        marks = {"ok": "ok", "note": "-", "missing": "?", "broken": "!"}
        for f in findings:
            click.echo(f"{marks[f.state]:>2}  {f.name:<11} {f.text}")
            if f.hint:
                click.echo(f"{'':>16}{f.hint}")
    return FAILED if broken else 0


# ---- the program ----------------------------------------------------------------------------------------------------


def versions() -> Finding:
    """Python, localllm, and the packages it stands on."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None  # the packaged binary carries code without its records
    known = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    text = f"localllm {__version__}, Python {platform.python_version()}" + (f", {known}" if known else "")
    data = {"localllm": __version__, "python": platform.python_version(), "platform": platform.platform(), **found}
    return Finding("versions", "ok", text, data=data)


def llama() -> list[Finding]:
    """llama.cpp: does it load, which processors does it know."""
    try:
        from localllm.llama import devices
    except (ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        return [Finding("llama.cpp", "broken", f"can't be loaded: {reason}", "Install llama-cpp-python again.")]
    features = [name for name, there in devices.cpu_features().items() if there]
    result = [
        Finding(
            "llama.cpp",
            "ok",
            f"{devices.version() or 'version unknown'}; uses {', '.join(features) or 'no special instructions'}",
            data={"version": devices.version(), "features": devices.cpu_features()},
        )
    ]
    listed = devices.list_devices()
    rows = [{"name": d.name, "description": d.description, "kind": d.kind, "memory": d.memory_total} for d in listed]
    gpus = [d for d in listed if d.kind in ("gpu", "igpu")]
    if gpus:
        names = ", ".join(f"{d.name} ({d.description}, {_gib(d.memory_free)} free)" for d in gpus)
        result.append(Finding("GPU", "ok", names, data={"devices": rows}))
    elif devices.supports_gpu():
        result.append(Finding("GPU", "note", "this build can use one, but finds none", data={"devices": rows}))
    else:
        hint = "The README says how to build with CUDA, Metal or Vulkan."
        result.append(Finding("GPU", "note", "this build works on the processor alone", hint, {"devices": rows}))
    return result


def full_text() -> Finding:
    """SQLite with FTS5, for the search in chats and documents."""
    import sqlite3

    try:
        with sqlite3.connect(":memory:") as conn:
            conn.execute("CREATE VIRTUAL TABLE t USING fts5 (x)")
        conn.close()
    except sqlite3.Error as error:
        return Finding("SQLite", "broken", f"{sqlite3.sqlite_version} without FTS5 ({error})", "Use another Python.")
    return Finding("SQLite", "ok", f"{sqlite3.sqlite_version} with FTS5", data={"version": sqlite3.sqlite_version})


# ---- the machine ----------------------------------------------------------------------------------------------------


def processor() -> Finding:
    """Model and cores; instructions that the processor has and this build leaves lying."""
    from localllm.engine.threads import processor_name

    name, flags = processor_name(), set()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text("utf-8", "replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "flags":
                flags |= set(value.split())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    unused = []
    try:
        from localllm.llama.devices import cpu_features

        used = cpu_features()
        pairs = (("avx2", "AVX2"), ("avx512f", "AVX512"), ("avx512_vnni", "AVX512_VNNI"), ("fma", "FMA"))
        unused = [feature for flag, feature in pairs if flag in flags and not used.get(feature)]
    except (ImportError, OSError, RuntimeError):
        pass
    hint = f"This build leaves {', '.join(unused)} unused: build it on this machine for more speed." if unused else ""
    data = {"name": name, "cores": cores, "unused": unused}
    return Finding("processor", "note" if unused else "ok", f"{name}, {counted(cores, 'usable core')}", hint, data)


def memory() -> Finding:
    """RAM, and whether huge pages may be used for the weights."""
    from localllm.models.ram import available_memory, total_memory

    total, available = total_memory(), available_memory()
    pages = _huge_pages()
    parts = [f"{_gib(available)} of {_gib(total)} free" if available else f"{_gib(total)}" if total else "unknown"]
    if pages:
        parts.append(f"transparent huge pages: {pages}")
    hint = "Huge pages make loading and reading faster: set them to madvise." if pages == "never" else ""
    data = {"total": total, "available": available, "transparent_huge_pages": pages}
    return Finding("memory", "ok", "; ".join(parts), hint, data)


def _huge_pages() -> str:
    try:
        text = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    except OSError:
        return ""
    return text.partition("[")[2].partition("]")[0]


# ---- the user's files -----------------------------------------------------------------------------------------------


def settings(session: Session) -> list[Finding]:
    """The settings file, and the settings that differ from the defaults."""
    from dataclasses import fields

    from localllm.settings import Settings

    known = "Known: " + ", ".join(f.name for f in fields(Settings)) + "."
    try:
        loaded = session.settings
    except LocalLLMError as error:
        return [Finding("settings", "broken", error.message, known if session.verbose else error.hint)]
    changed = {f.name: getattr(loaded, f.name) for f in fields(Settings) if getattr(loaded, f.name) != f.default}
    text = ", ".join(f"{name} = {value!r}" for name, value in changed.items()) or "all at their defaults"
    hint = known if session.verbose else ""
    return [Finding("settings", "ok", f"{session.paths.config}: {text}", hint, {"changed": changed})]


def files(session: Session) -> list[Finding]:
    """The data folder, and the history."""
    from localllm.settings import private_folder

    home = session.paths.home
    try:
        private_folder(home)
    except LocalLLMError as error:
        return [Finding("data", "broken", error.message, error.hint)]
    found = [
        Finding("data", "ok", f"{home}{' (portable)' if session.paths.portable else ''}", data={"path": str(home)})
    ]
    try:
        n = len(session.history.chats())
    except LocalLLMError as error:
        return [*found, Finding("history", "broken", error.message, error.hint)]
    return [*found, Finding("history", "ok", f"{counted(n, 'chat')} in {session.paths.history}", data={"chats": n})]


def models(session: Session) -> list[Finding]:
    """The models and embedders that are here."""
    from localllm.models.shelf import list_models

    try:
        listed = list_models(session.paths)
    except LocalLLMError as error:
        return [Finding("models", "broken", error.message, error.hint)]
    usable = [model for model in listed if model.usable]
    embedders = [model for model in listed if model.purpose == "embedding" and not model.problem]
    damaged = [model for model in listed if model.problem]
    found = []
    if usable:
        names = ", ".join(f"{m.name} ({_gib(m.size_bytes)})" for m in usable[:8])
        more = f" and {len(usable) - 8} more" if len(usable) > 8 else ""
        found.append(Finding("models", "ok", names + more, data={"names": [m.name for m in usable]}))
    else:
        hint = "`localllm models pull starter` gets a small one."
        found.append(Finding("models", "missing", "there is no model on this computer yet", hint))
    if embedders:
        found.append(Finding("embedder", "ok", ", ".join(m.name for m in embedders)))
    else:
        hint = "Documents are searched by words alone; `localllm models pull starter` gets an embedder."
        found.append(Finding("embedder", "missing", "there is none", hint))
    found += [Finding("model file", "note", f"{m.path}: {m.problem}") for m in damaged]
    return found


def answer(session: Session) -> Finding:
    """Load the model in its worker process and let it say something."""
    from localllm.assistant import Assistant
    from localllm.open import open_engine

    try:
        settings = session.settings.with_changes(max_tokens=16, temperature=0.0)
        with Assistant(open_engine(settings, session.paths), settings=settings) as assistant:
            finished = assistant.ask("Say hello.")
    except LocalLLMError as error:
        return Finding("self-check", "broken", error.message, error.hint)
    stats = finished.stats
    if not stats.completion_tokens:
        return Finding("self-check", "broken", f"{finished.model} gave no answer", "Try another model.")
    text = (
        f"{finished.model} answered {stats.completion_tokens} tokens at {stats.decode_tokens_per_second:.0f} tokens/s"
    )
    data = {
        "model": finished.model,
        "text": finished.text,
        "tokens": stats.completion_tokens,
        "tokens_per_second": stats.decode_tokens_per_second,
    }
    return Finding("self-check", "ok", text, data=data)


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / (1 << 20):.0f} MiB"
