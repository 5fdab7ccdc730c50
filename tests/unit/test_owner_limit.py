"""``SESSION_OWNER_LIMIT``: a login ends the owner's least recently used sessions."""

from __future__ import annotations

import collections.abc as c
import random
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from greenlet import greenlet

from flask_buffalo_session import CookieStore, MemoryStore, session, signals
from flask_buffalo_session.errors import SessionStoreError
from flask_buffalo_session.owners import Owners
from flask_buffalo_session.revocation import RevocationList
from flask_buffalo_session.sessions import Session
from flask_buffalo_session.stores.base import storage_key
from flask_buffalo_session.tombstones import is_tombstone
from tests.conftest import Clock, Desk, make_app
from tests.unit.test_schedules import Fault, Stepping

pytestmark = pytest.mark.usefixtures("slow_records")

HOUR = 3600

listed = pytest.mark.parametrize("listed", [False, True], ids=["server", "cookie"])


def limited(
    store: t.Any, limit: int | None, *, listed: bool, **settings: t.Any
) -> Desk:
    """Return an opener with an owner limit.

    :param listed: whether sessions live in cookies, and the store keeps the list of
        those that have ended.
    """
    if listed:
        revocations = RevocationList(store, HOUR)
        return Desk(
            CookieStore(), revocations=revocations, owner_limit=limit, **settings
        )
    return Desk(store, owner_limit=limit, **settings)


@pytest.fixture
def owner(request: pytest.FixtureRequest) -> str:
    """Return an owner that no other test uses."""
    return f"{request.node.name} {time.monotonic_ns()}"


def login(desk: Desk, owner: str, cookie: str | None = None) -> str:
    """Log in, and return the cookie."""
    session = desk.session(cookie)
    session.authenticate(owner)
    session.save()
    assert session.cookie
    return session.cookie


def living(desk: Desk, cookies: c.Iterable[str | None]) -> list[bool]:
    """Return which of these cookies still lead to a session with an owner."""
    return [bool(cookie and desk.session(cookie).owner) for cookie in cookies]


def destroyed(desk: Desk) -> int:
    return sum(signal == "destroyed" for signal, _ in desk.emitted)


@listed
def test_the_least_recently_used_session_ends(
    owned: t.Any, owner: str, listed: bool
) -> None:
    """The others stay, and so do those of other owners. Each end is reported."""
    desk = limited(owned, 2, listed=listed)
    other = login(desk, f"{owner} other")
    cookies = [login(desk, owner) for _ in range(4)]
    assert living(desk, cookies) == [False, False, True, True]
    assert living(desk, [other]) == [True]
    assert destroyed(desk) == 2
    assert len(Owners(desk.backend, desk).sessions_of(owner)) == 2


@listed
def test_use_counts_and_not_only_the_login(
    owner: str, listed: bool, clock: Clock
) -> None:
    """A session in use stays, although its user logged in first."""
    desk = limited(MemoryStore(), 2, listed=listed)
    cookies = [login(desk, owner) for _ in range(2)]
    clock.tick(HOUR / 2)
    in_use = desk.session(cookies[0])
    assert in_use.owner == owner
    in_use.save()
    assert in_use.cookie
    clock.tick(1)
    cookies[0] = in_use.cookie
    cookies.append(login(desk, owner))
    assert living(desk, cookies) == [True, False, True]


@listed
def test_a_limit_of_one_leaves_the_session_that_is_saved(
    owned: t.Any, owner: str, listed: bool
) -> None:
    """A first bind to a session that existed before counts as a login does."""
    desk = limited(owned, 1, listed=listed)
    first, other = login(desk, owner), desk.stored(a=1)
    session = desk.session(other)
    session.bind(owner)
    session.save()
    assert living(desk, [first, session.cookie or other]) == [False, True]


@listed
def test_a_change_of_owner_counts_for_the_new_owner(
    owned: t.Any, owner: str, listed: bool
) -> None:
    """The earlier owner's sessions stay."""
    desk = limited(owned, 1, listed=listed)
    first, second = login(desk, f"{owner} 1"), login(desk, f"{owner} 2")
    session = desk.session(second)
    session.bind(f"{owner} 1")
    session.save()
    assert living(desk, [first, second, session.cookie]) == [False, False, True]


