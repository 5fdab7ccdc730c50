"""Ids that are replaced when they have grown old: ``SESSION_RENEW_AFTER``."""

from __future__ import annotations

import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask

from flask_buffalo_session import CookieStore, MemoryStore, Store, session
from flask_buffalo_session.codec import Codec, NativeCodec, Record
from flask_buffalo_session.errors import RejectedError, SessionStoreError
from flask_buffalo_session.gorilla.codec import GorillaCodec
from flask_buffalo_session.owners import Owners
from flask_buffalo_session.revocation import RevocationList
from flask_buffalo_session.sessions import Session
from tests.conftest import Clock, Counting, Desk, make_app

HOUR = 3600


class Later:
    """Sets this process' clock on; that of a store that is elsewhere goes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._now = time.time
        self._monkeypatch = monkeypatch
        self._by = 0.0

    def pass_by(self, seconds: float) -> None:
        self._by += seconds
        # cachelib has a name of its own for it.
        for name in ("time.time", "cachelib.file.time"):
            self._monkeypatch.setattr(name, lambda: self._now() + self._by)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    return Later(monkeypatch)


@pytest.fixture
def desk(server_store: Store) -> Desk:
    return Desk(server_store, idle_timeout=10 * HOUR, rotate_after=100)


def opened(desk: Desk, cookie: str) -> Session:
    """A request that has loaded the session."""
    session = desk.session(cookie)
    list(session)
    return session


def rotated(desk: Desk, later: Later) -> tuple[str, str]:
    """The cookies of a session that has just got a new id: the old one and the new."""
    cookie = desk.stored(a=1)
    later.pass_by(101)
    renewing = opened(desk, cookie)
    renewing.save()
    desk.emitted.clear()
    return cookie, str(renewing.cookie)


def test_an_old_id_is_replaced_by_being_used(desk: Desk, later: Later) -> None:
    """Reading is enough. The values stay, and so does the beginning."""
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


def test_the_new_id_grows_old_in_turn(desk: Desk, later: Later) -> None:
    """Its age counts from when it was given, not from the session's beginning."""
    cookie = desk.stored(a=1)
    for _ in range(3):
        later.pass_by(99)
        assert dict(opened(desk, cookie)) == {"a": 1}
        later.pass_by(2)
        renewing = opened(desk, cookie)
        renewing.save()
        assert renewing.cookie
        cookie = renewing.cookie


def test_handing_out_a_value_leaves_the_id_as_young_as_it_is(
    desk: Desk, later: Later
) -> None:
    """What is saved there and then keeps the date of the id too."""
    cookie = desk.stored(a=1, b=2)
    later.pass_by(101)
    renewing = opened(desk, cookie)
    renewing.save()
    assert renewing.cookie
    assert renewing.get_once("a") == 1
    claiming = desk.session(renewing.cookie)
    assert claiming.get_once("b") == 2
    claiming.save()
    assert claiming.cookie is None
    again = opened(desk, renewing.cookie)
    again.save()
    assert again.cookie is None


def test_the_old_id_leads_to_the_session_for_30_seconds(
    desk: Desk, later: Later
) -> None:
    """So parallel requests stay logged in. They do not set the new cookie."""
    cookie, new = rotated(desk, later)
    late = desk.session(cookie)
    assert dict(late) == {"a": 1}
    assert late.id == desk.session(new).id
    late["b"] = 2
    late.save()
    assert late.cookie is None
    assert desk.values(new) == {"a": 1, "b": 2}
    later.pass_by(29)
    assert desk.values(cookie) == {"a": 1, "b": 2}


def test_after_30_seconds_the_old_id_leads_nowhere(desk: Desk, later: Later) -> None:
    """It answers as an empty session that sets no cookie and writes nothing."""
    cookie, new = rotated(desk, later)
    later.pass_by(31)
    late = desk.session(cookie)
    assert dict(late) == {}
    late["b"] = 2
    late.save()
    assert late.cookie is None
    assert desk.values(new) == {"a": 1}


