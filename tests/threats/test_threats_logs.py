"""Check that logs and signals name the reason and a hash of the id, and nothing secret.

They must never contain the id, the cookie, a value or a secret. The tests run with
every store and every format, and read every level of every library's log.
"""

from __future__ import annotations

import logging
import time
import typing as t
from pathlib import Path

import pytest
import sqlalchemy as sa
from blinker import NamedSignal

from flask_buffalo_session import SQLStore, Store, session, signals
from flask_buffalo_session.codec import Record
from flask_buffalo_session.errors import REASONS, SessionStoreError
from flask_buffalo_session.stores.base import new_token, storage_key
from flask_buffalo_session.stores.engine import engine_from_url
from tests.conftest import NAME, SECRET, Formatting, Stepping
from tests.support.servers import MariaServer, PostgresServer, Servers
from tests.support.target import Target, check_rejection_logged, foreign_records

SIGNALS: list[NamedSignal] = [
    getattr(signals, name) for name in vars(signals) if name.startswith("session_")
]

DATABASES: dict[str, type[PostgresServer | MariaServer]] = {
    "postgresql": PostgresServer,
    "mariadb": MariaServer,
}

VALUE = "a value that nobody shall read"


@pytest.fixture
def target(store: Store, formatting: Formatting) -> Target:
    return Target(store, formatting)


class Recorder:
    """Collect what is logged and emitted, and search it for secrets."""

    def __init__(self, target: Target, caplog: pytest.LogCaptureFixture) -> None:
        self.target = target
        self.caplog = caplog
        self.signalled: list[dict[str, t.Any]] = []
        self.hidden = {SECRET, VALUE, target.cookie, target.token}
        for signal in SIGNALS:
            signal.connect(self.record_signal, target.app)
        caplog.set_level(logging.DEBUG)

    def record_signal(self, sender: object, **data: t.Any) -> None:
        self.signalled.append(data)

    def ask(self, text: str, path: str) -> None:
        """Send a request, and treat its cookies, old and new, as secrets."""
        response = self.target.send(text, path)
        self.hidden.add(text)
        for header in response.headers.getlist("Set-Cookie"):
            new = header.partition("=")[2].partition(";")[0]
            self.hidden |= {new, self.target.token_in(new) or ""}

    def check(self) -> None:
        """Assert that no log line and no signal contains a secret."""
        formatter = logging.Formatter("%(message)s")
        lines = [formatter.format(record) for record in self.caplog.records]
        assert lines
        recorded = "\n".join([*lines, repr(self.signalled)])
        for secret in self.hidden:
            for shown in (secret, repr(secret)[1:-1], repr(secret.encode())[2:-1]):
                assert not shown or shown not in recorded


