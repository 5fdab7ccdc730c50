"""What is in a cookie or a record, for ``flask session show``. Nothing is changed."""

from __future__ import annotations

import datetime as dt
import math
import typing as t

from .backends.base import OWNER_NAME, EndedError
from .codec import Codec, Record
from .errors import RejectedError, SessionTypeError
from .opening import AppOpener
from .stores.base import Owned
from .tombstones import is_tombstone

#: What is shown, by name, ready for JSON.
Shown: t.TypeAlias = dict[str, t.Any]

#: Bits. Python refuses to write an int with very many digits.
_LONGEST_INT = 2048


def show_cookie(opener: AppOpener, text: str, *, values: bool) -> Shown:
    """Return what is in a cookie.

    :param text: the cookie's text, or ``name=text``.
    :param values: whether the values are shown, too.
    :raises SessionError: the store cannot answer, or there is no secret.
    """
    shown: Shown = {"kind": "cookie", "name": opener.config.name}
    name, equals, rest = text.strip().partition("=")
    if equals and name.strip() == opener.config.name:
        text = rest
    try:
        ticket = opener.unsealed(text.strip())
    except RejectedError as error:
        return shown | {"verified": False, **_rejected(error)}
    shown |= {"verified": True, "issued": _time(ticket.issued)}
    try:
        snapshot = opener.backend.load(ticket)
    except EndedError:
        return shown | {"state": "ended", "detail": "the session has just ended"}
    except RejectedError as error:
        return shown | _rejected(error)
    shown |= {
        "state": "alive",
        "id": opener.backend.id_of(snapshot),
        "permanent": snapshot.permanent,
        "size": None if snapshot.data is None else len(snapshot.data),
    }
    return shown | _content(opener.codec, snapshot.record, values=values)


def show_record(opener: AppOpener, session_id: str, *, values: bool) -> Shown:
    """Return what a store keeps under an id.

    :param session_id: the hash of the id, :attr:`Session.id`.
    :param values: whether the values are shown, too.
    :raises SessionUnsupportedError: the store cannot find a record by its hash.
    :raises SessionStoreError: the store cannot answer.
    """
    opener.backend.check_owners()
    data = t.cast(Owned, opener.backend.owned).peek(session_id)
    shown: Shown = {"kind": "record", "id": session_id}
    if data is None:
        return shown | {"state": "unknown", "detail": "the store has no such record"}
    shown["size"] = len(data)
    if is_tombstone(data):
        return shown | {"state": "ended", "detail": "a tombstone stands in its place"}
    try:
        record = opener.backend.opened(data, session_id)
        opener.policy.check_age(record)
    except RejectedError as error:
        return shown | _rejected(error)
    permanent = None
    if not opener.config.in_cookie:
        # An entry of the revocation list contains only the owner.
        raw = record.values.get("_permanent")
        permanent = raw is not None and _read(opener.codec, "_permanent", raw) is True
    shown |= {"state": "alive", "permanent": permanent}
    return shown | _content(opener.codec, record, values=values)


def _rejected(error: RejectedError) -> Shown:
    return {"state": error.reason, "detail": error.detail}


def _content(codec: Codec, record: Record, *, values: bool) -> Shown:
    owner = record.values.get(OWNER_NAME)
    return {
        "created": None if record.created is None else _time(record.created),
        "owner": None if owner is None else _plain(_read(codec, OWNER_NAME, owner)),
        "values": [
            _value(codec, name, data, values=values)
            for name, data in record.values.items()
        ],
    }


def _value(codec: Codec, name: t.Hashable, data: bytes, *, values: bool) -> Shown:
    shown: Shown = {"name": name if isinstance(name, str) else _text(name)}
    shown["size"] = len(data)
    try:
        value = codec.decode(data, name)
    except SessionTypeError as error:
        return shown | {"type": None, "problem": str(error)}
    shown["type"] = type(value).__qualname__
    if values:
        shown["value"] = _plain(value)
    return shown


def _read(codec: Codec, name: str, data: bytes) -> t.Any:
    try:
        return codec.decode(data, name)
    except SessionTypeError:
        return None


def _plain(value: t.Any) -> t.Any:
    """Return a value as JSON can show it: what JSON lacks becomes its repr."""
    if type(value) in (type(None), bool, str):
        return value
    if type(value) is int and value.bit_length() <= _LONGEST_INT:
        return value
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is list:
        return [_plain(item) for item in value]
    if type(value) is dict and all(type(key) is str for key in value):
        return {key: _plain(item) for key, item in value.items()}
    return _text(value)


def _text(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - the code of any class may run, and may fail
        return f"<{type(value).__name__}>"


def _time(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat()
