"""Test ``flask session …``."""

from __future__ import annotations

import subprocess
import sys
import time
import tomllib
import typing as t
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask

from flask_buffalo_session import MemoryStore
from flask_buffalo_session.cli import session_cli
from flask_buffalo_session.secret import weakness
from tests.conftest import Desk, make_app, url
from tests.support.servers import free_port


def run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=["session", *arguments])


def bound(app: Flask, owner: str) -> str:
    """Return the id of a new session that is bound to an owner."""
    interface = t.cast(t.Any, app.session_interface)
    session = Desk(interface.config.store).session()
    session.bind(owner)
    session.save()
    assert session.id
    return session.id


def test_each_secret_is_new_and_strong() -> None:
    """The command works without finding an application."""
    app = make_app()
    printed = {run(app, "secret").output.strip() for _ in range(3)}
    assert len(printed) == 3
    assert not any(weakness(secret.encode()) for secret in printed)


ROOT = Path(__file__).parents[2]


def printed_by(*arguments: str, folder: Path) -> str:
    """Return the output of a command in a folder without an application."""
    result = subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env={"PYTHONPATH": f"{ROOT}:{folder}"},
    )
    assert result.stderr == ""
    return result.stdout.strip()


def test_python_makes_a_secret_without_an_application(tmp_path: Path) -> None:
    """The command in the README needs only the package."""
    printed = printed_by("flask_buffalo_session", "secret", folder=tmp_path)
    assert weakness(printed.encode()) is None


def test_flask_makes_a_secret_without_an_application(tmp_path: Path) -> None:
    """Flask finds the command through the entry point of the installed package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (entry,) = project["entry-points"]["flask.commands"].items()
    installed = tmp_path / "flask_buffalo_session-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Name: flask_buffalo_session\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(
        "[flask.commands]\n" + " = ".join(entry)
    )
    printed = printed_by("flask", "session", "secret", folder=tmp_path)
    assert weakness(printed.encode()) is None


@pytest.mark.parametrize(
    "arguments", [["doctor"], ["purge"], ["list", "ann"], ["revoke", "--owner", "ann"]]
)
def test_an_application_without_the_extension_gets_a_clear_error(
    arguments: list[str],
) -> None:
    """The installed package adds the commands to every Flask application."""
    app = Flask("shop")
    app.cli.add_command(session_cli)
    result = run(app, *arguments)
    assert result.exit_code == 1
    assert result.output.startswith("Error: This application has no BuffaloSession")


@pytest.mark.parametrize("nonsense", ["nonsense", "", "A" * 64, "0" * 63])
def test_revoke_refuses_a_malformed_session_id(nonsense: str) -> None:
    """A typing error must not look like a session that has already ended."""
    result = run(make_app(MemoryStore()), "revoke", nonsense)
    assert result.exit_code == 1
    assert result.output.startswith("Error: This is not a session id")


def test_purge_removes_expired_sessions(tmp_path: Path) -> None:
    """The output counts them."""
    store = url(f"sqlite:///{tmp_path}/x.db")
    live = store.save(None, b"live", expected=None, max_age=60)
    store.save(None, b"short", expected=None, max_age=1)
    time.sleep(2.1)
    result = run(make_app(store), "purge")
    assert (result.exit_code, result.output) == (0, "Expired sessions removed: 1.\n")
    assert store.load(live) == b"live"


def test_purge_does_nothing_for_cookie_sessions() -> None:
    """Cookies expire in the browser."""
    result = run(make_app("cookie"), "purge")
    assert result.exit_code == 0
    assert result.output == "A CookieStore deletes expired sessions by itself.\n"


def test_the_sessions_of_an_owner_are_listed_and_revoked() -> None:
    """One is revoked by its id, the others by their owner."""
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


def test_revoke_needs_an_id_or_an_owner() -> None:
    """Exactly one of the two."""
    app = make_app(MemoryStore())
    for arguments in ([], ["an id", "--owner", "ann"]):
        result = run(app, "revoke", *arguments)
        assert result.exit_code == 2
        assert "either a session id or --owner" in result.output


@pytest.mark.parametrize(
    "arguments", [["list", "ann"], ["revoke", "x"], ["revoke", "--owner", "ann"]]
)
def test_a_store_without_owners_gives_a_short_error(arguments: list[str]) -> None:
    """The output is a sentence, not a traceback."""
    result = run(make_app("cookie"), *arguments)
    assert result.exit_code == 1
    assert result.output.startswith("Error: Sessions in cookies are not indexed")


def test_a_store_that_is_away_gives_a_short_error() -> None:
    """The output is a sentence, and the exit code is 1."""
    app = make_app(url(f"mariadb://x@127.0.0.1:{free_port()}/x"))
    result = run(app, "purge")
    assert result.exit_code == 1
    assert result.output.startswith("Error: SQL: cannot delete:")


def test_a_list_needs_sessions_that_are_indexed_by_owner() -> None:
    """Over a cookie store the error names the setting that adds the index."""
    result = run(make_app("cookie"), "list", "ann")
    assert result.exit_code == 1
    assert "Set SESSION_REVOCATION to a store" in result.output