class TestSecrecy:
    def test_logs_and_signals_name_neither_ids_nor_cookies_nor_values(
        self, target: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Write, rotate, log in, and send cookies and records that are invalid."""
        recorder = Recorder(target, caplog)

        def write() -> None:
            session["note"] = VALUE

        def write_too_late() -> None:
            write()
            target.send(target.cookie, "/clear")

        target.act = write
        recorder.ask(target.cookie, "/act")
        recorder.ask("", "/act")
        recorder.ask(target.cookie, "/regenerate")
        target.cookie = target.text_in(target.ask("", "/login"))
        target.act = write_too_late
        recorder.ask(target.cookie, "/act")
        recorder.ask(target.cookie[:-3], "/")
        unknown = new_token()
        recorder.hidden.add(unknown)
        recorder.ask(target.seal.seal(unknown, permanent=False), "/")
        for data in foreign_records(target.format).values():
            token = target.store.inner.save(None, data, expected=None, max_age=60)
            if token:
                recorder.ask(target.seal.seal(token, permanent=False), "/")
        recorder.check()
        for sent in recorder.signalled:
            assert sent.keys() <= {"session_id", "old_id", "reason", "name"}
            assert sent.get("reason", "unknown") in REASONS
            assert sent["session_id"] is None or len(sent["session_id"]) == 64
        if not target.store.stateless:
            assert storage_key(unknown)[:16] in caplog.text

    def test_errors_name_none_of_them_either(
        self, target: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Check errors and the tracebacks that Flask logs for unhandled errors."""
        recorder = Recorder(target, caplog)
        values: list[object] = [object(), f"\ud800{VALUE}", [VALUE, {1: object()}]]

        def write() -> None:
            session["note"] = values.pop()

        target.act = write
        for _ in values:
            recorder.ask(target.cookie, "/act")
        target.act = lambda: session.set("note", VALUE * 100_000)
        recorder.ask(target.cookie, "/act")
        for name in ("load", "save"):
            target.store.failing = {name: SessionStoreError("store", "away")}
            target.act = lambda: session.set("note", VALUE)
            recorder.ask(target.cookie, "/act")
        recorder.check()

    @pytest.mark.parametrize("database", ["sqlite", "postgresql", "mariadb"])
    def test_a_databases_errors_do_not_quote_records(
        self,
        database: str,
        formatting: Formatting,
        servers: Servers,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """SQLAlchemy quotes parameters in errors unless hide_parameters is set.

        The store must hide them with its own engine and with the application's.
        """
        url = f"sqlite:///{tmp_path}/sessions.db"
        if database in DATABASES:
            url = servers.shared(DATABASES[database]).url
        own = engine_from_url(url, tmp_path)
        plain = sa.create_engine(own.url)
        for engine in (own, plain):
            store = SQLStore(engine, table="forgetful")
            target = Target(store, formatting)
            recorder = Recorder(target, caplog)

            def write(engine: sa.Engine = engine) -> None:
                session["note"] = VALUE
                with engine.begin() as connection:
                    connection.execute(sa.text("DROP TABLE forgetful"))

            target.act = write
            recorder.ask(target.cookie, "/act")
            recorder.ask("", "/act")
            recorder.ask("", "/login")
            assert "forgetful" in caplog.text
            recorder.hidden |= {storage_key(target.token)}
            recorder.check()
            engine.dispose()
        assert not plain.hide_parameters


class TestRejections:
    def test_each_reason_has_its_level_and_one_line(
        self,
        server_store: Store,
        formatting: Formatting,
        stepping: Stepping,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A warning for a bad signature or a corrupt record, info for an expired or
        unknown session; with a hash of the id once the cookie has verified.
        """
        target = Target(
            server_store,
            formatting,
            SESSION_IDLE_TIMEOUT=1800,
            SESSION_ABSOLUTE_TIMEOUT=2400,
        )
        old = Record(int(time.time()) - 2500, b"nonce", {})
        records = {"corrupt": b"damaged", "expired": target.format.codec.dumps(old)}
        tokens = {reason: new_token() for reason in records}
        for reason, token in tokens.items():
            data = formatting.kept(records[reason], token, SECRET)
            server_store.save(token, data, expected=None, max_age=3600)
        tokens["unknown"] = new_token()
        self.check(target, f"{target.cookie}x", "bad-signature", None, caplog)
        for reason, token in tokens.items():
            text = target.seal.seal(token, permanent=False)
            self.check(target, text, reason, token, caplog)
        own = target.seal.unseal(target.cookie, max_age=3600).token
        stepping.offset = 4000
        self.check(target, target.cookie, "expired", own, caplog)

    def check(
        self, target: Target, text: str, reason: str, token: str | None, caplog: t.Any
    ) -> None:
        """Log one line, even if a view reads the session several times."""
        target.rejections.clear()
        caplog.clear()
        caplog.set_level(logging.DEBUG)
        target.act = lambda: [session.get("user"), len(session), session.new] * 2
        response = target.send(text, "/act")
        assert response.status_code == 200
        check_rejection_logged(caplog, reason)
        session_id = token and storage_key(token)
        assert target.rejections == [(session_id, reason)]
        shown = f" (id hash {session_id[:16]})" if session_id else ""
        assert caplog.records[0].getMessage() == (
            f"A session was rejected: {reason}{shown}."
        )

    def test_several_bad_cookies_in_a_request_are_one_line(
        self, target: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Log the first cookie's reason, or nothing if a later cookie verifies."""
        caplog.set_level(logging.DEBUG)
        bad = "; ".join(f"{NAME}=bad{number}" for number in range(7))
        for header in (bad, f"{bad}; {NAME}={target.cookie[:-2]}"):
            caplog.clear()
            target.rejections.clear()
            assert target.ask(header).text == "{}"
            check_rejection_logged(caplog, "bad-signature")
            assert target.rejections == [(None, "bad-signature")]
        caplog.clear()
        target.rejections.clear()
        assert target.ask(f"{bad}; {NAME}={target.cookie}").text == "{'user': 'ann'}"
        assert not caplog.records
        assert not target.rejections

    def test_an_unused_session_is_not_checked_or_logged(
        self, target: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A request that does not use the session does not check its cookie."""
        caplog.set_level(logging.DEBUG)
        caplog.clear()
        assert target.send("bad", "/untouched").status_code == 200
        assert not caplog.records
        assert not target.rejections
