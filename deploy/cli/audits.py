"""The commands of ``feedbackloop audit``, which write files for auditors. A new one is a file in ``deploy.audit_pack`` and a row here."""

from collections.abc import Callable
from dataclasses import dataclass

import typer

from deploy.audit_pack.ll144 import ll144
from deploy.audit_pack.model import model
from storage.tables import by_name


@dataclass(frozen=True)
class AuditCommand:
    """A row: ``run`` is the command, with typer's annotations; it imports what is heavy when it runs."""

    name: str
    run: Callable[..., None]


COMMANDS: tuple[AuditCommand, ...] = (AuditCommand("ll144", ll144), AuditCommand("model", model))

audit = typer.Typer(help="Files for auditors: tables of outcomes, and the evidence for a model version.", no_args_is_help=True)


@audit.callback()
def _group() -> None:
    """A group of commands even while the table has one row."""


for row in by_name("audit command", COMMANDS).values():
    audit.command(row.name)(row.run)