@listed
@pytest.mark.parametrize("how", ["authenticate", "regenerate", "login"])
def test_a_new_id_counts_each_session_once(
    owned: t.Any, owner: str, listed: bool, how: str
) -> None:
    """The retired ids are no sessions. A lowered limit counts from the new id on."""
    desk = limited(owned, 3, listed=listed, auth_names=("user_id",))
    cookies = [login(desk, owner) for _ in range(3)]
    desk.owner_limit = 2
    for _ in range(3):
        session = desk.session(cookies[2])
        if how == "login":
            session["user_id"] = time.monotonic_ns()
        elif how == "authenticate":
            session.authenticate(owner)
        else:
            assert session.owner == owner
            session.regenerate()
        session.save()
        assert session.cookie
        cookies[2] = session.cookie
    assert living(desk, cookies) == [False, True, True]


@listed
def test_binding_again_costs_nothing(owner: str, listed: bool) -> None:
    """The same owner and the same info in every request: the store is only read."""
    store = Stepping()
    desk = limited(store, 2, listed=listed)
    info = {"browser": "Firefox"}
    session = desk.session()
    session.bind(owner, info)
    session.save()
    cookie, calls = str(session.cookie), []

    def again() -> None:
        session = desk.session(cookie)
        session.bind(owner, info)
        session.save()
        assert session.cookie is None

    request = greenlet(again)
    while not request.dead:
        request.switch()
    calls = store.calls
    assert calls == ["load"]


@listed
def test_without_a_limit_nothing_is_kept_or_counted(owner: str, listed: bool) -> None:
    """Neither the time of binding nor a look at the owner's sessions."""
    store = Stepping()
    desk = limited(store, None, listed=listed)
    request = greenlet(lambda: login(desk, owner))
    while not request.dead:
        request.switch()
    assert "owned" not in store.calls
    name = desk.owner_name(owner)
    (held,) = RevocationList(store, HOUR).owned(name) if listed else store.owned(name)
    assert "_bound_" not in desk.backend.opened(held.data, held.id).values


