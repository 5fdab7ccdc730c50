"""``flask session …``: commands for managing sessions."""

from __future__ import annotations

import json
import secrets
import sys
import typing as t

import click
from flask import current_app
from flask.cli import AppGroup

from .doctor import LEVELS, Finding, diagnose, own_findings
from .errors import SessionError
from .interface import current_interface
from .opening import AppOpener
from .showing import Shown, show_cookie, show_record
from .stores.base import Prunable, PrunableInBatches, Store, is_storage_key

session_cli = AppGroup("session", help="Commands for managing sessions.")

_of = click.option("--name", help="The name of a named session; not the cookie's name.")

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _opener(name: str | None) -> AppOpener:
    try:
        return current_interface().opener(name)
    except SessionError as error:
        raise _Failure(error) from error


def _openers() -> list[AppOpener]:
    """Return the openers of all sessions of the application."""
    _opener(None)
    return current_interface().openers


class _Failure(click.ClickException):
    """Reports an error and exits with status 1."""

    def __init__(self, error: SessionError) -> None:
        super().__init__(str(error))


def _print_json(content: object) -> None:
    click.echo(json.dumps(content, indent=2))


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
@_as_json
@click.pass_context
def doctor(context: click.Context, level: str | None, as_json: bool) -> None:
    """Check the settings and the store, and report problems. Exit with status 1 if
    there is a problem. Notes do not count.
    """
    app, configs = current_app, [opener.config for opener in _openers()]
    kept = [config for config in configs if not config.null]
    if not kept and not as_json:
        click.echo("This application has no sessions, so there is nothing to check.")
        return
    lenient = app.debug or app.testing
    findings: list[Finding] = []
    known: list[Finding] = []
    for config in kept:
        found = list(diagnose(app, config, lenient=lenient, level=level))
        findings += own_findings(config.origin, found, known)
        known += found
    problems = sum(not finding.note for finding in findings)
    store = type((kept or configs)[0].store).__name__
    if as_json:
        _print_json(
            {
                "checked_for": "development" if lenient else "production",
                "store": store,
                "problems": problems,
                "findings": [finding._asdict() for finding in findings],
            }
        )
    else:
        click.echo(_CHECKED_FOR[lenient].format(store=store))
        for finding in findings:
            click.echo(
                f"\n{'note' if finding.note else 'problem'}  {finding.about}:"
                f" {finding.problem}.\n  {finding.fix}"
            )
        click.echo(f"\nProblems: {problems}." if problems else "\nNo problems found.")
    if problems:
        context.exit(1)


_CHECKED_FOR = {
    False: "Checked for production, with a {store}. `flask --debug session doctor`"
    " checks for development.",
    True: "Checked for development (debug or testing mode), with a {store}. What"
    " matters only in production is a note.",
}


@session_cli.command()
def purge() -> None:
    """Delete expired sessions from a store that does not delete them by itself."""
    configs, done = [opener.config for opener in _openers()], list[Store]()
    for config in [one for one in configs if not one.null] or configs[:1]:
        store = config.store if config.revocations is None else config.revocations.store
        # Sessions may share a store.
        if not any(store is other for other in done):
            done.append(store)
            _purge(store, config.origin.label)


def _purge(store: Store, label: str) -> None:
    """Delete expired sessions from a store.

    :param label: what begins a message about a named session.
    """
    start = f"{label}: " if label else ""
    if not isinstance(store, Prunable):
        name = type(store).__name__
        click.echo(f"{start}A {name} deletes expired sessions by itself.")
        return
    prunable: Prunable = store
    count = 0
    try:
        if isinstance(prunable, PrunableInBatches):
            # Nothing counts the expired sessions before, so the bar has no end.
            with click.progressbar(
                prunable.prune_batches(),
                label="Removing expired sessions",
                item_show_func=lambda _: str(count),
                hidden=not sys.stdout.isatty(),
            ) as batches:
                for deleted in batches:
                    count += deleted
        else:
            count = prunable.prune()
    except SessionError as error:
        raise _Failure(error) from error
    click.echo(f"{start}Expired sessions removed: {count}.")


