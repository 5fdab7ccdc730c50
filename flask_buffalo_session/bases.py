"""Instances of subclasses as the base type that the codecs can store.

A subclass can override any method. So each value is read by the methods of its base
type.
"""

from __future__ import annotations

import collections.abc as c
import dataclasses
import datetime as dt
import typing as t
from decimal import Decimal
from uuid import UUID

from markupsafe import Markup
from werkzeug.datastructures import MultiDict


def _dict_of(value: dict[t.Any, t.Any]) -> dict[t.Any, t.Any]:
    if isinstance(value, MultiDict):
        # dict() would drop values of a CombinedMultiDict, such as request.values.
        return dict(value.lists())
    # An OrderedDict has an order of its own, which dict.copy() would not see.
    return dict(value)


def _datetime_of(value: dt.datetime) -> dt.datetime:
    return dt.datetime.combine(dt.datetime.date(value), dt.datetime.timetz(value))


def _time_of(value: dt.time) -> dt.time:
    return dt.datetime.combine(dt.date.min, value).timetz()


# How to read an instance of a subclass as each base type.
_BASES: dict[type, c.Callable[[t.Any], t.Any]] = {
    int: int.__int__,
    float: float.__float__,
    str: str.__str__,
    bytes: bytes.__bytes__,
    list: list.copy,
    tuple: lambda value: (*tuple.__iter__(value),),
    dict: _dict_of,
    set: lambda value: {*set.__iter__(value)},
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
    dt.datetime: _datetime_of,
    dt.date: lambda value: dt.date.fromordinal(dt.date.toordinal(value)),
    dt.time: _time_of,
    dt.timedelta: dt.timedelta.__pos__,
    Decimal: Decimal,
    UUID: lambda value: UUID(int=value.int),
    Markup: lambda value: Markup(str.__str__(value)),  # noqa: S704 - as it was
}

#: The types that the codecs can store. bool and None have no subclasses.
EXACT = frozenset({*_BASES, bool, type(None)})


def as_base(value: t.Any, registered: c.Container[type] = ()) -> t.Any:
    """Return a value as the nearest base type that the codecs can store.

    A value of a storable type, of a registered class or of any other class is
    returned as it is. So is a dataclass, which would lose its fields.

    :param registered: the classes that are registered.
    """
    kind = type(value)
    if kind in EXACT or kind in registered or dataclasses.is_dataclass(kind):
        return value
    if kind.__name__ == "NaTType":
        # Pandas' NaT derives from datetime, and would become the first of January 1.
        return value
    for base in kind.__mro__:
        if base in _BASES:
            return _BASES[base](value)
    return value


def with_base_keys(
    value: dict[t.Any, t.Any], registered: c.Container[type] = ()
) -> dict[t.Any, t.Any]:
    """Return a dict whose keys are as :func:`as_base` returns them.

    :param registered: the classes that are registered.
    """
    if EXACT.issuperset(map(type, value)):
        return value
    return {as_base(key, registered): item for key, item in value.items()}
