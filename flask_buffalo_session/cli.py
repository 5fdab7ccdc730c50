"""``flask session …``: what one does to sessions from a terminal."""

from __future__ import annotations

import secrets
import typing as t

import click
from flask import current_app
from flask.cli import AppGroup

from .doctor import diagnose
from .errors import SessionError
from .interface import BuffaloInterface
from .stores.base import Prunable

session_cli = AppGroup("session", help="Look after sessions.")


def _interface() -> BuffaloInterface:
    return t.cast(BuffaloInterface, current_app.session_interface)


class _Told(click.ClickException):
    """Ends a command with a sentence and the exit code 1."""

    def __init__(self, error: SessionError) -> None:
        super().__init__(str(error))


@session_cli.command(with_appcontext=False)
def secret() -> None:
    """Print a new secret, for SESSION_SECRET."""
    click.echo(secrets.token_hex(32))


@session_cli.command()
@click.pass_context
def doctor(context: click.Context) -> None:
    """Tell which settings are unsafe or contradict each other, and try out the
    store. The exit code is 1 if there is a problem, notes not counted.
    """
    app, config = current_app, _interface().config
    if config.null:
        click.echo("There are no sessions here, so there is nothing to check.")
        return
    lenient = app.debug or app.testing
    click.echo(_JUDGED[lenient].format(store=type(config.store).__name__))
    problems = 0
    for finding in diagnose(app, config, lenient=lenient):
        problems += not finding.note
        click.echo(
            f"\n{'note' if finding.note else 'problem'}  {finding.about}:"
            f" {finding.problem}.\n  {finding.fix}"
        )
    if problems:
        click.echo(f"\nProblems: {problems}.")
        context.exit(1)
    click.echo("\nNo problems found.")


_JUDGED = {
    False: "Judged as production, with a {store}; `flask --debug session doctor` judges"
    " as development.",
    True: "Judged as development, in debug or testing mode, with a {store}: what"
    " matters in production alone is a note.",
}


@session_cli.command()
def purge() -> None:
    """Remove expired sessions from a store that does not by itself."""
    store = _interface().register
    if not isinstance(store, Prunable):
        click.echo(f"A {type(store).__name__} has none to remove.")
        return
    try:
        count = store.prune()
    except SessionError as error:
        raise _Told(error) from error
    click.echo(f"Expired sessions removed: {count}.")


@session_cli.command("list")
@click.argument("owner")
def list_(owner: str) -> None:
    """List the sessions that were bound to OWNER."""
    try:
        found = _interface().owners().sessions_of(owner)
    except SessionError as error:
        raise _Told(error) from error
    for info in found:
        click.echo(
            f"{info.id}  began {info.created_at:%Y-%m-%d %H:%M}"
            f"  last seen {info.last_seen:%Y-%m-%d %H:%M} UTC"
        )
    click.echo(f"Sessions: {len(found)}.")


@session_cli.command()
@click.argument("session_id", required=False)
@click.option("--owner", help="End all sessions of this owner.")
def revoke(session_id: str | None, owner: str | None) -> None:
    """End the session with this id, or all of an owner's."""
    if (session_id is None) == (owner is None):
        raise click.UsageError("Give either an id or --owner.")
    try:
        if owner is not None:
            count = _interface().owners().revoke_all(owner)
        else:
            count = int(_interface().owners().revoke(t.cast(str, session_id)))
    except SessionError as error:
        raise _Told(error) from error
    click.echo(f"Sessions ended: {count}.")
