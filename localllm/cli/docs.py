"""`localllm docs`: libraries of documents: add folders, keep them in step, search, check."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, TypeVar

import click

from localllm.cli.complete import library_names, model_names
from localllm.cli.session import Session, common_options, confirm, one_line, print_json
from localllm.counted import counted
from localllm.errors import InputError

if TYPE_CHECKING:
    from localllm.engine.embedder_process import EmbedderProcess, RerankerProcess
    from localllm.rag.index import Library
    from localllm.rag.rows import Document

F = TypeVar("F", bound=Callable[..., Any])
P = TypeVar("P", "EmbedderProcess | None", "RerankerProcess | None")


@click.group()
def command() -> None:
    """Index your documents and search them."""


def library_option(function: F) -> F:
    """The option ``-d``, and the common ones."""
    option = click.option(
        "-d", "--docs", "name", default="default", show_default=True, metavar="LIBRARY", shell_complete=library_names,
        help="Which library.",
    )  # fmt: skip
    return option(common_options(function))


@command.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@click.option(
    "--include", multiple=True, metavar="GLOB", help="Only files that match, such as '*.md'; may be repeated."
)
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave these out, as in .gitignore; may be repeated.")
@click.option("--no-sync", is_flag=True, help="Only remember the folders.")
@library_option
@click.pass_obj
def add(
    session: Session, /, paths: tuple[Path, ...], include: tuple[str, ...], exclude: tuple[str, ...], no_sync: bool,
    name: str, as_json: bool,
) -> int:  # fmt: skip
    """Follow folders and files: read them now, and again with each `docs sync`."""
    from localllm.cli.docs_sync import run_sync

    wanted = [_existing(path) for path in paths]
    with _library(session, name, create=True) as library:
        covered: list[int] = []
        for path in wanted:
            outer = next((r for r in library.roots() if r.kind == "folder" and r.path in path.parents), None)
            if outer is not None and not (outer.include or outer.exclude):
                session.say(f"{path} is inside {outer.path}, which is followed already.")
                continue
            covered += [r.id for r in library.roots() if path in r.path.parents]
            library.add_root(path, "folder" if path.is_dir() else "file", include, exclude)
        if no_sync:
            if as_json:
                print_json({"library": name, "roots": [str(r.path) for r in library.roots()]})
            return 0
        followed = [r for r in library.roots() if r.path in wanted or any(r.path in p.parents for p in wanted)]
        code = run_sync(session, library, roots=followed, as_json=as_json)
        if code == 0:
            for root_id in covered:  # their files are read as part of the new folder now
                library.remove_root(root_id)
        return code


@command.command()
@click.option("--deep", is_flag=True, help="Compare every file's content, not only its size and time.")
@click.option("--watch", is_flag=True, help="Go on until Ctrl-C, and follow changes as they happen.")
@library_option
@click.pass_obj
def sync(session: Session, /, deep: bool, watch: bool, name: str, as_json: bool) -> int:
    """Bring the library in step with its folders: only what changed is read."""
    from localllm.cli.docs_sync import run_sync, run_watch

    with _library(session, name) as library:
        if not library.roots():
            raise InputError(
                f"The library {name!r} follows no folder.", f"`localllm docs add FOLDER -d {quote(name)}` adds one."
            )
        if watch:
            return run_watch(session, library, as_json=as_json)
        return run_sync(session, library, deep=deep, as_json=as_json)


@command.command("list")
@click.option("--skipped", is_flag=True, help="Files that have no text here, with the reason of each.")
@click.option("--all", "everything", is_flag=True, help="Both, and what ignore files leave out.")
@library_option
@click.pass_obj
def list_(session: Session, /, skipped: bool, everything: bool, name: str, as_json: bool) -> None:
    """List the documents of a library."""
    with _library(session, name) as library:
        documents = [d for d in library.documents() if everything or _listed(d, skipped)]
    if as_json:
        print_json({"library": name, "documents": [_plain(d) for d in documents]})
        return
    for d in documents:
        if d.status in ("ok", "partial"):
            click.echo(f"{counted(d.n_chunks, 'chunk'):>13}  {d.source}{f'  ({d.reason})' if d.reason else ''}")
        else:
            click.echo(f"{d.status:>13}  {d.source}  ({d.reason})")
    if not documents:
        session.say("Nothing was left out." if skipped else "The library holds no documents.")


@command.command()
@library_option
@click.pass_obj
def status(session: Session, /, name: str, as_json: bool) -> None:
    """What a library follows, holds and can do."""
    from localllm.cli.docs_status import show_status

    with _library(session, name) as library:
        show_status(session, library, _embedder(session, library), _embedder(session), as_json=as_json)


@command.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH...]")
@click.option("--all", "everything", is_flag=True, help="The whole library.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@library_option
@click.pass_obj
def remove(session: Session, /, paths: tuple[Path, ...], everything: bool, yes: bool, name: str, as_json: bool) -> None:
    """Follow folders or files no more, and drop their documents. The files themselves stay as they are."""
    from localllm.rag import lease

    if everything == bool(paths):
        raise click.UsageError("Name folders and files, or give --all.")
    if not yes and as_json:
        raise click.UsageError("With --json, -y is needed too.")
    with _library(session, name) as library:
        found = {r.path: r for r in library.roots()}
        chosen = list(found) if everything else [_followed(path, found) for path in paths]
        for path in chosen:
            if path not in found:
                raise InputError(f"The library {name!r} does not follow {path}.", "`localllm docs status` lists them.")
        what = f"the library {name!r}" if everything else ", ".join(str(p) for p in chosen)
        if not yes:
            confirm(f"Remove {what} from the index? The files themselves stay.")
        with lease.hold(library):
            n = sum(library.remove_root(found[path].id) for path in chosen)
            library.purge_vectors()
            library.tidy()
    if everything:
        for suffix in ("-wal", "-shm", "-journal", ""):
            session.paths.library(name).with_name(f"{name}.db{suffix}").unlink(missing_ok=True)
    if as_json:
        print_json({"library": name, "removed": [str(p) for p in chosen], "documents": n})
    else:
        session.say(f"Removed {what}: {counted(n, 'file')}.")


@command.command()
@library_option
@click.pass_obj
def verify(session: Session, /, name: str, as_json: bool) -> int:
    """Check the file, the keyword index, and that every chunk is the text it claims."""
    started = time.monotonic()
    with _library(session, name) as library:
        faults, chunks = library.verify(), library.count_chunks()
    if as_json:
        print_json({"library": name, "ok": not faults, "chunks": chunks, "faults": faults})
    else:
        for fault in faults:
            click.echo(fault)
        if faults:
            session.say(f"What is at fault is read again by `localllm docs sync -d {quote(name)}`.")
        if not faults:
            click.echo(f"{name} is sound: {counted(chunks, 'chunk')} checked in {time.monotonic() - started:.1f} s")
    return 1 if faults else 0


@command.command()
@click.option("--keep-old", is_flag=True, help="Keep the old vectors, so that going back costs nothing.")
@library_option
@click.pass_obj
def reembed(session: Session, /, keep_old: bool, name: str, as_json: bool) -> int:
    """Make the vectors anew with the present embedding model. Searches use the old ones until all are there."""
    from localllm.cli.docs_sync import run_reembed

    embedder = _embedder(session)
    if embedder is None:
        raise InputError("There is no embedding model here.", "`localllm models pull starter` gets one.")
    with _library(session, name) as library:
        return run_reembed(session, library, embedder, keep_old=keep_old, as_json=as_json)


@command.command()
@click.argument("query")
@click.option("-k", "--limit", type=click.IntRange(1, 100), default=8, show_default=True, metavar="N", help="Passages.")
@click.option(
    "--mode", type=click.Choice(["hybrid", "keyword", "vector"]), default="hybrid", show_default=True,
    help="By keywords, by meaning, or both.",
)  # fmt: skip
@click.option("--path", "path_glob", default="", metavar="GLOB", help="Only documents whose path matches.")
@click.option("--type", "kind", default="", metavar="TYPE", help="Only this format: pdf, markdown, .py, ...")
@click.option("--after", type=click.DateTime(["%Y-%m-%d"]), help="Only documents changed on this day or later.")
@click.option("--before", type=click.DateTime(["%Y-%m-%d"]), help="Only documents changed before this day.")
@library_option
@click.pass_obj
def search(
    session: Session, /, query: str, limit: int, mode: Any, path_glob: str, kind: str, after: datetime | None,
    before: datetime | None, name: str, as_json: bool,
) -> None:  # fmt: skip
    """Find passages. Words in double quotes must occur as they stand."""
    from localllm.events import place_of
    from localllm.rag.search import Filters
    from localllm.rag.search import search as find

    filters = Filters(path_glob, kind, after.timestamp() if after else None, before.timestamp() if before else None)
    with (
        _library(session, name) as library,
        _closing(None if mode == "keyword" else _embedder(session, library)) as embedder,
        _closing(_reranker(session)) as reranker,
    ):
        result = find(
            library, query, embedder, limit, mode, filters=filters, cache_folder=session.paths.home / "cache",
            reranker=reranker,
        )  # fmt: skip
    if as_json:
        keys = ("source", "title", "heading", "page", "line", "start", "end", "score", "text")
        hits = [{key: getattr(hit, key) for key in keys} for hit in result.hits]
        print_json(
            {
                "hits": hits, "mode": result.mode, "reranked": result.reranked, "seconds": round(result.seconds, 4),
                "note": result.note,
            }
        )  # fmt: skip
        return
    for hit in result.hits:
        heading = f" › {hit.heading}" if hit.heading else ""
        click.echo(f"{hit.score:.2f}  {click.format_filename(hit.source)}{heading}  {place_of(hit)}")
        click.echo("      " + one_line(hit.text))
    if not result.hits:
        session.say("Nothing was found.")
    if result.note:
        session.say(result.note)


@command.command("eval")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE")
@click.option("-k", "--limit", type=click.IntRange(1, 100), default=8, show_default=True, metavar="N", help="Passages.")
@click.option(
    "--mode", type=click.Choice(["hybrid", "keyword", "vector"]), default="hybrid", show_default=True,
    help="By keywords, by meaning, or both.",
)  # fmt: skip
@click.option("--learn", is_flag=True, help="Learn from these questions when to say 'not in your documents'.")
@click.option("--answers", is_flag=True, help="Have the model answer too, and score refusals and citations.")
@click.option("-m", "--model", default="", metavar="MODEL", help="The model that answers.", shell_complete=model_names)
@library_option
@click.pass_obj
def evaluate(
    session: Session, /, file: Path, limit: int, mode: Any, learn: bool, answers: bool, model: str, name: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Score search and answers with your own questions: a CSV or JSONL FILE with columns question and expected.

    Expected names the files that answer the question, by the end of their paths, several separated by ';'. Leave it
    empty for a question that the documents do not answer. A column sentences, separated by '|', may hold the sentences
    that answer it: then citations are scored by sentences instead of files.
    """
    from localllm.cli.docs_eval import run_eval
    from localllm.rag.evaluate import read_questions

    questions = read_questions(file)
    with (
        _library(session, name) as library,
        _closing(None if mode == "keyword" else _embedder(session, library)) as embedder,
        _closing(_reranker(session)) as reranker,
    ):
        run_eval(
            session, library, questions, embedder, reranker, limit=limit, mode=mode, learn=learn, answers=answers,
            model=model, as_json=as_json,
        )  # fmt: skip


