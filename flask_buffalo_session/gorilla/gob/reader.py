"""Reads Go values from gob's bytes."""

from __future__ import annotations

import collections.abc as c
import typing as t

from .types import (
    BASIC,
    BASIC_BYTES,
    FIRST_ID,
    FLOAT64,
    INTERFACE,
    LONGEST_NAME,
    MAX_DEPTH,
    MOST_TYPES,
    OPAQUE,
    STRING,
    WIRE_TYPE,
    GobError,
    GobType,
    Resolver,
    closure,
    shared,
)


class Boxed:
    """What an interface holds: a value together with its type.

    :param name: the name that the type is registered under in Go.
    :param value: the wire value, if it has been read.
    :param data: the bytes of the value, if it has not. They are read on demand.
    :param depth: how many values there are around this one.
    """

    __slots__ = ("_value", "data", "depth", "name", "type")

    def __init__(
        self,
        name: str,
        type: GobType,
        value: t.Any = None,
        data: bytes | None = None,
        depth: int = 0,
    ) -> None:
        self.name = name
        self.type = type
        self._value = value
        self.data = data
        self.depth = depth

    @property
    def value(self) -> t.Any:
        """The wire value.

        :raises GobError: the bytes are no value of the type.
        """
        if self._value is None:
            self.read()
        return self._value

    def read(self) -> None:
        """Read the value, whether or not it is needed.

        :raises GobError: the bytes are no value of the type.
        """
        data = self.data
        if data is None:
            return
        size = len(data) - 2
        if (
            self.type is STRING
            and 0 <= size < 0x80
            and data[0] == 0
            and data[1] == size
        ):
            # A short text, as nearly all names are. This saves 2 % of a read.
            self._value = _text(data[2:])
        else:
            reader = Reader(data)
            self._value = reader.top(self.type, self.depth)
            reader.finish()


def in_interface(kind: GobType, go_type: str, wire: t.Any) -> Boxed | None:
    """Return a wire value as an interface would hold it."""
    if kind is INTERFACE:
        return t.cast("Boxed | None", wire)
    return Boxed(go_type, kind, wire)


def add_named_types(kind: GobType, wire: t.Any, found: dict[str, GobType]) -> None:
    """Add the types that interfaces inside a wire value name, by that name."""
    if kind is INTERFACE:
        if wire is not None:
            found.setdefault(wire.name, wire.type)
            if wire.type.mixed:
                add_named_types(wire.type, wire.value, found)
    elif kind.kind in ("slice", "array"):
        for item in wire:
            add_named_types(kind.parts[0], item, found)
    elif kind.kind == "map":
        for key, item in wire:
            add_named_types(kind.parts[0], key, found)
            add_named_types(kind.parts[1], item, found)
    elif kind.kind == "struct":
        for name, part in zip(kind.fields, kind.parts, strict=True):
            if name in wire:
                add_named_types(part, wire[name], found)


