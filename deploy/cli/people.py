"""``feedbackloop people``: who may sign in to the hub. The commands run on its machine, whether or not it runs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.access_changes import access_changes
from storage.settings import Settings

if TYPE_CHECKING:
    from access.people.changes import PeopleChanges

people = typer.Typer(help="People: who may sign in, and what they may do.", no_args_is_help=True)

Login = Annotated[str, typer.Argument(help="What the person signs in with.")]
Roles = Annotated[list[str], typer.Option("--role", help="recruiter, reviewer, auditor or admin. Can be given several times.")]


@people.command()
def add(
    login: Login,
    role: Roles,
    name: Annotated[str | None, typer.Option(help="The name that others see; by default the login.")] = None,
    recruiter: Annotated[
        str | None, typer.Option(help="The name of this recruiter in your product, so that both are one person; by default the login.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help="Who this is for the identity provider: its 'sub'. Without it the person signs in with a password.")
    ] = None,
) -> None:
    """Add a person. A password is asked for; where nobody can type, it is the first line of the input."""
    from access.people.oidc import identity_of
    from access.people.oidc_settings import OIDCSettings
    from storage.errors import ConfigurationError
    from streams.pseudonyms import pseudonym, pseudonym_key

    settings = Settings.read()
    issuer = settings.section("oidc", OIDCSettings).issuer
    if subject is not None and not issuer:
        raise ConfigurationError("[oidc] issuer is not set: --subject is for people who sign in by an identity provider")
    key = pseudonym_key(settings.common)
    chosen, identity = (_password(), None) if subject is None else (None, identity_of(key, issuer, subject))
    person = pseudonym(key, "recruiter", recruiter or login)
    with _changing(settings) as changes:
        added = changes.add(login, name or login, chosen, person, role, identity)
    typer.echo(f"added {login} ({added.person}) as {', '.join(added.roles)}")


@people.command()
def password(login: Login) -> None:
    """Give a person another password, asked for as by 'add', and end their sessions."""
    chosen = _password()
    with _changing(Settings.read()) as changes:
        changes.change_password(login, chosen)
    typer.echo(f"{login} has another password, and is signed out everywhere")


@people.command()
def role(login: Login, roles: Annotated[list[str], typer.Argument(help="All roles that the person has from now on.")]) -> None:
    """Change what a person may do; it holds within a second, also for who is signed in."""
    with _changing(Settings.read()) as changes:
        changes.change_roles(login, roles)
    typer.echo(f"{login} is now {', '.join(roles)}")


@people.command()
def remove(login: Login) -> None:
    """Remove a person: sessions and widget tokens end within a second, and login and name are forgotten."""
    with _changing(Settings.read()) as changes:
        changes.remove(login)
    typer.echo(f"removed {login}")


@people.command(name="list")
def list_() -> None:
    """List all people, and changes on the log that were not accepted."""
    from access.people.store import FILE, PeopleStore

    settings = Settings.read()
    with access_changes(settings) as changes:
        state = changes.state()
    for account in PeopleStore(settings.common.home / FILE).all():
        person = state.person(account.person)
        roles = ", ".join(person.roles) if person is not None else "may not sign in: add or remove the person again"
        typer.echo(f"{account.person}  {account.login:<24} {account.name:<32} {roles}")
    for problem in state.problems:
        typer.echo(problem, err=True)


def _password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().strip("\n")


@contextmanager
def _changing(settings: Settings) -> Iterator["PeopleChanges"]:
    from access.people.changes import PeopleChanges
    from access.people.store import FILE, PeopleStore

    with access_changes(settings) as changes:
        yield PeopleChanges(changes, PeopleStore(settings.common.home / FILE))
