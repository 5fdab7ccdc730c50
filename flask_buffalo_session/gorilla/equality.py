"""Comparing Python values as a Go program would see them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import typing as t

from ..bases import as_base, with_base_keys
from ..registry import fields_of
from .decode import GoOpaque, GoStruct


def same(one: t.Any, other: t.Any) -> bool:
    """Return whether two values would be the same to a Go program. 1 and True are
    not, and neither are 0.0 and -0.0.

    :param one: a decoded value.
    """
    if type(one) is not type(other):
        other = as_base(other)
    if type(one) is not type(other):
        return {type(one), type(other)} == {list, tuple} and same(
            list(one), list(other)
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        other = with_base_keys(other)
        return one.keys() == other.keys() and all(
            same(one[key], other[key]) for key in one
        )
    if isinstance(one, float):
        return one.hex() == other.hex() and math.copysign(1, one) == math.copysign(
            1, other
        )
    if isinstance(one, GoStruct):
        named = bool(one.go_type == other.go_type)
        return named and same(dict(one), dict(other))
    if isinstance(one, dt.datetime):
        return bool(one == other and one.utcoffset() == other.utcoffset())
    if dataclasses.is_dataclass(one):
        return same(fields_of(one), fields_of(other))
    return bool(one == other)


def described(value: t.Any) -> str:
    """Return the same text for decoded values that are the same to a Go program.

    Go writes a map's keys in a random order, so the text has them in its own order.
    """
    if isinstance(value, list):
        return f"[{','.join(map(described, value))}]"
    if isinstance(value, dict):
        pairs = (f"{described(key)}:{described(item)}" for key, item in value.items())
        return f"{{{','.join(sorted(pairs))}}}"
    if isinstance(value, GoStruct):
        return ascii(value.go_type) + described(dict(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, GoOpaque):
        return ascii(type(value)) + described(fields_of(value))
    return ascii(value)
