"""Test ``flask session …``."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
import tomllib
import typing as t
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask
from flask.sessions import SecureCookieSessionInterface

from flask_buffalo_session import MemoryStore, Store, signals
from flask_buffalo_session.cli import session_cli
from flask_buffalo_session.registry import Registered, registry
from flask_buffalo_session.secret import weakness
from flask_buffalo_session.testing import session_of
from tests.conftest import SECRET, Clock, Desk, Formatting, make_app, url
from tests.support.servers import free_port


def run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=["session", *arguments])


def bound(app: Flask, owner: str) -> str:
    """Return the id of a new session that is bound to an owner."""
    interface = t.cast(t.Any, app.session_interface)
    session = Desk(interface.main.config.store).session()
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


def test_an_application_whose_sessions_another_extension_keeps_gets_a_clear_error() -> (
    None
):
    """Nothing else says so: ``session["x"]`` works, and keeps its value elsewhere."""
    app = make_app()
    app.session_interface = SecureCookieSessionInterface()
    result = run(app, "doctor")
    assert result.exit_code == 1
    assert result.output.startswith("Error: Something has replaced app.session_interf")


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


def test_a_list_shows_the_login() -> None:
    """A browser's own text must not control the terminal."""
    app = make_app(MemoryStore())
    info = {"browser": "Firefox", "label": "\x1b[31mred"}
    with session_of(app.test_client()) as session:
        session.authenticate("ann", info)
    at = session.authenticated_at
    assert at is not None
    lines = run(app, "list", "ann").output.splitlines()
    assert lines[0].endswith(f"  logged in {at:%Y-%m-%d %H:%M} UTC")
    assert lines[1:3] == ["  browser: Firefox", r"  label: '\x1b[31mred'"]
    (found,) = json.loads(run(app, "list", "ann", "--json").output)
    assert found["info"] == info
    assert found["authenticated_at"] == at.isoformat()


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


# What is in a session


class Gone:
    pass


def show(app: Flask, what: str, *options: str, **how: t.Any) -> Result:
    """Run the command. `how` is for click's own runner."""
    arguments = ["session", "show", what, *options]
    return app.test_cli_runner().invoke(args=arguments, **how)


def cookie_with(app: Flask, **values: t.Any) -> str:
    """Return the text of the cookie of a new session."""
    client = app.test_client()
    with session_of(client) as session:
        session.update(values)
    cookie = client.get_cookie(app.config["SESSION_COOKIE_NAME"])
    assert cookie is not None
    return cookie.value


def test_show_names_what_is_in_a_cookie(
    store: Store, formatting: Formatting, clock: Clock
) -> None:
    """On every store and in every format. Values are shown only when asked for."""
    app = make_app(store, **formatting.settings(SECRET))
    cookie = cookie_with(app, user_id=7, weight=1.5, drink="tea", _permanent=True)
    result = show(app, cookie, "--json")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.output)
    assert shown["verified"] is True
    assert shown["state"] == "alive"
    assert shown["permanent"] is True
    assert shown["issued"] == "2027-01-15T08:00:00+00:00"
    held = {value["name"]: value["type"] for value in shown["values"]}
    assert held == {
        "user_id": "int",
        "weight": "float",
        "drink": "str",
        "_permanent": "bool",
        "_authenticated_": "int",
    }
    assert "tea" not in result.output
    with_values = json.loads(show(app, cookie, "--json", "--values").output)
    values = {value["name"]: value["value"] for value in with_values["values"]}
    assert values == {
        "user_id": 7,
        "weight": 1.5,
        "drink": "tea",
        "_permanent": True,
        "_authenticated_": int(clock.now),
    }
    text = show(app, f"_buffalo_session={cookie}", "--values").output
    assert "state      alive" in text
    assert "  'user_id': int, " in text
    assert ", 7\n" in text


def test_show_reads_a_cookie_from_the_standard_input() -> None:
    """So it does not stay in the shell's history."""
    app = make_app("cookie")
    result = show(app, "-", input=f"{cookie_with(app, a=1)}\n")
    assert (result.exit_code, "alive" in result.output) == (0, True)


@pytest.mark.parametrize(
    ("spoil", "state"),
    [
        (lambda cookie, clock: cookie[:-2], "bad-signature"),
        (lambda cookie, clock: "nonsense", "bad-signature"),
        (lambda cookie, clock: clock.tick(10**8) or cookie, "expired"),
    ],
)
def test_show_says_why_a_cookie_is_rejected(
    clock: Clock, spoil: t.Callable[[str, Clock], str], state: str
) -> None:
    """The exit code is 1."""
    app = make_app("cookie")
    result = show(app, spoil(cookie_with(app, a=1), clock), "--json")
    assert result.exit_code == 1
    shown = json.loads(result.output)
    assert (shown["verified"], shown["state"]) == (False, state)


