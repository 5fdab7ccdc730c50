"""What every codec does: turn a session's values into bytes and back.

Each value has its own bytes inside a record. A value that a request does not touch
is neither decoded nor encoded, and a value that cannot be read leaves the others
alone.
"""

from __future__ import annotations

import collections.abc as c
import datetime as dt
import typing as t
from decimal import Decimal
from types import MappingProxyType
from uuid import UUID

from markupsafe import Markup

from .errors import SessionTypeError

#: The last second of the year 9999, where datetime ends.
LAST_SECOND = 253402300799

#: Types whose values never change and hold no value that could.
IMMUTABLE = frozenset(
    {
        *(type(None), bool, int, float, str, bytes),
        *(dt.datetime, dt.date, dt.time, dt.timedelta, Decimal, UUID, Markup),
    }
)

#: Values by name, encoded.
Encoded: t.TypeAlias = c.Mapping[t.Hashable, bytes]

#: The other values of a session that has none.
NO_VALUES: t.Final[Encoded] = MappingProxyType({})

#: The stamps of a record without any.
NO_STAMPS: t.Final[Encoded] = MappingProxyType({})


class Record(t.NamedTuple):
    """What is stored for one session.

    :param created: when the session began, in seconds since the epoch. None if the
        record does not say.
    :param nonce: random bytes, so that two sessions with the same values differ.
    :param values: the encoded value of each name.
    :param rotated: when the session got its present id, in seconds since the epoch.
        0 if the record does not keep it.
    :param stamps: for names whose dict or set was assigned as a whole, random bytes
        that each assignment renews. So another request recognizes that the object
        which it edits was replaced.
    """

    created: int | None
    nonce: bytes
    values: dict[t.Hashable, bytes]
    rotated: int = 0
    stamps: c.Mapping[t.Hashable, bytes] = NO_STAMPS


class UnreadName(bytes):
    """The stored bytes of a session name whose type is not registered here."""


class Codec(t.Protocol):
    """Turns records, and the values in them, into bytes and back.

    Changes are found by comparing bytes. So equal values must give equal bytes, in
    every process. Where a value could be written in several ways, :meth:`encode`
    keeps the way it was written before.
    """

    #: Whether records keep stamps. If not, a dict that another request assigned is
    #: merged by key with edits inside the earlier one.
    keeps_stamps: bool
    #: Whether a record always says when its session began. If not, `created` may be
    #: None in :meth:`loads` and :meth:`dumps`.
    stores_created: bool

    def loads(self, data: bytes) -> Record:
        """Split a record into its names and their encoded values.

        :raises RejectedError: the bytes are no record; the reason is ``corrupt``.
        """

    def dumps(self, record: Record) -> bytes:
        """Return the bytes of a record.

        :raises SessionTypeError: a name is of a type that cannot be stored.
        """

    def encode(
        self,
        value: t.Any,
        name: t.Hashable,
        was: bytes | None = None,
        beside: Encoded = NO_VALUES,
    ) -> bytes:
        """Return the bytes of one value.

        :param name: the name the value is kept under, for the error message.
        :param was: the bytes of the value that this one replaces, or that it was
            decoded from.
        :param beside: the session's stored values, encoded. A codec may learn from
            them how the other program writes a type.
        :raises SessionTypeError: the value cannot be stored.
        """

    def decode(self, data: bytes, name: t.Hashable) -> t.Any:
        """Return the value that these bytes stand for.

        :param name: the name the value is kept under, for the error message.
        :raises SessionTypeError: the value cannot be read here: its bytes are
            malformed, its type is not registered or its own decoder fails.
        """

    def comparable(self, value: t.Any, name: t.Hashable) -> bytes:
        """Return equal bytes for values that are stored alike. A codec that does not
        keep the order of a dict's keys ignores that order.

        :param value: a decoded value, or a part of one.
        :param name: the name the value is kept under, for the error message.
        :raises SessionTypeError: the value cannot be stored.
        """


def own_value(codec: Codec, values: Encoded, name: str) -> t.Any:
    """Return a value that the package itself keeps in a session. None if there is no
    such value, or it cannot be decoded: another program may have written anything.
    """
    raw = values.get(name)
    if raw is None:
        return None
    try:
        return codec.decode(raw, name)
    except SessionTypeError:
        return None
