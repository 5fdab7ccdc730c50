"""Rotate ids by age: ``SESSION_RENEW_AFTER``."""

from __future__ import annotations

import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask

from flask_buffalo_session import CookieStore, MemoryStore, Store, session
from flask_buffalo_session.codec import Codec, Record
from flask_buffalo_session.errors import RejectedError, SessionStoreError
from flask_buffalo_session.gorilla.codec import GorillaCodec
from flask_buffalo_session.native.codec import NativeCodec
from flask_buffalo_session.owners import Owners
from flask_buffalo_session.revocation import RevocationList
from flask_buffalo_session.sessions import Session
from tests.conftest import Clock, Counting, Desk, make_app

pytestmark = pytest.mark.usefixtures("records")

HOUR = 3600


class ShiftedClock:
    """Shift this process's clock; the clocks of the servers do not change."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._now = time.time
        self._monkeypatch = monkeypatch
        self._by = 0.0

    def pass_by(self, seconds: float) -> None:
        self._by += seconds
        # cachelib has imported the function under its own name.
        for name in ("time.time", "cachelib.file.time"):
            self._monkeypatch.setattr(name, lambda: self._now() + self._by)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> ShiftedClock:
    return ShiftedClock(monkeypatch)


@pytest.fixture
def desk(server_store: Store) -> Desk:
    return Desk(server_store, idle_timeout=10 * HOUR, rotate_after=100)


def opened(desk: Desk, cookie: str) -> Session:
    """Return the session of a request that has already loaded it."""
    session = desk.session(cookie)
    list(session)
    return session


def cookies_after_rotation(desk: Desk, later: ShiftedClock) -> tuple[str, str]:
    """Rotate the id of a new session; return its old and its new cookie."""
    cookie = desk.stored(a=1)
    later.pass_by(101)
    rotating = opened(desk, cookie)
    rotating.save()
    desk.emitted.clear()
    return cookie, str(rotating.cookie)


def test_using_a_session_rotates_an_old_id(desk: Desk, later: ShiftedClock) -> None:
    """Reading is enough. The values and ``created_at`` do not change."""
    cookie = desk.stored(a=1)
    young = opened(desk, cookie)
    young.save()
    assert young.cookie is None
    later.pass_by(101)
    old = opened(desk, cookie)
    begun, old_id = old.created_at, old.id
    old.save()
    assert old.cookie
    assert old.cookie != cookie
    again = opened(desk, old.cookie)
    assert dict(again) == {"a": 1}
    assert again.created_at == begun
    assert again.id != old_id
    again.save()
    assert again.cookie is None


def test_a_rotated_id_is_rotated_again_when_it_is_old(
    desk: Desk, later: ShiftedClock
) -> None:
    """The age of an id counts from its rotation, not from the start of the session."""
    cookie = desk.stored(a=1)
    for _ in range(3):
        later.pass_by(99)
        assert dict(opened(desk, cookie)) == {"a": 1}
        later.pass_by(2)
        rotating = opened(desk, cookie)
        rotating.save()
        assert rotating.cookie
        cookie = rotating.cookie


def test_get_once_does_not_change_the_age_of_the_id(
    desk: Desk, later: ShiftedClock
) -> None:
    """The save of ``get_once`` also keeps the date of the last rotation."""
    cookie = desk.stored(a=1, b=2)
    later.pass_by(101)
    rotating = opened(desk, cookie)
    rotating.save()
    assert rotating.cookie
    assert rotating.get_once("a") == 1
    claiming = desk.session(rotating.cookie)
    assert claiming.get_once("b") == 2
    claiming.save()
    assert claiming.cookie is None
    again = opened(desk, rotating.cookie)
    again.save()
    assert again.cookie is None


def test_the_old_id_finds_the_session_for_30_seconds(
    desk: Desk, later: ShiftedClock
) -> None:
    """Parallel requests stay logged in. They send the new cookie again, because the
    browser may not have received it.
    """
    cookie, new = cookies_after_rotation(desk, later)
    late = desk.session(cookie)
    assert dict(late) == {"a": 1}
    assert late.id == desk.session(new).id
    late["b"] = 2
    late.save()
    assert late.cookie == new
    assert desk.values(new) == {"a": 1, "b": 2}
    # A little less than 30, because the test itself takes time.
    later.pass_by(25)
    assert desk.values(cookie) == {"a": 1, "b": 2}


def test_after_30_seconds_the_old_id_finds_no_session(
    desk: Desk, later: ShiftedClock
) -> None:
    """The request gets an empty session. It sets no cookie and writes nothing."""
    cookie, new = cookies_after_rotation(desk, later)
    later.pass_by(31)
    late = desk.session(cookie)
    assert dict(late) == {}
    late["b"] = 2
    late.save()
    assert late.cookie is None
    assert desk.values(new) == {"a": 1}


def test_a_request_that_began_before_the_rotation_saves_under_the_new_id(
    desk: Desk, later: ShiftedClock
) -> None:
    """It keeps its changes, and both requests set the same cookie."""
    cookie = desk.stored(a=1, log=[1], gone=1)
    later.pass_by(101)
    rotating, writing = opened(desk, cookie), opened(desk, cookie)
    writing["b"] = 2
    writing["log"].append(2)
    del writing["gone"]
    rotating["log"].append(3)
    rotating.save()
    writing.save()
    assert writing.cookie == rotating.cookie
    assert ("conflict", None) not in desk.emitted
    assert desk.values(str(rotating.cookie)) == {"a": 1, "b": 2, "log": [1, 3, 2]}


def test_only_one_of_two_requests_rotates_the_id(
    desk: Desk, later: ShiftedClock
) -> None:
    """One new id remains, even if the other request changed something."""
    cookie = desk.stored(a=1)
    later.pass_by(101)
    issued: list[str] = []
    save = desk.store.save

    def recording(token: str | None, *args: t.Any, **kwargs: t.Any) -> str:
        result = save(token, *args, **kwargs)
        if kwargs["expected"] is None:
            issued.append(result)
        return result

    desk.store.save = recording  # type: ignore[method-assign]
    first, second = opened(desk, cookie), opened(desk, cookie)
    second["b"] = 2
    first.save()
    second.save()
    assert second.cookie == first.cookie
    alive = [token for token in issued if desk.store.load(token) is not None]
    assert alive == [first.cookie]
    assert desk.values(str(first.cookie)) == {"a": 1, "b": 2}


def test_only_one_of_several_threads_rotates_the_id(
    desk: Desk, later: ShiftedClock
) -> None:
    """No change of any thread is lost."""
    cookie = desk.stored(a=1)
    later.pass_by(101)
    sessions = [opened(desk, cookie) for _ in range(3)]

    def change(number: int) -> str | None:
        sessions[number][f"name-{number}"] = number
        sessions[number].save()
        return sessions[number].cookie

    with ThreadPoolExecutor(3) as pool:
        cookies = list(pool.map(change, range(3)))
    assert len(set(cookies)) == 1
    expected = {"a": 1} | {f"name-{number}": number for number in range(3)}
    assert desk.values(str(cookies[0])) == expected


def test_no_id_is_rotated_after_the_response(desk: Desk, later: ShiftedClock) -> None:
    """A response that is already being streamed cannot set a new cookie."""
    cookie = desk.stored(a=1)
    session = opened(desk, cookie)
    session.save()
    session.closed = True
    later.pass_by(101)
    session.save()
    assert desk.values(cookie) == {"a": 1}


def test_a_slow_request_follows_two_rotations(desk: Desk, later: ShiftedClock) -> None:
    """It saves its change under the newest id."""
    cookie = desk.stored(a=1)
    later.pass_by(101)
    slow, rotating = opened(desk, cookie), opened(desk, cookie)
    slow["b"] = 2
    rotating.save()
    desk.set_times(rotate_after=0)
    again = opened(desk, str(rotating.cookie))
    again.save()
    assert again.cookie != rotating.cookie
    desk.set_times(rotate_after=100)
    slow.save()
    assert desk.values(str(again.cookie)) == {"a": 1, "b": 2}


def test_get_once_hands_out_a_value_once_across_a_rotation(
    desk: Desk, later: ShiftedClock
) -> None:
    """One request claims a value before the rotation, another one after it."""
    cookie = desk.stored(prize=1, other=2)
    later.pass_by(101)
    rotating, first, second = (opened(desk, cookie) for _ in range(3))
    assert first.get_once("prize") == 1
    rotating.save()
    assert rotating.cookie
    assert second.get_once("prize") is None
    assert second.get_once("other") == 2
    assert desk.session(rotating.cookie).get_once("other") is None


@pytest.mark.parametrize("end", ["clear", "destroy"])
def test_a_logout_that_began_before_the_rotation_ends_the_new_id(
    desk: Desk, later: ShiftedClock, end: str
) -> None:
    """The request loaded the session under the old id."""
    cookie = desk.stored(a=1)
    later.pass_by(101)
    rotating, leaving = opened(desk, cookie), opened(desk, cookie)
    rotating.save()
    getattr(leaving, end)()
    leaving.save()
    assert leaving.cookie == ""
    assert desk.values(str(rotating.cookie)) == {}
    assert ("destroyed", None) in desk.emitted
    assert ("conflict", None) not in desk.emitted


@pytest.mark.parametrize("end", ["clear", "destroy"])
def test_a_logout_with_the_old_cookie_ends_the_new_id(
    desk: Desk, later: ShiftedClock, end: str
) -> None:
    """A user who is logged out must not stay logged in under the new id."""
    cookie, new = cookies_after_rotation(desk, later)
    leaving = desk.session(cookie)
    getattr(leaving, end)()
    assert leaving.modified
    leaving.save()
    assert leaving.cookie == ""
    assert desk.emitted == [("destroyed", None)]
    assert desk.values(new) == {}
    leaving.save()
    assert desk.emitted == [("destroyed", None)]


def test_a_late_logout_drops_values_set_after_clear(
    desk: Desk, later: ShiftedClock
) -> None:
    """The old id finds no session any more, so the session emits a conflict."""
    cookie, new = cookies_after_rotation(desk, later)
    later.pass_by(31)
    leaving = desk.session(cookie)
    leaving.clear()
    leaving["b"] = 2
    leaving.save()
    assert leaving.cookie is None
    assert desk.emitted == [("destroyed", None), ("conflict", None)]
    assert desk.values(new) == {}


def test_a_late_logout_that_fails_raises_and_can_be_repeated(
    desk: Desk, later: ShiftedClock
) -> None:
    """The store fails; the same request saves again when the store is back."""
    cookie, new = cookies_after_rotation(desk, later)
    desk.store = store = Counting(desk.store)
    leaving = desk.session(cookie)
    leaving.clear()
    store.failing["save"] = SessionStoreError("it", "is away")
    with pytest.raises(SessionStoreError):
        leaving.save()
    assert desk.values(new) == {"a": 1}
    store.failing.clear()
    leaving.save()
    assert desk.values(new) == {}


@pytest.mark.parametrize("under_way", [True, False])
def test_a_logout_with_a_regenerated_id_ends_the_session(
    desk: Desk, under_way: bool
) -> None:
    """The response logs the user out, whether or not the request had loaded the session
    before ``regenerate``.
    """
    desk.set_times(rotate_after=None)
    cookie = desk.stored(a=1)
    replacing, leaving = opened(desk, cookie), desk.session(cookie)
    if under_way:
        list(leaving)
    replacing.regenerate()
    replacing.save()
    desk.emitted.clear()
    leaving.clear()
    leaving.save()
    assert desk.emitted == [("destroyed", None)]
    assert desk.values(str(replacing.cookie)) == {}


def test_a_regenerated_id_finds_no_session(desk: Desk) -> None:
    """Only a logout follows it; reading and writing do not."""
    desk.set_times(rotate_after=None)
    cookie = desk.stored(a=1)
    replacing = opened(desk, cookie)
    replacing.regenerate()
    replacing.save()
    late = desk.session(cookie)
    assert dict(late) == {}
    late["b"] = 2
    late.save()
    assert late.cookie is None
    assert desk.values(str(replacing.cookie)) == {"a": 1}


@pytest.mark.parametrize("first", ["login", "logout"])
def test_a_logout_after_a_login_or_logout_is_a_conflict(desk: Desk, first: str) -> None:
    """It ends nothing: the session has ended, or belongs to the user who logged in."""
    desk.set_times(rotate_after=None)
    desk.auth_names = ("user_id",)
    cookie = desk.stored(a=1)
    ending = opened(desk, cookie)
    if first == "logout":
        ending.clear()
    else:
        ending["user_id"] = 1
    ending.save()
    leaving = desk.session(cookie)
    leaving.clear()
    desk.emitted.clear()
    leaving.save()
    assert desk.emitted == [("conflict", None)]
    if ending.cookie:
        assert desk.values(ending.cookie) == {"a": 1, "user_id": 1}


def test_a_late_logout_of_a_session_that_has_ended_is_a_conflict(
    desk: Desk, later: ShiftedClock
) -> None:
    """Another request logged out with the new cookie first."""
    cookie, new = cookies_after_rotation(desk, later)
    leaving = desk.session(cookie)
    leaving.clear()
    first = desk.session(new)
    first.clear()
    first.save()
    desk.emitted.clear()
    leaving.save()
    assert desk.emitted == [("conflict", None)]


def test_a_request_does_not_follow_a_login(desk: Desk, later: ShiftedClock) -> None:
    """A request that began before a login writes nothing into the session of the user
    who logged in, even if its id was due for rotation.
    """
    for how in ("regenerate", "auth"):
        desk.auth_names = ("user_id",)
        cookie = desk.stored(a=1)
        later.pass_by(101)
        login, planting = opened(desk, cookie), opened(desk, cookie)
        if how == "regenerate":
            login.regenerate()
        else:
            login["user_id"] = 1
        planting["planted"] = True
        login.save()
        planting.save()
        assert planting.cookie is None
        assert ("conflict", None) in desk.emitted
        assert "planted" not in desk.values(str(login.cookie))


def test_a_login_after_a_rotation_keeps_the_saved_values(
    desk: Desk, later: ShiftedClock
) -> None:
    """The login also retires the id that the rotation issued."""
    cookie = desk.stored(a=1)
    later.pass_by(101)
    rotating, login = opened(desk, cookie), opened(desk, cookie)
    rotating["b"] = 2
    rotating.save()
    login.regenerate()
    login["user_id"] = 1
    login.save()
    assert desk.values(str(login.cookie)) == {"a": 1, "b": 2, "user_id": 1}
    assert desk.values(str(rotating.cookie)) == {}


@pytest.mark.parametrize("failing", [0, 1])
def test_a_store_failure_during_a_rotation_keeps_the_old_session(
    desk: Desk, later: ShiftedClock, failing: int
) -> None:
    """Whichever of the two writes fails, the old cookie stays good."""
    cookie = desk.stored(a=1)
    later.pass_by(101)
    session = opened(desk, cookie)
    save, answers = desk.store.save, iter([True] * failing + [False])

    def breaking(*args: t.Any, **kwargs: t.Any) -> str:
        if not next(answers):
            raise SessionStoreError("it", "is away")
        return save(*args, **kwargs)

    desk.store.save = breaking  # type: ignore[method-assign]
    with pytest.raises(SessionStoreError):
        session.save()
    desk.store.save = save  # type: ignore[method-assign]
    assert session.cookie is None
    assert desk.values(cookie) == {"a": 1}


def test_two_saves_in_one_request_keep_the_age_of_the_id(
    desk: Desk, later: ShiftedClock
) -> None:
    """The record keeps the date of the last rotation."""
    cookie = desk.stored(a=1)
    later.pass_by(101)
    session = opened(desk, cookie)
    session.save()
    cookie = str(session.cookie)
    rotation = desk.record(cookie).rotated
    later.pass_by(50)
    session = opened(desk, cookie)
    for number in (2, 3):
        session["a"] = number
        session.save()
        record = desk.record(cookie)
        assert record.rotated == rotation > (record.created or 0)


def test_the_record_stores_the_age_of_the_id_only_with_rotation(
    server_store: Store,
) -> None:
    """Without ``rotate_after`` the date would waste room."""
    for rotate_after, kept in ((None, False), (100, True)):
        desk = Desk(server_store, rotate_after=rotate_after)
        record = desk.record(desk.stored(a=1))
        assert record.rotated == (record.created if kept else 0)


def test_revoking_a_rotated_id_ends_the_session(
    owned: t.Any, later: ShiftedClock
) -> None:
    """The old id may come from a list made before the rotation. ``revoke`` returns True
    once.
    """
    app = make_app(owned, SESSION_RENEW_AFTER=100)
    extension = with_views(app)
    client = app.test_client()
    client.get("/login")
    old_id = client.get("/id").text
    later.pass_by(101)
    assert client.get("/user").text == "ann"
    new_id = client.get("/id").text
    assert new_id != old_id
    with app.app_context():
        assert extension.revoke(old_id) is True
        assert extension.revoke(old_id) is False
        assert extension.revoke(new_id) is False
    assert client.get("/user").text == "None"


def test_revoke_all_keeps_a_session_that_was_rotated_meanwhile(
    owned: t.Any, later: ShiftedClock
) -> None:
    """``keep`` is the id from before one or several rotations."""
    desk = Desk(owned, idle_timeout=10 * HOUR, rotate_after=100)
    owner = f"ann {time.time_ns()}"
    cookies = []
    for _ in range(2):
        session = desk.session()
        session.bind(owner)
        session.save()
        cookies.append(str(session.cookie))
    kept, other = cookies
    keep = desk.session(kept).id
    later.pass_by(101)
    for rotate_after in (100, 0):
        desk.set_times(rotate_after=rotate_after)
        rotating = opened(desk, kept)
        rotating.save()
        kept = str(rotating.cookie)
    owners = Owners(desk.backend, desk)
    assert owners.revoke_all(owner, keep=keep) == 1
    assert desk.values(kept) == {"_owner_": owner}
    assert desk.values(other) == {}
    assert owners.revoke_all(owner) == 1


def test_revoking_the_id_of_an_ended_session_returns_false(owned: t.Any) -> None:
    """The tombstone that the logout left is not a session."""
    app = make_app(owned)
    extension = with_views(app)
    client = app.test_client()
    client.get("/login")
    old_id = client.get("/id").text
    client.get("/logout")
    with app.app_context():
        assert extension.revoke(old_id) is False


def test_revoking_a_retired_id_keeps_its_tombstone(owned: t.Any) -> None:
    """A late request with the retired id must not start another session under it."""
    desk = Desk(owned, auth_names=("user_id",))
    cookie = desk.stored(a=1)
    login = desk.session(cookie)
    old_id = login.id
    login["user_id"] = 1
    login.save()
    assert Owners(desk.backend, desk).revoke(str(old_id)) is False
    late = desk.session(cookie)
    late["b"] = 2
    late.save()
    assert late.cookie is None
    assert ("conflict", None) in desk.emitted


def with_views(app: Flask) -> t.Any:
    @app.get("/login")
    def login() -> str:
        session["user_id"] = "ann"
        return "done"

    @app.get("/logout")
    def logout() -> str:
        session.clear()
        return "done"

    @app.get("/user")
    def user() -> str:
        return str(session.get("user_id"))

    @app.get("/id")
    def id() -> str:
        return str(session.id)

    @app.get("/untouched")
    def untouched() -> str:
        return "untouched"

    return app.extensions["buffalo_session"]


class TestRequests:
    def test_only_a_request_that_uses_the_session_rotates_its_id(
        self, server_store: Store, later: ShiftedClock
    ) -> None:
        """It sets the cookie once and needs no other store operation."""
        counting = Counting(server_store)
        app = make_app(counting, SESSION_RENEW_AFTER=100)
        with_views(app)
        client = app.test_client()
        client.get("/login")
        later.pass_by(101)
        counting.calls.clear()
        assert "Set-Cookie" not in client.get("/untouched").headers
        assert counting.calls == []
        assert "Set-Cookie" in client.get("/user").headers
        assert counting.calls == ["load", "save", "save"]
        counting.calls.clear()
        assert "Set-Cookie" not in client.get("/user").headers
        assert counting.calls == ["load"]

    def test_cookie_sessions_rotate_only_with_a_revocation_list(
        self, later: ShiftedClock
    ) -> None:
        """Without the list a cookie session has no id that could be retired."""
        for config, rotates in (({}, False), ({"SESSION_REVOCATION": "memory:"}, True)):
            app = make_app("cookie", SESSION_RENEW_AFTER=100, **config)
            with_views(app)
            client = app.test_client()
            client.get("/login")
            thief = app.test_client()
            cookie = client.get_cookie("_buffalo_session")
            assert cookie is not None
            thief.set_cookie("_buffalo_session", cookie.value)
            later.pass_by(101)
            assert ("Set-Cookie" in client.get("/user").headers) is rotates
            assert client.get("/user").text == "ann"
            later.pass_by(31)
            assert thief.get("/user").text == ("None" if rotates else "ann")

    def test_gorilla_sessions_on_a_server_are_rotated(
        self, later: ShiftedClock
    ) -> None:
        """The dates are among the values, so a record has them after its first use."""
        app = make_app(MemoryStore(), SESSION_FORMAT="gorilla", SESSION_RENEW_AFTER=100)
        with_views(app)
        client = app.test_client()
        client.get("/login")
        for _ in range(3):
            first = client.get("/id").text
            later.pass_by(101)
            assert client.get("/user").text == "ann"
            assert client.get("/id").text != first
            later.pass_by(10)
            assert "Set-Cookie" not in client.get("/user").headers


def test_rotation_does_not_make_a_cookie_too_large(later: ShiftedClock) -> None:
    """Otherwise a view that only reads would fail."""
    app = make_app(
        "cookie",
        MAX_COOKIE_SIZE=400,
        SESSION_REVOCATION="memory:",
        SESSION_RENEW_AFTER=100,
    )
    with_views(app)

    @app.get("/fill/<int:size>")
    def fill(size: int) -> str:
        session["filling"] = "x" * size
        return "filled"

    client = app.test_client()
    sizes = iter(range(400))
    while client.get(f"/fill/{next(sizes)}").status_code == 200:
        pass
    later.pass_by(101)
    assert "Set-Cookie" in client.get("/user").headers


def test_a_request_with_the_old_id_sends_the_new_one_again(
    later: ShiftedClock,
) -> None:
    """The browser may have lost the answer that rotated the id."""
    revocations = RevocationList(MemoryStore(), HOUR)
    for desk in (
        Desk(MemoryStore(), rotate_after=100),
        Desk(CookieStore(), rotate_after=100, revocations=revocations),
    ):
        cookie, _ = cookies_after_rotation(desk, later)
        reading = opened(desk, cookie)
        reading.save()
        later.pass_by(31)
        assert desk.values(cookie) == {}
        assert desk.values(str(reading.cookie)) == {"a": 1}


def test_only_one_of_two_cookie_sessions_rotates(later: ShiftedClock) -> None:
    """The other request does not replace the newer cookie."""
    revocations = RevocationList(MemoryStore(), HOUR)
    desk = Desk(CookieStore(), rotate_after=100, revocations=revocations)
    cookie = desk.stored(a=1)
    later.pass_by(101)
    first, second = opened(desk, cookie), opened(desk, cookie)
    first.save()
    second.save()
    assert second.cookie is None
    assert desk.values(str(first.cookie)) == {"a": 1}
    assert desk.values(cookie) == {"a": 1}
    later.pass_by(31)
    assert desk.values(cookie) == {}


@pytest.mark.parametrize("codec", [NativeCodec(), GorillaCodec()])
def test_a_record_keeps_the_date_of_the_last_rotation(codec: Codec) -> None:
    """Both formats do. A record without a date is shorter."""
    raw = codec.encode(1, "a")
    for rotated in (0, 1, 1_800_000_000):
        record = Record(5, b"", {"a": raw}, rotated)
        assert codec.loads(codec.dumps(record)) == record
    plain = codec.dumps(Record(5, b"", {"a": raw}))
    assert len(plain) < len(codec.dumps(Record(5, b"", {"a": raw}, 1)))


@pytest.mark.parametrize("rest", [[-1], ["1"], [True], [10**12], [1, 2], [None]])
def test_a_native_record_with_a_malformed_date_is_rejected(rest: list[t.Any]) -> None:
    """A record of another length is rejected, too."""
    import zlib

    import ormsgpack

    body = ormsgpack.packb([5, b"", {}, *rest])
    with pytest.raises(RejectedError):
        NativeCodec().loads(b"\x01" + zlib.crc32(body).to_bytes(4) + body)


def test_an_id_is_not_rotated_early(clock: Clock) -> None:
    """An id of 99.9 seconds is kept; an id of 100 seconds is rotated."""
    desk = Desk(MemoryStore(), rotate_after=100)
    clock.now = float(int(clock.now))
    cookie = desk.stored(a=1)
    clock.tick(99.9)
    session = opened(desk, cookie)
    session.save()
    assert session.cookie is None
    clock.tick(0.1)
    session = opened(desk, cookie)
    session.save()
    assert session.cookie
