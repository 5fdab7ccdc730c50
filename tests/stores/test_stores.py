"""Test the promises of :class:`flask_buffalo_session.Store` with every store."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_buffalo_session import CookieStore, MemoryStore, NullStore, Store
from flask_buffalo_session.errors import SessionConflictError
from flask_buffalo_session.stores.base import Prunable, Stateless, storage_key
from tests.conftest import Clock

HOUR = 3600
DAY = 24 * HOUR

MALFORMED = [
    "",
    "x",
    "../../etc/passwd",
    "a\0b",
    "a\nb",
    "a b",
    "\u00fc\U0001f403",
    "\ud800",
    "x" * 300,
    "*",
    "'; drop table sessions; --",
]


def test_every_store_satisfies_the_protocol(store: Store) -> None:
    """Type checkers and ``init_app`` accept every store of the package."""
    assert isinstance(store, Store)


def test_a_saved_record_is_loaded_again(server_store: Store) -> None:
    """``load`` returns the data that was saved under the new token."""
    token = server_store.save(None, b"one", expected=None, max_age=HOUR)
    assert server_store.load(token) == b"one"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=3000))
def test_any_bytes_are_kept(store: Store, data: bytes) -> None:
    """A record may hold any bytes, or none."""
    token = store.save(None, data, expected=None, max_age=HOUR)
    assert store.load(token) == data


def test_new_tokens_are_long_random_and_distinct(server_store: Store) -> None:
    """A token has 256 random bits, so nobody can guess one."""
    tokens = {
        server_store.save(None, b"same", expected=None, max_age=HOUR)
        for _ in range(200)
    }
    assert len(tokens) == 200
    assert min(map(len, tokens)) >= 43  # 256 bits in base64
    assert all(token.isascii() and token.isprintable() for token in tokens)


def test_a_token_is_kept_when_a_record_is_replaced(server_store: Store) -> None:
    """Saving a record again does not change the cookie."""
    token = server_store.save(None, b"one", expected=None, max_age=HOUR)
    again = server_store.save(token, b"two", expected=b"one", max_age=HOUR)
    assert again == token
    assert server_store.load(token) == b"two"


@pytest.mark.parametrize("expected", [None, b"", b"on", b"one ", b"two"])
def test_a_record_that_changed_is_not_replaced(
    server_store: Store, expected: bytes | None
) -> None:
    """A save compares before it writes. It never overwrites another request's save."""
    token = server_store.save(None, b"one", expected=None, max_age=HOUR)
    with pytest.raises(SessionConflictError):
        server_store.save(token, b"mine", expected=expected, max_age=HOUR)
    assert server_store.load(token) == b"one"


def test_a_record_that_is_gone_is_not_brought_back(server_store: Store) -> None:
    """A slow request cannot save over a session that was deleted meanwhile."""
    token = server_store.save(None, b"one", expected=None, max_age=HOUR)
    server_store.delete(token)
    with pytest.raises(SessionConflictError):
        server_store.save(token, b"two", expected=b"one", max_age=HOUR)
    assert server_store.load(token) is None


def test_a_deleted_record_is_not_found(server_store: Store) -> None:
    """Deleting a record leaves all other records."""
    token = server_store.save(None, b"one", expected=None, max_age=HOUR)
    other = server_store.save(None, b"other", expected=None, max_age=HOUR)
    server_store.delete(token)
    assert server_store.load(token) is None
    assert server_store.load(other) == b"other"


@pytest.mark.parametrize("token", MALFORMED)
def test_a_malformed_token_is_not_found(server_store: Store, token: str) -> None:
    """Such a token matches no record, and no method changes a record for it."""
    assert server_store.load(token) is None
    server_store.delete(token)
    with pytest.raises(SessionConflictError):
        server_store.save(token, b"data", expected=b"something", max_age=HOUR)
    assert server_store.load(token) is None


def test_a_new_record_may_have_a_given_token(server_store: Store) -> None:
    """The save succeeds only while no record has this token."""
    token = server_store.save(None, b"one", expected=None, max_age=HOUR)
    with pytest.raises(SessionConflictError):
        server_store.save(token, b"two", expected=None, max_age=HOUR)
    server_store.delete(token)
    server_store.save(token, b"two", expected=None, max_age=HOUR)
    assert server_store.load(token) == b"two"


