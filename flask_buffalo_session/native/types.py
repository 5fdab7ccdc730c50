"""The extension types: Python's types that MessagePack does not have.

``docs/reference/formats.md`` describes their bytes.
"""

from __future__ import annotations

import collections.abc as c
import datetime as dt
import typing as t
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import ormsgpack
from markupsafe import Markup

from ..errors import shown
from ..registry import ConversionError
from ..values import class_shown

# The tags are part of the format. A tag that is no longer used stays reserved.
_BIG_INT, _DATETIME, _DATE, _TIME, _TIMEDELTA, _DECIMAL, _UUID, _MARKUP = range(1, 9)
_TUPLE, _SET, _FROZENSET, MAPPING, REGISTERED = range(16, 21)


class Leaf(t.NamedTuple):
    """An extension type that holds no other value."""

    tag: int
    dump: c.Callable[[t.Any], bytes]
    load: c.Callable[[bytes], t.Any]


def _dump_int(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _dump_moment(value: dt.datetime | dt.time) -> bytes:
    parts: list[t.Any] = [value.replace(tzinfo=None).isoformat(), value.fold]
    if value.tzinfo is not None:
        parts.append(_dump_zone(value.tzinfo))
    return ormsgpack.packb(parts)


def _load_moment(kind: t.Any, data: bytes) -> t.Any:
    text, fold, *zone = ormsgpack.unpackb(data)
    moment = kind.fromisoformat(text).replace(fold=fold)
    return moment.replace(tzinfo=_load_zone(zone[0])) if zone else moment


def _dump_zone(zone: dt.tzinfo) -> str | list[t.Any]:
    if type(zone) is dt.timezone:
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
        return [_dump_timedelta(offset), *name]
    if isinstance(zone, ZoneInfo) and zone.key is not None:
        return zone.key
    raise ConversionError(
        f"a time zone of the class {class_shown(type(zone))} cannot be stored:"
        " use zoneinfo.ZoneInfo or datetime.timezone"
    )


def _load_zone(zone: str | list[t.Any]) -> dt.tzinfo:
    if isinstance(zone, str):
        try:
            return ZoneInfo(zone)
        except ZoneInfoNotFoundError:
            # The error's own message may be as long as the zone's name.
            raise ConversionError(
                f"holds a time in the zone {shown(zone)}, which is not known here:"
                " install tzdata"
            ) from None
    offset, *name = zone
    return dt.timezone(_load_timedelta(offset), *name)


def _dump_timedelta(value: dt.timedelta) -> bytes:
    return ormsgpack.packb([value.days, value.seconds, value.microseconds])


def _load_timedelta(data: bytes) -> dt.timedelta:
    return dt.timedelta(*ormsgpack.unpackb(data))


LEAVES: dict[type, Leaf] = {
    int: Leaf(_BIG_INT, _dump_int, lambda data: int.from_bytes(data, signed=True)),
    dt.datetime: Leaf(
        _DATETIME, _dump_moment, lambda data: _load_moment(dt.datetime, data)
    ),
    dt.date: Leaf(
        _DATE,
        lambda value: value.isoformat().encode(),
        lambda data: dt.date.fromisoformat(data.decode()),
    ),
    dt.time: Leaf(_TIME, _dump_moment, lambda data: _load_moment(dt.time, data)),
    dt.timedelta: Leaf(_TIMEDELTA, _dump_timedelta, _load_timedelta),
    Decimal: Leaf(
        _DECIMAL,
        lambda value: str(value).encode(),
        lambda data: Decimal(data.decode()),
    ),
    UUID: Leaf(_UUID, lambda value: value.bytes, lambda data: UUID(bytes=data)),
    Markup: Leaf(
        _MARKUP,
        lambda value: str(value).encode(),
        lambda data: Markup(data.decode()),  # noqa: S704 - as it was
    ),
}

LEAF_LOADERS = {leaf.tag: leaf.load for leaf in LEAVES.values()}

COLLECTIONS: dict[type, int] = {tuple: _TUPLE, set: _SET, frozenset: _FROZENSET}


def pairs(flat: list[t.Any]) -> dict[t.Any, t.Any]:
    """Return a dict of a list of the first key, its value, the second key, …"""
    return dict(zip(flat[::2], flat[1::2], strict=True))


COLLECTION_LOADERS: dict[int, c.Callable[[list[t.Any]], t.Any]] = {
    _TUPLE: tuple,
    _SET: set,
    _FROZENSET: frozenset,
    MAPPING: pairs,
}


def container(tag: int, parts: list[bytes]) -> ormsgpack.Ext:
    """Return an extension type that holds an array of encoded values."""
    if tag in (_SET, _FROZENSET):
        # A set's own order depends on PYTHONHASHSEED.
        parts.sort()
    return ormsgpack.Ext(tag, _array(parts))


def _array(parts: list[bytes]) -> bytes:
    # Written by hand: ormsgpack.Fragment would read each part again, and refuse
    # parts that are nested as deeply as packing allows.
    count = len(parts)
    if count < 0x10:
        head = bytes([0x90 | count])
    elif count < 0x10000:
        head = b"\xdc" + count.to_bytes(2)
    else:
        head = b"\xdd" + count.to_bytes(4)
    return head + b"".join(parts)
