"""Commands of the database roles: ``grant-reader`` and ``grant-loader``."""

import click

from twap_pipeline.cli.context import database
from twap_pipeline.settings import load_settings
from twap_pipeline.storage.engine import roles
from twap_pipeline.storage.schema.revision_gate import require_head


@click.command("grant-reader")
@click.argument("role")
def grant_reader(role: str) -> None:
    """Grant ROLE read access to the tables of the API, and nothing else. Creates the role if it does not exist."""
    _grant(role, roles.READER, f"can read {', '.join(roles.READER.readable)}, and write to no table")


@click.command("grant-loader")
@click.argument("role")
def grant_loader(role: str) -> None:
    """Grant ROLE what loads, audits and checks need: rows, no schema changes. Creates the role if it does not exist."""
    _grant(role, roles.LOADER, f"can read and write {', '.join(roles.LOADER.writable)}, and change no schema")


def _grant(role: str, privileges: roles.RolePrivileges, summary: str) -> None:
    with database(load_settings()) as (engine, _):
        require_head(engine)
        grant = roles.grant_role(engine, role, privileges)
    click.echo(f"{role} {summary}")
    for privilege, statements in grant.excess:
        click.echo(f"{role} can still {privilege}; the database's owner or a superuser can revoke it: {statements}")
    if grant.password is not None:
        click.echo(f"password  {grant.password}")
