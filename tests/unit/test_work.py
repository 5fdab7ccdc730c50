"""Test the session with a fake backend, and the backends without a session."""

from __future__ import annotations

import typing as t

import pytest

from flask_buffalo_session import CookieStore, MemoryStore, Session
from flask_buffalo_session.backends.base import EndedError, Ending, Snapshot
from flask_buffalo_session.backends.cookie import CookieBackend
from flask_buffalo_session.backends.null import NullBackend
from flask_buffalo_session.backends.server import ServerBackend
from flask_buffalo_session.codec import Codec, Record
from flask_buffalo_session.errors import (
    RejectedError,
    SessionConflictError,
    SessionSecretError,
    SessionStoreError,
    SessionTooLargeError,
)
from flask_buffalo_session.native.codec import NativeCodec
from flask_buffalo_session.policy import Policy
from flask_buffalo_session.revocation import RevocationList
from flask_buffalo_session.seal import Ticket
from flask_buffalo_session.stores.base import storage_key
from flask_buffalo_session.tombstones import (
    ENDED,
    MOVED,
    REPLACED,
    is_tombstone,
    kind_of,
    tombstone,
)
from flask_buffalo_session.work import Opened
from tests.conftest import Clock

CODEC = NativeCodec()
POLICY = Policy(CODEC, idle_timeout=3600, permanent_lifetime=3600)


class Fake(NullBackend):
    """A backend that keeps one session in an attribute."""

    keeps = True
    snapshot = Snapshot(Record(5, b"n", {"a": CODEC.encode(1, "a")}), "token")

    def load(self, ticket: Ticket) -> Snapshot:
        return self.snapshot

    def write(self, seen: Snapshot, record: Record, **_: t.Any) -> Snapshot:
        self.snapshot = Snapshot(record, "token", cookie="a new cookie")
        return self.snapshot

    def rotate(self, seen: Snapshot, record: Record, *, kind: bytes) -> Snapshot:
        self.snapshot = Snapshot(record, f"rotated {kind.decode()}", cookie="rotated")
        return self.snapshot


class Application:
    """Open sessions on a fake backend."""

    codec: Codec = CODEC
    policy = POLICY
    auth_names: tuple[t.Hashable, ...] = ("user_id",)
    owner_limit: int | None = None

    def __init__(self) -> None:
        self.backend = Fake()
        self.emitted: list[str] = []

    def open(self, source: object) -> Opened:
        return Opened(self.backend, Ticket("token", int(POLICY.idle_timeout), None))

    def listens_to(self, signal: object) -> bool:
        return True

    def emit(self, signal: t.Any, *_: object, **__: object) -> None:
        self.emitted.append(signal.name)


