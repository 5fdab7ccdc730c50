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
def test_the_old_id_unmasks_the_new_id(key: str, successor: str, kind: Kind) -> None:
    """A client that holds the old id can follow it, whatever ids a store makes."""
    data = forwarding(kind, key, successor)
    assert is_tombstone(data)
    assert kind_of(data) == kind
    assert successor_of(data, key) == successor
    assert successor_hash_of(data) == storage_key(successor)


def test_a_tombstone_with_another_hash_leads_nowhere() -> None:
    """A forger who hits a readable id by chance has the wrong hash."""
    data = forwarding(MOVED, "old", "new")
    forged = data[:18] + bytes.fromhex(storage_key("other")) + data[50:]
    assert successor_of(data, "old") == "new"
    assert successor_of(forged, "old") is None


def test_reading_the_store_does_not_reveal_the_new_id() -> None:
    """A tombstone holds the new id masked, and each tombstone uses another mask."""
    key, other = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    successor = secrets.token_urlsafe(32)
    data = forwarding(MOVED, key, successor)
    another = forwarding(MOVED, other, successor)
    assert successor.encode() not in data
    assert data[-43:] != another[-43:]
    stored_under = bytes.fromhex(storage_key(key))
    pairs = zip(data[-43:], (stored_under * 2)[:43], strict=True)
    assert bytes(one ^ two for one, two in pairs) != successor.encode()


def test_a_tombstone_of_an_ended_session_names_no_new_id() -> None:
    """No two tombstones are alike, so a request recognizes its own."""
    data = tombstone()
    assert successor_of(data, "any id") is None
    assert successor_hash_of(data) is None
    assert data != tombstone()


def test_a_tombstone_of_the_first_version_ends_its_session() -> None:
    """A revocation list keeps it for as long as the cookie could be used."""
    mark = b"\x00retired" + bytes(16)
    assert is_tombstone(mark)
    assert not session_moved(mark)


@pytest.mark.parametrize("data", [None, b"", b"\x01record"])
def test_a_record_is_not_a_tombstone(data: bytes | None) -> None:
    """Records of the codecs never begin with a zero byte."""
    assert not is_tombstone(data)


def test_only_an_id_rotated_by_age_forwards_requests_for_30_seconds(
    clock: Clock,
) -> None:
    """An id that ``regenerate`` or a login replaced forwards no requests."""
    clock.now = 1000.0
    moved, replaced = (forwarding(kind, "old", "new") for kind in (MOVED, REPLACED))
    assert second_of(moved) == 1000
    assert session_moved(moved)
    assert not session_moved(replaced)
    clock.tick(29.9)
    assert session_moved(moved)
    clock.now = 1030.0
    assert not session_moved(moved)


def test_the_mask_is_the_documented_one() -> None:
    """Another program must be able to follow a tombstone."""
    data = forwarding(MOVED, "old", "new")
    pad = hashlib.shake_256(b"flask-buffalo-session.v1.moved.old").digest(3)
    assert bytes(one ^ two for one, two in zip(data[-3:], pad, strict=True)) == b"new"
    assert len(data) == 2 + 8 + 8 + 32 + 3


def test_a_tombstone_expires_after_a_minute(clock: Clock) -> None:
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
    "data",
    [forwarding(MOVED, "another" * 6, "x" * 43), b"\x00M", b"\x00M\xff", b"\0"],
    ids=["of another id", "cut off", "malformed", "of no kind"],
)
def test_a_tombstone_that_does_not_fit_the_id_ends_the_session(data: bytes) -> None:
    """Somebody with access to the store may have put it there."""
    store = MemoryStore()
    desk = Desk(store)
    cookie = desk.stored(a=1)
    session = desk.session(cookie)
    session["b"] = 2
    store.save(cookie, data, expected=store.load(cookie), max_age=60)
    session.save()
    assert ("conflict", None) in desk.emitted
    assert desk.values(cookie) == {}
