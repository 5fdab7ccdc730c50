"""Revoke cookie sessions: ``SESSION_REVOCATION``."""

from __future__ import annotations

import logging
import secrets
import time
import typing as t

import pytest
from flask import Flask, abort
from flask.testing import FlaskClient

from flask_buffalo_session import (
    CookieStore,
    MemoryStore,
    NullStore,
    session,
)
from flask_buffalo_session.backends.base import OWNER_NAME
from flask_buffalo_session.errors import (
    SessionConfigError,
    SessionStoreError,
    SessionTooLargeError,
    SessionUnsupportedError,
)
from flask_buffalo_session.owners import Owners
from flask_buffalo_session.revocation import RevocationList, has_just_ended
from flask_buffalo_session.stores.base import storage_key
from flask_buffalo_session.tombstones import is_tombstone, tombstone
from tests.conftest import Clock, Counting, Desk, RecordingMemory, make_app
from tests.support.servers import RedisServer, Servers, free_port
from tests.support.target import keys_in

pytestmark = pytest.mark.usefixtures("records")

NAME = "_buffalo_session"
HOUR = 3600


class CountingOwned(Counting):
    """Count the calls to a store that indexes sessions by owner."""

    inner: t.Any

    def own(self, token: str, owner: str, *, max_age: int) -> None:
        self._count("own")
        self.inner.own(token, owner, max_age=max_age)

    def owned(self, owner: str) -> t.Any:
        self._count("owned")
        return self.inner.owned(owner)

    def peek(self, session_id: str) -> bytes | None:
        return t.cast("bytes | None", self.inner.peek(session_id))

    def revoke(self, session_id: str, **how: t.Any) -> bytes | None:
        self._count("revoke")
        return t.cast("bytes | None", self.inner.revoke(session_id, **how))


@pytest.fixture
def listed(owned: t.Any) -> CountingOwned:
    return CountingOwned(owned)


class Site:
    """An application with cookie sessions and a revocation list, and a browser."""

    def __init__(self, listed: CountingOwned, **config: t.Any) -> None:
        self.listed = listed
        self.app = make_app("cookie", SESSION_REVOCATION=listed, **config)
        self.errors: list[SessionStoreError] = []
        self.routes(self.app)
        self.browser = self.app.test_client()
        self.browser.get("/login/ann")
        listed.calls.clear()

    def routes(self, app: Flask) -> None:
        @app.get("/login/<name>")
        def login(name: str) -> str:
            session["user_id"] = name
            return name

        @app.get("/user")
        def user() -> str:
            return str(session.get("user_id"))

        @app.get("/id")
        def id() -> str:
            return str(session.id)

        @app.get("/set/<name>")
        def set_name(name: str) -> str:
            session[name] = name
            return "set"

        @app.get("/untouched")
        def untouched() -> str:
            return "untouched"

        @app.get("/end/<how>")
        def end(how: str) -> str:
            if how == "pop":
                session.pop("user_id")
            elif how == "replace":
                session["user_id"] = "bob"
            else:
                getattr(session, how)()
            return "ended"

        @app.get("/grow")
        def grow() -> str:
            session.regenerate()
            session["large"] = secrets.token_hex(5000)
            return "grown"

        @app.get("/clear-and-fail")
        def clear_and_fail() -> str:
            session.clear()
            abort(500)

        @app.errorhandler(SessionStoreError)
        def away(error: SessionStoreError) -> tuple[str, int]:
            self.errors.append(error)
            return "away", 503

    def copy(self) -> FlaskClient:
        """Return another browser with a copy of the cookie."""
        cookie = self.browser.get_cookie(NAME)
        assert cookie is not None
        thief = self.app.test_client()
        thief.set_cookie(NAME, cookie.value)
        return thief


@pytest.fixture
def site(listed: CountingOwned) -> Site:
    return Site(listed)


def session_of(browser: FlaskClient) -> dict[str, t.Any]:
    with browser.session_transaction() as found:
        return dict(found)


@pytest.mark.parametrize("how", ["clear", "destroy", "regenerate", "pop", "replace"])
def test_a_copied_cookie_is_rejected_after_the_session_ended(
    site: Site, how: str
) -> None:
    """A logout by any method and a new id both end the copied cookie."""
    thief = site.copy()
    assert thief.get("/user").text == "ann"
    site.browser.get(f"/end/{how}")
    for path in ("/user", "/set/x", "/user"):
        response = thief.get(path)
        assert "ann" not in response.text
    expected = {"regenerate": "ann", "replace": "bob"}.get(how, "None")
    assert site.browser.get("/user").text == expected


