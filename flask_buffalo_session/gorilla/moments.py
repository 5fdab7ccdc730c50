"""Go's ``time.Time``, as its method ``GobEncode`` writes it."""

from __future__ import annotations

import datetime as dt
import struct

from ..errors import SessionTypeError

_YEAR_1 = dt.datetime(1, 1, 1, tzinfo=dt.UTC)

# Version 1 holds seconds since the year 1, nanoseconds, and minutes east of UTC.
# Version 2 adds the seconds of the offset.
_MOMENT = struct.Struct(">BqIh")


def time_from(data: bytes) -> dt.datetime | None:
    """Return the time of Go's bytes, or None if datetime has no such time."""
    if len(data) not in (15, 16) or data[0] != len(data) - 14:
        return None
    _, seconds, nanoseconds, minutes = _MOMENT.unpack(data[:15])
    # Go writes -1 for UTC itself.
    offset = 0 if minutes == -1 else minutes * 60
    offset += sum(struct.unpack("b", data[15:])) if len(data) == 16 else 0
    try:
        moment = _YEAR_1 + dt.timedelta(
            seconds=seconds, microseconds=nanoseconds // 1000
        )
        return moment.astimezone(dt.timezone(dt.timedelta(seconds=offset)))
    except (OverflowError, ValueError):
        return None


def time_to(value: dt.datetime, path: object) -> bytes:
    """Return Go's bytes of a time.

    :param path: where the time is, for the error message.
    :raises SessionTypeError: the time has no zone, or an offset that Go lacks.
    """
    offset = value.utcoffset()
    if offset is None:
        raise SessionTypeError(
            str(path), "Go's time needs a time zone: use datetime.now(UTC)"
        )
    if offset.microseconds or offset == dt.timedelta(minutes=-1):
        raise SessionTypeError(
            str(path), "Go's time has no such offset from UTC: use another zone"
        )
    since = value.replace(tzinfo=dt.UTC) - offset - _YEAR_1
    minutes, rest = divmod(offset.days * 86400 + offset.seconds, 60)
    return _MOMENT.pack(
        2 if rest else 1,
        since.days * 86400 + since.seconds,
        since.microseconds * 1000,
        minutes if offset else -1,
    ) + (bytes([rest]) if rest else b"")