def _existing(path: Path) -> Path:
    path = path.expanduser().absolute()
    if not path.exists():
        raise InputError(f"There is no file or folder {path}.", "Check the spelling.")
    if not path.is_dir() and not path.is_file():
        raise InputError(f"{path} is neither a folder nor a file.")
    return path.resolve()


def _followed(path: Path, roots: Container[Path]) -> Path:
    """The path as `add` keeps it: without links and dots; as it was typed where that is followed."""
    path = path.expanduser().absolute()
    return path if path in roots else Path(os.path.realpath(path))  # `resolve` fails on a loop of links


def _library(session: Session, name: str, *, create: bool = False) -> Library:
    from localllm.rag.index import Library

    try:
        path = session.paths.library(name)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    library = Library(path, create=create)
    for note in library.notes:
        session.say(note)
    return library


def _embedder(session: Session, library: Library | None = None) -> EmbedderProcess | None:
    """The embedder of a library while its file is here; without a library, that of the settings."""
    from localllm.open import open_embedder

    return open_embedder(session.settings, session.paths, library)


def _reranker(session: Session) -> RerankerProcess | None:
    from localllm.open import open_reranker

    return open_reranker(session.settings, session.paths)


@contextmanager
def _closing(process: P) -> Iterator[P]:
    """The model's process, if there is one, and its end."""
    try:
        yield process
    finally:
        if process is not None:
            process.close()


def _listed(document: Document, skipped: bool) -> bool:
    return document.status in (("skipped", "error", "pending") if skipped else ("ok", "partial"))


def _plain(document: Document) -> dict[str, Any]:
    keys: Sequence[str] = (
        "source", "format", "status", "reason", "title", "size", "n_chars", "n_pages", "n_chunks", "encoding"
    )  # fmt: skip
    return {key: getattr(document, key) for key in keys}
