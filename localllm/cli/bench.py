"""`localllm bench`: measure this machine with a model."""

from __future__ import annotations

import platform
from dataclasses import asdict

import click

from localllm import __version__
from localllm.cli.complete import model_names
from localllm.cli.session import Session, common_options, print_json
from localllm.counted import counted


@click.command("bench")
@click.option("-m", "--model", shell_complete=model_names, help="Model to measure; the default model otherwise.")
@click.option("-n", "--tokens", default=128, show_default=True, type=click.IntRange(8, 8192), help="Tokens to decode.")
@click.option("-p", "--prompt", "prompt_tokens", default=512, show_default=True, type=click.IntRange(8, 32768))
@click.option(
    "-r", "--runs", default=5, show_default=True, type=click.IntRange(1, 100), help="Runs of each measurement."
)
@click.option("--ctx", type=click.IntRange(0), help="Context window in tokens.")
@click.option("--gpu-layers", help="Layers on the GPU: auto or a number.")
@common_options
@click.pass_obj
def command(
    session: Session,
    model: str | None,
    tokens: int,
    prompt_tokens: int,
    runs: int,
    ctx: int | None,
    gpu_layers: str | None,
    as_json: bool,
) -> None:
    """Measure this machine with a model: decoding, prefill, time to first token, embeddings.

    Plain decoding, without drafts. The median of all runs is shown with the lowest and the highest.
    """
    from localllm.engine import measure
    from localllm.engine.threads import processor_name
    from localllm.open import open_engine

    try:
        settings = session.settings.with_changes(model=model, ctx=ctx, gpu_layers=gpu_layers)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    engine = open_engine(settings, session.paths)
    try:
        info = engine.info
        parts = ", each with a fixed part of every matrix" if info.even_parts else ""
        layers = f"{info.n_gpu_layers} of {info.n_layer} layers on a GPU"
        session.say(f"{info.model}, {counted(info.n_threads, 'thread')}{parts}, {layers}")
        results = [
            measure.measure_decode(engine, tokens, runs),
            measure.measure_prefill(engine, prompt_tokens, runs),
            measure.measure_first_token(engine, runs),
        ]
        if engine.embedder is not None:
            texts = [measure.words(120, seed) for seed in range(32)]
            results.append(measure.measure_embeddings(engine.embedder, texts, runs))
    finally:
        engine.close()
    machine = {"system": platform.platform(), "processor": processor_name(), "python": platform.python_version()}
    if as_json:
        rows = [asdict(r) | {"median": r.median, "low": r.low, "high": r.high} for r in results]
        print_json({"localllm": __version__, "machine": machine, "engine": info, "results": rows})
        return
    click.echo(f"{machine['processor']}, {machine['system']}")
    for r in results:
        click.echo(f"{r.name:<12} {r.median:>10,.2f} {r.unit:<9} ({r.low:,.2f} to {r.high:,.2f}, {len(r.runs)} runs)")