def test_what_another_request_changes_meanwhile_is_kept(
    desk: Desk, later: Later
) -> None:
    """It had begun before the renewal, so it is saved under the new id; the cookie is
    the other answer's to set.
    """
    cookie = desk.stored(a=1, log=[1], gone=1)
    later.pass_by(101)
    renewing, writing = opened(desk, cookie), opened(desk, cookie)
    writing["b"] = 2
    writing["log"].append(2)
    del writing["gone"]
    renewing["log"].append(3)
    renewing.save()
    writing.save()
    assert writing.cookie is None
    assert ("conflict", None) not in desk.emitted
    assert desk.values(str(renewing.cookie)) == {"a": 1, "b": 2, "log": [1, 3, 2]}


def test_one_of_two_renews(desk: Desk, later: Later) -> None:
    """There is one new id, whoever of them changed something."""
    cookie = desk.stored(a=1)
    later.pass_by(101)
    made: list[str] = []
    save = desk.store.save

    def noting(token: str | None, *args: t.Any, **kwargs: t.Any) -> str:
        result = save(token, *args, **kwargs)
        if token is None:
            made.append(result)
        return result

    desk.store.save = noting  # type: ignore[method-assign]
    first, second = opened(desk, cookie), opened(desk, cookie)
    second["b"] = 2
    first.save()
    second.save()
    assert second.cookie is None
    alive = [token for token in made if desk.store.load(token) is not None]
    assert alive == [first.cookie]
    assert desk.values(str(first.cookie)) == {"a": 1, "b": 2}


def test_one_of_many_at_once_renews(desk: Desk, later: Later) -> None:
    """In threads; no change of any of them is lost."""
    cookie = desk.stored(a=1)
    later.pass_by(101)
    sessions = [opened(desk, cookie) for _ in range(3)]

    def change(number: int) -> str | None:
        sessions[number][f"name-{number}"] = number
        sessions[number].save()
        return sessions[number].cookie

    with ThreadPoolExecutor(3) as pool:
        cookies = [new for new in pool.map(change, range(3)) if new is not None]
    assert len(cookies) == 1
    expected = {"a": 1} | {f"name-{number}": number for number in range(3)}
    assert desk.values(cookies[0]) == expected


def test_no_id_is_replaced_after_the_response(desk: Desk, later: Later) -> None:
    """There is none any more that could set the cookie: while streaming, say."""
    cookie = desk.stored(a=1)
    session = opened(desk, cookie)
    session.save()
    session.closed = True
    later.pass_by(101)
    session.save()
    assert desk.values(cookie) == {"a": 1}


def test_a_request_survives_two_renewals(desk: Desk, later: Later) -> None:
    """It is led from one id to the next."""
    cookie = desk.stored(a=1)
    later.pass_by(101)
    slow, renewing = opened(desk, cookie), opened(desk, cookie)
    slow["b"] = 2
    renewing.save()
    desk.set_times(rotate_after=0)
    again = opened(desk, str(renewing.cookie))
    again.save()
    assert again.cookie != renewing.cookie
    desk.set_times(rotate_after=100)
    slow.save()
    assert desk.values(str(again.cookie)) == {"a": 1, "b": 2}


def test_a_value_is_handed_out_once_over_a_renewal(desk: Desk, later: Later) -> None:
    """Whether it is taken before the renewal or after."""
    cookie = desk.stored(prize=1, other=2)
    later.pass_by(101)
    renewing, first, second = (opened(desk, cookie) for _ in range(3))
    assert first.get_once("prize") == 1
    renewing.save()
    assert renewing.cookie
    assert second.get_once("prize") is None
    assert second.get_once("other") == 2
    assert desk.session(renewing.cookie).get_once("other") is None


@pytest.mark.parametrize("end", ["clear", "destroy"])
def test_a_logout_ends_the_new_id_too(desk: Desk, later: Later, end: str) -> None:
    """It had begun under the old one."""
    cookie = desk.stored(a=1)
    later.pass_by(101)
    renewing, leaving = opened(desk, cookie), opened(desk, cookie)
    renewing.save()
    getattr(leaving, end)()
    leaving.save()
    assert leaving.cookie == ""
    assert desk.values(str(renewing.cookie)) == {}
    assert ("destroyed", None) in desk.emitted
    assert ("conflict", None) not in desk.emitted


