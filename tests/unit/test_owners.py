"""Whose sessions there are, and ending them from elsewhere."""

from __future__ import annotations

import time
import typing as t
from contextlib import ExitStack

import pytest
from flask import Flask

from flask_buffalo_session import (
    BuffaloSession,
    CookieStore,
    MemoryStore,
    RedisStore,
    Store,
    session,
    signals,
)
from flask_buffalo_session.backends.base import OWNER_NAME
from flask_buffalo_session.codec import Record
from flask_buffalo_session.errors import (
    SessionConfigError,
    SessionConflictError,
    SessionStoreError,
    SessionTypeError,
    SessionUnsupportedError,
)
from flask_buffalo_session.owners import Owners
from flask_buffalo_session.revocation import RevocationList
from flask_buffalo_session.stores.base import Owned, storage_key
from flask_buffalo_session.tombstones import MOVED, forwarding, tombstone
from tests.conftest import OWNED, SECRET, STORES, Clock, Desk, make_app, store_named
from tests.support.servers import RedisServer, Servers

OTHERS = sorted(set(STORES) - set(OWNED))

HOUR = 3600


@pytest.fixture(params=OTHERS)
def ownerless(request: pytest.FixtureRequest, servers: Servers) -> Store:
    return store_named(request.param, servers)


@pytest.fixture(params=["server", "cookie"])
def app(request: pytest.FixtureRequest, owned: t.Any) -> Flask:
    """An application with its sessions in a store that knows owners, or in cookies and
    only the list of those that ended in the store.
    """
    if request.param == "server":
        return make_app(owned)
    return make_app("cookie", SESSION_REVOCATION=owned)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """An owner no other test has."""
    return f"{request.node.name} {time.monotonic_ns()}"


class TestStores:
    """What :class:`Owned` promises."""

    def test_the_store_says_that_it_can(self, owned: t.Any) -> None:
        """To ``isinstance``, which the extension asks."""
        assert isinstance(owned, Owned)

    def test_records_are_found_by_owner(self, owned: t.Any, name: str) -> None:
        """Those noted, with their data and when they were noted."""
        tokens = [
            owned.save(None, data, expected=None, max_age=HOUR)
            for data in (b"one", b"two", b"other")
        ]
        for token, owner in zip(tokens, (name, name, f"{name}!"), strict=True):
            owned.own(token, owner, max_age=HOUR)
        held = {found.id: found for found in owned.owned(name)}
        assert held.keys() == {storage_key(token) for token in tokens[:2]}
        assert {found.data for found in held.values()} == {b"one", b"two"}
        assert all(abs(found.seen - time.time()) < 5 for found in held.values())

    def test_what_is_gone_is_not_found(self, owned: t.Any, name: str) -> None:
        """Deleted or expired; and it leaves no litter."""
        gone, short, kept = (
            owned.save(None, b"data", expected=None, max_age=max_age)
            for max_age in (HOUR, 1, HOUR)
        )
        for token in (gone, short, kept):
            owned.own(token, name, max_age=HOUR)
        owned.delete(gone)
        time.sleep(2.2)
        for _ in range(2):
            assert [found.id for found in owned.owned(name)] == [storage_key(kept)]
        assert owned.owned("nobody at all") == []

    def test_revoking_forgets_a_record(self, owned: t.Any, name: str) -> None:
        """By its key, and only once."""
        token = owned.save(None, b"data", expected=None, max_age=HOUR)
        owned.own(token, name, max_age=HOUR)
        assert owned.revoke(storage_key(token)) == b"data"
        assert owned.revoke(storage_key(token)) is None
        assert owned.load(token) is None
        assert owned.owned(name) == []
        with pytest.raises(SessionConflictError):
            owned.save(token, b"new", expected=b"data", max_age=HOUR)

    def test_revoking_leaves_what_marks_an_end(self, owned: t.Any) -> None:
        """It keeps requests under way from beginning another session there."""
        for mark in (tombstone(), forwarding(MOVED, "old", "new")):
            token = owned.save(None, mark, expected=None, max_age=HOUR)
            assert owned.revoke(storage_key(token)) == mark
            assert owned.load(token) == mark
            owned.delete(token)
            assert owned.load(token) is None

    def test_an_owner_is_anybody(self, owned: t.Any, name: str) -> None:
        """Whatever characters a name is made of."""
        token = owned.save(None, b"data", expected=None, max_age=HOUR)
        for odd in ("é", "a b", "x" * 5000, "'; drop", "*", "\udc80"):
            owner = odd + name
            owned.own(token, owner, max_age=HOUR)
            assert [found.data for found in owned.owned(owner)] == [b"data"]


