"""``localllm models pair``: which draft models fit a model, ranked, and why the others do not."""

from __future__ import annotations

from dataclasses import asdict

import click

from localllm.cli.complete import model_names
from localllm.cli.session import Session, common_options, print_json

pass_session = click.make_pass_decorator(Session, ensure=True)


@click.command("pair")
@click.argument("name", required=False, shell_complete=model_names)
@common_options
@pass_session
def command(session: Session, name: str | None, as_json: bool) -> None:
    """Show which models here can draft for NAME, best first, and why the others can't.

    Without NAME, for every model that generates text.
    """
    from localllm.models import pairing, shelf

    targets = None if name is None else [shelf.find_model(name, session.paths)]
    found = pairing.pairs_on_this_computer(session.paths, targets)
    if as_json:
        print_json({"pairs": {target: [asdict(p) for p in pairs] for target, pairs in found.items()}})
        return
    for target, pairs in found.items():
        click.echo(target)
        if not pairs:
            click.echo("  no other model is here; n-gram drafting needs none")
        for rank, pair in enumerate(pairs, 1):
            state = f"{rank}. {pair.draft}, {pair.cost:.0%} of the cost" if pair.fits else f"-  {pair.draft}"
            click.echo(f"  {state}: {pair.reason}")
    if not found:
        session.say("No model that generates text is here. `localllm models pull starter` gets a small one.")
