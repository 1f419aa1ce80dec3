"""``feedbackloop keys``: API keys for the required mode. The commands write to the log themselves, whether or not a hub runs."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from deploy.cli.access_changes import access_changes
from storage.settings import Settings

keys = typer.Typer(help="API keys: who may call, and what they may do.", no_args_is_help=True)

Named = Annotated[str, typer.Argument(help="The key's name or its id.")]


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is for, such as candidate-chat; it stays the same when the key is rotated.")],
    scope: Annotated[list[str], typer.Option(help="What it may do: chat, feedback, read or admin. Can be given several times.")],
    recruiter: Annotated[
        list[str] | None, typer.Option(help="A recruiter for whom it may send feedback; by default all. Can be given several times.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="How long it is valid; by default until it is revoked.")] = None,
) -> None:
    """Make a key and print it. It is shown this once; only its hash is kept."""
    from streams.pseudonyms import pseudonym, pseudonym_key

    settings = Settings.read()
    secret = pseudonym_key(settings.common)
    people = [pseudonym(secret, "recruiter", each) for each in recruiter or ()]
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with access_changes(settings) as changes:
        _, text = changes.issue(name, scope, recruiters=people, expires_at=expires_at)
    _tell(settings, text)


@keys.command(name="list")
def list_() -> None:
    """List all keys, and changes on the log that were not accepted."""
    now = datetime.now(UTC)
    with access_changes(Settings.read()) as changes:
        state = changes.state()
    for key in sorted(state.keys.values(), key=lambda key: key.issued_at):
        bound = f"recruiters: {len(key.recruiters) or 'all'}"
        ends = [moment for moment in (key.revoked_at, key.expires_at) if moment is not None]
        state_now = f"until {min(ends):%Y-%m-%d %H:%M}" if ends else "no end"
        if key.objection(now) is not None:
            state_now = f"ended {min(ends):%Y-%m-%d %H:%M}"
        typer.echo(f"{key.key_id}  {key.name:<24} {','.join(key.scopes):<24} {bound:<18}  issued {key.issued_at:%Y-%m-%d}  {state_now}")
    for problem in state.problems:
        typer.echo(problem, err=True)


@keys.command()
def revoke(name: Named) -> None:
    """End a key at once: within a second no process takes it any more."""
    with access_changes(Settings.read()) as changes:
        ended = changes.revoke(name)
    typer.echo(f"revoked {', '.join(f'{key.name} ({key.key_id})' for key in ended)}")


@keys.command()
def rotate(
    name: Named, overlap: Annotated[float, typer.Option(min=0, help="Hours for which the old key stays valid beside the new one.")] = 24
) -> None:
    """Make a new key with the same name, scopes and recruiters, and print it; the old one ends after the overlap."""
    settings = Settings.read()
    with access_changes(settings) as changes:
        _, text = changes.rotate(name, timedelta(hours=overlap))
    _tell(settings, text)


def _tell(settings: Settings, text: str) -> None:
    from access.settings import AccessSettings

    typer.echo(text)
    if not settings.section("access", AccessSettings).required:
        typer.echo('requests need a key once [access] mode is "required"; set it before the next start', err=True)