def test_redis_drops_expired_entries_of_an_owner(servers: Servers) -> None:
    """Each by its own life, and a shorter life leaves the others alone. The cost of
    an entry does not grow with the owner's past sessions.
    """
    import redis

    with redis.Redis(port=servers.shared(RedisServer).port) as client:
        store = RedisStore(client, prefix="litter:")
        long, short, last = (
            store.save(None, b"data", expected=None, max_age=HOUR) for _ in range(3)
        )
        store.own(long, "ann", max_age=HOUR)
        store.own(short, "ann", max_age=1)
        keys = client.keys("litter:owner:*")
        assert len(keys) == 2
        assert all(HOUR - 10 < client.ttl(key) <= HOUR for key in keys)
        assert len(store.owned("ann")) == 2
        time.sleep(1.1)
        store.own(last, "ann", max_age=HOUR)
        held = {storage_key(long).encode(), storage_key(last).encode()}
        for key in keys:
            found = (
                client.hkeys(key)
                if client.type(key) == b"hash"
                else client.zrange(key, 0, -1)
            )
            assert set(found) == held


def test_an_owner_is_noted_when_it_is_told_and_with_each_renewal() -> None:
    """Other saves cost no more for it."""
    store = MemoryStore()
    desk = Desk(store)
    session = desk.session()
    session.bind("ann")
    session.save()
    noted: list[str] = []

    def own(token: str, owner: str, *, max_age: int) -> None:
        assert max_age > desk.policy.idle_timeout
        noted.append(owner)

    store.own = own  # type: ignore[method-assign]
    for refresh_due, changes, times in ((False, True, 0), (True, False, 1)):
        desk.refresh_due = refresh_due
        later = desk.session(session.cookie)
        assert later.owner == "ann"
        if changes:
            later["a"] = 1
        later.save()
        assert noted == ["ann"] * times


def use(app: Flask) -> BuffaloSession:
    """The extension of an application that logs in and out."""

    @app.get("/login/<name>")
    def login(name: str) -> str:
        session.regenerate()
        session["user_id"] = name
        session.bind(name)
        return str(session.owner)

    @app.get("/regenerate")
    def regenerate() -> str:
        session.regenerate()
        return "done"

    @app.get("/logout")
    def logout() -> str:
        session.clear()
        return "done"

    @app.get("/user")
    def user() -> str:
        return str(session.get("user_id"))

    @app.get("/mine")
    def mine() -> list[t.Any]:
        owner = session.owner
        assert owner is not None
        return [
            [info.id, info.current, info.created_at.isoformat()]
            for info in extension.sessions_of(owner)
        ]

    @app.get("/end-others")
    def end_others() -> str:
        owner = session.owner
        assert owner is not None
        return str(extension.revoke_all(owner, keep=session.id))

    extension: BuffaloSession = app.extensions["buffalo_session"]
    return extension


