"""Writes Go values as gob's bytes."""

from __future__ import annotations

import collections.abc as c
import functools
import typing as t

from .reader import Boxed
from .types import (
    BASIC,
    FIRST_ID,
    FLOAT64,
    OPAQUE,
    STRING,
    WIRE_TYPE,
    GobType,
    closure,
    digest_of,
)


class TypeTable:
    """Numbers the types of one stream, in the order that the stream needs them.

    :param first: the types that the stream needs first.
    """

    def __init__(self, first: tuple[GobType, ...] = ()) -> None:
        self._first = first
        self._numbers = {kind: FIRST_ID + place for place, kind in enumerate(first)}

    def number(self, kind: GobType) -> int:
        if kind.id:
            return kind.id
        if kind not in self._numbers:
            defined = _defined(kind)
            self._first = self._first or defined
            for part in defined:
                self._numbers.setdefault(part, FIRST_ID + len(self._numbers))
        return self._numbers[kind]

    def definitions(self) -> c.Sequence[bytes]:
        """Return the messages that define the types. They come before any value."""
        if not self._numbers:
            return ()
        # The types that the first one needs have the same numbers in every stream, so
        # their definitions are cached. Most streams need no others.
        first = _first_definitions(self._first)
        others = list(self._numbers)[len(first) :]
        return [*first, *map(self.definition, others)]

    def definition(self, kind: GobType) -> bytes:
        number = self.number(kind)
        writer = Writer(self)
        writer.signed(-number)
        writer.value(WIRE_TYPE, {kind.kind: self._shape(kind, number)})
        return bytes(writer.data)

    def _shape(self, kind: GobType, number: int) -> dict[str, t.Any]:
        common = {"Name": kind.name} if kind.name else {}
        shape: dict[str, t.Any] = {"Common": {**common, "Id": number}}
        numbers = [self.number(part) for part in kind.parts]
        if kind.kind == "struct":
            if kind.fields:
                shape["Field"] = [
                    {"Name": name, "Id": part}
                    for name, part in zip(kind.fields, numbers, strict=True)
                ]
        elif kind.kind == "map":
            shape["Key"], shape["Elem"] = numbers
        elif numbers:
            shape["Elem"] = numbers[0]
        if kind.length:
            shape["Len"] = kind.length
        return shape


@functools.lru_cache(maxsize=256)
def _defined(kind: GobType) -> tuple[GobType, ...]:
    """Return the types to define before a value of this type."""
    types = [part for part in closure([kind]) if not part.id]
    if kind.digest is not None:
        # All types of a circle get one order, so that each is defined once.
        types.sort(key=lambda part: part.digest or digest_of(part))
    return tuple(types)


@functools.lru_cache(maxsize=256)
def _first_definitions(defined: tuple[GobType, ...]) -> tuple[bytes, ...]:
    return tuple(map(TypeTable(defined).definition, defined))


class Writer:
    """Writes values one after the other, as Go writes them.

    :param types: numbers the types of the values in interfaces.
    """

    def __init__(self, types: TypeTable) -> None:
        self.data = bytearray()
        self._types = types

    def unsigned(self, number: int) -> None:
        if number < 0x80:
            self.data.append(number)
            return
        size = (number.bit_length() + 7) // 8
        self.data.append(0x100 - size)
        self.data += number.to_bytes(size)

    def signed(self, number: int) -> None:
        self.unsigned(~number << 1 | 1 if number < 0 else number << 1)

    def chunk(self, data: bytes | bytearray) -> None:
        self.unsigned(len(data))
        self.data += data

    def top(self, kind: GobType, value: t.Any) -> None:
        if kind.kind != "struct":
            self.data.append(0)
        self.value(kind, value)

    def value(self, kind: GobType, value: t.Any) -> None:
        _WRITERS[kind.kind](self, kind, value)

    def boxed(self, value: Boxed | None) -> None:
        if value is None:
            self.data.append(0)
            return
        self.write_string(STRING, value.name)
        self.signed(self._types.number(value.type))
        if value.data is not None:
            self.chunk(value.data)
            return
        inner = Writer(self._types)
        inner.top(value.type, value.value)
        self.chunk(inner.data)

    def write_bool(self, kind: GobType, value: bool) -> None:
        self.data.append(value)

    def write_int(self, kind: GobType, value: int) -> None:
        self.signed(value)

    def write_uint(self, kind: GobType, value: int) -> None:
        self.unsigned(value)

    def write_float(self, kind: GobType, value: float) -> None:
        self.unsigned(int.from_bytes(FLOAT64.pack(value), "little"))

    def write_complex(self, kind: GobType, value: complex) -> None:
        self.write_float(kind, value.real)
        self.write_float(kind, value.imag)

    def write_bytes(self, kind: GobType, value: bytes) -> None:
        self.chunk(value)

    def write_string(self, kind: GobType, value: str) -> None:
        self.chunk(value.encode("utf-8", "surrogateescape"))

    def write_interface(self, kind: GobType, value: Boxed | None) -> None:
        self.boxed(value)

    def write_slice(self, kind: GobType, value: list[t.Any]) -> None:
        self.unsigned(len(value))
        for element in value:
            self.value(kind.parts[0], element)

    def write_map(self, kind: GobType, value: list[tuple[t.Any, t.Any]]) -> None:
        self.unsigned(len(value))
        for key, element in value:
            self.value(kind.parts[0], key)
            self.value(kind.parts[1], element)

    def write_struct(self, kind: GobType, value: dict[str, t.Any]) -> None:
        last = -1
        for index, name in enumerate(kind.fields):
            if name in value:
                self.unsigned(index - last)
                self.value(kind.parts[index], value[name])
                last = index
        self.unsigned(0)


_WRITERS: dict[str, c.Callable[[Writer, GobType, t.Any], None]] = {
    kind.kind: getattr(Writer, f"write_{kind.kind}") for kind in BASIC.values()
} | {
    "slice": Writer.write_slice,
    "array": Writer.write_slice,
    "map": Writer.write_map,
    "struct": Writer.write_struct,
    **dict.fromkeys(OPAQUE, Writer.write_bytes),
}
