"""Index sessions by owner, and revoke them."""

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
from tests.conftest import (
    OWNED,
    SECRET,
    STORES,
    Clock,
    Desk,
    make_app,
    store_named,
    url,
)
from tests.support.servers import RedisServer, Servers

pytestmark = pytest.mark.usefixtures("records")

OTHERS = sorted(set(STORES) - set(OWNED))

HOUR = 3600


@pytest.fixture(params=OTHERS)
def ownerless(request: pytest.FixtureRequest, servers: Servers) -> Store:
    return store_named(request.param, servers)


@pytest.fixture(params=["server", "cookie"])
def app(request: pytest.FixtureRequest, owned: t.Any, records: None) -> Flask:
    """An application whose store indexes owners: a server-side store, or cookie
    sessions with such a store as the revocation list.
    """
    encrypt = bool(Desk.secrets)
    if request.param == "server":
        return make_app(owned, SESSION_ENCRYPT=encrypt)
    return make_app("cookie", SESSION_REVOCATION=owned, SESSION_ENCRYPT=encrypt)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Return an owner that no other test uses."""
    return f"{request.node.name} {time.monotonic_ns()}"


class TestStores:
    """A store that supports owners keeps the promises of :class:`Owned`."""

    def test_isinstance_recognizes_a_store_with_owners(self, owned: t.Any) -> None:
        """The extension asks this way whether a store supports owners."""
        assert isinstance(owned, Owned)

    def test_records_are_found_by_owner(self, owned: t.Any, name: str) -> None:
        """Each with its data and the time when it was indexed."""
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

    def test_deleted_and_expired_records_are_not_found(
        self, owned: t.Any, name: str
    ) -> None:
        """Their entries are removed from the index."""
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
        assert list(owned.owned("nobody at all")) == []

    def test_revoke_deletes_a_record(self, owned: t.Any, name: str) -> None:
        """It deletes the record by its key, and only once."""
        token = owned.save(None, b"data", expected=None, max_age=HOUR)
        owned.own(token, name, max_age=HOUR)
        assert owned.revoke(storage_key(token)) == b"data"
        assert owned.revoke(storage_key(token)) is None
        assert owned.load(token) is None
        assert list(owned.owned(name)) == []
        with pytest.raises(SessionConflictError):
            owned.save(token, b"new", expected=b"data", max_age=HOUR)

    def test_revoke_keeps_a_tombstone(self, owned: t.Any) -> None:
        """A late request must not start another session under the id."""
        for data in (tombstone(), forwarding(MOVED, "old", "new")):
            token = owned.save(None, data, expected=None, max_age=HOUR)
            assert owned.revoke(storage_key(token)) == data
            assert owned.load(token) == data
            owned.delete(token)
            assert owned.load(token) is None

    def test_an_owner_may_contain_any_character(self, owned: t.Any, name: str) -> None:
        """Names of users are not limited to ASCII."""
        token = owned.save(None, b"data", expected=None, max_age=HOUR)
        for odd in ("é", "a b", "x" * 5000, "'; drop", "*", "\udc80"):
            owner = odd + name
            owned.own(token, owner, max_age=HOUR)
            assert [found.data for found in owned.owned(owner)] == [b"data"]


def test_redis_drops_expired_entries_of_an_owner(servers: Servers) -> None:
    """Each entry has its own lifetime. The cost of an entry does not grow with the
    owner's past sessions.
    """
    import redis

    with redis.Redis(port=servers.shared(RedisServer).port) as client:
        prefix = f"litter-{time.monotonic_ns()}:"
        store = RedisStore(client, prefix=prefix)
        long, short, last = (
            store.save(None, b"data", expected=None, max_age=HOUR) for _ in range(3)
        )
        store.own(long, "ann", max_age=HOUR)
        store.own(short, "ann", max_age=1)
        keys = client.keys(f"{prefix}owner:*")
        assert len(keys) == 2
        assert all(HOUR - 10 < client.ttl(key) <= HOUR for key in keys)
        assert len(list(store.owned("ann"))) == 2
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


def test_the_owner_is_indexed_by_bind_and_by_each_refresh() -> None:
    """Other saves do not write to the index."""
    store = MemoryStore()
    desk = Desk(store)
    session = desk.session()
    session.bind("ann")
    session.save()
    indexed: list[str] = []

    def own(token: str, owner: str, *, max_age: int) -> None:
        assert max_age > desk.policy.idle_timeout
        indexed.append(owner)

    store.own = own  # type: ignore[method-assign]
    for refresh_due, changes, times in ((False, True, 0), (True, False, 1)):
        desk.refresh_due = refresh_due
        later = desk.session(session.cookie)
        assert later.owner == "ann"
        if changes:
            later["a"] = 1
        later.save()
        assert indexed == [desk.owner_name("ann")] * times


def use(app: Flask) -> BuffaloSession:
    """Add the views that log in and out; return the extension."""

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
    def test_a_user_sees_all_of_their_sessions(self, app: Flask, name: str) -> None:
        """Each browser is listed, and the current one is flagged."""
        use(app)
        phone, desk = app.test_client(), app.test_client()
        for client in (phone, desk):
            assert client.get(f"/login/{name}").text == name
        listed: t.Any = phone.get("/mine").json
        assert [current for _, current, _ in listed].count(True) == 1
        assert len(listed) == 2
        with desk.session_transaction() as of_desk:
            assert t.cast(t.Any, of_desk).id in {row[0] for row in listed}

    def test_revoking_the_other_sessions_keeps_the_current_one(
        self, app: Flask, name: str
    ) -> None:
        """For example after a change of the password."""
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

    def test_a_session_with_a_new_id_stays_indexed(self, app: Flask, name: str) -> None:
        """The retired id is not listed."""
        extension = use(app)
        client = app.test_client()
        client.get(f"/login/{name}")
        for _ in range(2):
            client.get("/regenerate")
            with app.app_context():
                assert len(extension.sessions_of(name)) == 1

    def test_a_logout_removes_the_session_from_the_list(
        self, app: Flask, name: str
    ) -> None:
        """The owner has no sessions afterwards."""
        extension = use(app)
        client = app.test_client()
        client.get(f"/login/{name}")
        client.get("/logout")
        with app.app_context():
            assert extension.sessions_of(name) == []
            assert extension.revoke_all(name) == 0

    def test_a_login_of_another_user_leaves_the_first_ones_list(
        self, app: Flask, name: str
    ) -> None:
        """Both use the same browser, without a logout in between."""
        extension = use(app)
        client = app.test_client()
        client.get(f"/login/{name}")
        client.get(f"/login/{name}-2")
        with app.app_context():
            assert extension.sessions_of(name) == []
            assert len(extension.sessions_of(f"{name}-2")) == 1
            assert extension.revoke_all(name) == 0
        assert client.get("/user").text == f"{name}-2"

    def test_revoke_ends_one_session(self, app: Flask, name: str) -> None:
        """It works outside of a request and emits a signal."""
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

    def test_revoke_all_and_clear_in_one_request_are_one_logout(
        self, app: Flask, name: str
    ) -> None:
        """The response removes the cookie, and the sessions emit nothing but that they
        were destroyed.
        """
        extension = use(app)
        emitted: list[str] = []

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
                        lambda sender, signal=signal, **_: emitted.append(signal.name),
                        app,
                    )
                )
            response = client.get("/everywhere")
        assert response.text == "2"
        assert "Max-Age=0" in response.headers["Set-Cookie"]
        assert emitted == ["session-destroyed"] * 2
        assert client.get("/user").text == "None"

    @pytest.mark.parametrize(
        "text", ["", "x", "owner:" + "0" * 64, "\ud800", "A" * 64, "0" * 65, "0" * 63]
    )
    def test_revoke_of_a_malformed_id_returns_false(
        self, app: Flask, text: str
    ) -> None:
        """The id may come from a form. The store is not asked."""
        extension = use(app)
        with app.app_context():
            assert extension.revoke(text) is False

    @pytest.mark.parametrize("nothing", [None, b"x", 5])
    def test_revoke_requires_a_str(self, app: Flask, nothing: t.Any) -> None:
        """``session.id`` is None before the first save."""
        extension = use(app)
        with app.app_context(), pytest.raises(TypeError, match=r"revoke\(\).*not an? "):
            extension.revoke(nothing)

    def test_an_application_without_the_extension_is_an_error(self) -> None:
        """``init_app`` was not called."""
        with (
            Flask("shop").app_context(),
            pytest.raises(SessionConfigError, match="has no BuffaloSession"),
        ):
            BuffaloSession().sessions_of("ann")

    def test_a_session_past_its_absolute_timeout_is_not_listed(
        self, name: str, clock: Clock
    ) -> None:
        """Its record may still be in the store."""
        app = make_app(MemoryStore(), SESSION_ABSOLUTE_TIMEOUT=100)
        extension = use(app)
        app.test_client().get(f"/login/{name}")
        with app.app_context():
            assert len(extension.sessions_of(name)) == 1
            clock.tick(102)
            assert extension.sessions_of(name) == []

    def test_last_seen_moves_with_each_refresh(self, clock: Clock) -> None:
        """It is exact to a tenth of the idle time-out. A session is listed as long as
        it lives.
        """
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

    def test_a_store_without_owners_raises(self, ownerless: Store) -> None:
        """An empty list would be wrong. The error names stores that support owners."""
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
        """Any other value lasts as long. Listing sessions raises an error."""
        app = make_app("null")
        extension = use(app)
        assert app.test_client().get("/login/ann").text == "ann"
        with app.app_context(), pytest.raises(SessionUnsupportedError):
            extension.sessions_of("ann")

    def test_two_applications_with_one_extension(self) -> None:
        """Each application uses its own store."""
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


def test_revoke_all_ends_sessions_as_it_finds_them(
    owned: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that fails in between has ended some. The rest can be ended later."""
    desk = Desk(owned)
    owner = f"ann {time.time_ns()}"
    for _ in range(4):
        session = desk.session()
        session.bind(owner)
        session.save()
    owners, revoke, calls = Owners(desk.backend, desk), owned.revoke, list[str]()

    def failing(session_id: str) -> bytes | None:
        calls.append(session_id)
        if len(calls) == 3:
            raise SessionStoreError("it", "is away")
        return t.cast("bytes | None", revoke(session_id))

    with monkeypatch.context() as patch:
        patch.setattr(owned, "revoke", failing)
        with pytest.raises(SessionStoreError):
            owners.revoke_all(owner)
    assert len(owners.sessions_of(owner)) == 2
    assert owners.revoke_all(owner) == 2


