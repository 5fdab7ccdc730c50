"""Cookie sessions that can be ended: ``SESSION_REVOCATION``."""

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
from tests.conftest import Clock, Counting, Desk, make_app
from tests.support.servers import RedisServer, Servers, free_port

NAME = "_buffalo_session"
HOUR = 3600


class CountingOwned(Counting):
    """Counts what a store that knows owners is asked, too."""

    inner: t.Any

    def own(self, token: str, owner: str, *, max_age: int) -> None:
        self._count("own")
        self.inner.own(token, owner, max_age=max_age)

    def owned(self, owner: str) -> t.Any:
        self._count("owned")
        return self.inner.owned(owner)

    def revoke(self, session_id: str) -> bytes | None:
        self._count("revoke")
        return t.cast("bytes | None", self.inner.revoke(session_id))


@pytest.fixture
def listed(owned: t.Any) -> CountingOwned:
    return CountingOwned(owned)


class Site:
    """An application whose sessions are in cookies, and a browser."""

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
        """Another browser with a copy of the cookie."""
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
def test_a_copied_cookie_is_dead_once_its_session_ended(site: Site, how: str) -> None:
    """Whether it was logged out, by whatever method, or got another id."""
    thief = site.copy()
    assert thief.get("/user").text == "ann"
    site.browser.get(f"/end/{how}")
    for path in ("/user", "/set/x", "/user"):
        response = thief.get(path)
        assert "ann" not in response.text
    expected = {"regenerate": "ann", "replace": "bob"}.get(how, "None")
    assert site.browser.get("/user").text == expected


def test_a_list_costs_one_round_trip_where_the_session_is_used(site: Site) -> None:
    """For reading and for writing; none where it is not, nor for who has none; ending
    takes one more.
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
    """Nothing is asked of the list before a cookie has verified."""
    thief = site.app.test_client()
    thief.set_cookie(NAME, "brforged.forged.forged")
    assert thief.get("/user").text == "None"
    assert site.listed.calls == []


def test_an_ended_session_is_ended_from_anywhere(site: Site) -> None:
    """By the id that it shows, whether or not it was bound to an owner."""
    extension = site.app.extensions["buffalo_session"]
    session_id = site.browser.get("/id").text
    assert len(session_id) == 64
    with site.app.app_context():
        assert extension.revoke(session_id) is True
        assert extension.revoke(session_id) is False
        assert extension.revoke("../" + session_id[3:]) is False
    assert site.browser.get("/user").text == "None"


def test_who_was_ended_can_log_in_again(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """At once, with another id; the log says unknown, as of any session that is gone,
    and names no more than the hash.
    """
    session_id = site.browser.get("/id").text
    with site.app.app_context():
        site.app.extensions["buffalo_session"].revoke(session_id)
    with caplog.at_level(logging.INFO):
        site.browser.get("/login/ann")
    assert f"rejected: unknown (id hash {session_id[:16]})" in caplog.text
    assert site.browser.get("/user").text == "ann"
    assert site.browser.get("/id").text != session_id


def test_the_id_stays_while_the_session_does(site: Site) -> None:
    """Each cookie is another text; what it is known by is the same, and none of it
    is in the cookie as it is.
    """
    first = site.browser.get("/id").text
    site.browser.get("/set/x")
    assert site.browser.get("/id").text == first
    cookie = site.browser.get_cookie(NAME)
    assert cookie is not None
    assert first not in cookie.value


def test_a_list_that_is_away_is_an_error_in_the_view(site: Site) -> None:
    """An outage is not taken for a session that is good, nor for one that is not;
    views that do not use the session work.
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
def test_a_logout_that_cannot_be_noted_is_an_error(site: Site, how: str) -> None:
    """Nobody is told that a session has ended which has not: no cookie is set."""
    site.listed.failing["save"] = SessionStoreError("list", "away")
    response = site.browser.get(f"/end/{how}")
    assert (response.status_code, response.text) == (503, "away")
    assert "Set-Cookie" not in response.headers
    assert len(site.errors) == 1
    site.listed.failing.clear()
    assert site.browser.get("/user").text == "ann"


def test_what_is_too_large_does_not_cost_the_session(site: Site) -> None:
    """The old id is only ended once there is a cookie for the new one."""
    assert site.browser.get("/grow").status_code == 500
    assert site.browser.get("/user").text == "ann"


def test_a_request_under_way_leaves_the_newer_cookie_alone(
    listed: CountingOwned,
) -> None:
    """What comes in with the old cookie for a minute after the end is an empty session
    that sets none; then it is like any that is unknown.
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
    # This one knows nothing of it. Its cookie is as dead as the one it came with.
    slow["b"] = 2
    slow.save()
    assert desk.values(str(slow.cookie)) == {}


def test_of_two_that_regenerate_one_does(listed: CountingOwned) -> None:
    """And the other leaves its cookie alone, and nothing behind."""
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
    alive = [held for held in listed.owned(owner) if not is_tombstone(held.data[32:])]
    assert len(alive) == 1


def test_a_new_id_is_given_though_the_session_is_noted_again_meanwhile(
    listed: CountingOwned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the list has noted of the old one was changed; the new one is noted once."""
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


