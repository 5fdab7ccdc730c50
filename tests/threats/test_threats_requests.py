"""Run two requests of one session at the same time.

Neither request may undo or repeat the work of the other. The tests run with every
server-side store and every format. They send one request inside the other's view.
test_processes.py does the same with real processes.
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
    """Return a view that loads the session, calls ``between`` and then writes."""

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
        """The slow request loads the session before the end and saves after it.

        Its change is dropped with one warning and one signal. It sets no cookie, and
        the session stays ended.
        """
        conflicts: list[str] = []

        def record_conflict(sender: Flask, session_id: str, name: None) -> None:
            conflicts.append(session_id)

        newer: list[str] = []

        def end() -> None:
            if ending == "expiry":
                target.store.inner.delete(target.token)
            else:
                newer.append(target.text_in(target.send(target.cookie, f"/{ending}")))

        with signals.session_conflict.connected_to(record_conflict, target.app):
            response = target.doing(write_after(end), target.cookie)
        assert (response.status_code, response.text) == (200, "['user']")
        assert "Set-Cookie" not in response.headers
        assert len(conflicts) == 1
        (record,) = (r for r in caplog.records if r.levelno >= logging.WARNING)
        assert conflicts[0][:16] in record.getMessage()
        assert target.values(target.cookie) == "{}"
        if ending == "regenerate":
            assert target.values(newer[0]) == "{'user': 'ann'}"

    def test_a_refreshed_cookie_does_not_bring_a_session_back(
        self, target: Target, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A request only reads, and its cookie is due to be refreshed."""
        policy = t.cast(t.Any, target.app.session_interface).main.policy
        monkeypatch.setattr(policy, "refresh_is_due", lambda issued, **_: True)
        monkeypatch.setattr(policy, "save_is_due", lambda seen: True)

        def read() -> None:
            list(session)
            target.send(target.cookie, "/clear")

        response = target.doing(read, target.cookie)
        assert "Set-Cookie" not in response.headers
        assert target.values(target.cookie) == "{}"


class TestWriters:
    def test_two_writers_of_different_names_both_survive(self, target: Target) -> None:
        """Both load the session before either of them saves."""

        def between() -> None:
            target.send(target.cookie, "/set/other")

        target.doing(write_after(between), target.cookie)
        values = target.values(target.cookie)
        assert all(name in values for name in ("user", "late", "other"))

    def test_a_deletion_is_not_undone(self, target: Target) -> None:
        """A slow request that did not change the name saves after the deletion."""

        def delete() -> None:
            client = target.app.test_client(use_cookies=False)
            outer, target.act = target.act, lambda: session.delete("user")
            client.get("/act", headers={"Cookie": f"{target.name}={target.cookie}"})
            target.act = outer

        target.doing(write_after(delete), target.cookie)
        assert target.values(target.cookie) == "{'late': 'late'}"

    def test_requests_that_only_read_erase_nothing(self, target: Target) -> None:
        """A request that reads, and one that does not use the session, save nothing.

        So the write of another request, during the read, stays in the store.
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
        """Both requests load the session before one of them takes the value."""
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
    def test_a_thousand_anonymous_requests_store_nothing(
        self, store: Store, formatting: Formatting
    ) -> None:
        """They read, clear and regenerate, without a cookie or with a forged one.

        Some forged cookies have a valid signature. No request stores a record or sets
        a cookie.
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
    """Return the keys in a store. A cookie store has none."""
    return set() if getattr(store, "stateless", False) else keys_in(store)