def test_redis_ends_the_first_session_before_it_reads_the_last(
    servers: Servers,
) -> None:
    """So the first of very many ends at once."""
    store = t.cast(t.Any, url(servers.shared(RedisServer).url))
    owner = f"ann {time.time_ns()}"
    tokens = [store.save(None, b"data", expected=None, max_age=HOUR) for _ in range(3)]
    for token in tokens:
        store.own(token, owner, max_age=HOUR)
    found = iter(store.owned(owner))
    first = next(found)
    for token in tokens:
        store.delete(token)
    assert list(found) == []
    assert first.data == b"data"


class TestBinding:
    @pytest.mark.parametrize("owner", ["", True, 1.5, None, b"ann"])
    def test_bind_requires_a_str_or_an_int(self, owner: t.Any) -> None:
        """Anything else is an error."""
        with pytest.raises(SessionTypeError, match=r"^session\.bind\(\): .* not empty"):
            Desk(MemoryStore()).session().bind(owner)

    @pytest.mark.parametrize(
        "raw", [b"\xc1", b"\xc7\x05\x14\x92\xa1x\x01\x01", b"\x90"]
    )
    def test_an_owner_that_cannot_be_decoded_counts_as_none(self, raw: bytes) -> None:
        """Malformed bytes, an unregistered class, or no str."""
        store = MemoryStore()
        desk = Desk(store)
        session = desk.session()
        session.bind("ann")
        session.save()
        token = session.cookie
        assert token
        assert Owners(desk.backend, desk).sessions_of("ann")
        data = desk.data_of(Record(1, b"", {OWNER_NAME: raw}), token)
        store.save(token, data, expected=store.load(token), max_age=60)
        assert Owners(desk.backend, desk).sessions_of("ann") == []

    def test_an_unbound_session_has_no_owner(self) -> None:
        """``session.owner`` is None."""
        assert Desk(MemoryStore()).session().owner is None

    def test_a_failing_index_prevents_the_save(self, owned: t.Any) -> None:
        """Otherwise the index would miss a session that has this owner."""
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

    @pytest.mark.parametrize("how", ["first", "refresh", "login"])
    @pytest.mark.parametrize("listed", [False, True])
    def test_a_new_id_that_cannot_be_indexed_is_deleted(
        self, owned: t.Any, name: str, how: str, listed: bool
    ) -> None:
        """No browser has its cookie, so the index must not list it."""
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
        known = {found.id for found in owned.owned(desk.owner_name(name))}
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
        assert {found.id for found in owned.owned(desk.owner_name(name))} == known

    def test_a_failing_refresh_of_the_index_keeps_the_old_entry(
        self, owned: t.Any
    ) -> None:
        """The cookie session keeps its id and its owner."""
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

    def test_a_failed_cleanup_does_not_replace_the_first_error(
        self, owned: t.Any
    ) -> None:
        """The store can neither index the new record nor delete it."""
        session = Desk(owned).session()
        session.bind("ann")

        def failing(*args: t.Any, **settings: t.Any) -> None:
            raise SessionStoreError(
                "it", "cannot index" if settings else "cannot delete"
            )

        owned.own = owned.delete = failing
        with pytest.raises(SessionStoreError, match="cannot index"):
            session.save()

    @pytest.mark.parametrize("moment", ["save", "own"])
    def test_revoke_all_during_regenerate_ends_the_session(
        self, app: Flask, owned: t.Any, name: str, moment: str
    ) -> None:
        """Either ``revoke_all`` sees the new id, or ``regenerate`` deletes it."""
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

    def test_redis_finds_an_id_that_is_regenerated_during_the_listing(
        self, servers: Servers, name: str
    ) -> None:
        """The store reads the owner's ids first and the records afterwards. A session
        may get a new id in between.
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

    def test_revoke_all_ends_an_id_that_is_regenerated_after_the_listing(
        self, app: Flask, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The listed id is retired by then."""
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
def test_the_index_agrees_with_the_session_whichever_write_fails(
    owned: t.Any, failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``bind`` to another owner takes several writes. The index lists the session under
    the owner that the session names.
    """
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
    owner_of_cookie = desk.session(cookie).owner
    assert owner_of_cookie == (ann if failing < 3 else bob)
    owners = Owners(desk.backend, desk)
    for owner in (ann, bob):
        assert len(owners.sessions_of(owner)) == (owner == owner_of_cookie)


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
def test_a_value_that_cannot_be_an_owner_is_an_error(
    owned: t.Any, owner: t.Any
) -> None:
    """``revoke_all(session.owner)`` in an unbound session passes None, for example."""
    desk = Desk(owned)
    owners = Owners(desk.backend, desk)
    for ask in (owners.sessions_of, owners.revoke_all, Desk(owned).session().bind):
        with pytest.raises(SessionTypeError, match="a str that is not empty"):
            ask(owner)


@pytest.mark.parametrize("listed", [False, True])
def test_changing_the_owner_changes_the_id(owned: t.Any, listed: bool) -> None:
    """Removing the owner changes the id, too. Binding the first owner, or the same one
    again, does not.
    """
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
