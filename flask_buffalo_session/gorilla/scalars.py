"""Python's single values as wire values of a given Go type.

Each function takes the Go type as it goes over the wire, the value, the Go type's
name, the wire value that was there before, and the value's path. Each raises
:class:`MismatchError` for a value of another type, and SessionTypeError for a value
that the Go type cannot hold.
"""

from __future__ import annotations

import collections.abc as c
import datetime as dt
import struct
import typing as t
from uuid import UUID

from markupsafe import Markup

from ..errors import SessionTypeError
from ..values import SURROGATES, ValuePath, is_lazy_text
from .decode import GoOpaque
from .equality import same
from .gob.types import OPAQUE, GobType
from .gotypes import RANGES, TIME, UUID_TYPE
from .moments import time_from, time_to


class MismatchError(SessionTypeError):
    """A value does not fit the type of the Go value it should become."""


def mismatch(path: ValuePath, value: object, go_type: str) -> MismatchError:
    """Return the error for a value that does not fit a Go type."""
    name = type(value).__name__
    return MismatchError(str(path), f"a {name} cannot be Go's {go_type or 'struct'}")


def encode_bool(
    kind: GobType, value: t.Any, go_type: str, old: t.Any, path: ValuePath
) -> bool:
    if type(value) is not bool:
        raise mismatch(path, value, go_type or kind.kind)
    return value


def encode_int(
    kind: GobType, value: t.Any, go_type: str, old: t.Any, path: ValuePath
) -> int:
    if type(value) is not int:
        raise mismatch(path, value, go_type or kind.kind)
    low, high = RANGES.get(go_type) or RANGES[f"{kind.kind}64"]
    # The number that was there stays, even if Go would not have sent it.
    if value != old and not low <= value <= high:
        raise SessionTypeError(
            str(path), f"the number does not fit into Go's {go_type or kind.kind}"
        )
    return value


def encode_float(
    kind: GobType, value: t.Any, go_type: str, old: t.Any, path: ValuePath
) -> float:
    if type(value) is int and abs(value) <= 1 << 53:
        value = float(value)
    if type(value) is not float:
        raise mismatch(path, value, go_type or kind.kind)
    # The number that was there stays, as above.
    if go_type != "float32" or same(value, old):
        return value
    return _shortened(value, path)


def encode_complex(
    kind: GobType, value: t.Any, go_type: str, old: t.Any, path: ValuePath
) -> complex:
    if type(value) is not complex:
        raise mismatch(path, value, go_type or kind.kind)
    if go_type != "complex64" or same(value, old):
        return value
    return complex(_shortened(value.real, path), _shortened(value.imag, path))


def encode_string(
    kind: GobType, value: t.Any, go_type: str, old: t.Any, path: ValuePath
) -> str:
    if type(value) is not str and not is_text(value):
        raise mismatch(path, value, go_type or kind.kind)
    text = str.__str__(value) if isinstance(value, str) else str(value)
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise SessionTypeError(str(path), SURROGATES) from None
    return text


def encode_bytes(
    kind: GobType, value: t.Any, go_type: str, old: t.Any, path: ValuePath
) -> bytes:
    if type(value) is not bytes:
        raise mismatch(path, value, go_type or kind.kind)
    return value


def encode_opaque(
    kind: GobType, value: t.Any, go_type: str, old: t.Any, path: ValuePath
) -> bytes:
    if isinstance(value, GoOpaque) and alike(kind, value._gob_type):
        return value.data
    if type(value) is UUID and kind.name == UUID_TYPE.name:
        return value.bytes
    if type(value) is dt.datetime and kind.name == TIME.name:
        was = None if old is None else time_from(old)
        # Go's time may have nanoseconds, which datetime drops.
        if same(was, value) and value.utcoffset() is not None:
            return t.cast(bytes, old)
        return time_to(value, path)
    raise mismatch(path, value, go_type or kind.name)


def is_text(value: object) -> bool:
    """Return whether Go gets a value as a string: a str, a lazy string, or a
    Markup. Go has no type for Markup, so it comes back as a str, and templates
    escape it.
    """
    if isinstance(value, str):
        return type(value) in (str, Markup)
    return is_lazy_text(value)


def alike(one: GobType, other: GobType) -> bool:
    """Return whether two opaque types are the same, as far as the wire shows."""
    return (one.kind, one.name) == (other.kind, other.name)


def is_zero(kind: GobType, wire: t.Any) -> bool:
    """Return whether Go leaves a field out of a struct for its value."""
    return kind.kind not in ("struct", "array", *OPAQUE) and not wire


def _shortened(value: float, path: ValuePath) -> float:
    """Return a number with the precision of Go's float32."""
    try:
        return t.cast(float, struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        raise SessionTypeError(
            str(path), "the number does not fit into Go's float32"
        ) from None


SCALAR_ENCODERS: dict[
    str, c.Callable[[GobType, t.Any, str, t.Any, ValuePath], t.Any]
] = {
    "bool": encode_bool,
    "int": encode_int,
    "uint": encode_int,
    "float": encode_float,
    "complex": encode_complex,
    "string": encode_string,
    "bytes": encode_bytes,
    **dict.fromkeys(OPAQUE, encode_opaque),
}