class TestExtension:
    def test_one_sees_where_one_is_logged_in(self, app: Flask, name: str) -> None:
        """Each browser, and which of them this is."""
        use(app)
        phone, desk = app.test_client(), app.test_client()
        for client in (phone, desk):
            assert client.get(f"/login/{name}").text == name
        listed: t.Any = phone.get("/mine").json
        assert [current for _, current, _ in listed].count(True) == 1
        assert len(listed) == 2
        with desk.session_transaction() as of_desk:
            assert t.cast(t.Any, of_desk).id in {row[0] for row in listed}

    def test_ending_the_others_keeps_this_one(self, app: Flask, name: str) -> None:
        """A changed password, say."""
        use(app)
        clients = [app.test_client() for _ in range(3)]
        for client in clients:
            client.get(f"/login/{name}")
        assert clients[0].get("/end-others").text == "2"
        assert [client.get("/user").text for client in clients] == [
            name,
            "None",
            "None",
        ]
        mine: t.Any = clients[0].get("/mine").json
        assert len(mine) == 1

    def test_a_new_id_stays_the_owners(self, app: Flask, name: str) -> None:
        """And the retired one is not listed."""
        extension = use(app)
        client = app.test_client()
        client.get(f"/login/{name}")
        for _ in range(2):
            client.get("/regenerate")
            with app.app_context():
                assert len(extension.sessions_of(name)) == 1

    def test_after_logout_there_is_none(self, app: Flask, name: str) -> None:
        """Ended is ended."""
        extension = use(app)
        client = app.test_client()
        client.get(f"/login/{name}")
        client.get("/logout")
        with app.app_context():
            assert extension.sessions_of(name) == []
            assert extension.revoke_all(name) == 0

    def test_another_users_login_is_not_the_first_ones(
        self, app: Flask, name: str
    ) -> None:
        """In the same browser, without a logout in between."""
        extension = use(app)
        client = app.test_client()
        client.get(f"/login/{name}")
        client.get(f"/login/{name}-2")
        with app.app_context():
            assert extension.sessions_of(name) == []
            assert len(extension.sessions_of(f"{name}-2")) == 1
            assert extension.revoke_all(name) == 0
        assert client.get("/user").text == f"{name}-2"

    def test_one_session_is_ended(self, app: Flask, name: str) -> None:
        """From outside of any request, and told of by a signal."""
        extension = use(app)
        client = app.test_client()
        client.get(f"/login/{name}")
        with app.app_context():
            (info,) = extension.sessions_of(name)
            assert not info.current
            assert abs(info.last_seen.timestamp() - time.time()) < 5
            assert extension.revoke(info.id) is True
            assert extension.revoke(info.id) is False
            assert extension.revoke("no such id") is False
        response = client.get("/user")
        assert response.text == "None"
        assert "Set-Cookie" not in response.headers

    def test_everywhere_may_be_here_too(self, app: Flask, name: str) -> None:
        """Ending all of them and then this one is one logout: the cookie is removed,
        and nothing is told but that sessions have ended.
        """
        extension = use(app)
        told: list[str] = []

        @app.get("/everywhere")
        def everywhere() -> str:
            count = extension.revoke_all(session.owner or "")
            session.clear()
            return str(count)

        client = app.test_client()
        client.get(f"/login/{name}")
        app.test_client().get(f"/login/{name}")
        with ExitStack() as stack:
            for signal in (signals.session_destroyed, signals.session_conflict):
                stack.enter_context(
                    signal.connected_to(
                        lambda sender, signal=signal, **_: told.append(signal.name), app
                    )
                )
            response = client.get("/everywhere")
        assert response.text == "2"
        assert "Max-Age=0" in response.headers["Set-Cookie"]
        assert told == ["session-destroyed"] * 2
        assert client.get("/user").text == "None"

    @pytest.mark.parametrize(
        "text", ["", "x", "owner:" + "0" * 64, "\ud800", "A" * 64, "0" * 65, "0" * 63]
    )
    def test_what_is_no_id_ends_nothing(self, app: Flask, text: str) -> None:
        """It may come out of a form. No store is asked."""
        extension = use(app)
        with app.app_context():
            assert extension.revoke(text) is False

    @pytest.mark.parametrize("nothing", [None, b"x", 5])
    def test_an_id_must_be_text(self, app: Flask, nothing: t.Any) -> None:
        """``session.id`` is None before the first save."""
        extension = use(app)
        with app.app_context(), pytest.raises(TypeError, match=r"revoke\(\).*not an? "):
            extension.revoke(nothing)

    def test_an_application_without_the_extension_is_named(self) -> None:
        """``init_app`` was not called."""
        with (
            Flask("shop").app_context(),
            pytest.raises(SessionConfigError, match="has no BuffaloSession"),
        ):
            BuffaloSession().sessions_of("ann")

    def test_the_absolute_timeout_counts(self, name: str, clock: Clock) -> None:
        """What is over is not listed, though its record is still there."""
        app = make_app(MemoryStore(), SESSION_ABSOLUTE_TIMEOUT=100)
        extension = use(app)
        app.test_client().get(f"/login/{name}")
        with app.app_context():
            assert len(extension.sessions_of(name)) == 1
            clock.tick(102)
            assert extension.sessions_of(name) == []

    def test_last_seen_moves_with_renewal(self, clock: Clock) -> None:
        """Known to a tenth of the idle time-out, and listed as long as it lives."""
        app = make_app(MemoryStore(), SESSION_IDLE_TIMEOUT=1000)
        extension = use(app)
        client = app.test_client()
        client.get("/login/ann")
        for _ in range(30):
            clock.tick(150)
            client.get("/user")
            with app.app_context():
                (info,) = extension.sessions_of("ann")
            assert info.last_seen.timestamp() == int(clock.now)

    def test_without_owners_there_is_an_error(self, ownerless: Store) -> None:
        """Not a list that is always empty. The error says what to choose."""
        advice = "Set SESSION_REVOCATION|Use RedisStore"
        app = make_app(ownerless, TESTING=True)
        extension = use(app)
        with app.app_context():
            for ask in (extension.sessions_of, extension.revoke, extension.revoke_all):
                with pytest.raises(SessionUnsupportedError, match=advice):
                    ask("ann")
        with pytest.raises(SessionUnsupportedError, match=advice):
            app.test_client().get("/login/ann")

    def test_null_mode_keeps_the_owner_for_the_request(self) -> None:
        """As any other write; asking for sessions is an error."""
        app = make_app("null")
        extension = use(app)
        assert app.test_client().get("/login/ann").text == "ann"
        with app.app_context(), pytest.raises(SessionUnsupportedError):
            extension.sessions_of("ann")

    def test_two_applications_with_one_extension(self) -> None:
        """Each asks its own store."""
        extension = BuffaloSession()
        apps = [Flask("one"), Flask("two")]
        for app in apps:
            app.config.update(SESSION_SECRET=SECRET, SESSION_STORE="memory:")
            extension.init_app(app)
        use(apps[0])
        apps[0].test_client().get("/login/ann")
        found = []
        for app in apps:
            with app.app_context():
                found.append(len(extension.sessions_of("ann")))
        assert found == [1, 0]