class Reader:
    """Reads values one after the other. The memory it takes is at most a multiple of
    the bytes it is given, and MAX_DEPTH bounds its stack, whatever the bytes claim.

    Go may split the value inside an interface into several messages, with
    definitions of types between them. The reader has all the bytes, so it checks
    the messages' lengths and reads the value in one piece.

    :param data: the bytes.
    :param position: where to start.
    :param types: the types that were defined elsewhere, by number.
    """

    def __init__(
        self, data: bytes, position: int = 0, types: dict[int, GobType] | None = None
    ) -> None:
        self.data = data
        self.position = position
        self._types = dict(types or {})
        self._definitions: dict[int, dict[str, t.Any]] = {}

    def resumed(self, data: bytes, position: int) -> Reader:
        """Return a reader of other bytes that knows what this one has read.

        :param position: where the others begin to differ.
        """
        reader = Reader(data, position, self._types)
        reader._definitions = dict(self._definitions)
        return reader

    def finish(self) -> None:
        """Check that all bytes were read.

        :raises GobError: there are more.
        """
        if self.position != len(self.data):
            raise GobError("there are bytes after the value")

    def message(self) -> GobType:
        """Read up to the one value in a stream, and return its type."""
        self.length()
        return self._announced()

    def definitions(self) -> dict[int, GobType]:
        """Read definitions of types up to the end, and return the types by number."""
        while self.position < len(self.data):
            self._define(-self.signed())
        return {number: self._type(number, 0) for number in self._definitions}

    # A session of five values has fifty numbers, nearly all of them below 0x80. So
    # unsigned(), chunk() and _announced() call as little as possible.

    def unsigned(self) -> int:
        try:
            first = self.data[self.position]
        except IndexError:
            raise GobError("the end is missing") from None
        self.position += 1
        if first < 0x80:
            return first
        size = 0x100 - first
        if size > 8:
            raise GobError("a number is too long")
        return int.from_bytes(self.take(size))

    def signed(self) -> int:
        number = self.unsigned()
        return ~(number >> 1) if number & 1 else number >> 1

    def length(self) -> int:
        """Read how many bytes or elements follow. Each element takes a byte."""
        length = self.unsigned()
        if length > len(self.data) - self.position:
            raise GobError("there are fewer bytes than announced")
        return length

    def chunk(self) -> bytes:
        """Read bytes that follow their length."""
        data, start = self.data, self.position
        if start < len(data) and data[start] < 0x80:
            end = start + 1 + data[start]
            start += 1
        else:
            end = self.length() + self.position
            start = self.position
        if end > len(data):
            raise GobError("there are fewer bytes than announced")
        self.position = end
        return data[start:end]

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self.data):
            raise GobError("the end is missing")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def top(self, kind: GobType, depth: int = 0) -> t.Any:
        """Read a value that stands alone or in an interface."""
        # One byte: a longer form of 0 does not count.
        if kind.kind != "struct" and self.take(1) != b"\0":
            raise GobError("a value is not where it should be")
        return self.value(kind, depth)

    def value(self, kind: GobType, depth: int = 0) -> t.Any:
        if depth > MAX_DEPTH:
            raise GobError("nested too deeply")
        return _READERS[kind.kind](self, kind, depth + 1)

    def boxed(self, depth: int = 0) -> Boxed | None:
        """Read an interface's value. A value without interfaces inside stays unread."""
        name = self.chunk()
        if not name:
            return None
        if len(name) > LONGEST_NAME:
            raise GobError("a type's name is too long")
        kind = self._announced()
        if not kind.mixed:
            return Boxed(_text(name), kind, None, self.chunk(), depth)
        self.length()
        return Boxed(_text(name), kind, self.top(kind, depth), None, depth)

    def _announced(self) -> GobType:
        position = self.position
        if position < len(self.data):
            kind = BASIC_BYTES.get(self.data[position])
            if kind is not None:
                self.position = position + 1
                return kind
        number = self.signed()
        while number < 0:
            self._define(-number)
            # The next message's length, or that of the rest of an interface.
            self.length()
            number = self.signed()
        return BASIC.get(number) or self._type(number, 0)

    def _define(self, number: int) -> None:
        if number < FIRST_ID - 1 or number in self._definitions:
            raise GobError("a type is defined twice")
        if len(self._definitions) >= MOST_TYPES:
            raise GobError("too many types")
        self._definitions[number] = self.value(WIRE_TYPE)

    def _type(self, number: int, depth: int) -> GobType:
        known = BASIC.get(number) or self._types.get(number)
        if known is not None:
            return known
        resolver = Resolver(self._definitions, self._types)
        kind = resolver.type(number, depth)
        if resolver.circular or any(part.digest for part in closure([kind])):
            same = shared(self._types.values())
            self._types = {n: same.get(one, one) for n, one in self._types.items()}
        return self._types[number]

    def read_bool(self, kind: GobType, depth: int) -> bool:
        return self.unsigned() != 0

    def read_int(self, kind: GobType, depth: int) -> int:
        return self.signed()

    def read_uint(self, kind: GobType, depth: int) -> int:
        return self.unsigned()

    def read_float(self, kind: GobType, depth: int) -> float:
        # Its bytes are the other way round, as then many a number is shorter.
        return t.cast(float, FLOAT64.unpack(self.unsigned().to_bytes(8, "little"))[0])

    def read_complex(self, kind: GobType, depth: int) -> complex:
        return complex(self.read_float(kind, depth), self.read_float(kind, depth))

    def read_bytes(self, kind: GobType, depth: int) -> bytes:
        return self.chunk()

    def read_string(self, kind: GobType, depth: int) -> str:
        return _text(self.chunk())

    def read_interface(self, kind: GobType, depth: int) -> Boxed | None:
        return self.boxed(depth)

    def read_slice(self, kind: GobType, depth: int) -> list[t.Any]:
        (element,) = kind.parts
        return [self.value(element, depth) for _ in range(self.length())]

    def read_array(self, kind: GobType, depth: int) -> list[t.Any]:
        values = self.read_slice(kind, depth)
        if len(values) != kind.length:
            raise GobError("an array is not as long as its type")
        return values

    def read_map(self, kind: GobType, depth: int) -> list[tuple[t.Any, t.Any]]:
        key, element = kind.parts
        return [
            (self.value(key, depth), self.value(element, depth))
            for _ in range(self.length())
        ]

    def read_struct(self, kind: GobType, depth: int) -> dict[str, t.Any]:
        values: dict[str, t.Any] = {}
        index = -1
        while delta := self.unsigned():
            index += delta
            if index >= len(kind.fields):
                raise GobError("a struct has a field that its type lacks")
            values[kind.fields[index]] = self.value(kind.parts[index], depth)
        return values


_READERS: dict[str, c.Callable[[Reader, GobType, int], t.Any]] = {
    kind.kind: getattr(Reader, f"read_{kind.kind}") for kind in BASIC.values()
} | {
    "slice": Reader.read_slice,
    "array": Reader.read_array,
    "map": Reader.read_map,
    "struct": Reader.read_struct,
    **dict.fromkeys(OPAQUE, Reader.read_bytes),
}


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
