"""Attackers who read or write the store, where ``SESSION_ENCRYPT`` is set.

A reader learns no value and no owner. A writer forges nothing: at most, sessions end or
return to an earlier state of their own.
"""

from __future__ import annotations

import hashlib
import time
import typing as t
from contextlib import suppress

import pytest
import redis
import sqlalchemy as sa
from flask import Flask

from flask_buffalo_session import (
    BuffaloSession,
    CookieStore,
    MemoryStore,
    Store,
    previous,
    session,
)
from flask_buffalo_session.backends.base import OWNER_NAME
from flask_buffalo_session.codec import Record
from flask_buffalo_session.errors import SessionConfigError, SessionSecretError
from flask_buffalo_session.native.codec import NativeCodec
from flask_buffalo_session.owners import Owners
from flask_buffalo_session.records import EncryptedIndex, RecordCipher
from flask_buffalo_session.stores.base import OwnedRecord, storage_key
from flask_buffalo_session.testing import session_of
from flask_buffalo_session.tombstones import (
    ARRIVED,
    MOVED,
    REPLACED,
    Kind,
    forwarding,
    is_tombstone,
    tombstone,
)
from tests.conftest import (
    FORMATS,
    NAME,
    SECRET,
    Clock,
    Desk,
    RecordingMemory,
    folder_of,
    store_named,
)
from tests.support.servers import PostgresServer, RedisServer, Servers
from tests.support.target import Target, record_of

ENCRYPTED = FORMATS["encrypted"]
NEW = "a new secret for the tests, long enough"

VALUE, LABEL, INFO = "VALUE-oolong", "NAME-cart", "INFO-firefox"
OWNER = "4242424242"

#: The stores whose bytes are looked through.
READ = ["memory", "redis", "sqlite", "postgresql"]


def everything_in(store: t.Any, kind: str, servers: Servers) -> set[bytes]:
    """Return everything that a reader of the store can find, keys included."""
    if kind == "memory":
        return {repr(vars(store)).encode()}
    if kind == "redis":
        return _everything_in_redis(servers.shared(RedisServer).port)
    if kind == "sqlite":
        address = f"sqlite:///{folder_of(kind, servers)}/sessions.db"
    else:
        address = servers.shared(PostgresServer).url.replace(":", "+psycopg:", 1)
    # The first use creates the table.
    store.load("no session")
    engine = sa.create_engine(address, poolclass=sa.NullPool)
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT * FROM buffalo_sessions")).all()
    return {
        bytes(cell) if isinstance(cell, bytes | memoryview) else str(cell).encode()
        for row in rows
        for cell in row
    }


def _everything_in_redis(port: int) -> set[bytes]:
    found: set[bytes] = set()
    with redis.Redis(port=port) as client:
        for key in client.scan_iter():
            with suppress(redis.ResponseError):
                found |= {key, client.get(key) or b""}
            with suppress(redis.ResponseError):
                for field, value in client.hgetall(key).items():
                    found |= {key, field, value}
    return found


def site(
    store: object, *, owner: str = OWNER, **config: t.Any
) -> tuple[Flask, BuffaloSession]:
    """Return an application whose views bind an owner and keep a value."""
    app = Flask("shop")
    app.config.update(SESSION_SECRET=SECRET, SESSION_ENCRYPT=True)
    app.config.update(SESSION_STORE=store, **config)
    buffalo = BuffaloSession(app)

    @app.get("/login")
    def login() -> str:
        session.authenticate(owner, info={"browser": INFO})
        session[LABEL] = VALUE
        session["once"] = "once"
        session.set_timeouts(idle=7777)
        return "ok"

    @app.get("/")
    def show() -> str:
        return f"{session.get(LABEL)} {session.owner}"

    @app.get("/once")
    def once() -> str:
        # Saved at once, apart from the rest.
        return str(session.get_once("once"))

    @app.get("/regenerate")
    def regenerate() -> str:
        session.regenerate()
        return "ok"

    @app.get("/logout")
    def logout() -> str:
        session.clear()
        return "ok"

    @app.get("/revoke")
    def revoke() -> str:
        return str(buffalo.revoke_all(owner))

    @app.get("/count")
    def count() -> str:
        return str(len(buffalo.sessions_of(owner)))

    return app, buffalo