def test_a_request_that_uses_the_session_loads_the_list_once(site: Site) -> None:
    """Reading and writing cost one load each. A request without a session costs none. A
    logout costs one more call, to save the tombstone.
    """
    for path, calls in (
        ("/untouched", []),
        ("/user", ["load"]),
        ("/set/x", ["load"]),
        ("/end/clear", ["load", "save"]),
        ("/user", []),
        ("/set/x", []),
    ):
        site.listed.calls.clear()
        site.browser.get(path)
        assert site.listed.calls == calls, path


def test_a_forged_cookie_is_not_looked_up(site: Site) -> None:
    """The list is not read before the cookie has verified."""
    thief = site.app.test_client()
    thief.set_cookie(NAME, "brforged.forged.forged")
    assert thief.get("/user").text == "None"
    assert site.listed.calls == []


def test_revoke_ends_a_session_by_its_id(site: Site) -> None:
    """The session need not be bound to an owner."""
    extension = site.app.extensions["buffalo_session"]
    session_id = site.browser.get("/id").text
    assert len(session_id) == 64
    with site.app.app_context():
        assert extension.revoke(session_id) is True
        assert extension.revoke(session_id) is False
        assert extension.revoke("../" + session_id[3:]) is False
    assert site.browser.get("/user").text == "None"


