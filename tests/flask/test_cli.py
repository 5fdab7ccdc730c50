"""``flask session …``."""

from __future__ import annotations

import time
import typing as t
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask

from flask_buffalo_session import MemoryStore
from flask_buffalo_session.config import is_weak
from tests.conftest import Desk, make_app, url
from tests.support.servers import free_port


def run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=["session", *arguments])


def bound(app: Flask, owner: str) -> str:
    """The id of a new session of an owner's."""
    interface = t.cast(t.Any, app.session_interface)
    session = Desk(interface.config.store).session()
    session.bind(owner)
    session.save()
    assert session.id
    return session.id


def test_a_secret_is_new_each_time_and_strong() -> None:
    """It needs no application to be found."""
    app = make_app()
    printed = {run(app, "secret").output.strip() for _ in range(3)}
    assert len(printed) == 3
    assert not any(is_weak(secret.encode()) for secret in printed)


def test_purging_removes_the_expired(tmp_path: Path) -> None:
    """And says how many there were."""
    store = url(f"sqlite:///{tmp_path}/x.db")
    live = store.save(None, b"live", expected=None, max_age=60)
    store.save(None, b"short", expected=None, max_age=1)
    time.sleep(2.1)
    result = run(make_app(store), "purge")
    assert (result.exit_code, result.output) == (0, "Expired sessions removed: 1.\n")
    assert store.load(live) == b"live"


def test_purging_where_there_is_nothing_to_purge() -> None:
    """A cookie expires in the browser."""
    result = run(make_app("cookie"), "purge")
    assert result.exit_code == 0
    assert result.output == "A CookieStore has none to remove.\n"


def test_an_owners_sessions_are_listed_and_ended() -> None:
    """One by its id, the rest by their owner."""
    app = make_app(MemoryStore())
    ids = [bound(app, "ann") for _ in range(3)]
    other = bound(app, "bob")
    output = run(app, "list", "ann").output
    assert all(session_id in output for session_id in ids)
    assert other not in output
    assert "Sessions: 3." in output
    assert run(app, "revoke", ids[0]).output == "Sessions ended: 1.\n"
    assert run(app, "revoke", ids[0]).output == "Sessions ended: 0.\n"
    assert run(app, "revoke", "--owner", "ann").output == "Sessions ended: 2.\n"
    assert "Sessions: 0." in run(app, "list", "ann").output
    assert "Sessions: 1." in run(app, "list", "bob").output


def test_what_to_end_has_to_be_said() -> None:
    """Either this or that."""
    app = make_app(MemoryStore())
    for arguments in ([], ["an id", "--owner", "ann"]):
        result = run(app, "revoke", *arguments)
        assert result.exit_code == 2
        assert "either an id or --owner" in result.output


@pytest.mark.parametrize(
    "arguments", [["list", "ann"], ["revoke", "x"], ["revoke", "--owner", "ann"]]
)
def test_without_owners_it_is_said_in_a_sentence(arguments: list[str]) -> None:
    """Not in a traceback."""
    result = run(make_app("cookie"), *arguments)
    assert result.exit_code == 1
    assert result.output.startswith("Error: Sessions in cookies are not indexed")


def test_a_store_that_is_away_is_said_in_a_sentence() -> None:
    """With the exit code 1."""
    app = make_app(url(f"mariadb://x@127.0.0.1:{free_port()}/x"))
    result = run(app, "purge")
    assert result.exit_code == 1
    assert result.output.startswith("Error: SQL: cannot delete:")
