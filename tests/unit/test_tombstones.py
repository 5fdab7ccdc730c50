"""Tombstones: what they reveal, and to whom."""

from __future__ import annotations

import hashlib
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_buffalo_session import MemoryStore
from flask_buffalo_session.stores.base import storage_key
from flask_buffalo_session.tombstones import (
    MOVED,
    REPLACED,
    Kind,
    forwarding,
    is_tombstone,
    kind_of,
    second_of,
    session_moved,
    successor_hash_of,
    successor_of,
    tombstone,
)
from tests.conftest import Clock, Desk


@given(
    key=st.text(min_size=1, max_size=60),
    successor=st.text(min_size=1, max_size=60),
    kind=st.sampled_from([MOVED, REPLACED]),
)
def test_the_old_id_reveals_the_new_one(key: str, successor: str, kind: Kind) -> None:
    """Whatever ids a store makes."""
    mark = forwarding(kind, key, successor)
    assert is_tombstone(mark)
    assert kind_of(mark) == kind
    assert successor_of(mark, key) == successor
    assert successor_hash_of(mark) == storage_key(successor)


def test_reading_the_store_does_not_reveal_the_new_id() -> None:
    """A tombstone holds the new id masked, with another mask in each."""
    key, other = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    successor = secrets.token_urlsafe(32)
    mark = forwarding(MOVED, key, successor)
    another = forwarding(MOVED, other, successor)
    assert successor.encode() not in mark
    assert mark[-43:] != another[-43:]
    stored_under = bytes.fromhex(storage_key(key))
    pairs = zip(mark[-43:], (stored_under * 2)[:43], strict=True)
    assert bytes(one ^ two for one, two in pairs) != successor.encode()


def test_an_ended_session_leads_nowhere() -> None:
    """No two tombstones are alike, so a request recognizes its own."""
    mark = tombstone()
    assert successor_of(mark, "any id") is None
    assert successor_hash_of(mark) is None
    assert mark != tombstone()


@pytest.mark.parametrize("data", [None, b"", b"\x01record"])
def test_a_record_is_no_tombstone(data: bytes | None) -> None:
    """No codec's record begins with a zero byte."""
    assert not is_tombstone(data)


def test_only_an_aged_id_leads_on_and_only_for_30_seconds(clock: Clock) -> None:
    """An id that was replaced on purpose does not."""
    clock.now = 1000.0
    moved, replaced = (forwarding(kind, "old", "new") for kind in (MOVED, REPLACED))
    assert second_of(moved) == 1000
    assert session_moved(moved)
    assert not session_moved(replaced)
    clock.tick(29.9)
    assert session_moved(moved)
    clock.now = 1030.0
    assert not session_moved(moved)


def test_the_mask_is_the_one_that_is_documented() -> None:
    """So another program can follow a tombstone."""
    mark = forwarding(MOVED, "old", "new")
    pad = hashlib.shake_256(b"flask-buffalo-session.v1.moved.old").digest(3)
    assert bytes(one ^ two for one, two in zip(mark[-3:], pad, strict=True)) == b"new"
    assert len(mark) == 2 + 8 + 8 + 32 + 3


def test_a_tombstone_stands_for_a_minute(clock: Clock) -> None:
    """Then a request with the old id gets a fresh session."""
    clock.now = 1000.0
    store = MemoryStore()
    desk = Desk(store)
    cookie = desk.stored(a=1)
    session = desk.session(cookie)
    session.clear()
    session.save()
    clock.tick(59)
    assert is_tombstone(store.load(cookie))
    clock.tick(1)
    assert store.load(cookie) is None


@pytest.mark.parametrize(
    "mark",
    [forwarding(MOVED, "another" * 6, "x" * 43), b"\x00M", b"\x00M\xff", b"\0"],
    ids=["of another id", "cut off", "malformed", "of no kind"],
)
def test_a_tombstone_from_elsewhere_ends_the_session(mark: bytes) -> None:
    """One that somebody with access to the store put there."""
    store = MemoryStore()
    desk = Desk(store)
    cookie = desk.stored(a=1)
    session = desk.session(cookie)
    session["b"] = 2
    store.save(cookie, mark, expected=store.load(cookie), max_age=60)
    session.save()
    assert ("conflict", None) in desk.emitted
    assert desk.values(cookie) == {}