def test_both_of_two_that_end_it_remove_no_newer_cookie(listed: CountingOwned) -> None:
    """Only the first removes the cookie: by then the browser may have another."""
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


def test_a_cookie_sealed_after_the_end_is_not_taken_for_a_request_under_way() -> None:
    """Who is left with one, by a slow request, could not log in for a minute."""
    entry, now = tombstone(), int(time.time())
    assert has_just_ended(entry, now - 5)
    assert not has_just_ended(entry, now + 5)


class TestOwners:
    """Whose a session is, as the list has noted it."""

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

    def test_a_session_in_use_stays_its_owners(self, clock: Clock) -> None:
        """However often it gets another cookie, by which it never grows old."""
        app, extension = self.site(MemoryStore())
        browser = app.test_client()
        browser.get("/bind/ann")
        for _ in range(30):
            clock.tick(90)
            assert browser.get("/change").text == "ann"
            with app.app_context():
                (info,) = extension.sessions_of("ann")
            assert clock.now - info.last_seen.timestamp() <= 101
        # To the last moment of its last cookie.
        clock.tick(1000)
        with app.app_context():
            assert extension.revoke_all("ann") == 1
        assert browser.get("/change").text == "None"

    @pytest.mark.parametrize("how", ["regenerate", "bind"])
    def test_what_gets_no_cookie_is_not_noted(self, how: str) -> None:
        """No session that nobody has is listed, and none is missing."""
        app, extension = self.site(MemoryStore())
        browser = app.test_client()
        browser.get("/bind/ann")
        browser.get(f"/too-large/{how}")
        with app.app_context():
            assert extension.sessions_of("bob") == []
            assert extension.revoke_all("ann") == 1
        assert browser.get("/change").text == "None"

    def test_a_first_save_can_be_tried_again(self) -> None:
        """By a view that has seen what prevented it."""
        app, extension = self.site(MemoryStore())
        browser = app.test_client()
        assert browser.get("/too-large/mend").status_code == 200
        assert browser.get("/change").text == "bob"
        with app.app_context():
            assert len(extension.sessions_of("bob")) == 1

    def test_a_first_save_that_was_noted_can_be_tried_again(self) -> None:
        """Although the list has its id already."""
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

    def test_an_entry_under_another_key_is_none(self) -> None:
        """To end what it names would leave it where it is, again and again."""
        store = MemoryStore()
        revocations = RevocationList(store, HOUR)
        desk = Desk(CookieStore(), revocations=revocations)
        session = desk.session()
        session.bind("ann")
        session.save()
        ((_, (data, _)),) = store._records.items()
        store.save("elsewhere", data, expected=None, max_age=60)
        store.own("elsewhere", "ann", max_age=60)
        assert len(revocations.owned("ann")) == 1
        assert Owners(desk.backend, desk).revoke_all("ann") == 1

    def test_whose_it_is_is_noted_once(self) -> None:
        """Not with each change, though each makes another cookie."""
        listed = CountingOwned(MemoryStore())
        app, _ = self.site(listed)
        browser = app.test_client()
        browser.get("/bind/ann")
        for _ in range(2):
            listed.calls.clear()
            browser.get("/change")
            assert listed.calls == ["load"]

    def test_that_a_cookie_is_nobodys_is_noted_too(self) -> None:
        """One that another request bound, whose cookie the browser did not keep."""
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
        assert desk.codec.loads((entry or b"")[32:]).values == {}

    def test_an_entry_that_is_none_is_noted_anew(self) -> None:
        """Whoever has put it there."""
        store = MemoryStore()
        revocations = RevocationList(store, HOUR)
        desk = Desk(CookieStore(), revocations=revocations)
        session = desk.session()
        session.bind("ann")
        session.save()
        ((key, (data, end)),) = store._records.items()
        store._records[key] = data[:40], end
        session = desk.session(session.cookie)
        session["a"] = 1
        session.save()
        assert [b"_owner_" in held.data for held in revocations.owned("ann")] == [True]