@session_cli.command("list")
@click.argument("owner")
@_of
@_as_json
def list_(owner: str, name: str | None, as_json: bool) -> None:
    """List the sessions of OWNER."""
    try:
        found = _opener(name).owners().sessions_of(owner)
    except SessionError as error:
        raise _Failure(error) from error
    if as_json:
        _print_json(
            [
                {
                    "id": info.id,
                    "created_at": info.created_at.isoformat(),
                    "last_seen": info.last_seen.isoformat(),
                    "authenticated_at": (
                        info.authenticated_at and info.authenticated_at.isoformat()
                    ),
                    "info": info.info,
                }
                for info in found
            ]
        )
        return
    for info in found:
        times = {"created": info.created_at, "last seen": info.last_seen}
        if info.authenticated_at is not None:
            times["logged in"] = info.authenticated_at
        shown = "  ".join(f"{what} {at:%Y-%m-%d %H:%M}" for what, at in times.items())
        click.echo(f"{info.id}  {shown} UTC")
        for name, text in info.info.items():
            click.echo(f"  {_printable(name)}: {_printable(text)}")
    click.echo(f"Sessions: {len(found)}.")


@session_cli.command()
@click.argument("session_id", required=False)
@click.option("--owner", help="End all sessions of this owner.")
@_of
@_as_json
def revoke(
    session_id: str | None, owner: str | None, name: str | None, as_json: bool
) -> None:
    """End the session with an id, or all sessions of an owner."""
    if (session_id is None) == (owner is None):
        raise click.UsageError("Give either a session id or --owner.")
    try:
        if owner is not None:
            count = _opener(name).owners().revoke_all(owner)
        else:
            session_id = t.cast(str, session_id)
            owners = _opener(name).owners()
            if not is_storage_key(session_id):
                raise click.ClickException(
                    "This is not a session id, which has 64 characters from 0-9 and"
                    " a-f. `flask session list OWNER` lists the ids of an owner."
                )
            count = int(owners.revoke(session_id))
    except SessionError as error:
        raise _Failure(error) from error
    if as_json:
        _print_json({"ended": count})
    else:
        click.echo(f"Sessions ended: {count}.")


@session_cli.command()
@click.argument("what")
@click.option("--values", is_flag=True, help="Show the values, too.")
@_of
@_as_json
@click.pass_context
def show(
    context: click.Context, what: str, values: bool, name: str | None, as_json: bool
) -> None:
    """Show what is in a session. Nothing is changed.

    WHAT is the text of a cookie, or "-" to read the cookie from the standard input,
    so that the cookie does not stay in the shell's history. Or WHAT is the id of a
    session, as `flask session list` prints it. Exit with status 1 if the session is
    not alive.
    """
    opener = _opener(name)
    if opener.config.null:
        raise click.ClickException("This application has no sessions.")
    if what == "-":
        # A file that is no cookie may have any bytes.
        what = sys.stdin.buffer.read().decode(errors="replace").strip()
    try:
        if is_storage_key(what):
            shown = show_record(opener, what, values=values)
        else:
            shown = show_cookie(opener, what, values=values)
    except SessionError as error:
        raise _Failure(error) from error
    if as_json:
        _print_json(shown)
    else:
        _print_shown(shown)
    if shown["state"] != "alive":
        context.exit(1)


def _printable(text: str) -> str:
    """Return a text that comes from a session, so that it cannot control the
    terminal.
    """
    return text if text.isprintable() else repr(text)


def _print_shown(shown: Shown) -> None:
    """Print a line for each fact, and then a line for each value."""
    held = shown.pop("values", [])
    for fact, content in shown.items():
        if isinstance(content, bool):
            content = "yes" if content else "no"
        elif isinstance(content, str):
            content = _printable(content)
        click.echo(f"{fact:<10} {'-' if content is None else content}")
    for value in held:
        line = f"  {value['name']!r}: {value['type'] or 'unreadable'}"
        line += f", {value['size']} bytes"
        if "value" in value:
            line += f", {value['value']!r}"
        if "problem" in value:
            line += f" ({value['problem']})"
        click.echo(line)
