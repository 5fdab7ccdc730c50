"""What is left in place of a record whose id has been given up.

Requests still under way with the old cookie then neither revive the session nor start
another one in its place. No codec's record begins with a zero byte.
"""

from __future__ import annotations

import hashlib
import os

from .stores.base import storage_key

#: Begins the mark under an id that was given up for good.
RETIRED = b"\x00retired"

#: How long a mark stays, in seconds.
RETIRED_SECONDS = 60

# Begins the mark under an id that has grown old: the session goes on under another.
_MOVED = b"\x00moved"
_KEY_BYTES = 32


def retired() -> bytes:
    """A mark for an id that is given up for good. No two are the same, so that who
    writes one can tell it from another's.
    """
    return RETIRED + os.urandom(8)


def moved(token: str, successor: str) -> bytes:
    """The mark for a session that goes on under the token `successor`. What that is
    can only be read by who has the old token, which the store has not: so who reads
    the store cannot take over the sessions in it. The successor's key can be read.
    """
    key = bytes.fromhex(storage_key(successor))
    return _MOVED + key + _masked(_bytes(successor), token)


def is_mark(data: bytes | None, mark: bytes | None = None) -> bool:
    """Whether this stands in place of a record.

    :param mark: whether it is that one.
    """
    return data is not None and data.startswith(mark or (RETIRED, _MOVED))


def successor_of(mark: bytes | None, token: str) -> str | None:
    """The token under which the session goes on, if it does.

    :param token: the one that the mark was found under.
    """
    if mark is None or not mark.startswith(_MOVED):
        return None
    masked = mark[len(_MOVED) + _KEY_BYTES :]
    try:
        return _masked(masked, token).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        # A mark that was not made for this token.
        return None


def successor_key_of(mark: bytes | None) -> str | None:
    """The key under which the session goes on, if it does."""
    if mark is None or not mark.startswith(_MOVED):
        return None
    return mark[len(_MOVED) : len(_MOVED) + _KEY_BYTES].hex()


def _masked(data: bytes, token: str) -> bytes:
    # A token is random and retired once, so each pad is of one use.
    pad = hashlib.shake_256(b"flask-buffalo-session.v1.moved." + _bytes(token))
    pairs = zip(data, pad.digest(len(data)), strict=True)
    return bytes(one ^ other for one, other in pairs)


def _bytes(token: str) -> bytes:
    return token.encode("utf-8", "surrogatepass")
