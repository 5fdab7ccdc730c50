"""Other requests at the same time: what one does is neither undone nor done twice by
another.

Over every store that keeps sessions on the server, and every format. Interleaved by
hand, one request inside another's view; with real processes in test_processes.py.
"""

from __future__ import annotations

import logging
import typing as t

import pytest
from flask import Flask

from flask_buffalo_session import Store, session, signals
from tests.conftest import Formatting
from tests.support.target import Target, keys_in

Between = t.Callable[[], object]


@pytest.fixture
def target(server_store: Store, formatting: Formatting) -> Target:
    return Target(server_store, formatting)


def write_after(between: Between, name: str = "late") -> t.Callable[[], str]:
    """A view's work that has loaded the session before something else happens."""

    def act() -> str:
        before = sorted(session)
        between()
        session[name] = name
        return str(before)

    return act


class TestEnded:
    @pytest.mark.parametrize("ending", ["clear", "regenerate", "expiry"])
    def test_a_slow_request_does_not_bring_a_session_back(
        self, target: Target, ending: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It loaded the session before it ended and is saved after: its change is
        dropped with one warning and one signal, it sets no cookie, and the session
        stays dead.
        """
        conflicts: list[str] = []

        def note(sender: Flask, session_id: str) -> None:
            conflicts.append(session_id)

        newer: list[str] = []

        def end() -> None:
            if ending == "expiry":
                target.store.inner.delete(target.token)
            else:
                newer.append(target.text_in(target.send(target.cookie, f"/{ending}")))

        with signals.session_conflict.connected_to(note, target.app):
            response = target.doing(write_after(end), target.cookie)
        assert (response.status_code, response.text) == (200, "['user']")
        assert "Set-Cookie" not in response.headers
        assert len(conflicts) == 1
        (record,) = (r for r in caplog.records if r.levelno >= logging.WARNING)
        assert conflicts[0][:16] in record.getMessage()
        assert target.values(target.cookie) == "{}"
        if ending == "regenerate":
            assert target.values(newer[0]) == "{'user': 'ann'}"

    def test_a_renewal_does_not_bring_a_session_back(
        self, target: Target, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nor does a request that only reads, when the cookie is due."""
        policy = t.cast(t.Any, target.app.session_interface).policy
        monkeypatch.setattr(policy, "refresh_is_due", lambda issued, permanent: True)

        def read() -> None:
            list(session)
            target.send(target.cookie, "/clear")

        response = target.doing(read, target.cookie)
        assert "Set-Cookie" not in response.headers
        assert target.values(target.cookie) == "{}"


class TestWriters:
    def test_two_writers_of_different_names_both_survive(self, target: Target) -> None:
        """Though both had loaded the session before either saved."""

        def between() -> None:
            target.send(target.cookie, "/set/other")

        target.doing(write_after(between), target.cookie)
        values = target.values(target.cookie)
        assert all(name in values for name in ("user", "late", "other"))

    def test_a_deletion_is_not_undone(self, target: Target) -> None:
        """By a save that has not touched the name."""

        def delete() -> None:
            client = target.app.test_client(use_cookies=False)
            outer, target.act = target.act, lambda: session.delete("user")
            client.get("/act", headers={"Cookie": f"{target.name}={target.cookie}"})
            target.act = outer

        target.doing(write_after(delete), target.cookie)
        assert target.values(target.cookie) == "{'late': 'late'}"

    def test_requests_that_do_not_write_erase_nothing(self, target: Target) -> None:
        """An untouched one and one that reads, with a write inside: neither asks the
        store to save, and the write is still there.
        """

        def read() -> None:
            list(session)
            assert session.get("user") == "ann"
            target.send(target.cookie, "/set/other")
            target.store.calls.clear()

        target.doing(read, target.cookie)
        assert target.store.calls == []
        assert target.values(target.cookie) == "{'user': 'ann', 'other': 'other'}"
        target.store.calls.clear()
        target.send(target.cookie, "/untouched")
        assert target.store.calls == []


class TestOnce:
    def test_a_one_time_value_goes_to_one_request(self, target: Target) -> None:
        """Though both had loaded, and even read, the session before."""
        got: list[object] = []

        def take() -> None:
            got.append(session.get_once("user"))

        def take_last() -> None:
            assert session["user"] == "ann"
            target.doing(take, target.cookie)
            take()

        target.doing(take_last, target.cookie)
        assert got == ["ann", None]
        assert target.values(target.cookie) == "{}"


class TestAnonymous:
    def test_thousand_anonymous_requests_leave_nothing(
        self, store: Store, formatting: Formatting
    ) -> None:
        """Reads, clears, new ids and made-up cookies, forged and well signed: no
        record, no cookie.
        """
        target = Target(store, formatting)
        before = records_of(store)
        paths = ("/", "/clear", "/regenerate", "/untouched")
        for number in range(250):
            forged = f"{target.cookie[:-8]}{number:08}"
            signed = target.seal.seal(f"{number:043}", permanent=False)
            for path, header in zip(
                paths,
                ("", f"{target.name}={forged}", f"{target.name}={signed}", ""),
                strict=True,
            ):
                response = target.ask(header, path)
                assert response.status_code == 200
                assert "Set-Cookie" not in response.headers
            paths = (*paths[1:], paths[0])
        assert records_of(store) <= before
        assert "save" not in target.store.calls


def records_of(store: Store) -> set[str]:
    """The keys in a store; a cookie store keeps none."""
    return set() if getattr(store, "stateless", False) else keys_in(store)