class TestBinding:
    @pytest.mark.parametrize("owner", ["", True, 1.5, None, b"ann"])
    def test_an_owner_is_a_str_or_an_int(self, owner: t.Any) -> None:
        """Anything else is an error."""
        with pytest.raises(SessionTypeError, match=r"^session\.bind\(\): .* not empty"):
            Desk(MemoryStore()).session().bind(owner)

    @pytest.mark.parametrize(
        "raw", [b"\xc1", b"\xc7\x05\x14\x92\xa1x\x01\x01", b"\x90"]
    )
    def test_an_owner_that_cannot_be_read_is_nobody(self, raw: bytes) -> None:
        """Malformed, of a type that is not registered, or no str."""
        store = MemoryStore()
        desk = Desk(store)
        session = desk.session()
        session.bind("ann")
        session.save()
        token = session.cookie
        assert token
        assert Owners(desk.backend, desk).sessions_of("ann")
        data = desk.codec.dumps(Record(1, b"", {OWNER_NAME: raw}))
        store.save(token, data, expected=store.load(token), max_age=60)
        assert Owners(desk.backend, desk).sessions_of("ann") == []

    def test_nobody_owns_a_session_that_was_not_bound(self) -> None:
        """The property says so."""
        assert Desk(MemoryStore()).session().owner is None

    def test_noting_fails_before_anything_is_saved(self, owned: t.Any) -> None:
        """A session that says it is somebody's can be found as theirs."""
        desk = Desk(owned)
        cookie = desk.stored(a=1)
        session = desk.session(cookie)
        session.bind("ann")

        def failing(*args: t.Any, **kwargs: t.Any) -> None:
            raise SessionStoreError("it", "is away")

        owned.own = failing
        with pytest.raises(SessionStoreError):
            session.save()
        assert session.cookie is None
        assert desk.values(cookie) == {"a": 1}

    @pytest.mark.parametrize("how", ["first", "renewal", "login"])
    @pytest.mark.parametrize("listed", [False, True])
    def test_what_cannot_be_noted_is_not_there(
        self, owned: t.Any, name: str, how: str, listed: bool
    ) -> None:
        """Under a new id. Nobody can use it, so nobody is to find it."""
        desk = Desk(owned)
        if listed:
            desk = Desk(CookieStore(), revocations=RevocationList(owned, HOUR))
        session = desk.session()
        session.bind(name)
        if how != "first":
            session.save()
            session = desk.session(session.cookie)
            assert session.owner == name
            session.regenerate() if how == "login" else desk.set_times(rotate_after=0)
        known = {found.id for found in owned.owned(name)}
        own, save, tokens = owned.own, owned.save, []

        def keep(*args: t.Any, **settings: t.Any) -> str:
            tokens.append(save(*args, **settings))
            return str(tokens[-1])

        def unanswered(*args: t.Any, **settings: t.Any) -> None:
            own(*args, **settings)
            raise SessionStoreError("it", "timed out")

        owned.save, owned.own = keep, unanswered
        with pytest.raises(SessionStoreError):
            session.save()
        assert tokens
        assert [owned.load(token) for token in tokens] == [None] * len(tokens)
        assert {found.id for found in owned.owned(name)} == known

    def test_what_cannot_be_noted_again_is_as_it_was_noted(self, owned: t.Any) -> None:
        """A session in a cookie, whose id stays its owner's."""
        known = RevocationList(owned, HOUR)
        desk = Desk(CookieStore(), revocations=known)
        session = desk.session()
        session.bind("ann")
        session.save()
        desk.refresh_due = True
        session = desk.session(session.cookie)
        assert session.owner == "ann"

        def failing(*args: t.Any, **settings: t.Any) -> None:
            raise SessionStoreError("it", "is away")

        owned.own = failing
        with pytest.raises(SessionStoreError):
            session.save()
        assert owned.load(f"ended:{session.id}")

    def test_what_cannot_be_undone_either_is_no_other_error(self, owned: t.Any) -> None:
        """The one that is told is the first."""
        session = Desk(owned).session()
        session.bind("ann")

        def failing(*args: t.Any, **settings: t.Any) -> None:
            raise SessionStoreError(
                "it", "cannot note" if settings else "cannot delete"
            )

        owned.own = owned.delete = failing
        with pytest.raises(SessionStoreError, match="cannot note"):
            session.save()

    @pytest.mark.parametrize("moment", ["save", "own"])
    def test_of_a_new_id_and_ending_all_one_is_first(
        self, app: Flask, owned: t.Any, name: str, moment: str
    ) -> None:
        """A session that gets a new id meanwhile does not slip through: revoking
        sees the new one, or the new one is not kept.
        """
        extension = use(app)
        client = app.test_client()
        client.get(f"/login/{name}")
        original = getattr(owned, moment)
        ended: list[bool] = []

        def meanwhile(*args: t.Any, **kwargs: t.Any) -> t.Any:
            result = original(*args, **kwargs)
            if not ended:
                ended.append(True)
                with app.app_context():
                    extension.revoke_all(name)
            return result

        setattr(owned, moment, meanwhile)
        client.get("/regenerate")
        delattr(owned, moment)
        assert ended
        assert client.get("/user").text == "None"
        with app.app_context():
            assert extension.sessions_of(name) == []

    def test_a_new_id_while_redis_looks_is_found(
        self, servers: Servers, name: str
    ) -> None:
        """Redis tells an owner's ids first and the records then: one that has ended
        in between has its successor among them.
        """
        import redis

        with redis.Redis(port=servers.shared(RedisServer).port) as client:
            app = make_app(RedisStore(client))
            extension = use(app)
            browser = app.test_client()
            browser.get(f"/login/{name}")
            execute, waiting = client.execute_command, ["/regenerate", "/regenerate"]

            def interrupted(*args: t.Any, **options: t.Any) -> t.Any:
                found = execute(*args, **options)
                if args[0] == "HGETALL" and waiting:
                    path = waiting.pop()
                    client.execute_command = execute
                    browser.get(path)
                    client.execute_command = interrupted
                return found

            client.execute_command = interrupted
            with app.app_context():
                assert extension.revoke_all(name) == 1
            assert not waiting
            assert browser.get("/user").text == "None"

    def test_a_new_id_between_listing_and_ending_is_ended_too(
        self, app: Flask, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Though under the listed one there is nothing left to end."""
        extension = use(app)
        client = app.test_client()
        client.get(f"/login/{name}")
        revoke = Owners.revoke
        regenerated: list[int] = []

        def late(self: Owners, session_id: str) -> bool:
            if not regenerated:
                regenerated.append(client.get("/regenerate").status_code)
            return revoke(self, session_id)

        monkeypatch.setattr(Owners, "revoke", late)
        with app.app_context():
            assert extension.revoke_all(name) == 1
        assert regenerated == [200]
        assert client.get("/user").text == "None"


@pytest.mark.parametrize("failing", range(4))
def test_a_session_is_never_nobodys_while_it_becomes_anothers(
    owned: t.Any, failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever write fails: it can be found by the owner whose it says that it is."""
    desk = Desk(owned)
    ann, bob = (f"{name} {time.time_ns()}" for name in ("ann", "bob"))
    session = desk.session()
    session.bind(ann)
    session.save()
    cookie = str(session.cookie)
    answers = iter([True] * failing + [False])

    def breaking(method: t.Any) -> t.Any:
        def call(*args: t.Any, **settings: t.Any) -> t.Any:
            if not next(answers, True):
                raise SessionStoreError("it", "is away")
            return method(*args, **settings)

        return call

    session = desk.session(cookie)
    assert session.owner == ann
    session.bind(bob)
    for name in ("save", "own"):
        monkeypatch.setattr(owned, name, breaking(getattr(owned, name)))
    try:
        session.save()
    except SessionStoreError:
        assert failing < 3
    else:
        assert failing == 3
        cookie = str(session.cookie)
    monkeypatch.undo()
    whose = desk.session(cookie).owner
    assert whose == (ann if failing < 3 else bob)
    owners = Owners(desk.backend, desk)
    for owner in (ann, bob):
        assert len(owners.sessions_of(owner)) == (owner == whose)


def test_an_int_is_kept_as_a_str(app: Flask) -> None:
    """``sessions_of`` and ``revoke_all`` find the owner by the int and by the str."""
    owner = time.monotonic_ns()

    @app.get("/login")
    def login() -> str:
        session.bind(owner)
        return repr(session.owner)

    assert app.test_client().get("/login").text == repr(str(owner))
    extension: BuffaloSession = app.extensions["buffalo_session"]
    with app.app_context():
        for name in (owner, str(owner)):
            assert len(extension.sessions_of(name)) == 1
        assert extension.revoke_all(owner) == 1
        assert extension.sessions_of(owner) == []


@pytest.mark.parametrize("owner", [None, "", False, 1.5, b"ann"])
def test_what_cannot_be_an_owner_is_an_error(owned: t.Any, owner: t.Any) -> None:
    """As for ``bind``: of ``revoke_all(session.owner)`` in a session that is nobody's,
    say.
    """
    desk = Desk(owned)
    owners = Owners(desk.backend, desk)
    for ask in (owners.sessions_of, owners.revoke_all, Desk(owned).session().bind):
        with pytest.raises(SessionTypeError, match="a str that is not empty"):
            ask(owner)


@pytest.mark.parametrize("listed", [False, True])
def test_another_owner_means_another_id(owned: t.Any, listed: bool) -> None:
    """And nobody is another one too; but the first one is not, nor is the same."""
    desk = Desk(owned)
    if listed:
        desk = Desk(CookieStore(), revocations=RevocationList(owned, HOUR))
    ids = []
    cookie = desk.stored(a=1)
    for owner in ("ann", "ann", "bob", None):
        session = desk.session(cookie)
        if owner is None:
            del session[OWNER_NAME]
        else:
            session.bind(owner)
        before = session.id
        session.save()
        cookie = session.cookie or cookie
        ids.append(session.id == before)
        assert desk.session(cookie).owner == owner
    assert ids == [True, True, False, False]