def test_a_user_can_log_in_again_after_a_revocation(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """The login gets another id. The log shows the reason "unknown" and only a part of
    the id's hash.
    """
    session_id = site.browser.get("/id").text
    with site.app.app_context():
        site.app.extensions["buffalo_session"].revoke(session_id)
    with caplog.at_level(logging.INFO):
        site.browser.get("/login/ann")
    assert f"rejected: unknown (id hash {session_id[:16]})" in caplog.text
    assert site.browser.get("/user").text == "ann"
    assert site.browser.get("/id").text != session_id


def test_the_id_is_the_same_in_every_cookie_of_a_session(site: Site) -> None:
    """Each save sends another cookie. No cookie shows the id."""
    first = site.browser.get("/id").text
    site.browser.get("/set/x")
    assert site.browser.get("/id").text == first
    cookie = site.browser.get_cookie(NAME)
    assert cookie is not None
    assert first not in cookie.value


def test_a_revocation_list_that_is_away_is_an_error_in_the_view(site: Site) -> None:
    """The session is treated neither as valid nor as revoked. Views that do not use the
    session work.
    """
    site.listed.failing["load"] = SessionStoreError("list", "away")
    for path in ("/user", "/set/x", "/end/clear"):
        response = site.browser.get(path)
        assert (response.status_code, response.text) == (503, "away")
        assert "Set-Cookie" not in response.headers
    assert site.browser.get("/untouched").text == "untouched"
    site.listed.failing.clear()
    assert site.browser.get("/user").text == "ann"


@pytest.mark.parametrize("how", ["clear", "regenerate", "pop", "replace"])
def test_a_logout_that_the_list_cannot_save_is_an_error(site: Site, how: str) -> None:
    """The session has not ended, so the response must not remove the cookie."""
    site.listed.failing["save"] = SessionStoreError("list", "away")
    response = site.browser.get(f"/end/{how}")
    assert (response.status_code, response.text) == (503, "away")
    assert "Set-Cookie" not in response.headers
    assert len(site.errors) == 1
    site.listed.failing.clear()
    assert site.browser.get("/user").text == "ann"


def test_a_cookie_that_is_too_large_does_not_end_the_old_session(site: Site) -> None:
    """The old id is retired only after the cookie of the new id is made."""
    assert site.browser.get("/grow").status_code == 500
    assert site.browser.get("/user").text == "ann"


def test_a_late_request_does_not_replace_the_newer_cookie(
    listed: CountingOwned,
) -> None:
    """For a minute after the end, the old cookie gives an empty session that sets no
    cookie.
    """
    desk = Desk(CookieStore(), revocations=RevocationList(listed, HOUR))
    cookie = desk.stored(a=1)
    slow = desk.session(cookie)
    assert slow["a"] == 1
    ending = desk.session(cookie)
    ending.clear()
    ending["farewell"] = 1
    ending.save()
    late = desk.session(cookie)
    assert dict(late) == {}
    late["b"] = 2
    late.save()
    assert late.cookie is None
    assert desk.values(str(ending.cookie)) == {"farewell": 1}
    # The slow request did not see the end. Its new cookie has ended, too.
    slow["b"] = 2
    slow.save()
    assert desk.values(str(slow.cookie)) == {}


def test_only_one_of_two_requests_regenerates(listed: CountingOwned) -> None:
    """The other request sets no cookie and leaves no entry in the list."""
    desk = Desk(CookieStore(), revocations=RevocationList(listed, HOUR))
    owner = f"ann {time.time_ns()}"
    beginning = desk.session()
    beginning.bind(owner)
    beginning.save()
    cookie = str(beginning.cookie)
    first, second = desk.session(cookie), desk.session(cookie)
    for one in (first, second):
        one.regenerate()
    first.save()
    second.save()
    assert second.cookie is None
    assert desk.values(str(first.cookie)) == {"_owner_": owner}
    assert desk.values(cookie) == {}
    found = listed.owned(desk.owner_name(owner))
    alive = [held for held in found if not is_tombstone(held.data[32:])]
    assert len(alive) == 1


def test_regenerate_succeeds_after_the_owner_was_indexed_again(
    listed: CountingOwned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another request changes the old id's entry in the list. The new id's owner can
    change afterwards.
    """
    desk = Desk(CookieStore(), revocations=RevocationList(listed, HOUR))
    owner = f"ann {time.time_ns()}"
    beginning = desk.session()
    beginning.bind(owner)
    beginning.save()
    cookie = str(beginning.cookie)
    login, other = desk.session(cookie), desk.session(cookie)
    for one in (login, other):
        assert one.owner == owner
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 5)
    desk.refresh_due = True
    other.save()
    desk.refresh_due = False
    login.regenerate()
    login.save()
    assert desk.values(str(login.cookie)) == {"_owner_": owner}
    assert desk.values(cookie) == {}
    login.bind(f"{owner}'s sister")
    login.save()
    assert desk.session(str(login.cookie)).owner == f"{owner}'s sister"


def test_only_the_first_of_two_logouts_removes_the_cookie(
    listed: CountingOwned,
) -> None:
    """When the second one answers, the browser may hold the cookie of a new login."""
    desk = Desk(CookieStore(), revocations=RevocationList(listed, HOUR))
    for end in ("clear", "pop"):
        cookie = desk.stored(a=1)
        first, second = desk.session(cookie), desk.session(cookie)
        for one in (first, second):
            assert one["a"] == 1
        for one in (first, second):
            desk.emitted.clear()
            one.clear() if end == "clear" else one.pop("a")
            one.save()
        assert first.cookie == ""
        assert second.cookie is None
        assert desk.emitted == [("conflict", None)]


def test_a_cookie_sealed_after_the_end_does_not_count_as_a_late_request() -> None:
    """A slow request may send such a cookie. Its user can log in at once."""
    entry, now = tombstone(), int(time.time())
    assert has_just_ended(entry, now - 5)
    assert not has_just_ended(entry, now + 5)


class TestOwners:
    """The list indexes the sessions by owner."""

    def site(self, store: MemoryStore | CountingOwned) -> tuple[Flask, t.Any]:
        app = make_app("cookie", SESSION_REVOCATION=store, SESSION_IDLE_TIMEOUT=1000)

        @app.get("/bind/<owner>")
        def bind(owner: str) -> str:
            session.bind(owner)
            return owner

        @app.get("/change")
        def change() -> str:
            session["count"] = session.get("count", 0) + 1
            return str(session.owner)

        @app.get("/too-large/<how>")
        def too_large(how: str) -> str:
            session.regenerate() if how == "regenerate" else session.bind("bob")
            session["large"] = secrets.token_hex(5000)
            try:
                session.save()
            except SessionTooLargeError:
                if how == "mend":
                    del session["large"]
            return how

        return app, app.extensions["buffalo_session"]

    def test_the_index_keeps_a_session_that_is_in_use(self, clock: Clock) -> None:
        """Each refresh of the cookie also refreshes the entry in the index."""
        app, extension = self.site(MemoryStore())
        browser = app.test_client()
        browser.get("/bind/ann")
        for _ in range(30):
            clock.tick(90)
            assert browser.get("/change").text == "ann"
            with app.app_context():
                (info,) = extension.sessions_of("ann")
            assert clock.now - info.last_seen.timestamp() <= 101
        # The last cookie is still valid for a second.
        clock.tick(1000)
        with app.app_context():
            assert extension.revoke_all("ann") == 1
        assert browser.get("/change").text == "None"

    @pytest.mark.parametrize("how", ["regenerate", "bind"])
    def test_a_session_without_a_cookie_is_not_indexed(self, how: str) -> None:
        """A cookie that is too large is not sent. The old session stays indexed."""
        app, extension = self.site(MemoryStore())
        browser = app.test_client()
        browser.get("/bind/ann")
        browser.get(f"/too-large/{how}")
        with app.app_context():
            assert extension.sessions_of("bob") == []
            assert extension.revoke_all("ann") == 1
        assert browser.get("/change").text == "None"

    def test_a_view_can_repeat_its_first_save(self) -> None:
        """The view catches the error and deletes the value that is too large."""
        app, extension = self.site(MemoryStore())
        browser = app.test_client()
        assert browser.get("/too-large/mend").status_code == 200
        assert browser.get("/change").text == "bob"
        with app.app_context():
            assert len(extension.sessions_of("bob")) == 1

    def test_a_first_save_can_be_repeated_after_the_index_failed(self) -> None:
        """The list already has an entry under the first id."""
        store = CountingOwned(MemoryStore())
        desk = Desk(CookieStore(), revocations=RevocationList(store, HOUR))
        session = desk.session()
        session.bind("ann")
        store.failing["own"] = SessionStoreError("list", "away")
        with pytest.raises(SessionStoreError):
            session.save()
        store.failing.clear()
        session.save()
        assert desk.values(str(session.cookie)) == {"_owner_": "ann"}

    def test_revoke_all_skips_an_entry_under_another_key(self) -> None:
        """Such an entry names another session. Revoking that session would not remove
        the entry.
        """
        store = MemoryStore()
        revocations = RevocationList(store, HOUR)
        desk = Desk(CookieStore(), revocations=revocations)
        session = desk.session()
        session.bind("ann")
        session.save()
        entry = store.load(f"ended:{session.id}")
        assert entry is not None
        store.save("elsewhere", entry, expected=None, max_age=60)
        name = desk.owner_name("ann")
        store.own("elsewhere", name, max_age=60)
        assert len(list(revocations.owned(name))) == 1
        assert Owners(desk.backend, desk).revoke_all("ann") == 1

    def test_a_change_does_not_index_the_owner_again(self) -> None:
        """Each change makes another cookie, but only loads the list."""
        listed = CountingOwned(MemoryStore())
        app, _ = self.site(listed)
        browser = app.test_client()
        browser.get("/bind/ann")
        for _ in range(2):
            listed.calls.clear()
            browser.get("/change")
            assert listed.calls == ["load"]

    def test_refreshing_a_cookie_without_owner_updates_the_index(
        self,
    ) -> None:
        """Another request bound the session, but the browser lost that cookie."""
        store = MemoryStore()
        revocations = RevocationList(store, HOUR)
        desk = Desk(CookieStore(), revocations=revocations)
        cookie = desk.stored(a=1)
        bound = desk.session(cookie)
        bound.bind("ann")
        bound.save()
        session = desk.session(cookie)
        desk.refresh_due = True
        session["a"] = 2
        session.save()
        assert Owners(desk.backend, desk).sessions_of("ann") == []
        entry = store.load(f"ended:{session.id}")
        opened = desk.backend.opened((entry or b"")[32:], str(session.id))
        assert opened.values == {}

    def test_a_damaged_entry_is_written_again(self) -> None:
        """Somebody with access to the store may have damaged it."""
        store = MemoryStore()
        revocations = RevocationList(store, HOUR)
        desk = Desk(CookieStore(), revocations=revocations)
        session = desk.session()
        session.bind("ann")
        session.save()
        token = f"ended:{session.id}"
        entry = store.load(token)
        assert entry is not None
        store.save(token, entry[:40], expected=entry, max_age=HOUR)
        session = desk.session(session.cookie)
        session["a"] = 1
        session.save()
        assert entered(desk, revocations, "ann") == [True]


def entered(desk: Desk, revocations: RevocationList, owner: str) -> list[bool]:
    """Return whether each entry that is indexed under an owner names an owner."""
    return [
        not is_tombstone(held.data)
        and OWNER_NAME in desk.backend.opened(held.data, held.id).values
        for held in revocations.owned(desk.owner_name(owner))
    ]


class TestEntries:
    """The entries of the list, and how long they live."""

    def test_a_minute_after_the_end_the_cookie_is_rejected_as_unknown(
        self, clock: Clock
    ) -> None:
        """Until then a request with the cookie counts as late and emits nothing."""
        desk = Desk(CookieStore(), revocations=RevocationList(MemoryStore(), HOUR))
        cookie = desk.stored(a=1)
        ending = desk.session(cookie)
        ending.clear()
        ending.save()
        desk.emitted.clear()
        clock.tick(59)
        assert desk.values(cookie) == {}
        assert desk.emitted == []
        clock.tick(2)
        assert desk.values(cookie) == {}
        assert desk.emitted == [("rejected", "unknown")]

    def test_a_tombstone_outlives_every_cookie_and_then_expires(
        self, clock: Clock
    ) -> None:
        """A slow request may seal a cookie after the end. The tombstone outlives that
        cookie, too.
        """
        store = MemoryStore()
        desk = Desk(CookieStore(), revocations=RevocationList(store, HOUR))
        cookie = desk.stored(a=1)
        ending = desk.session(cookie)
        ending.clear()
        ending.save()
        clock.tick(HOUR + 60)
        assert desk.values(cookie) == {}
        clock.tick(2 * HOUR)
        assert store.prune() == 1

    def test_the_list_has_no_entries_for_sessions_without_owner_or_end(self) -> None:
        """Saving an ordinary cookie session writes nothing into the list."""
        store = RecordingMemory()
        desk = Desk(CookieStore(), revocations=RevocationList(store, HOUR))
        for number in range(10):
            cookie = desk.stored(a=number)
            session = desk.session(cookie)
            session["b"] = 1
            session.save()
        assert keys_in(store) == set()

    def test_the_entry_is_stored_under_a_hash_of_the_id(self, owned: t.Any) -> None:
        """The id itself is a hash of a value in the cookie."""
        desk = Desk(CookieStore(), revocations=RevocationList(owned, HOUR))
        session = desk.session(desk.stored(a=1))
        session_id = session.id
        before = keys_in(owned)
        session.clear()
        session.save()
        (key,) = keys_in(owned) - before
        assert key.endswith(storage_key(f"ended:{session_id}"))

    def test_removing_the_owner_updates_the_entry(
        self,
    ) -> None:
        """The old id leaves the owner's index."""
        store = MemoryStore()
        revocations = RevocationList(store, HOUR)
        desk = Desk(CookieStore(), revocations=revocations)
        session = desk.session()
        session.bind("ann")
        session["a"] = 1
        session.save()
        assert entered(desk, revocations, "ann") == [True]
        session = desk.session(session.cookie)
        del session["_owner_"]
        session.save()
        assert entered(desk, revocations, "ann") == []

    def test_a_logout_during_a_revocation_is_kept(self) -> None:
        """The revocation returns the tombstone that the logout left."""
        store = CountingOwned(MemoryStore())
        revocations = RevocationList(store, HOUR)
        desk = Desk(CookieStore(), revocations=revocations)
        session = desk.session(desk.stored(a=1))
        session_id = str(session.id)
        load = store.load

        def interrupted(token: str) -> bytes | None:
            found = load(token)
            store.load = load  # type: ignore[method-assign]
            session.clear()
            session.save()
            return found

        store.load = interrupted  # type: ignore[method-assign]
        assert is_tombstone(revocations.revoke(session_id))
        assert session.cookie == ""

    def test_purge_removes_expired_entries(self, clock: Clock) -> None:
        """``flask session purge`` prunes the list as it prunes a store."""
        store = MemoryStore()
        app = make_app("cookie", SESSION_REVOCATION=store)
        RevocationList(store, 1).revoke("0" * 64)
        clock.tick(2 * HOUR)
        result = app.test_cli_runner().invoke(args=["session", "purge"])
        assert result.output == "Expired sessions removed: 1.\n"


class TestOwnTimeOuts:
    """With sessions that live longer than usual cookies."""

    LIFE = 100
    OWN = 50_000

    def desk(self) -> Desk:
        revocations = RevocationList(MemoryStore(), self.LIFE)
        return Desk(CookieStore(), revocations=revocations, idle_timeout=self.LIFE)

    def remembered(self, desk: Desk, *, late: bool) -> str:
        """Return the cookie of a session with an idle time-out of its own.

        :param late: whether the session gets the time-out in a later request.
        """
        session = desk.session(desk.stored(a=1) if late else None)
        session["a"] = 1
        session.set_timeouts(idle=self.OWN)
        session.save()
        assert session.cookie
        return session.cookie

    @pytest.mark.parametrize("late", [False, True])
    @pytest.mark.parametrize(
        "how", ["clear", "authenticate", "set_timeouts", "revoke", "empty"]
    )
    def test_a_copied_cookie_is_rejected_for_as_long_as_it_could_be_used(
        self, how: str, late: bool, clock: Clock
    ) -> None:
        """The tombstone outlives the session's own time-out."""
        desk = self.desk()
        cookie = self.remembered(desk, late=late)
        session = desk.session(cookie)
        assert session["a"] == 1
        if how == "revoke":
            Owners(desk.backend, desk).revoke(str(session.id))
        elif how == "empty":
            del session["a"]
            session.set_timeouts()
        else:
            getattr(session, how)()
        session.save()
        for seconds in (120, self.LIFE + 2 * HOUR, self.OWN - 2 * HOUR - 3 * self.LIFE):
            clock.tick(seconds)
            assert desk.values(cookie) == {}

    @pytest.mark.parametrize("how", ["clear", "authenticate"])
    def test_a_session_that_is_older_than_the_list_can_end(
        self, how: str, clock: Clock
    ) -> None:
        """It has no entry yet that says how long its cookies live."""
        desk = self.desk()
        before = Desk(CookieStore(), idle_timeout=self.LIFE)
        cookie = self.remembered(before, late=False)
        session = desk.session(cookie)
        getattr(session, how)()
        session.save()
        clock.tick(self.OWN - 1)
        assert desk.values(cookie) == {}

    def test_a_session_lives_on_until_its_own_time_out(self, clock: Clock) -> None:
        """So does its entry, although nothing renews it."""
        desk = self.desk()
        cookie = self.remembered(desk, late=True)
        clock.tick(self.OWN - 1)
        session = desk.session(cookie)
        assert session["a"] == 1
        session.clear()
        session.save()
        assert "conflict" not in dict(desk.emitted)

    def test_an_earlier_cookie_does_not_dodge_a_shorter_time_out(
        self, clock: Clock
    ) -> None:
        """The earlier cookie has another id, which leads on for half a minute."""
        desk = self.desk()
        old = desk.stored(a=1)
        session = desk.session(old)
        session.set_timeouts(idle=40)
        session.save()
        assert ("regenerated", None) in desk.emitted
        assert session.cookie
        assert desk.values(old) == {"a": 1}
        clock.tick(31)
        assert desk.values(old) == {}
        assert desk.values(session.cookie) == {"a": 1}

    def test_a_request_beside_a_change_of_the_time_outs_keeps_the_session(self) -> None:
        """Whichever is saved first, one id is alive."""
        for write_first in (False, True):
            desk = self.desk()
            cookie = desk.stored(a=1)
            changing, writing = desk.session(cookie), desk.session(cookie)
            changing.set_timeouts(idle=self.OWN)
            writing["b"] = 2
            for one in (writing, changing)[:: 1 if write_first else -1]:
                one.save()
            assert "conflict" not in dict(desk.emitted)
            assert changing.cookie and writing.cookie
            ids = {desk.session(one.cookie).id for one in (changing, writing)}
            assert len(ids) == 1
            assert desk.values(changing.cookie) == {"a": 1}
            assert desk.values(writing.cookie) == {"a": 1, "b": 2}

    def test_a_rotation_beside_a_change_of_the_time_outs(self, clock: Clock) -> None:
        """The change is saved under the new id."""
        for kind in ("rotated", "authenticated"):
            desk = self.desk()
            cookie = desk.stored(a=1)
            changing, other = desk.session(cookie), desk.session(cookie)
            changing.set_timeouts(idle=self.OWN)
            other["b"] = 2
            if kind == "authenticated":
                other.authenticate()
            else:
                desk.set_times(rotate_after=0)
                other = desk.session(cookie)
                other["b"] = 2
            other.save()
            desk.set_times(rotate_after=None)
            changing.save()
            assert other.cookie
            if kind == "authenticated":
                # The old id does not lead to the new one.
                assert changing.cookie is None
                continue
            assert changing.cookie
            assert changing.id == desk.session(other.cookie).id
            clock.tick(self.OWN - 1)
            assert desk.values(changing.cookie) == {"a": 1}


def test_redis_needs_no_purge(servers: Servers) -> None:
    """Redis removes expired entries by itself."""
    app = make_app("cookie", SESSION_REVOCATION=servers.shared(RedisServer).url)
    result = app.test_cli_runner().invoke(args=["session", "purge"])
    assert result.output == "A RedisStore deletes expired sessions by itself.\n"


class TestSetting:
    def test_a_url_makes_the_store(self, servers: Servers) -> None:
        """The store does not connect before a cookie has to be checked."""
        port = free_port()
        app = make_app("cookie", SESSION_REVOCATION=f"redis://127.0.0.1:{port}/0")

        @app.get("/")
        def write() -> str:
            session["a"] = 1
            return "written"

        assert app.test_client().get("/").status_code == 200

    @pytest.mark.parametrize(
        "value",
        ["cookie", "null", "secret-word", 7, True, MemoryStore, CookieStore()],
    )
    def test_a_value_that_is_not_a_server_side_store_is_refused(
        self, value: object
    ) -> None:
        """The message does not show the value, which may hold a password."""
        with pytest.raises(SessionConfigError, match="SESSION_REVOCATION") as raised:
            make_app("cookie", SESSION_REVOCATION=value)
        assert "secret-word" not in str(raised.value)

    def test_a_store_that_cannot_index_owners_is_refused(self, tmp_path: t.Any) -> None:
        """The list must be able to revoke all sessions of an owner."""
        with pytest.raises(SessionConfigError, match="supports owners"):
            make_app("cookie", SESSION_REVOCATION=f"file://{tmp_path}")
        with pytest.raises(SessionConfigError, match="supports owners"):
            make_app("cookie", SESSION_REVOCATION=NullStore())

    def test_the_gorilla_format_is_refused(self) -> None:
        """A Go server would still accept sessions that Flask has ended."""
        with pytest.raises(SessionConfigError, match="native"):
            make_app("cookie", SESSION_REVOCATION="memory:", SESSION_FORMAT="gorilla")

    def test_null_mode_ignores_the_setting(self) -> None:
        """There are no sessions to end, so no combination is refused."""
        app = make_app(
            "cookie",
            SESSION_API=True,
            SESSION_REVOCATION="memory:",
            SESSION_FORMAT="gorilla",
        )
        with app.app_context(), pytest.raises(SessionUnsupportedError):
            app.extensions["buffalo_session"].sessions_of("ann")

    def test_a_custom_stateless_store_uses_the_list(self) -> None:
        """Without the list a copied cookie would stay good after a logout."""

        class InCookie:
            stateless: t.Literal[True] = True

            def load(self, token: str) -> bytes | None:
                return bytes.fromhex(token)

            def save(self, token: str | None, data: bytes, **_: object) -> str:
                return data.hex()

            def delete(self, token: str) -> None:
                pass

        app = make_app(InCookie(), SESSION_REVOCATION="memory:")

        @app.get("/<action>")
        def act(action: str) -> str:
            getattr(session, action)() if action == "clear" else session.update(a=1)
            return str(len(session))

        browser, thief = app.test_client(), app.test_client()
        browser.get("/begin")
        cookie = browser.get_cookie(NAME)
        assert cookie is not None
        thief.set_cookie(NAME, cookie.value)
        browser.get("/clear")
        assert session_of(thief) == {}

    @pytest.mark.parametrize("setting", ["null", "memory:"])
    def test_other_stores_do_not_use_the_list(self, setting: str) -> None:
        """A server-side store retires ids by itself, and null mode has no sessions."""
        app = make_app(setting, SESSION_REVOCATION="memory:")
        config = t.cast(t.Any, app.session_interface).main.config
        assert config.revocations is None


def test_the_signal_for_an_emptied_session_carries_its_id() -> None:
    """The cookie is removed and the id has ended, but receivers still get the id."""
    desk = Desk(CookieStore(), revocations=RevocationList(MemoryStore(), 3600))
    emitted: list[tuple[str, str | None]] = []

    def record(signal: t.Any, session_id: str | None, *_: t.Any, **__: t.Any) -> None:
        emitted.append((signal.name, session_id))

    session = desk.session(desk.stored(a=1))
    session_id = session.id
    session.delete("a")
    desk.emit = record  # type: ignore[method-assign]
    session.save()
    assert session_id
    assert emitted == [("session-saved", session_id)]