@pytest.mark.parametrize("end", ["clear", "destroy"])
def test_a_logout_that_comes_late_ends_it_too(
    desk: Desk, later: Later, end: str
) -> None:
    """It arrives with the old cookie. Nobody is told "logged out" who is not."""
    cookie, new = rotated(desk, later)
    leaving = desk.session(cookie)
    getattr(leaving, end)()
    assert leaving.modified
    leaving.save()
    assert leaving.cookie == ""
    assert desk.emitted == [("destroyed", None)]
    assert desk.values(new) == {}
    leaving.save()
    assert desk.emitted == [("destroyed", None)]


def test_a_late_logout_drops_what_is_set_after_it(desk: Desk, later: Later) -> None:
    """The old id leads nowhere any more, so this is logged."""
    cookie, new = rotated(desk, later)
    later.pass_by(31)
    leaving = desk.session(cookie)
    leaving.clear()
    leaving["b"] = 2
    leaving.save()
    assert leaving.cookie is None
    assert desk.emitted == [("destroyed", None), ("conflict", None)]
    assert desk.values(new) == {}


def test_a_late_logout_that_fails_is_told_and_can_be_repeated(
    desk: Desk, later: Later
) -> None:
    """As any other save."""
    cookie, new = rotated(desk, later)
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
def test_a_logout_beside_regenerate_ends_the_session(
    desk: Desk, under_way: bool
) -> None:
    """The user was told that they are logged out. It does not matter whether the logout
    had loaded the session before.
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


def test_a_regenerated_id_does_not_lead_to_the_session(desk: Desk) -> None:
    """Only a logout follows; reading and writing do not."""
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
def test_a_logout_after_another_end_is_a_conflict(desk: Desk, first: str) -> None:
    """Nothing is left to end: a login's session belongs to another user."""
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


def test_a_late_logout_of_what_has_ended_since_is_told(
    desk: Desk, later: Later
) -> None:
    """After the renewal, by its new cookie."""
    cookie, new = rotated(desk, later)
    leaving = desk.session(cookie)
    leaving.clear()
    first = desk.session(new)
    first.clear()
    first.save()
    desk.emitted.clear()
    leaving.save()
    assert desk.emitted == [("conflict", None)]