def test_show_finds_a_record_by_its_id(owned: t.Any) -> None:
    """And changes nothing: the record stays as it was."""
    app = make_app(owned)
    session_id = bound(app, "ann")
    before = owned.peek(session_id)
    shown = json.loads(show(app, session_id, "--json").output)
    assert (shown["id"], shown["state"], shown["owner"]) == (session_id, "alive", "ann")
    assert owned.peek(session_id) == before
    assert run(app, "revoke", session_id).exit_code == 0
    result = show(app, session_id)
    assert (result.exit_code, "unknown" in result.output) == (1, True)


def test_show_says_that_a_session_has_ended() -> None:
    """A tombstone stands in its place, for its id and for its cookie."""
    app = make_app(MemoryStore())
    client = app.test_client()
    with session_of(client) as session:
        session["a"] = 1
    cookie = client.get_cookie("_buffalo_session")
    assert cookie is not None
    with session_of(client) as session:
        session_id = t.cast(str, session.id)
        session.clear()
    for what in (session_id, cookie.value):
        result = show(app, what, "--json")
        assert (result.exit_code, json.loads(result.output)["state"]) == (1, "ended")


def test_show_shows_the_others_beside_a_value_that_cannot_be_read() -> None:
    """Its problem stands in its place."""
    registry.add(Registered("cli.Gone", Gone, lambda _: 1, lambda _: Gone()))
    app = make_app("cookie")
    cookie = cookie_with(app, gone=Gone(), kept=1)
    del registry.by_name["cli.Gone"]
    del registry.by_class[Gone]
    result = show(app, cookie, "--values")
    assert result.exit_code == 0
    assert "'gone': unreadable" in result.output
    assert "'kept': int, 1 bytes, 1" in result.output


def test_a_file_that_is_no_cookie_is_rejected() -> None:
    """Whatever its bytes are."""
    runner = make_app("cookie").test_cli_runner()
    result = runner.invoke(args=["session", "show", "-"], input=b"\xff\xfe")
    assert result.exit_code == 1
    assert "bad-signature" in result.output


def test_show_of_an_id_needs_a_store_that_finds_it(tmp_path: Path) -> None:
    """The error names the stores that do."""
    result = show(make_app(f"file:{tmp_path}"), "0" * 64)
    assert result.exit_code == 1
    assert "does not support owners" in result.output


class Untouched(MemoryStore):
    """Refuses every change once it is `sealed`."""

    sealed = False

    def save(self, *args: t.Any, **kwargs: t.Any) -> str:
        assert not self.sealed
        return super().save(*args, **kwargs)

    def delete(self, token: str) -> None:
        assert not self.sealed
        super().delete(token)

    def own(self, *args: t.Any, **kwargs: t.Any) -> None:
        assert not self.sealed
        super().own(*args, **kwargs)


