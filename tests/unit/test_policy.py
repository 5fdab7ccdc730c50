"""Test the time-outs: when a session, an id or a cookie is too old."""

from __future__ import annotations

import typing as t

import pytest

from flask_buffalo_session.backends.base import Snapshot
from flask_buffalo_session.codec import Record
from flask_buffalo_session.errors import RejectedError
from flask_buffalo_session.gorilla.codec import GorillaCodec
from flask_buffalo_session.native.codec import NativeCodec
from flask_buffalo_session.policy import Policy
from tests.conftest import Clock

HOUR = 3600
NATIVE = NativeCodec()


def policy(**settings: t.Any) -> Policy:
    chosen = {"idle_timeout": HOUR, "permanent_lifetime": HOUR}
    codec = settings.pop("codec", NATIVE)
    return Policy(codec, **{**chosen, **settings})


def began(seconds: int | None, rotated: int = 0) -> Record:
    return Record(seconds, b"", {}, rotated)


def test_a_new_record_is_dated_only_if_needed(clock: Clock) -> None:
    """The record dates the id only with rotation."""
    now = int(clock.now)
    assert policy().blank() == Record(now, b"", {}, 0)
    assert policy(rotate_after=60).blank() == Record(now, b"", {}, now)
    plain = policy(codec=GorillaCodec())
    assert plain.blank().created is None
    assert not plain.lacks_date(began(None))
    for settings in ({"absolute_timeout": HOUR}, {"rotate_after": HOUR}):
        dating = policy(codec=GorillaCodec(), **settings)
        assert dating.blank().created == now
        assert dating.lacks_date(began(None))
        assert not dating.lacks_date(began(now))


def test_a_session_ends_at_its_absolute_time_out(clock: Clock) -> None:
    """Never early, and a second later at most."""
    limited = policy(absolute_timeout=100)
    clock.now = 1000.0
    limited.check_age(began(900))
    clock.tick(0.9)
    limited.check_age(began(900))
    clock.tick(0.1)
    with pytest.raises(RejectedError, match="absolute") as caught:
        limited.check_age(began(900))
    assert caught.value.reason == "expired"
    limited.check_age(began(None))
    policy().check_age(began(0))


def test_a_record_is_kept_for_the_shorter_time(clock: Clock) -> None:
    """The shorter of the idle and the remaining absolute time, at least one second."""
    clock.now = 1000.0
    assert policy().max_age(began(0)) == HOUR
    limited = policy(absolute_timeout=5000)
    assert limited.max_age(began(1000)) == HOUR
    assert limited.max_age(began(-3000)) == 1000
    assert limited.max_age(began(-9000)) == 1
    assert limited.max_age(began(None)) == HOUR


def test_a_cookie_is_refreshed_after_a_tenth_of_its_lifetime(clock: Clock) -> None:
    """The shorter lifetime counts for a permanent cookie. A clock that was set back
    does not delay the refresh.
    """
    clock.now = 10_000.0
    shorter = policy(permanent_lifetime=HOUR // 2)
    for permanent, tenth in ((False, 360), (True, 180)):
        for distance, due in ((tenth - 1, False), (tenth, True), (-tenth, True)):
            issued = 10_000 - distance
            assert shorter.refresh_is_due(issued, permanent=permanent) is due
    longer = policy(permanent_lifetime=10 * HOUR)
    assert longer.refresh_is_due(10_000 - 360, permanent=True)


def test_the_age_of_an_id_counts_from_its_rotation(clock: Clock) -> None:
    """Without that date in the record, it counts from the session's beginning."""
    clock.now = 1000.0
    rotating = policy(rotate_after=100)
    assert rotating.id_is_old(began(0, rotated=900))
    assert not rotating.id_is_old(began(0, rotated=901))
    assert rotating.id_is_old(began(900))
    assert not rotating.id_is_old(began(901))
    assert not rotating.id_is_old(began(None))
    assert not policy().id_is_old(began(0))
    assert rotating.rotated_now() == 1000
    assert policy().rotated_now() == 0


def test_an_index_entry_outlives_its_next_refresh() -> None:
    """The entry of a cookie session lives a tenth longer than the cookie."""
    assert policy().index_seconds({}) == 2 * HOUR
    margin = policy(idle_timeout=HOUR + 5).entry_margin({})
    assert (margin, type(margin)) == (HOUR // 10 + 2, int)


def own(text: str) -> dict[t.Hashable, bytes]:
    return {"_timeouts_": NATIVE.encode(text, "_timeouts_")}


def test_a_time_out_of_the_sessions_own_counts_everywhere(clock: Clock) -> None:
    """For the record, the cookie, the owner's index and the revocation list."""
    clock.now = 10_000.0
    usual = policy(absolute_timeout=5 * HOUR)
    for idle in (HOUR // 2, 4 * HOUR):
        values = own(f"{idle},")
        record = Record(10_000, b"", values, 0)
        assert usual.max_age(record) == usual.cookie_lifetime(values) == idle
        assert usual.index_seconds(values) == 2 * idle
        assert usual.entry_margin(values) == idle // 10 + 2
        for distance, due in ((idle // 10 - 1, False), (idle // 10, True)):
            issued = 10_000 - distance
            assert usual.refresh_is_due(issued, permanent=True, values=values) is due
        usual.check_idle(10_000 - idle, values)
        with pytest.raises(RejectedError, match="not used"):
            usual.check_idle(10_000 - idle - 1, values)
    assert usual.max_age(Record(10_000, b"", own(",60"), 0)) == 60
    assert usual.cookie_lifetime(own(",60")) == HOUR


def test_a_passive_request_refreshes_only_the_cookie_of_a_session_that_moved() -> None:
    """The browser may not have the cookie with the new id."""
    seen = Snapshot(began(0), issued=5, used=5)
    assert not policy().cookie_is_due(seen)
    assert policy().cookie_is_due(seen._replace(used=None))
    assert policy().cookie_is_due(seen._replace(issued=0))


def test_a_passive_write_keeps_the_time_that_was_left(clock: Clock) -> None:
    """At least a second. A clock that was set back does not make the time longer."""
    clock.now = 10_000.0
    for used, left in ((9000, HOUR - 1000), (1000, 1), (11_000, HOUR)):
        assert policy().max_age(began(0), used) == left
    assert policy().cookie_lifetime({}, 9000) == HOUR - 1000
