"""What a page "where you are logged in" shows: ``info`` and ``authenticated_at``."""

from __future__ import annotations

import time
import typing as t

import pytest
from werkzeug.datastructures import ImmutableMultiDict

from flask_buffalo_session import BuffaloSession, CookieStore, MemoryStore, session
from flask_buffalo_session.backends.base import INFO_NAME
from flask_buffalo_session.errors import SessionTypeError, SessionUnsupportedError
from flask_buffalo_session.owners import Owners, SessionInfo
from flask_buffalo_session.revocation import RevocationList
from tests.conftest import Clock, Desk, Formatting, make_app

pytestmark = pytest.mark.usefixtures("records")

HOUR = 3600

INFO = {"browser": "Firefox on Linux", "address": "192.0.2.7"}

listed = pytest.mark.parametrize("listed", [False, True], ids=["server", "cookie"])


def opener(store: t.Any, *, listed: bool) -> Desk:
    if listed:
        return Desk(CookieStore(), revocations=RevocationList(store, HOUR))
    return Desk(store)


@pytest.fixture
def owner(request: pytest.FixtureRequest) -> str:
    """Return an owner that no other test uses."""
    return f"{request.node.name} {time.monotonic_ns()}"


def only(desk: Desk, owner: str) -> SessionInfo:
    (info,) = Owners(desk.backend, desk).sessions_of(owner)
    return info


def bound(desk: Desk, owner: str, info: t.Any, cookie: str | None = None) -> str:
    session = desk.session(cookie)
    session.bind(owner, info)
    session.save()
    return str(session.cookie or cookie)


@listed
def test_another_owner_has_not_logged_in(
    owned: t.Any, owner: str, listed: bool
) -> None:
    """A login counts for the owner that logged in, in whatever order it is said."""
    desk = opener(owned, listed=listed)
    session = desk.session()
    session.authenticate()
    session.bind(owner)
    session.save()
    assert only(desk, owner).authenticated_at
    session = desk.session(session.cookie)
    session.bind(f"{owner} too")
    assert session.authenticated_at is None
    session.save()
    assert only(desk, f"{owner} too").authenticated_at is None
    assert not desk.session(session.cookie).is_fresh(60)
    for act in ("authenticate first", "bind first"):
        session = desk.session(session.cookie)
        if act == "authenticate first":
            session.authenticate()
        session.bind(f"{owner} {act}")
        if act == "bind first":
            session.authenticate()
        session.save()
        assert only(desk, f"{owner} {act}").authenticated_at


@pytest.mark.parametrize("first", ["user", "owner"])
def test_two_users_log_in_within_a_second(first: str, clock: Clock) -> None:
    """The second login has the date of the first, and counts nevertheless."""
    desk = Desk(MemoryStore(), auth_names=("user_id",))
    session = desk.session()
    session["user_id"] = 1
    session.bind("ann")
    session.save()
    session = desk.session(session.cookie)
    if first == "user":
        session["user_id"] = 2
    session.bind("bob")
    session["user_id"] = 2
    session.save()
    assert desk.session(session.cookie).is_fresh(60)


def test_a_logout_takes_back_the_login_of_its_request(clock: Clock) -> None:
    """Also where the session has no earlier date."""
    desk = Desk(MemoryStore())
    session = desk.session()
    session["user_id"] = 1
    session.save()
    desk.auth_names = ("user_id",)
    session = desk.session(session.cookie)
    session["theme"] = "dark"
    session.authenticate()
    session.delete("user_id")
    session.save()
    assert desk.session(session.cookie).authenticated_at is None


@listed
def test_info_is_listed(owned: t.Any, owner: str, listed: bool) -> None:
    """Without info, or with an empty dict, the list has an empty dict."""
    desk = opener(owned, listed=listed)
    cookie = bound(desk, owner, None)
    assert only(desk, owner).info == {}
    cookie = bound(desk, owner, INFO, cookie)
    assert only(desk, owner).info == INFO
    cookie = bound(desk, owner, None, cookie)
    assert only(desk, owner).info == INFO, "None keeps the earlier info"
    bound(desk, owner, {}, cookie)
    assert only(desk, owner).info == {}


@listed
def test_the_time_of_the_login_is_listed(
    owned: t.Any, owner: str, listed: bool
) -> None:
    """A session that is only bound has none."""
    desk = opener(owned, listed=listed)
    cookie = bound(desk, owner, INFO)
    assert only(desk, owner).authenticated_at is None
    session = desk.session(cookie)
    session.authenticate()
    session.save()
    found = only(desk, owner)
    assert found.authenticated_at == session.authenticated_at is not None
    assert found.info == INFO
    assert found.id == session.id


@listed
@pytest.mark.parametrize("info", [None, {"label": "new"}, INFO])
def test_info_goes_with_its_owner(
    owned: t.Any, owner: str, listed: bool, info: dict[str, str] | None
) -> None:
    """The next owner does not see where the earlier one logged in. The next owner's own
    info stays, even if it is the same.
    """
    desk = opener(owned, listed=listed)
    cookie = bound(desk, owner, INFO)
    cookie = bound(desk, f"{owner} 2", info, cookie)
    assert only(desk, f"{owner} 2").info == (info or {})
    bound(desk, owner, None, cookie)
    assert only(desk, owner).info == {}


@listed
@pytest.mark.parametrize("saved", [False, True])
def test_info_goes_with_its_owner_within_a_request(
    owned: t.Any, owner: str, listed: bool, saved: bool
) -> None:
    """Two owners, one after the other, in one request."""
    desk = opener(owned, listed=listed)
    session = desk.session()
    session.bind(owner, INFO)
    if saved:
        session.save()
    session.bind(f"{owner} 2")
    session.save()
    assert only(desk, f"{owner} 2").info == {}