def test_show_neither_writes_nor_emits_a_signal(clock: Clock) -> None:
    """Not even where a request would refresh the cookie and rotate the id."""
    store = Untouched()
    app = make_app(store, SESSION_RENEW_AFTER=60)
    cookie = cookie_with(app, a=1)
    clock.tick(app.permanent_session_lifetime.total_seconds() // 2)
    store.sealed = True
    emitted: list[object] = []

    def receive(sender: object, **_: object) -> None:
        emitted.append(sender)

    for name in vars(signals):
        if name.startswith("session_"):
            getattr(signals, name).connect(receive, app)
    assert show(app, cookie).exit_code == 0
    assert show(app, "nonsense").exit_code == 1
    assert emitted == []


def test_show_says_how_large_and_how_permanent_a_session_is() -> None:
    """In a cookie, in a record, and in the list of ended cookie sessions."""
    store = MemoryStore()
    app = make_app(store)
    with session_of(client := app.test_client()) as session:
        session.permanent = True
    with session_of(client) as session:
        session_id = t.cast(str, session.id)
    cookie = client.get_cookie("_buffalo_session")
    assert cookie is not None
    for what in (session_id, cookie.value):
        shown = json.loads(show(app, what, "--json").output)
        assert shown["permanent"] is True
        assert shown["size"] == len(store.peek(session_id) or b"") > 0
    shown = json.loads(show(app, bound(app, "ann"), "--json").output)
    assert shown["permanent"] is False
    listing = make_app("cookie", SESSION_REVOCATION=MemoryStore())
    with session_of(client := listing.test_client()) as session:
        session.bind("ann")
    with session_of(client) as session:
        session_id = t.cast(str, session.id)
    shown = json.loads(show(listing, session_id, "--json").output)
    assert (shown["permanent"], shown["owner"]) == (None, "ann")


def test_show_shows_values_that_python_does_not_write() -> None:
    """Python refuses to write an int with very many digits."""
    app = make_app("cookie")
    cookie = cookie_with(app, many=10**5000, kept=2**64, deep=[b"x", {1: 2}])
    shown = json.loads(show(app, cookie, "--json", "--values").output)
    held = {value["name"]: value["value"] for value in shown["values"]}
    assert held == {"many": "<int>", "kept": 2**64, "deep": ["b'x'", "{1: 2}"]}
    assert "'many': int" in show(app, cookie, "--values").output


def test_show_lets_no_owner_control_the_terminal() -> None:
    """Users may choose the name that an application binds."""
    app = make_app(MemoryStore())
    result = show(app, bound(app, "ann\x1b[2J"), color=True)
    assert "\x1b" not in result.output
    assert "ann\\x1b[2J" in result.output


def test_lists_and_reports_are_json_on_request() -> None:
    """With times in ISO 8601 and in UTC."""
    app = make_app(MemoryStore())
    session_id = bound(app, "ann")
    (found,) = json.loads(run(app, "list", "ann", "--json").output)
    assert found["id"] == session_id
    assert found["created_at"].endswith("+00:00")
    report = json.loads(run(app, "doctor", "--json").output)
    assert report["store"] == "MemoryStore"
    assert report["problems"] == sum(not one["note"] for one in report["findings"]) > 0
    assert json.loads(run(app, "revoke", session_id, "--json").output) == {"ended": 1}
    assert json.loads(run(app, "list", "ann", "--json").output) == []
    nothing = json.loads(run(make_app("null"), "doctor", "--json").output)
    assert (nothing["problems"], nothing["findings"]) == (0, [])


@pytest.mark.parametrize("place", ["sqlite:///{}/x.db", "file://{}/sessions"])
def test_an_interrupted_purge_leaves_a_sound_store(place: str, tmp_path: Path) -> None:
    """As by Ctrl-C: what was deleted stays deleted, and the rest goes the next time."""
    store = t.cast(t.Any, url(place.format(tmp_path)))
    for _ in range(1002):
        store.save(None, b"short", expected=None, max_age=1)
    live = store.save(None, b"long", expected=None, max_age=1000)
    time.sleep(2.1)
    batches = store.prune_batches()
    first = next(batches)
    assert 0 < first < 1002
    with pytest.raises(KeyboardInterrupt):
        batches.throw(KeyboardInterrupt)
    assert store.load(live) == b"long"
    assert first + store.prune() == 1002
    assert store.load(live) == b"long"


def test_purge_shows_its_progress_on_a_terminal(tmp_path: Path) -> None:
    """A pseudo-terminal; the count stands in the last line."""
    store = url(f"sqlite:///{tmp_path}/x.db")
    for _ in range(3):
        store.save(None, b"short", expected=None, max_age=1)
    time.sleep(2.1)
    (tmp_path / "app.py").write_text(
        "from flask import Flask\n"
        "from flask_buffalo_session import BuffaloSession\n"
        "app = Flask(__name__)\n"
        f"BuffaloSession(app, store='sqlite:///{tmp_path}/x.db')\n"
    )
    terminal, end = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "flask", "--app", "app", "session", "purge"],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
        stdin=end,
        stdout=end,
        stderr=end,
    )
    printed = os.read(terminal, 10_000).decode()
    os.close(end)
    os.close(terminal)
    assert "Removing expired sessions" in printed
    assert "Expired sessions removed: 3." in printed


def test_what_json_lacks_is_shown_as_python_writes_it() -> None:
    """The document stays JSON."""
    app = make_app("cookie")
    values = {"a": (1, 2), "b": float("nan"), "c": [None, {1: 2}], "d": {"e": [1.5]}}
    shown = json.loads(
        show(app, cookie_with(app, **values), "--json", "--values").output
    )
    assert {value["name"]: value["value"] for value in shown["values"]} == {
        "a": "(1, 2)",
        "b": "nan",
        "c": [None, "{1: 2}"],
        "d": {"e": [1.5]},
    }