class TestEntries:
    """What is kept, and for how long."""

    def test_a_minute_after_the_end_it_is_unknown(self, clock: Clock) -> None:
        """No longer a request that was under way."""
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

    def test_an_end_outlives_every_cookie_and_then_goes(self, clock: Clock) -> None:
        """Those that a slow request seals after it too."""
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

    def test_nothing_is_kept_of_sessions_that_nobody_ended(self) -> None:
        """Nor of cookies that are none."""
        store = MemoryStore()
        desk = Desk(CookieStore(), revocations=RevocationList(store, HOUR))
        for number in range(10):
            cookie = desk.stored(a=number)
            session = desk.session(cookie)
            session["b"] = 1
            session.save()
        assert store._records == {}

    def test_the_entry_is_not_under_what_the_cookie_shows(self) -> None:
        """Its key is a hash of the id, which is a hash of what is in the cookie."""
        store = MemoryStore()
        desk = Desk(CookieStore(), revocations=RevocationList(store, HOUR))
        session = desk.session(desk.stored(a=1))
        session_id = session.id
        session.clear()
        session.save()
        assert list(store._records) == [storage_key(f"ended:{session_id}")]

    def test_who_is_no_longer_bound_is_nobodys(self) -> None:
        """The list forgets whose it was, when the session does."""
        store = MemoryStore()
        revocations = RevocationList(store, HOUR)
        desk = Desk(CookieStore(), revocations=revocations)
        session = desk.session()
        session.bind("ann")
        session["a"] = 1
        session.save()
        assert [b"_owner_" in held.data for held in revocations.owned("ann")] == [True]
        session = desk.session(session.cookie)
        del session["_owner_"]
        session.save()
        assert [b"_owner_" in held.data for held in revocations.owned("ann")] == [False]

    def test_revoking_and_ending_at_once(self) -> None:
        """Whoever is second sees what the first has done."""
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

    def test_expired_entries_are_removed_by_purge(self, clock: Clock) -> None:
        """As a store's records are."""
        store = MemoryStore()
        app = make_app("cookie", SESSION_REVOCATION=store)
        RevocationList(store, 1).revoke("0" * 64)
        clock.tick(2 * HOUR)
        result = app.test_cli_runner().invoke(args=["session", "purge"])
        assert result.output == "Expired sessions removed: 1.\n"


def test_redis_needs_no_purge(servers: Servers) -> None:
    """It removes what has expired by itself."""
    app = make_app("cookie", SESSION_REVOCATION=servers.shared(RedisServer).url)
    result = app.test_cli_runner().invoke(args=["session", "purge"])
    assert result.output == "Expired sessions removed: 0.\n"


class TestSetting:
    def test_a_url_makes_the_store(self, servers: Servers) -> None:
        """As of SESSION_STORE, and is not asked before it is needed."""
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
    def test_what_is_none_is_refused(self, value: object) -> None:
        """And not shown, as it may hold a password."""
        with pytest.raises(SessionConfigError, match="SESSION_REVOCATION") as raised:
            make_app("cookie", SESSION_REVOCATION=value)
        assert "secret-word" not in str(raised.value)

    def test_a_store_without_owners_is_refused(self, tmp_path: t.Any) -> None:
        """Ending all of an owner's sessions is a part of it."""
        with pytest.raises(SessionConfigError, match="knows owners"):
            make_app("cookie", SESSION_REVOCATION=f"file://{tmp_path}")
        with pytest.raises(SessionConfigError, match="knows owners"):
            make_app("cookie", SESSION_REVOCATION=NullStore())

    def test_a_format_that_has_no_ids_is_refused(self) -> None:
        """Go would read on what Flask had ended."""
        with pytest.raises(SessionConfigError, match="native"):
            make_app("cookie", SESSION_REVOCATION="memory:", SESSION_FORMAT="gorilla")

    def test_null_mode_has_none(self) -> None:
        """Nor anything to say against one: there are no sessions to end."""
        app = make_app(
            "cookie",
            SESSION_API=True,
            SESSION_REVOCATION="memory:",
            SESSION_FORMAT="gorilla",
        )
        with app.app_context(), pytest.raises(SessionUnsupportedError):
            app.extensions["buffalo_session"].sessions_of("ann")

    def test_a_store_of_ones_own_that_keeps_nothing_has_one(self) -> None:
        """Its sessions would not end otherwise, and nobody would be told."""

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
    def test_other_stores_need_none(self, setting: str) -> None:
        """They know by themselves what has ended."""
        app = make_app(setting, SESSION_REVOCATION="memory:")
        config = t.cast(t.Any, app.session_interface).config
        assert config.revocations is None


def test_it_is_told_by_its_id_that_a_session_was_emptied() -> None:
    """Of one in a cookie nothing is left to keep; its id has ended."""
    desk = Desk(CookieStore(), revocations=RevocationList(MemoryStore(), 3600))
    told: list[tuple[str, str | None]] = []

    def tell(signal: t.Any, session_id: str | None, reason: object = None) -> None:
        told.append((signal.name, session_id))

    session = desk.session(desk.stored(a=1))
    session_id = session.id
    session.delete("a")
    desk.emit = tell  # type: ignore[method-assign]
    session.save()
    assert session_id
    assert told == [("session-saved", session_id)]