@pytest.mark.parametrize("days", [29, 31, 366, 20 * 366])
def test_a_record_may_live_long(server_store: Store, days: int) -> None:
    """memcached reads a lifetime above 30 days as a date."""
    token = server_store.save(None, b"one", expected=None, max_age=days * DAY)
    assert server_store.load(token) == b"one"
    server_store.save(token, b"two", expected=b"one", max_age=days * DAY)
    assert server_store.load(token) == b"two"


class Slow(bytes):
    """Give other threads time to run between a comparison and the write."""

    def __ne__(self, other: object) -> bool:
        differs = super().__ne__(other)
        time.sleep(0.0005)
        return differs

    __hash__ = bytes.__hash__


def test_concurrent_threads_lose_no_increment(server_store: Store) -> None:
    """The comparison and the write are one atomic step."""
    token = server_store.save(None, b"0", expected=None, max_age=HOUR)
    barrier = threading.Barrier(4)

    def increment() -> None:
        barrier.wait()
        for _ in range(25):
            while True:
                data = server_store.load(token)
                assert data is not None
                try:
                    server_store.save(
                        token,
                        b"%d" % (int(data) + 1),
                        expected=Slow(data),
                        max_age=HOUR,
                    )
                except SessionConflictError:
                    continue
                break

    threads = [threading.Thread(target=increment) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server_store.load(token) == b"100"


def test_1500_sessions_are_all_still_there(server_store: Store) -> None:
    """No store deletes live sessions to make room."""
    tokens = [
        server_store.save(None, b"%d" % number, expected=None, max_age=HOUR)
        for number in range(1500)
    ]
    for number, token in enumerate(tokens):
        assert server_store.load(token) == b"%d" % number


def test_saving_deletes_expired_records_from_memory(clock: Clock) -> None:
    """The memory store deletes expired records while it is used."""
    store = MemoryStore()
    for _ in range(100):
        store.save(None, b"short", expected=None, max_age=1)
    clock.tick(1)
    for _ in range(100):
        store.save(None, b"long", expected=None, max_age=HOUR)
    assert store.prune() == 0


def test_a_record_with_no_lifetime_expires_at_once() -> None:
    """This holds in the memory store, even for its only record."""
    store = MemoryStore()
    token = store.save(None, b"one", expected=None, max_age=0)
    assert store.load(token) is None
    assert store.prune() == 0


def test_prune_deletes_expired_records_and_counts_them(clock: Clock) -> None:
    """Live records stay."""
    store = MemoryStore()
    assert isinstance(store, Prunable)
    short = store.save(None, b"short", expected=None, max_age=1)
    long = store.save(None, b"long", expected=None, max_age=HOUR)
    assert store.prune() == 0
    clock.tick(1)
    assert store.load(short) is None
    assert store.prune() == 1
    assert store.prune() == 0
    assert store.load(long) == b"long"


def test_memory_keeps_hashes_of_tokens() -> None:
    """A cookie cannot be made from the keys of the memory store."""
    store = MemoryStore()
    token = store.save(None, b"one", expected=None, max_age=HOUR)
    assert token not in storage_key(token)
    assert store.revoke(storage_key(token)) == b"one"


def test_the_cookie_stores_token_is_the_data() -> None:
    """The server keeps no record, so no record can be missing or conflict."""
    store = CookieStore()
    assert isinstance(store, Stateless)
    assert store.save("x", b"\x00\xff", expected=b"y", max_age=1) == "\x00\xff"
    assert store.load("\x00\xff") == b"\x00\xff"
    assert store.load("\u20ac") is None
    store.delete("x")


def test_the_null_store_never_issues_a_token() -> None:
    """It finds no record and keeps no record."""
    store = NullStore()
    assert isinstance(store, Stateless)
    assert store.save(None, b"data", expected=None, max_age=1) == ""
    assert store.load("x") is None
    store.delete("x")
