"""Try out a store, and check its clock and whether it evicts records."""

from __future__ import annotations

import collections.abc as c
import time

from ..codec import Codec, Record
from ..errors import SessionConflictError, SessionStoreError
from ..stores.base import Examinable, Store
from .finding import Finding, one_line

# Seconds by which clocks may differ.
_TOLERANCE = 5

# Seconds after which the store drops the probe's record even if deleting it fails.
_PROBE_LIFE = 60


def diagnose_store(
    about: str, store: Store, codec: Codec, *, in_cookie: bool, lenient: bool
) -> c.Iterator[Finding]:
    """Try out a store, and check its health.

    :param about: the setting that names the store.
    :param in_cookie: whether the token contains the record itself.
    """
    try:
        yield from _try_out(about, store, codec, in_cookie=in_cookie)
    except SessionStoreError as error:
        yield Finding(
            about,
            f"the store cannot answer ({one_line(error)})",
            "Check that it runs, and that the setting has its address and login.",
        )
        return
    try:
        yield from check_health(about, store, lenient=lenient)
    except SessionStoreError as error:
        yield Finding(
            about,
            "the store works, but its clock and its eviction policy are unknown"
            f" ({one_line(error)})",
            "For Redis and Valkey, allow the user the commands TIME and INFO.",
            note=True,
        )


def _try_out(
    about: str, store: Store, codec: Codec, *, in_cookie: bool
) -> c.Iterator[Finding]:
    """Write, read, change and delete a record.

    :raises SessionStoreError: the store cannot answer.
    """
    first, second = (
        codec.dumps(Record(int(time.time()), b"", {"n": codec.encode(number, "n")}))
        for number in (1, 2)
    )
    try:
        broken = _broken_promise(store, first, second, in_cookie=in_cookie)
    except SessionStoreError:
        raise
    except Exception as error:  # noqa: BLE001 - a custom store may raise anything
        broken = f"raises an unexpected {type(error).__name__}"
    if broken is not None:
        yield Finding(
            about,
            f"the {type(store).__name__} {broken}, so sessions get lost",
            "Implement the store as the Store protocol describes.",
        )


def _broken_promise(
    store: Store, first: bytes, second: bytes, *, in_cookie: bool
) -> str | None:
    """Return what the store does wrong, or None."""
    token = store.save(None, first, expected=None, max_age=_PROBE_LIFE)
    try:
        if store.load(token) != first:
            return "does not return what was saved"
        if in_cookie:
            return None
        token = store.save(token, second, expected=first, max_age=_PROBE_LIFE)
        if store.load(token) != second:
            return "does not replace an older record"
        for expected in (first, None):
            if not _refuses(store, token, first, expected) or (
                store.load(token) != second
            ):
                return "ignores `expected` when it saves"
        store.delete(token)
        if store.load(token) is not None:
            return "does not delete"
        if not _refuses(store, token, first, second):
            return "saves over a deleted record and ignores `expected`"
    finally:
        store.delete(token)
    return None


def _refuses(store: Store, token: str, data: bytes, expected: bytes | None) -> bool:
    try:
        store.save(token, data, expected=expected, max_age=_PROBE_LIFE)
    except SessionConflictError:
        return True
    return False


def check_health(
    about: str, store: Store, *, lenient: bool = False
) -> c.Iterator[Finding]:
    """Check a store's clock and whether it evicts records.

    :raises SessionStoreError: the store cannot answer, or does not allow it.
    """
    if not isinstance(store, Examinable):
        return
    before = time.time()
    health = store.check_health()
    after = time.time()
    if health.evicts is not None:
        yield Finding(
            about,
            f"the store evicts live sessions: {health.evicts}",
            health.remedy,
            lenient,
        )
    if health.shared_pool is not None:
        yield Finding(
            about,
            "the store may share the application's pool of"
            f" {health.shared_pool} connections, and a request that holds a connection"
            " needs a second one to save its session",
            "Give sessions an engine of their own, as a URL does, or set pool_size to"
            " twice the number of threads.",
            note=True,
        )
    if health.clock is None:
        return
    # The store read its clock between these two times.
    apart = max(before - health.clock, health.clock - after)
    if apart > _TOLERANCE:
        where = "behind" if health.clock < before else "ahead of"
        yield Finding(
            about,
            f"the store's clock is {apart:.0f} seconds {where} this machine's, and"
            " both decide when a session expires",
            "Synchronize both clocks with NTP.",
        )