def secrets_of(owner: str) -> list[bytes]:
    """Return what a reader might find of the session, or of a suspected owner."""
    return [
        VALUE.encode(),
        LABEL.encode(),
        INFO.encode(),
        owner.encode(),
        hashlib.sha256(owner.encode()).hexdigest().encode(),
        hashlib.sha256(owner.encode()).digest(),
        b"7777,",
        b"_owner_",
        b"_info_",
        b"_timeouts_",
        b"_authenticated_",
    ]


class TestReaders:
    @pytest.mark.parametrize("listed", [False, True], ids=["records", "entries"])
    @pytest.mark.parametrize("kind", READ)
    def test_a_reader_of_the_store_learns_nothing(
        self, kind: str, listed: bool, servers: Servers
    ) -> None:
        """No value, name, owner, info or time-out is there, and no hash of the owner.

        The same search finds them where the records are plain.
        """
        store = store_named(kind, servers)
        # What earlier tests have left does not count.
        before = everything_in(store, kind, servers)
        for encrypt in (True, False):
            owner = f"owner {time.monotonic_ns()}"
            places: dict[str, t.Any] = {"store": store}
            if listed:
                places = {"store": CookieStore(), "SESSION_REVOCATION": store}
            app, _ = site(**places, owner=owner, SESSION_ENCRYPT=encrypt)
            client = app.test_client()
            client.get("/login")
            assert client.get("/count").text == "1"
            client.get("/regenerate")
            assert client.get("/once").text == "once"
            assert client.get("/").text == f"{VALUE} {owner}"
            lines = everything_in(store, kind, servers).difference(before)
            assert lines
            found = b"\n".join(lines)
            seen = [secret for secret in secrets_of(owner) if secret in found]
            assert bool(seen) != encrypt, seen

    def test_equal_sessions_are_not_equal_in_the_store(self) -> None:
        """The bytes depend on the id, and each record has random bytes of its own."""
        cipher = RecordCipher([SECRET.encode()])
        one, other = (cipher.encrypt(b"data", storage_key(id)) for id in "ab")
        assert one[1:] != other[1:]
        assert one == cipher.encrypt(b"data", storage_key("a"))


def stored(target: Target, token: str) -> bytes:
    data = target.store.inner.load(token)
    assert data is not None
    return data