def test_a_login_is_not_followed(desk: Desk, later: Later) -> None:
    """What was begun before somebody logged in is not saved after it, old id or not:
    who had the session before has no part in it.
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


def test_a_login_after_a_renewal_keeps_what_was_saved(desk: Desk, later: Later) -> None:
    """It replaces the new id, and not only the one that it came with."""
    cookie = desk.stored(a=1)
    later.pass_by(101)
    renewing, login = opened(desk, cookie), opened(desk, cookie)
    renewing["b"] = 2
    renewing.save()
    login.regenerate()
    login["user_id"] = 1
    login.save()
    assert desk.values(str(login.cookie)) == {"a": 1, "b": 2, "user_id": 1}
    assert desk.values(str(renewing.cookie)) == {}


@pytest.mark.parametrize("failing", [0, 1])
def test_a_store_that_fails_while_renewing_costs_nothing(
    desk: Desk, later: Later, failing: int
) -> None:
    """Whichever of the two writes it is, the old session goes on."""
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


def test_how_old_an_id_is_is_kept_over_two_saves(desk: Desk, later: Later) -> None:
    """Of one request, by which it does not grow younger or older."""
    cookie = desk.stored(a=1)
    later.pass_by(101)
    session = opened(desk, cookie)
    session.save()
    cookie = str(session.cookie)
    rotated = desk.codec.loads(desk.store.load(cookie) or b"").rotated
    later.pass_by(50)
    session = opened(desk, cookie)
    for number in (2, 3):
        session["a"] = number
        session.save()
        record = desk.codec.loads(desk.store.load(cookie) or b"")
        assert record.rotated == rotated > (record.created or 0)


def test_how_old_an_id_is_is_kept_where_it_counts(server_store: Store) -> None:
    """And takes no room where it does not."""
    for renew_after, kept in ((None, False), (100, True)):
        desk = Desk(server_store, rotate_after=renew_after)
        record = desk.codec.loads(server_store.load(desk.stored(a=1)) or b"")
        assert record.rotated == (record.created if kept else 0)


def test_ending_a_session_by_an_older_id_ends_it(owned: t.Any, later: Later) -> None:
    """It was listed before the renewal; nobody is told that it has ended otherwise."""
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


def test_ending_the_others_keeps_what_was_renewed_meanwhile(
    owned: t.Any, later: Later
) -> None:
    """However often; it is told by the id from before."""
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
        renewing = opened(desk, kept)
        renewing.save()
        kept = str(renewing.cookie)
    owners = Owners(desk.backend, desk)
    assert owners.revoke_all(owner, keep=keep) == 1
    assert desk.values(kept) == {"_owner_": owner}
    assert desk.values(other) == {}
    assert owners.revoke_all(owner) == 1


def test_an_id_that_was_given_up_cannot_be_ended(owned: t.Any) -> None:
    """The mark that it left is no session."""
    app = make_app(owned)
    extension = with_views(app)
    client = app.test_client()
    client.get("/login")
    old_id = client.get("/id").text
    client.get("/logout")
    with app.app_context():
        assert extension.revoke(old_id) is False


def test_what_cannot_be_ended_stays_given_up(owned: t.Any) -> None:
    """Requests under way with that id begin no other session in its place."""
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
    def test_only_a_request_that_uses_the_session_renews(
        self, server_store: Store, later: Later
    ) -> None:
        """With one cookie, once; nothing else is asked of the store."""
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

    def test_sessions_in_cookies_have_no_id_to_renew(self, later: Later) -> None:
        """Where there is a list of those that ended they have one."""
        for config, renews in (({}, False), ({"SESSION_REVOCATION": "memory:"}, True)):
            app = make_app("cookie", SESSION_RENEW_AFTER=100, **config)
            with_views(app)
            client = app.test_client()
            client.get("/login")
            thief = app.test_client()
            cookie = client.get_cookie("_buffalo_session")
            assert cookie is not None
            thief.set_cookie("_buffalo_session", cookie.value)
            later.pass_by(101)
            assert ("Set-Cookie" in client.get("/user").headers) is renews
            assert client.get("/user").text == "ann"
            assert thief.get("/user").text == "ann"
            later.pass_by(31)
            assert thief.get("/user").text == ("None" if renews else "ann")

    def test_gorillas_sessions_on_a_server_are_renewed(self, later: Later) -> None:
        """The dates go with the values, so they are there after the first use."""
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


def test_a_cookie_does_not_outgrow_its_limit_by_being_renewed(later: Later) -> None:
    """Nor is a view to blame that has written nothing."""
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


def test_of_two_cookie_sessions_one_renews(later: Later) -> None:
    """The other leaves the newer cookie alone."""
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
def test_a_record_keeps_when_its_id_was_given(codec: Codec) -> None:
    """In both formats, and nothing where it is not kept."""
    raw = codec.encode(1, "a")
    for renewed in (0, 1, 1_800_000_000):
        record = Record(5, b"", {"a": raw}, renewed)
        assert codec.loads(codec.dumps(record)) == record
    plain = codec.dumps(Record(5, b"", {"a": raw}))
    assert len(plain) < len(codec.dumps(Record(5, b"", {"a": raw}, 1)))


@pytest.mark.parametrize("rest", [[-1], ["1"], [True], [10**12], [1, 2], [None]])
def test_a_native_record_with_another_date_is_none(rest: list[t.Any]) -> None:
    """Nor one of another length."""
    import zlib

    import ormsgpack

    body = ormsgpack.packb([5, b"", {}, *rest])
    with pytest.raises(RejectedError):
        NativeCodec().loads(b"\x01" + zlib.crc32(body).to_bytes(4) + body)


def test_the_age_is_exact(clock: Clock) -> None:
    """Not before its time."""
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