@listed
def test_a_login_that_fails_ends_nothing(
    owned: t.Any, owner: str, listed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session itself is stored before any other session ends."""
    desk = limited(owned, 1, listed=listed)
    first = login(desk, owner)
    session = desk.session()
    session.authenticate(owner)

    def failing(*args: t.Any, **how: t.Any) -> t.Any:
        raise SessionStoreError("it", "is away")

    for name in ("save", "own"):
        with monkeypatch.context() as patch:
            patch.setattr(owned, name, failing)
            with pytest.raises(SessionStoreError):
                session.save()
    assert session.cookie is None
    assert living(desk, [first]) == [True]
    assert len(Owners(desk.backend, desk).sessions_of(owner)) == 1


@listed
@pytest.mark.parametrize("failing", ["owned", "revoke"])
def test_a_failure_to_end_others_is_raised_and_tried_again(
    owned: t.Any,
    owner: str,
    listed: bool,
    failing: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The session is stored by then, so its cookie is sent. The next save does the
    rest, under the same id.
    """
    desk = limited(owned, 2, listed=listed)
    cookies: list[str | None] = [login(desk, owner) for _ in range(2)]
    session = desk.session()
    session.authenticate(owner)

    def unanswered(*args: t.Any, **how: t.Any) -> t.Any:
        raise SessionStoreError("it", "is away")

    with monkeypatch.context() as patch:
        # The list of ended cookie sessions ends a session by a save.
        is_save = listed and failing == "revoke"
        if not is_save:
            patch.setattr(owned, failing, unanswered)
        else:
            patch.setattr(RevocationList, "revoke", unanswered)
        for _ in range(2):
            with pytest.raises(SessionStoreError):
                session.save()
    assert session.modified
    cookies.append(session.cookie)
    assert living(desk, cookies) == [True, True, True]
    session_id = session.id
    session.save()
    assert session.id == session_id
    cookies[2] = session.cookie
    assert living(desk, cookies) == [False, True, True]
    assert not session.modified
    assert destroyed(desk) == 1


@listed
def test_a_request_of_the_ended_session_saves_nothing(
    owned: t.Any, owner: str, listed: bool
) -> None:
    """It was under way when another login ended its session."""
    desk = limited(owned, 1, listed=listed)
    late = desk.session(login(desk, owner))
    late["a"] = 1
    late.bind(f"{owner} again")
    login(desk, owner)
    late.save()
    assert ("conflict", None) in desk.emitted
    assert late.cookie is None
    assert Owners(desk.backend, desk).sessions_of(f"{owner} again") == []


@pytest.mark.parametrize("encrypt", [False, True])
@pytest.mark.parametrize("kept", ["server", "cookie"])
def test_the_setting(owned: t.Any, owner: str, kept: str, encrypt: bool) -> None:
    """In an application, with signals for the sessions that ended."""
    settings: dict[str, t.Any] = {"SESSION_OWNER_LIMIT": 2, "SESSION_ENCRYPT": encrypt}
    if kept == "server":
        app = make_app(owned, **settings)
    else:
        app = make_app("cookie", SESSION_REVOCATION=owned, **settings)

    @app.get("/login")
    def log_in() -> str:
        session.authenticate(owner)
        session.save()
        return str(session.id)

    @app.get("/user")
    def user() -> str:
        return str(session.owner)

    ended: list[str | None] = []

    def receive(sender: Flask, *, session_id: str | None, **extra: t.Any) -> None:
        ended.append(session_id)

    browsers = [app.test_client() for _ in range(4)]
    with signals.session_destroyed.connected_to(receive, app):
        ids = [browser.get("/login").text for browser in browsers]
    assert ended == ids[:2]
    users = [browser.get("/user").text for browser in browsers]
    assert users == ["None", "None", owner, owner]


@pytest.mark.parametrize("past", ["expired", "revoked", "ended by the limit"])
def test_the_cost_does_not_depend_on_past_sessions(
    owned: t.Any, owner: str, past: str
) -> None:
    """A login reads as many records after fifty sessions as after five."""
    desk = limited(owned, 2, listed=False)
    short = limited(owned, None, listed=False, idle_timeout=1)
    cost = []
    for count in (5, 50):
        for _ in range(count):
            login(desk if past == "ended by the limit" else short, owner)
        if past == "expired":
            time.sleep(2.1)
        elif past == "revoked":
            Owners(desk.backend, desk).revoke_all(owner)
        # Redis drops the entries of missing records when it lists them.
        for _ in range(3):
            login(desk, owner)
        cost.append(records_read(owned, owner, lambda: login(desk, owner)))
    assert cost[0] == cost[1] <= 4


@pytest.mark.parametrize("past", ["logged out", "rotated"])
def test_tombstones_cost_nothing_once_they_have_expired(
    owner: str, past: str, clock: Clock
) -> None:
    """A login reads as many records after fifty sessions as after five."""
    store = MemoryStore()
    desk = limited(store, 2, listed=False)
    cost = []
    for count in (5, 50):
        cookie = None
        for _ in range(count):
            cookie = login(desk, owner, cookie if past == "rotated" else None)
            if past == "logged out":
                session = desk.session(cookie)
                session.clear()
                session.save()
        clock.tick(61)
        for _ in range(3):
            clock.tick(1)
            login(desk, owner)
        clock.tick(1)
        cost.append(records_read(store, owner, lambda: login(desk, owner)))
    assert cost[0] == cost[1] == 3


@pytest.mark.parametrize("past", ["logged out", "rotated", "revoked"])
def test_ended_cookie_sessions_leave_the_index(
    owned: t.Any, owner: str, past: str
) -> None:
    """A login reads as many entries after forty ended sessions as after five, although
    the list keeps their tombstones.
    """
    desk = limited(owned, 2, listed=True)
    cost, cookies = [], []
    for count in (5, 40):
        cookie = None
        for _ in range(count):
            cookie = login(desk, owner, cookie if past == "rotated" else None)
            cookies.append(cookie)
            if past == "logged out":
                session = desk.session(cookie)
                session.clear()
                session.save()
        if past == "revoked":
            Owners(desk.backend, desk).revoke_all(owner)
        cookies += [login(desk, owner) for _ in range(3)]
        cost.append(records_read(owned, owner, lambda: login(desk, owner)))
    assert cost[0] == cost[1]
    assert not any(living(desk, cookies[:-1])), "an ended session came back"


def records_read(store: t.Any, owner: str, act: c.Callable[[], object]) -> int:
    """Return how many records of an owner the store reads meanwhile."""
    read = []
    owned = store.owned
    get = getattr(store, "_get", None)
    with pytest.MonkeyPatch.context() as patch:
        if get is not None:
            # Redis reads one record after the other, found or not.
            def getting(key: str) -> t.Any:
                read.append(key)
                return get(key)

            patch.setattr(store, "_get", getting)
        else:

            def counting(owner: str) -> list[t.Any]:
                found = list(owned(owner))
                read.extend(found)
                return found

            patch.setattr(store, "owned", counting)
        act()
    return len(read)


# Logins at the same time


class Race:
    """Logins of one owner at the same time.

    :param count: how many there are.
    :param limit: the owner limit.
    :param before: how many logins the owner had before.
    :param clock: stands still during the logins, if it is given.
    """

    def __init__(
        self,
        count: int,
        *,
        limit: int,
        before: int,
        listed: bool,
        clock: Clock | None = None,
        fault: Fault | None = None,
    ) -> None:
        self.limit, self.listed = limit, listed
        self.store = Stepping()
        self.before = [login(self.desk(), "ann") for _ in range(before)][-limit:]
        if clock is not None:
            clock.tick(1)
        self.store.tokens = {
            token
            for token in self.store.tokens
            if not is_tombstone(self.store.load(token))
        }
        self.store.fault = fault
        self.desks = [self.desk() for _ in range(count)]
        self.cookies: list[str | None] = [None] * count
        self.failed = [False] * count
        #: What the second request does instead of a login. It returns its cookie.
        self.second: c.Callable[[], str | None] | None = None

    def desk(self) -> Desk:
        return limited(self.store, self.limit, listed=self.listed)

    def log_in(self, number: int) -> None:
        if number == 1 and self.second is not None:
            self.cookies[1] = self.second()
            return
        session: Session = self.desks[number].session()
        session.authenticate("ann")
        try:
            session.save()
        except SessionStoreError:
            self.failed[number] = True
        self.cookies[number] = session.cookie

    def run(self, choose: c.Callable[[list[int]], int]) -> None:
        running = {
            number: greenlet(lambda number=number: self.log_in(number))
            for number in range(len(self.desks))
        }
        while running:
            number = choose(list(running))
            running[number].switch()
            if running[number].dead:
                del running[number]

    def run_pair(self, k: int, j: int) -> None:
        """Run the first login up to its k-th store call, then the second up to its
        j-th, then the rest of the first, and that of the second.
        """
        left = [k, j]

        def choose(waiting: list[int]) -> int:
            for number in waiting:
                if left[number]:
                    left[number] -= 1
                    return number
            return waiting[0]

        self.run(choose)

    def check(self) -> None:
        before = living(self.desk(), self.before)
        now = living(self.desk(), self.cookies)
        sessions = Owners((desk := self.desk()).backend, desk).sessions_of("ann")
        assert any(now) or all(self.failed), "the logins ended each other"
        if not self.store.failed:
            assert len(sessions) == sum(before) + sum(now), "a session has no browser"
            assert len(sessions) <= self.limit, "there are too many sessions"
            total = len(before) + len(now)
            assert len(sessions) == min(self.limit, total), "too many were ended"
            assert sum(now) == min(self.limit, len(now)), "an older session was kept"
            assert sum(map(destroyed, self.desks)) == total - len(sessions)
        elif not all(self.failed):
            assert now.count(False) <= sum(self.failed) + 1
        if self.store.failed:
            # The next login brings the sessions down to the limit.
            desk = self.desk()
            self.store.fault = None
            login(desk, "ann")
            sessions = Owners(desk.backend, desk).sessions_of("ann")
            assert len(sessions) <= self.limit, "too many sessions after a failure"


@listed
@pytest.mark.parametrize(("limit", "before"), [(1, 0), (1, 1), (2, 2), (2, 1), (3, 3)])
def test_two_logins_at_once_do_not_end_each_other(
    limit: int, before: int, listed: bool, clock: Clock
) -> None:
    """At every store call of one, the other runs up to every call of its own. As many
    sessions as allowed live, and the logins are among them.
    """
    calls = 12
    for k in range(1, calls):
        for j in range(1, calls):
            race = Race(2, limit=limit, before=before, listed=listed, clock=clock)
            race.run_pair(k, j)
            try:
                race.check()
            except AssertionError as error:
                error.add_note(f"at the calls {k} and {j}")
                raise


@listed
@pytest.mark.parametrize("moving", [False, True], ids=["one second", "real time"])
def test_random_logins_at_once(
    listed: bool, moving: bool, request: pytest.FixtureRequest
) -> None:
    """Three or four logins in a random order."""
    clock = None if moving else request.getfixturevalue("clock")
    chance = random.Random(f"{listed} {moving}")
    for _ in range(300):
        count, limit = chance.choice([3, 4]), chance.choice([1, 2, 3])
        before = chance.choice([0, 3])
        race = Race(count, limit=limit, before=before, listed=listed, clock=clock)
        picks: list[int] = []

        def choose(waiting: list[int], picks: list[int] = picks) -> int:
            picks.append(chance.choice(waiting))
            return picks[-1]

        race.run(choose)
        try:
            race.check()
        except AssertionError as error:
            error.add_note(f"limit {limit}, in the order {picks}")
            raise


@listed
def test_a_fault_during_two_logins(listed: bool, clock: Clock) -> None:
    """Whichever store call fails, one login lives unless both failed, and the next
    login brings the sessions down to the limit.
    """
    for k in range(1, 8):
        for number in range(1, 14):
            for kind in ("before", "after", "repeated"):
                fault = Fault(number, kind)
                race = Race(2, limit=1, before=1, listed=listed, fault=fault)
                race.run_pair(k, 1000)
                try:
                    race.check()
                except AssertionError as error:
                    error.add_note(f"at the call {k}, {fault}")
                    raise


@listed
@pytest.mark.parametrize("how", ["clear", "rotate", "regenerate", "set"])
@pytest.mark.parametrize("j", [1, 2, 3, 4, 1000])
def test_a_session_is_ended_while_a_request_uses_it(
    listed: bool, how: str, j: int, clock: Clock
) -> None:
    """One session lives, and nothing stays that no browser knows."""
    for k in range(1, 9):
        race = Race(2, limit=1, before=1, listed=listed, clock=clock)
        (cookie,) = race.before

        def use(desk: Desk = race.desks[1], cookie: str = cookie) -> str | None:
            if how == "rotate":
                desk.set_times(rotate_after=0)
            session = desk.session(cookie)
            assert session.loaded is False
            if how == "clear":
                session.clear()
            elif how == "regenerate":
                session.regenerate()
            elif how == "set":
                session["a"] = 1
            else:
                assert dict(session) is not None
            session.save()
            return session.cookie

        race.second = use
        race.run_pair(k, j)
        now = living(race.desk(), race.cookies)
        found = Owners((desk := race.desk()).backend, desk).sessions_of("ann")
        assert len(found) == sum(now) == 1, f"at the calls {k} and {j}"


@listed
def test_many_logins_at_once(owned: t.Any, owner: str, listed: bool) -> None:
    """In threads: as many sessions live as the limit says."""
    desk = limited(owned, 3, listed=listed)

    def log_in(_: object) -> str | None:
        session = desk.session()
        session.authenticate(owner)
        session.save()
        # None if later logins have ended the session before its answer was made.
        return session.cookie

    with ThreadPoolExecutor(6) as pool:
        cookies = list(pool.map(log_in, range(12)))
    assert sum(living(desk, cookies)) == 3
    assert len(Owners(desk.backend, desk).sessions_of(owner)) == 3


def test_two_clocks_that_disagree(clock: Clock) -> None:
    """The later login stays, although its machine's clock is behind."""
    store = MemoryStore()
    first = login(limited(store, 1, listed=False), "ann")
    clock.tick(-10)
    second = login(desk := limited(store, 1, listed=False), "ann")
    assert living(desk, [first, second]) == [False, True]


def test_a_session_without_a_time_of_binding_counts_as_earlier() -> None:
    """It was bound before the limit was set."""
    store = MemoryStore()
    cookies = [login(limited(store, None, listed=False), "ann") for _ in range(3)]
    desk = limited(store, 1, listed=False)
    cookies.append(login(desk, "ann"))
    assert living(desk, cookies) == [False, False, False, True]


def test_expected_guards_revoke(owned: t.Any) -> None:
    """A store deletes only the record that the caller has seen."""
    token = owned.save(None, b"one", expected=None, max_age=HOUR)
    key = storage_key(token)
    assert owned.revoke(key, expected=b"two") == b"one"
    assert owned.load(token) == b"one"
    assert owned.revoke(key, expected=b"one") == b"one"
    assert owned.load(token) is None
    assert owned.revoke(key, expected=b"one") is None
