"""Tombstones: what stays under an id that was retired.

While a tombstone stands, requests with the old cookie can neither revive the session
nor start another one in its place. There are four kinds:

- *ended*: the session is over, or its id must not lead anywhere.
- *moved*: the id was rotated for its age. For 30 seconds requests with the old id are
  led to the session under its new id, so parallel requests stay logged in.
- *replaced*: the application asked for a new id. Requests with the old id find nothing,
  but a logout that was under way still ends the session under its new id.
- *arrived*: an old session has moved here (``SESSION_PREVIOUS``). This tombstone stands
  under a key that is made from the old cookie, and leads to the new session.

No codec's record begins with a zero byte, as every tombstone does.
"""

from __future__ import annotations

import hashlib
import os
import time
import typing as t

from .stores.base import TOMBSTONE_PREFIX, storage_key

#: Seconds that a server-side store keeps a tombstone.
TOMBSTONE_SECONDS = 60

#: Seconds for which parallel requests are led to the session's new id.
FORWARD_SECONDS = 30

Kind: t.TypeAlias = t.Literal[b"E", b"M", b"R", b"A"]

ENDED: t.Final = b"E"
MOVED: t.Final = b"M"
REPLACED: t.Final = b"R"
ARRIVED: t.Final = b"A"

_BEGINNINGS = (
    *(TOMBSTONE_PREFIX + kind for kind in (ENDED, MOVED, REPLACED, ARRIVED)),
    # Revocation lists may still hold tombstones of the first version.
    b"\x00retired",
)

# After the zero byte and the kind: the second, and random bytes.
_SECOND = slice(2, 10)
_HEAD = 2 + 8 + 8
_KEY_BYTES = 32


def tombstone(kind: Kind = ENDED, *, at: int | None = None) -> bytes:
    """Return a new tombstone. Random bytes make it unlike any other, so that a request
    recognizes its own.

    :param at: the second since the epoch that it bears; now by default.
    """
    second = int(time.time()) if at is None else at
    return TOMBSTONE_PREFIX + kind + second.to_bytes(8) + os.urandom(8)


def forwarding(kind: Kind, key: str, successor: str) -> bytes:
    """Return a tombstone that leads on to the session's new id.

    A reader needs the old id to read the new id, and the store keeps neither. So
    reading the store is not enough to take over a session.

    A writer needs the old id, too: without it nobody can mask another new id, so a
    forged tombstone ends the session but leads nowhere. Encrypted records are bound to
    their ids as well, so no record can be planted under an id that a forger guesses.

    :param kind: MOVED, REPLACED or ARRIVED.
    :param key: the id that is retired.
    :param successor: the id under which the session goes on.
    """
    head = tombstone(kind) + bytes.fromhex(storage_key(successor))
    return head + _masked(successor.encode(), key)


def is_tombstone(data: bytes | None) -> t.TypeGuard[bytes]:
    """Return whether these bytes stand in place of a record."""
    return data is not None and data.startswith(_BEGINNINGS)


def kind_of(data: bytes) -> bytes:
    """Return a tombstone's kind: ENDED, MOVED, REPLACED or ARRIVED."""
    return data[1:2]


def second_of(data: bytes) -> int:
    """Return when a tombstone was made, in seconds since the epoch."""
    return int.from_bytes(data[_SECOND])


def session_moved(data: bytes) -> bool:
    """Return whether a tombstone still leads requests to the session's new id."""
    return kind_of(data) == MOVED and leads_still(data)


def leads_still(data: bytes) -> bool:
    """Return whether a tombstone is younger than :data:`FORWARD_SECONDS`."""
    return time.time() < second_of(data) + FORWARD_SECONDS


def successor_of(data: bytes, key: str) -> str | None:
    """Return the id under which the session goes on; None if it ended.

    :param key: the id that the tombstone was found under.
    """
    masked = data[_HEAD + _KEY_BYTES :]
    try:
        successor = _masked(masked, key).decode()
    except UnicodeDecodeError:
        # The tombstone was not made for this id.
        return None
    # Nor was it if the hash is that of another id.
    return successor if storage_key(successor) == successor_hash_of(data) else None


def successor_hash_of(data: bytes) -> str | None:
    """Return the hash of the id under which the session goes on; None if it ended."""
    return data[_HEAD : _HEAD + _KEY_BYTES].hex() or None


def _masked(data: bytes, key: str) -> bytes:
    # An id is random and retired once, so each pad is used once.
    pad = hashlib.shake_256(b"flask-buffalo-session.v1.moved." + key.encode())
    # pragma: no mutate: both are equally long
    pairs = zip(data, pad.digest(len(data)), strict=True)
    return bytes(one ^ other for one, other in pairs)