def test_info_of_a_parallel_request_goes_with_its_owner() -> None:
    """The other request bound the session while this one changed its owner."""
    desk = Desk(MemoryStore())
    cookie = desk.stored(a=1)
    ours, theirs = desk.session(cookie), desk.session(cookie)
    assert ours["a"] == theirs["a"] == 1
    ours.bind("bob")
    theirs.bind("ann", INFO)
    theirs.save()
    ours.save()
    assert only(desk, "bob").info == {}


@listed
def test_authenticate_takes_info(owned: t.Any, owner: str, listed: bool) -> None:
    """With an owner, or about the owner that the session has."""
    desk = opener(owned, listed=listed)
    session = desk.session()
    session.authenticate(owner, INFO)
    session.save()
    assert only(desk, owner).info == INFO
    session = desk.session(session.cookie)
    session.authenticate(info={"label": "phone"})
    session.save()
    assert only(desk, owner).info == {"label": "phone"}


def test_info_needs_an_owner() -> None:
    """Nothing is changed by the call that fails."""
    session = Desk(MemoryStore()).session()
    with pytest.raises(SessionTypeError, match=r"^session\.authenticate\(\): .* owner"):
        session.authenticate(info=INFO)
    assert session.authenticated_at is None
    assert not session.modified


def test_info_needs_a_store_with_owners() -> None:
    """As an owner does."""
    session = Desk(CookieStore()).session()
    with pytest.raises(SessionUnsupportedError, match="SESSION_REVOCATION"):
        session.authenticate(info=INFO)
    for call in (session.authenticate, session.bind):
        with pytest.raises(SessionUnsupportedError, match="SESSION_REVOCATION"):
            call("ann", INFO)


@pytest.mark.parametrize(
    ("info", "problem"),
    [
        ("Firefox", r"a dict of str to str, not a str"),
        ([("browser", "x")], r"a dict of str to str, not a list"),
        ({"browser": None}, r"has a NoneType in it. Use str\(\)"),
        ({"port": 80}, r"has an int in it"),
        ({1: "x"}, r"has an int in it"),
        ({"browser": b"x"}, r"has a bytes in it"),
        ({"browser": "\udc80"}, r"lone surrogates"),
        ({"browser": "x" * 1011}, r"needs 1025 bytes as JSON, but only 1024"),
        ({"browser": "é" * 600}, r"needs 1214 bytes"),
    ],
)
def test_wrong_info_is_an_error(info: t.Any, problem: str) -> None:
    """When it is given. The message quotes no value, and the session is unchanged."""
    session = Desk(MemoryStore()).session()
    for name, call in (("bind", session.bind), ("authenticate", session.authenticate)):
        with pytest.raises(SessionTypeError, match=problem) as caught:
            call("ann", info)
        assert str(caught.value).startswith(f"session.{name}(): info ")
        assert "xxx" not in str(caught.value)
    assert session.owner is None
    assert not session.modified


def test_the_longest_info_and_any_mapping() -> None:
    """1,024 bytes of JSON are allowed."""
    desk = Desk(MemoryStore())
    longest = {"browser": "x" * 1010}
    cookie = bound(desk, "ann", longest)
    assert only(desk, "ann").info == longest
    bound(desk, "ann", ImmutableMultiDict({"a": "é"}), cookie)
    assert only(desk, "ann").info == {"a": "é"}


@pytest.mark.parametrize(
    "text", ["", "no JSON", "[1]", '"text"', '{"a": 1}', '{"a": null}', "[" * 100_000]
)
def test_strange_info_is_listed_as_none(text: str) -> None:
    """Another program wrote it. The list is there all the same."""
    desk = Desk(MemoryStore())
    cookie = bound(desk, "ann", INFO)
    for content in (text, 7):
        store, codec = desk.store, desk.codec
        record = desk.record(cookie)
        values = {**record.values, INFO_NAME: codec.encode(content, INFO_NAME)}
        data = desk.data_of(record._replace(values=values), cookie)
        store.save(cookie, data, expected=store.load(cookie), max_age=HOUR)
        assert only(desk, "ann").info == {}


def test_views_do_not_see_info() -> None:
    """It is no value of the session, and a logout that leaves only it ends it."""
    desk = Desk(MemoryStore(), auth_names=("user_id",))
    session = desk.session()
    session["user_id"] = 1
    session.bind("ann", INFO)
    session.save()
    assert dict(session) == {"user_id": 1, "_owner_": "ann"}
    with pytest.raises(SessionTypeError, match="the session itself uses this name"):
        session[INFO_NAME] = "{}"
    session = desk.session(session.cookie)
    del session["user_id"]
    session.save()
    assert session.cookie == ""
    assert Owners(desk.backend, desk).sessions_of("ann") == []


def test_every_format_keeps_info(formatting: Formatting, clock: Clock) -> None:
    """In a store on a server."""
    app = make_app(MemoryStore(), **formatting.settings("a secret " * 5))

    @app.get("/login")
    def login() -> str:
        session.authenticate("ann", INFO)
        return ""

    app.test_client().get("/login")
    extension: BuffaloSession = app.extensions["buffalo_session"]
    with app.app_context():
        (found,) = extension.sessions_of("ann")
    assert found.info == INFO
    assert found.authenticated_at
    assert found.authenticated_at.timestamp() == int(clock.now)
