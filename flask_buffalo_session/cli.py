"""``flask session …``: commands for managing sessions."""

from __future__ import annotations

import secrets
import typing as t

import click
from flask import current_app
from flask.cli import AppGroup

from .doctor import LEVELS, diagnose
from .errors import SessionError
from .interface import BuffaloInterface, current_interface
from .stores.base import Prunable, is_storage_key

session_cli = AppGroup("session", help="Commands for managing sessions.")


def _interface() -> BuffaloInterface:
    try:
        return current_interface()
    except SessionError as error:
        raise _Failure(error) from error


class _Failure(click.ClickException):
    """Reports an error and exits with status 1."""

    def __init__(self, error: SessionError) -> None:
        super().__init__(str(error))


@session_cli.command(with_appcontext=False)
def secret() -> None:
    """Print a new secret for SESSION_SECRET."""
    click.echo(secrets.token_hex(32))


@session_cli.command()
@click.option(
    "--level",
    type=click.Choice(LEVELS, case_sensitive=False),
    help="Also check against this level of NIST SP 800-63B-4.",
)
@click.pass_context
def doctor(context: click.Context, level: str | None) -> None:
    """Check the settings and the store, and report problems. Exit with status 1 if
    there is a problem. Notes do not count.
    """
    app, config = current_app, _interface().config
    if config.null:
        click.echo("This application has no sessions, so there is nothing to check.")
        return
    lenient = app.debug or app.testing
    click.echo(_CHECKED_FOR[lenient].format(store=type(config.store).__name__))
    problems = 0
    for finding in diagnose(app, config, lenient=lenient, level=level):
        problems += not finding.note
        click.echo(
            f"\n{'note' if finding.note else 'problem'}  {finding.about}:"
            f" {finding.problem}.\n  {finding.fix}"
        )
    if problems:
        click.echo(f"\nProblems: {problems}.")
        context.exit(1)
    click.echo("\nNo problems found.")


_CHECKED_FOR = {
    False: "Checked for production, with a {store}. `flask --debug session doctor`"
    " checks for development.",
    True: "Checked for development (debug or testing mode), with a {store}. What"
    " matters only in production is a note.",
}


@session_cli.command()
def purge() -> None:
    """Delete expired sessions from a store that does not delete them by itself."""
    store = _interface().register
    if not isinstance(store, Prunable):
        click.echo(f"A {type(store).__name__} deletes expired sessions by itself.")
        return
    try:
        count = store.prune()
    except SessionError as error:
        raise _Failure(error) from error
    click.echo(f"Expired sessions removed: {count}.")


@session_cli.command("list")
@click.argument("owner")
def list_(owner: str) -> None:
    """List the sessions of OWNER."""
    try:
        found = _interface().owners().sessions_of(owner)
    except SessionError as error:
        raise _Failure(error) from error
    for info in found:
        click.echo(
            f"{info.id}  created {info.created_at:%Y-%m-%d %H:%M}"
            f"  last seen {info.last_seen:%Y-%m-%d %H:%M} UTC"
        )
    click.echo(f"Sessions: {len(found)}.")


@session_cli.command()
@click.argument("session_id", required=False)
@click.option("--owner", help="End all sessions of this owner.")
def revoke(session_id: str | None, owner: str | None) -> None:
    """End the session with an id, or all sessions of an owner."""
    if (session_id is None) == (owner is None):
        raise click.UsageError("Give either a session id or --owner.")
    try:
        if owner is not None:
            count = _interface().owners().revoke_all(owner)
        else:
            session_id = t.cast(str, session_id)
            owners = _interface().owners()
            if not is_storage_key(session_id):
                raise click.ClickException(
                    "This is not a session id, which has 64 characters from 0-9 and"
                    " a-f. `flask session list OWNER` lists the ids of an owner."
                )
            count = int(owners.revoke(session_id))
    except SessionError as error:
        raise _Failure(error) from error
    click.echo(f"Sessions ended: {count}.")