class TestSession:
    """With a fake backend."""

    def test_a_session_loads_once_on_first_access(self) -> None:
        """It holds the values that the backend returns."""
        session = Session(Application(), None)
        assert not session.loaded
        assert session["a"] == 1
        assert session.loaded
        assert not session.new

    def test_a_session_saves_the_changes_of_the_tracker(self) -> None:
        """It sends the cookie that the backend made."""
        app = Application()
        session = Session(app, None)
        session["b"] = [2]
        session.save()
        assert session.cookie == "a new cookie"
        assert dict(Session(app, None)) == {"a": 1, "b": [2]}

    @pytest.mark.parametrize(
        ("change", "kind"),
        [
            (lambda session: session.regenerate(), REPLACED),
            (lambda session: session.set("user_id", 1), ENDED),
            (lambda session: (session.regenerate(), session.bind("ann")), ENDED),
        ],
        ids=["regenerate", "login", "another owner"],
    )
    def test_a_late_logout_may_follow_only_to_the_same_user(
        self, change: t.Any, kind: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The kind of the tombstone decides."""
        monkeypatch.setattr(Fake, "check_owners", lambda self: None)
        app = Application()
        session = Session(app, None)
        change(session)
        session.save()
        assert app.backend.snapshot.token == f"rotated {kind.decode()}"

    def test_a_conflict_is_merged_with_the_reloaded_session(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The session applies this request's changes to the stored values."""
        app = Application()
        theirs = Record(5, b"n", {"c": CODEC.encode(3, "c")})
        write, failing = app.backend.write, [True]

        def conflicting(*args: t.Any, **settings: t.Any) -> Snapshot:
            if failing.pop() if failing else False:
                raise SessionConflictError("changed")
            return write(*args, **settings)

        monkeypatch.setattr(app.backend, "write", conflicting)
        monkeypatch.setattr(
            app.backend, "reload", lambda seen: Snapshot(theirs, "token")
        )
        session = Session(app, None)
        session["b"] = 2
        session.save()
        assert dict(session) == {"b": 2, "c": 3}

    def test_a_session_that_ended_is_dropped_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The cookie is left alone, and one conflict is emitted."""
        app = Application()

        def ended(seen: Snapshot, *args: t.Any, **settings: t.Any) -> Snapshot:
            raise EndedError

        monkeypatch.setattr(app.backend, "write", ended)
        cookies = []
        session = Session(app, None)
        for value in (1, 2):
            session["b"] = value
            session.save()
            cookies.append(session.cookie)
        assert cookies == [None, None]
        assert app.emitted == ["session-conflict"]


def sealed(token: str, *, permanent: bool, values: object, **_: t.Any) -> str:
    return f"cookie of {len(token)} bytes"


def record(**values: object) -> Record:
    return Record(5, b"", {name: CODEC.encode(v, name) for name, v in values.items()})


def ticket(snapshot: Snapshot) -> Ticket:
    """Return the ticket that the session's cookie gives in a later request."""
    return Ticket(snapshot.token or "", snapshot.issued - 1, None)


class TestServerBackend:
    """With a store and no session."""

    @pytest.fixture
    def memory(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def backend(self, memory: MemoryStore) -> ServerBackend:
        return ServerBackend(memory, CODEC, POLICY, sealed)

    def test_a_written_record_is_loaded_under_its_token(
        self, backend: ServerBackend
    ) -> None:
        """The id is the hash of the token."""
        written = backend.write(backend.blank(), record(a=1), changed=["a"])
        assert written.cookie == "cookie of 43 bytes"
        found = backend.load(ticket(written))
        assert found.record == written.record
        assert backend.id_of(found) == storage_key(str(written.token))

    def test_only_a_new_session_or_a_refresh_makes_a_cookie(
        self, backend: ServerBackend
    ) -> None:
        """A session that becomes permanent makes one, too."""
        first = backend.write(backend.blank(), record(a=1), changed=["a"])
        seen = first._replace(cookie=None)
        changed = first.record._replace(values=record(a=2).values)
        second = backend.write(seen, changed, changed=["a"])
        assert second.cookie is None
        due = second._replace(issued=0)
        assert backend.write(due, changed, changed=()).cookie
        permanent = record(_permanent=True)._replace(nonce=changed.nonce)
        assert backend.write(second, permanent, changed=["_permanent"]).cookie

    def test_a_write_over_a_newer_record_is_a_conflict(
        self, backend: ServerBackend
    ) -> None:
        """Reloading shows the newer one."""
        seen = backend.write(backend.blank(), record(a=1), changed=["a"])
        newer = backend.write(seen, record(a=2), changed=["a"])
        with pytest.raises(SessionConflictError):
            backend.write(seen, record(a=3), changed=["a"])
        assert backend.reload(seen).record == newer.record

    @pytest.mark.parametrize("kind", [ENDED, MOVED, REPLACED])
    def test_a_rotated_session_is_stored_only_under_its_new_id(
        self, backend: ServerBackend, memory: MemoryStore, kind: t.Any
    ) -> None:
        """Only an id that was rotated by age forwards requests."""
        seen = backend.write(backend.blank(), record(a=1), changed=["a"])
        written = backend.rotate(seen, seen.record, kind=kind)
        mark = memory.load(str(seen.token))
        assert is_tombstone(mark)
        assert kind_of(mark) == kind
        if kind == MOVED:
            assert backend.load(ticket(seen)).token == written.token
            assert backend.reload(seen).token == written.token
        else:
            with pytest.raises(EndedError):
                backend.load(ticket(seen))
            with pytest.raises(EndedError):
                backend.reload(seen)
        ended = backend.end(Ending(seen, tombstone()))
        assert ended is (kind != ENDED)
        assert is_tombstone(memory.load(str(written.token))) is ended

    def test_a_failed_rotation_leaves_no_new_record(
        self, backend: ServerBackend, memory: MemoryStore
    ) -> None:
        """The old id stays alive."""
        seen = backend.write(backend.blank(), record(a=1), changed=["a"])
        save, made = memory.save, []

        def failing(token: str | None, data: bytes, **settings: t.Any) -> str:
            if is_tombstone(data):
                raise SessionStoreError("memory", "is full")
            made.append(save(token, data, **settings))
            return made[-1]

        memory.save = failing  # type: ignore[method-assign]
        with pytest.raises(SessionStoreError, match="is full"):
            backend.rotate(seen, seen.record, kind=MOVED)
        assert [memory.load(token) for token in made] == [None]
        assert backend.load(ticket(seen)).token == seen.token

    def test_a_full_store_can_still_end_a_session(
        self, backend: ServerBackend, memory: MemoryStore
    ) -> None:
        """It refuses the tombstone, so the record is deleted."""
        seen = backend.write(backend.blank(), record(a=1), changed=["a"])

        def full(*args: t.Any, **settings: t.Any) -> str:
            raise SessionStoreError("memory", "is full")

        memory.save = full  # type: ignore[method-assign]
        assert backend.end(Ending(seen, tombstone()))
        assert memory.load(str(seen.token)) is None

    @pytest.mark.parametrize("first", ["rotated", "ended", "deleted"])
    def test_a_full_store_respects_the_write_of_another_request(
        self, backend: ServerBackend, memory: MemoryStore, first: str
    ) -> None:
        """The write comes before the session can delete the record."""
        seen = backend.write(backend.blank(), record(a=1), changed=["a"])
        written = None
        if first == "rotated":
            written = backend.rotate(seen, seen.record, kind=MOVED)
        elif first == "ended":
            backend.end(Ending(seen, tombstone()))
        else:
            memory.delete(str(seen.token))

        def full(*args: t.Any, **settings: t.Any) -> str:
            raise SessionStoreError("memory", "is full")

        memory.save = full  # type: ignore[method-assign]
        assert backend.end(Ending(seen, tombstone())) is (first == "rotated")
        if written is not None:
            assert memory.load(str(written.token)) is None

    def test_the_flag_in_the_cookie_makes_a_session_permanent(
        self, backend: ServerBackend
    ) -> None:
        """Without the flag, the session's values decide."""
        seen = backend.write(backend.blank(), record(_permanent=True), changed=["a"])
        assert seen.permanent
        assert backend.load(ticket(seen)).permanent
        assert not backend.load(ticket(seen)._replace(permanent=False)).permanent

    def test_swapping_values_keeps_the_rest(self, backend: ServerBackend) -> None:
        """The result is what a later write compares with."""
        seen = backend.write(backend.blank(), record(a=1, b=2), changed=["a"])
        rest = seen.record._replace(values=record(b=2).values)
        swapped = backend.swap(seen, rest)
        assert swapped == backend.load(ticket(seen))._replace(
            issued=seen.issued, cookie=seen.cookie
        )
        backend.write(swapped, rest, changed=["b"])

    def test_swapping_values_does_not_prolong_the_session(self, clock: Clock) -> None:
        """The record still ends at the absolute time-out."""
        limited = Policy(
            CODEC,
            idle_timeout=3600,
            absolute_timeout=100,
            permanent_lifetime=3600,
        )
        memory = MemoryStore()
        backend = ServerBackend(memory, CODEC, limited, sealed)
        began = record(a=1, b=2)._replace(created=int(clock.now))
        seen = backend.write(backend.blank(), began, changed=["a"])
        clock.tick(50)
        backend.swap(seen, seen.record._replace(values=record(b=2).values))
        clock.tick(51)
        assert memory.load(str(seen.token)) is None

    def test_a_reload_keeps_the_cookie_unless_the_id_moved(
        self, backend: ServerBackend, clock: Clock
    ) -> None:
        """Then the cookie with the new id has to be sent."""
        seen = backend.write(backend.blank(), record(a=1), changed=["a"])
        clock.tick(100)
        assert backend.reload(seen).issued == seen.issued
        backend.rotate(seen, seen.record, kind=MOVED)
        clock.tick(5)
        assert backend.reload(seen).issued == 0

    def test_a_session_can_expire_before_it_is_reloaded(self, clock: Clock) -> None:
        """It is rejected as it would be when it is loaded."""
        limited = Policy(
            CODEC,
            idle_timeout=3600,
            absolute_timeout=100,
            permanent_lifetime=3600,
        )
        backend = ServerBackend(MemoryStore(), CODEC, limited, sealed)
        began = record(a=1)._replace(created=int(clock.now))
        seen = backend.write(backend.blank(), began, changed=["a"])
        # The store keeps it longer than this application allows.
        backend.write(seen, began._replace(created=int(clock.now) - 50), changed=["a"])
        clock.tick(49)
        assert backend.reload(seen)
        clock.tick(0.5)
        late = ServerBackend(MemoryStore(), CODEC, limited, sealed)
        old = late.write(late.blank(), began._replace(created=0), changed=["a"])
        for ask in (late.reload, lambda snapshot: late.load(ticket(snapshot))):
            with pytest.raises(RejectedError) as caught:
                ask(old)
            assert caught.value.reason == "expired"
            assert caught.value.session_id == late.id_of(old)

    def test_a_refresh_that_fails_leaves_the_record(
        self, backend: ServerBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Only a new session is deleted when its cookie cannot be made."""
        errors = [False, True]

        def failing(token: str, *, permanent: bool, values: object, **_: t.Any) -> str:
            if errors.pop(0):
                raise SessionTooLargeError(5000, 4093, [])
            return "cookie"

        memory = MemoryStore()
        backend = ServerBackend(memory, CODEC, POLICY, failing)
        seen = backend.write(backend.blank(), record(a=1), changed=["a"])
        with pytest.raises(SessionTooLargeError):
            backend.write(seen._replace(issued=0), seen.record, changed=())
        assert memory.load(str(seen.token)) == seen.data
        errors.append(True)
        with pytest.raises(SessionTooLargeError):
            backend.write(backend.blank(), record(a=1), changed=["a"])
        assert memory.prune() == 0

    def test_the_sealer_gets_the_values(self) -> None:
        """An error can then name the largest value."""
        given: list[t.Any] = []

        def sealing(token: str, *, permanent: bool, values: object, **_: t.Any) -> str:
            given.append(values)
            return "cookie"

        for backend in (
            ServerBackend(MemoryStore(), CODEC, POLICY, sealing),
            CookieBackend(CookieStore(), CODEC, POLICY, sealing),
        ):
            backend.write(backend.blank(), record(a=1), changed=["a"])
        assert given == [record(a=1).values] * 2

    def test_an_unknown_id_is_rejected(self, backend: ServerBackend) -> None:
        """The error carries the id's hash."""
        with pytest.raises(RejectedError) as caught:
            backend.load(Ticket("unknown", 0, None))
        assert caught.value.reason == "unknown"
        assert caught.value.session_id == storage_key("unknown")


class TestCookieBackend:
    """With and without a revocation list."""

    @pytest.fixture(params=[False, True], ids=["alone", "with a list"])
    def backend(self, request: pytest.FixtureRequest) -> CookieBackend:
        revocations = RevocationList(MemoryStore(), 3600) if request.param else None
        return CookieBackend(CookieStore(), CODEC, POLICY, sealed, revocations)

    def test_the_token_is_the_record(self, backend: CookieBackend) -> None:
        """Each write makes a cookie."""
        written = backend.write(backend.blank(), record(a=1), changed=["a"])
        assert written.cookie
        found = backend.load(ticket(written))
        assert found.record == written.record

    def test_a_malformed_token_is_rejected(self, backend: CookieBackend) -> None:
        """Whatever characters it has."""
        for token, reason in (("\u20ac", "unknown"), ("text", "corrupt")):
            with pytest.raises(RejectedError) as caught:
                backend.load(Ticket(token, 0, None))
            assert caught.value.reason == reason

    def test_a_loaded_session_is_the_one_that_was_written(
        self, backend: CookieBackend
    ) -> None:
        """Its bytes stay, unless something changes."""
        written = backend.write(backend.blank(), record(a=1), changed=["a"])
        found = backend.load(ticket(written))
        assert found == written._replace(issued=found.issued, cookie=None)
        again = backend.write(found, found.record, changed=())
        assert again.data == written.data
        assert backend.load(ticket(written)._replace(permanent=True)).permanent

    def test_a_session_without_values_is_removed(self, backend: CookieBackend) -> None:
        """With its cookie, and its id if it has one."""
        seen = backend.write(backend.blank(), record(a=1), changed=["a"])
        removed = backend.write(seen, record(), changed=["a"])
        assert (removed.token, removed.cookie) == (None, "")
        if backend.id_of(seen) is None:
            assert backend.load(ticket(seen)).record == seen.record
        else:
            with pytest.raises(EndedError):
                backend.load(ticket(seen))

    def test_a_rotated_id_forwards_to_the_new_one(self, backend: CookieBackend) -> None:
        """The old cookie then writes under the new id, and does not rotate again."""
        seen = backend.write(backend.blank(), record(a=1), changed=["a"])
        written = backend.rotate(seen, seen.record, kind=MOVED)
        found = backend.load(ticket(seen))
        if backend.id_of(seen) is None:
            assert found.record.nonce == seen.record.nonce
            return
        assert found.record.nonce == written.record.nonce
        assert found.record.rotated
        reloaded = backend.reload(seen)
        assert reloaded.record.nonce == written.record.nonce
        assert backend.write(reloaded, reloaded.record, changed=()).data != seen.data

    def test_an_owner_follows_to_the_new_id(self) -> None:
        """The reloaded session knows the entry of its new id."""
        revocations = RevocationList(MemoryStore(), 3600)
        backend = CookieBackend(CookieStore(), CODEC, POLICY, sealed, revocations)
        seen = backend.write(
            backend.blank(), record(_owner_="ann"), changed=["_owner_"]
        )
        written = backend.rotate(seen, seen.record, kind=MOVED)
        assert backend.reload(seen).entry == written.entry is not None
        assert backend.end(Ending(backend.reload(seen), tombstone()))


class TestNullBackend:
    def test_null_mode_stores_nothing(self) -> None:
        """Values last for the request."""
        backend = NullBackend()
        backend.check_writable()
        written = backend.write(backend.blank(), record(a=1), changed=["a"])
        assert written.token is None
        assert backend.load(Ticket("token", 0, None)).record.values == {}

    def test_the_first_write_raises_the_refusal(self) -> None:
        """For an application without a secret."""
        with pytest.raises(SessionSecretError, match="no secret"):
            NullBackend("there is no secret").check_writable()