class TestWriters:
    @pytest.fixture
    def target(self, server_store: Store) -> Target:
        return Target(server_store, ENCRYPTED)

    def put(self, target: Target, data: bytes) -> None:
        """Replace what the store keeps of the session."""
        store, token = target.store.inner, target.token
        store.save(token, data, expected=store.load(token), max_age=3600)

    def test_a_record_of_another_session_is_rejected(
        self, target: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The attacker copies the record of an administrator under their own id."""
        other = target.text_in(target.ask("", "/login"))
        target.send(other, "/set/admin")
        self.put(target, stored(target, str(target.token_in(other))))
        target.check_fresh(target.cookie, "corrupt", caplog)
        assert "'admin'" in target.values(other)

    def test_a_plain_record_is_rejected(
        self, target: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        """No weaker decoder is tried (CVE-2026-39324 of Rack::Session)."""
        self.put(target, record_of(NativeCodec()))
        target.check_fresh(target.cookie, "corrupt", caplog)

    def test_an_encrypted_record_is_rejected_without_encryption(
        self, server_store: Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is no plain record, and is not looked into."""
        target = Target(server_store, FORMATS["signed"])
        data = stored(target, target.token)
        self.put(target, ENCRYPTED.kept(data, target.token, SECRET))
        target.check_fresh(target.cookie, "corrupt", caplog)

    def test_a_record_of_another_secret_is_rejected(
        self, target: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The attacker has the source code, but not the secret."""
        forged = ENCRYPTED.kept(record_of(NativeCodec()), target.token, NEW)
        self.put(target, forged)
        target.check_fresh(target.cookie, "corrupt", caplog)

    def test_every_changed_byte_is_rejected(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """So is a record that is cut off anywhere, or has more behind it."""
        target = Target(MemoryStore(), ENCRYPTED)
        good = stored(target, target.token)
        changed = [
            good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]
            for place in range(len(good))
        ]
        cut = [good[:place] for place in range(len(good))]
        for number, data in enumerate([*changed, *cut, good + b"\0"]):
            self.put(target, data)
            target.check_fresh(target.cookie, "corrupt", caplog, str(number))
        self.put(target, good)
        assert target.values(target.cookie) == "{'user': 'ann'}"

    @pytest.mark.parametrize("kind", [MOVED, REPLACED, ARRIVED])
    def test_a_forged_tombstone_leads_nowhere(self, kind: Kind, target: Target) -> None:
        """The attacker has a session and writes to the store, but does not know the
        id of the victim. Without this id, nobody can mask the attacker's id.
        """
        own = str(target.token_in(target.text_in(target.ask("", "/login"))))
        hash_of_victim = storage_key(target.token)
        masked = forwarding(kind, own, own)[50:]
        head = tombstone(kind) + bytes.fromhex(storage_key(own))
        for forged in (
            forwarding(kind, hash_of_victim, own),
            head + own.encode(),
            head + masked,
            head + bytes(43),
            head,
        ):
            self.put(target, forged)
            response = target.send(target.cookie)
            assert (response.status_code, response.text) == (200, "{}")

    def test_a_tombstone_cannot_lead_to_a_planted_record(self) -> None:
        """The attacker plants a record under an id of one letter, and tries all masked
        bytes. Records without encryption are not bound to their id.
        """
        head = tombstone(MOVED) + bytes.fromhex(storage_key("a"))
        for formatting, forged in ((FORMATS["signed"], True), (ENCRYPTED, False)):
            target = Target(MemoryStore(), formatting)
            for data in (
                record_of(NativeCodec()),
                ENCRYPTED.kept(record_of(NativeCodec()), target.token, SECRET),
            ):
                target.store.inner.delete("a")
                target.store.inner.save("a", data, expected=None, max_age=3600)
                answers = set()
                for byte in range(256):
                    self.put(target, head + bytes([byte]))
                    response = target.send(target.cookie)
                    assert response.status_code == 200
                    answers.add(response.text)
                assert "{}" in answers
                assert ("{'user': 'admin'}" in answers) <= forged

    def test_a_circle_of_tombstones_ends(self, target: Target) -> None:
        """A user who writes to the store knows two ids, and leads each to the other."""
        other = str(target.token_in(target.text_in(target.ask("", "/login"))))
        self.put(target, forwarding(MOVED, target.token, other))
        store = target.store.inner
        back = forwarding(MOVED, other, target.token)
        store.save(other, back, expected=store.load(other), max_age=3600)
        for path in ("/", "/clear", "/set/more"):
            assert target.send(target.cookie, path).status_code == 200

    def test_a_circle_of_tombstones_ends_for_an_administrator(self) -> None:
        """Revoking a session follows its ids, too."""
        desk = Desk(store := MemoryStore())
        tokens = [desk.stored(a=1), desk.stored(a=2)]
        for token, other in (tokens, reversed(tokens)):
            mark = forwarding(MOVED, token, other)
            store.save(token, mark, expected=store.load(token), max_age=3600)
        owners = Owners(desk.backend, desk)
        assert not owners.revoke(storage_key(tokens[0]))
        desk.stored(b=1, _owner_="ann")
        assert owners.revoke_all("ann", keep=storage_key(tokens[0])) == 1

    def test_a_forged_entry_of_the_revocation_list_is_no_error(self) -> None:
        """It ends the session at most. It does not give the session another user."""
        store = RecordingMemory()
        app, _ = site("cookie", SESSION_REVOCATION=store)
        client = app.test_client()
        client.get("/login")
        (token,) = store.tokens
        entry = store.load(token)
        assert entry is not None
        head = bytes.fromhex(storage_key("a"))
        plain = record_of(NativeCodec())
        forged = [entry[:place] for place in range(32, len(entry), 5)]
        forged += [entry[:32] + plain, entry[:32] + tombstone(), entry + b"x"]
        forged += [
            entry[:32] + tombstone(MOVED) + head + bytes([byte]) for byte in range(256)
        ]
        for data in forged:
            store.save(token, data, expected=store.load(token), max_age=3600)
            response = client.get("/")
            assert response.status_code == 200
            assert response.text in (f"{VALUE} {OWNER}", "None None")
            assert client.get("/count").text in ("0", "1")

    def test_a_session_moved_to_another_owner_in_the_index_is_not_listed(self) -> None:
        """The record itself names its owner, and cannot be forged."""
        store = RecordingMemory()
        app, buffalo = site(store)
        app.test_client().get("/login")
        name = RecordCipher([SECRET.encode()]).owner_names("bob")[0]
        for token in store.tokens:
            store.own(token, name, max_age=3600)
        with app.app_context():
            assert buffalo.sessions_of("bob") == []
            assert buffalo.revoke_all("bob") == 0

    def test_a_forged_record_in_the_index_is_not_listed(self) -> None:
        """Neither a plain record nor that of another session counts."""
        store = RecordingMemory()
        app, buffalo = site(store)
        app.test_client().get("/login")
        codec, (good,) = NativeCodec(), map(store.load, store.tokens)
        owner = codec.encode(OWNER, OWNER_NAME)
        plain = codec.dumps(Record(int(time.time()), b"nonce", {OWNER_NAME: owner}))
        name = RecordCipher([SECRET.encode()]).owner_names(OWNER)[0]
        for data in (plain, good or b""):
            token = store.save(None, data, expected=None, max_age=3600)
            store.own(token, name, max_age=3600)
        assert len(store.owned(name)) == 3
        with app.app_context():
            assert len(buffalo.sessions_of(OWNER)) == 1
        runner = app.test_cli_runner()
        shown = runner.invoke(args=["session", "show", storage_key(token)])
        assert shown.exit_code == 1
        assert "corrupt" in shown.output

    def test_gorillas_records_stay_readable(self) -> None:
        """A Go program shares them, and has no key for the envelope."""
        target = Target(MemoryStore(), FORMATS["gorilla-encrypted"])
        record = target.format.codec.loads(stored(target, target.token))
        assert "user" in record.values


class TestSecrets:
    """A secret is replaced, and later dropped."""

    def test_a_replaced_secret_still_decrypts(self, server_store: Store) -> None:
        """What is saved from now on needs the new secret alone."""
        old = Target(server_store, ENCRYPTED, SECRET)
        both = Target(server_store, ENCRYPTED, NEW, SECRET)
        new = Target(server_store, ENCRYPTED, NEW)
        assert both.values(old.cookie) == "{'user': 'ann'}"
        assert both.send(old.cookie, "/set/more").status_code == 200
        text = new.seal.seal(old.token, permanent=False)
        assert new.values(text) == "{'user': 'ann', 'more': 'more'}"

    def test_a_refresh_encrypts_with_the_new_secret(self, clock: Clock) -> None:
        """A session that only reads must survive the end of the old secret."""
        store = MemoryStore()
        old = Target(store, ENCRYPTED, SECRET, SESSION_IDLE_TIMEOUT=1000)
        both = Target(store, ENCRYPTED, NEW, SECRET, SESSION_IDLE_TIMEOUT=1000)
        new = Target(store, ENCRYPTED, NEW, SESSION_IDLE_TIMEOUT=1000)
        clock.tick(101)
        cookie = both.text_in(both.send(old.cookie))
        assert new.values(cookie) == "{'user': 'ann'}"

    def test_a_dropped_secret_loses_nothing(
        self, server_store: Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The session is rejected, the log says why, and the record stays. With the
        secret as a fallback the session is there again.
        """
        old = Target(server_store, ENCRYPTED, SECRET)
        new = Target(server_store, ENCRYPTED, NEW)
        before = stored(old, old.token)
        text = new.seal.seal(old.token, permanent=False)
        new.check_fresh(text, "corrupt", caplog)
        new.check_fresh(old.cookie, "bad-signature", caplog)
        assert stored(old, old.token) == before
        both = Target(server_store, ENCRYPTED, NEW, SECRET)
        assert both.values(old.cookie) == "{'user': 'ann'}"

    @pytest.mark.parametrize("listed", [False, True], ids=["records", "entries"])
    def test_an_owner_is_found_under_every_secret(self, listed: bool) -> None:
        """Sessions from before and after the change are listed once, and all end."""
        store = MemoryStore()
        config: dict[str, t.Any] = {"store": store}
        if listed:
            config = {"store": "cookie", "SESSION_REVOCATION": store}
        clients = []
        for secrets in ([SECRET], [NEW, SECRET]):
            config |= {"SESSION_SECRET": secrets[0]}
            config |= {"SESSION_SECRET_FALLBACKS": secrets[1:]}
            app, _ = site(**config)
            clients.append(app.test_client())
            clients[-1].get("/login")
        assert clients[1].get("/count").text == "2"
        assert clients[1].get("/revoke").text == "2"
        assert clients[0].get("/").text == "None None"
        assert clients[1].get("/").text == "None None"

    def test_a_session_indexed_under_two_secrets_is_listed_once(
        self, servers: Servers
    ) -> None:
        """Redis keeps the entry under the old name until that entry expires."""
        owner = f"owner {time.monotonic_ns()}"
        store = store_named("redis", servers)
        desk = Desk(store)
        desk.secrets = (SECRET.encode(),)
        desk.set_times()
        login = desk.session()
        login.bind(owner)
        login.save()
        desk.secrets = (NEW.encode(), SECRET.encode())
        desk.set_times()
        desk.refresh_due = True
        again = desk.session(login.cookie)
        assert again.owner == owner
        again.save()
        owners = Owners(desk.backend, desk)
        assert [info.id for info in owners.sessions_of(owner)] == [again.id]
        assert owners.revoke_all(owner) == 1

    def test_a_session_that_moves_during_the_search_is_found(self) -> None:
        """It is indexed again, under the first secret, after the first name was looked
        up.
        """

        class Moving(MemoryStore):
            searches = 0

            def owned(self, owner: str) -> list[OwnedRecord]:
                self.searches += 1
                if self.searches == 2:
                    self.own(token, names[0], max_age=3600)
                return super().owned(owner)

        cipher = RecordCipher([NEW.encode(), SECRET.encode()])
        names, store = cipher.owner_names(OWNER), Moving()
        token = store.save(None, b"data", expected=None, max_age=3600)
        store.own(token, names[1], max_age=3600)
        found = list(EncryptedIndex(store, lambda: cipher).owned(OWNER))
        assert [held.id for held in found] == [storage_key(token)]
        assert store.searches == 3


class TestTurningItOn:
    def test_plain_sessions_move_in(self, server_store: Store) -> None:
        """``SESSION_PREVIOUS`` reads the plain records of the same store."""
        plain = Target(server_store, FORMATS["signed"])
        moving = Target(
            server_store,
            ENCRYPTED,
            SESSION_PREVIOUS=[previous.Buffalo(encrypt=False)],
        )
        response = moving.send(plain.cookie)
        assert response.text == "{'user': 'ann'}"
        cookie = moving.text_in(response)
        assert moving.values(cookie) == "{'user': 'ann'}"
        assert is_tombstone(server_store.load(plain.token))
        token = str(moving.token_in(cookie))
        assert b"ann" not in stored(moving, token)

    def test_plain_sessions_in_cookies_move_in(self) -> None:
        """The list of ended sessions serves both, and a logout is final."""
        store = MemoryStore()
        plain, _ = site("cookie", SESSION_REVOCATION=store, SESSION_ENCRYPT=False)
        client = plain.test_client()
        client.get("/login")
        old = client.get_cookie(NAME)
        assert old is not None
        app, _ = site(
            "cookie",
            SESSION_REVOCATION=store,
            SESSION_PREVIOUS=[previous.Buffalo(encrypt=False)],
        )
        client = app.test_client()
        client.set_cookie(NAME, old.value)
        assert client.get("/").text == f"{VALUE} {OWNER}"
        assert client.get("/count").text == "1"
        assert client.get("/revoke").text == "1"
        assert client.get("/").text == "None None"
        client.set_cookie(NAME, old.value)
        assert client.get("/").text == "None None"

    def test_encrypted_sessions_move_out(self, server_store: Store) -> None:
        """Turning encryption off logs nobody out, either."""
        encrypted = Target(server_store, ENCRYPTED)
        moving = Target(
            server_store,
            FORMATS["signed"],
            SESSION_PREVIOUS=[previous.Buffalo(encrypt=True)],
        )
        response = moving.send(encrypted.cookie)
        assert response.text == "{'user': 'ann'}"
        assert moving.values(moving.text_in(response)) == "{'user': 'ann'}"

    def test_a_plain_record_does_not_move_in_under_an_encrypted_cookie(
        self, server_store: Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A writer of the store must not get a plain record read that way."""
        target = Target(
            server_store,
            ENCRYPTED,
            SESSION_PREVIOUS=[previous.Buffalo(encrypt=False)],
        )
        store, token = target.store.inner, target.token
        plain = record_of(NativeCodec())
        store.save(token, plain, expected=store.load(token), max_age=3600)
        target.check_fresh(target.cookie, "corrupt", caplog)


class TestSecretsThatComeLate:
    def test_the_secret_may_be_set_after_init_app(self) -> None:
        """The first request finds it."""
        store = MemoryStore()
        app, _ = site(store, SESSION_SECRET=None)
        app.config["SESSION_SECRET"] = SECRET
        client = app.test_client()
        client.get("/login")
        assert client.get("/").text == f"{VALUE} {OWNER}"
        assert client.get("/count").text == "1"

    def test_the_development_secret_encrypts_in_testing_mode(self) -> None:
        """So tests need no secret, as with signed cookies."""
        app, _ = site(MemoryStore(), SESSION_SECRET=None, TESTING=True)
        client = app.test_client()
        client.get("/login")
        assert client.get("/").text == f"{VALUE} {OWNER}"
        with session_of(client) as opened:
            assert opened[LABEL] == VALUE
            opened[LABEL] = "other"
        assert client.get("/").text == f"other {OWNER}"

    def test_owners_without_a_secret_are_an_error(self) -> None:
        """Nothing can be looked up, and the message says what to do."""
        app, buffalo = site(MemoryStore(), SESSION_SECRET=None)
        with (
            app.app_context(),
            pytest.raises(SessionSecretError, match="Set SESSION_SECRET"),
        ):
            buffalo.sessions_of(OWNER)

    def test_an_empty_secret_never_encrypts(self) -> None:
        """Nor do zero bytes, which HMAC would take for the empty key."""
        for secrets in ([], [b""], [bytes(8)], [SECRET.encode(), b""]):
            with pytest.raises(SessionConfigError, match="empty secret"):
                RecordCipher(secrets)
