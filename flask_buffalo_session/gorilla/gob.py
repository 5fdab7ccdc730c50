"""The wire format of Go's encoding/gob: types, and values of them.

Written from https://pkg.go.dev/encoding/gob. Knows no session and none of the
Python values that a view sees: a Go value is here in its plain form, which depends
on its type:

=============================  ========================================
bool, int, uint, float,        ``bool``, ``int``, ``int``, ``float``,
complex, string, bytes         ``complex``, ``str``, ``bytes``
slice, array                   ``list``
map                            ``list`` of pairs
struct                         ``dict`` by field, omitted where Go omits
gob, binary, text              ``bytes`` that the type itself has written
interface                      :class:`Any` or ``None``
=============================  ========================================

A str is UTF-8, and bytes in it that are none are kept as lone surrogates, since a
Go string may hold any bytes.
"""

from __future__ import annotations

import collections.abc as c
import functools
import hashlib
import struct
import threading
import typing as t
import weakref

#: How deeply values, and types, may be nested.
MAX_DEPTH = 64

# Go refuses longer ones.
_LONGEST_NAME = 1024

# The ids below are those of Go's own types.
_FIRST_ID = 65

#: More in one session than any program has; each costs time.
MOST_TYPES = 128


class GobError(ValueError):
    """The bytes are no gob."""


class Type:
    """A type as it goes over the wire, where int8 and int64 are the same.

    :param kind: ``"int"``, ``"slice"`` and so on.
    :param name: the Go type's own name without its package, often empty.
    :param parts: the types of a slice's elements, of a map's keys and elements,
        or of a struct's fields.
    :param fields: the names of a struct's fields.
    :param length: of an array.
    :param id: of a type that every program has, else 0.
    :ivar digest: of what it is made of, if that is itself or a type that holds
        itself; else None.
    """

    # Compared by identity, as types can hold themselves.
    __slots__ = (
        *("_mixed", "digest", "fields", "id", "kind", "length", "name", "parts"),
        "__weakref__",
    )

    def __init__(
        self,
        kind: str,
        name: str = "",
        parts: tuple[Type, ...] = (),
        fields: tuple[str, ...] = (),
        length: int = 0,
        id: int = 0,
    ) -> None:
        self.kind = kind
        self.name = name
        self.parts = parts
        self.fields = fields
        self.length = length
        self.id = id
        self.digest: bytes | None = None
        self._mixed: bool | None = None

    @property
    def mixed(self) -> bool:
        """Whether there may be interface values inside, which name types."""
        if self._mixed is None:
            self._mixed = any(part.kind == "interface" for part in closure([self]))
        return self._mixed


BOOL, INT, UINT, FLOAT, BYTES, STRING, COMPLEX, INTERFACE = (
    Type(kind, id=number)
    for number, kind in enumerate(
        ("bool", "int", "uint", "float", "bytes", "string", "complex", "interface"), 1
    )
)

_BASIC = {
    kind.id: kind
    for kind in (BOOL, INT, UINT, FLOAT, BYTES, STRING, COMPLEX, INTERFACE)
}

#: The kinds whose values have a form of their own.
OPAQUE = frozenset({"gob", "binary", "text"})


def made(
    kind: str,
    name: str = "",
    parts: tuple[Type, ...] = (),
    fields: tuple[str, ...] = (),
    length: int = 0,
) -> Type:
    """A type. The same one if asked again, so that it is sent once."""
    return _made(kind, name, parts, fields, length)


# Keeps those in use lately, and those that anybody still has are never made again.
@functools.lru_cache(maxsize=256)
def _made(*parsed: t.Any) -> Type:
    return _alive.setdefault(parsed, Type(*parsed))


_alive: weakref.WeakValueDictionary[tuple[t.Any, ...], Type] = (
    weakref.WeakValueDictionary()
)


def closure(types: c.Iterable[Type]) -> list[Type]:
    """The types and all that they are made of, each once."""
    found = dict.fromkeys(types)
    waiting = list(found)
    for kind in waiting:
        for part in kind.parts:
            if part not in found:
                found[part] = None
                waiting.append(part)
    return waiting


# Types that hold themselves cannot be found by their parts, as those of made() are.
# Each would be defined once for every value of it, which may be more than are read.


def shared(types: c.Iterable[Type]) -> dict[Type, Type]:
    """Those of the types, and of all that they are made of, that hold themselves or a
    type that does: for each the one that stands for all that are just the same.
    """
    inside = {kind: dict.fromkeys(closure(kind.parts)) for kind in closure(types)}
    circular = {kind for kind, parts in inside.items() if kind in parts}
    known = {
        kind: _known(_digest(kind))
        for kind, parts in inside.items()
        if kind in circular or not circular.isdisjoint(parts)
    }
    with _sharing:
        for kind, one in known.items():
            if not one.kind:
                parts = tuple(known.get(part, part) for part in kind.parts)
                digest = one.digest
                Type.__init__(
                    one, kind.kind, kind.name, parts, kind.fields, kind.length
                )
                one.digest = digest
    fewer = set(known.values())
    if len(fewer) == len(known):
        return known
    # Some have turned out to be the same, and so those that hold them may be.
    again = shared(fewer)
    return {kind: again[one] for kind, one in known.items()}


@functools.lru_cache(maxsize=256)
def _known(digest: bytes) -> Type:
    """The type of a digest. Of no kind yet, the first time."""
    kind = Type("")
    kind.digest = digest
    return kind


_sharing = threading.Lock()


def _digest(kind: Type) -> bytes:
    types = closure([kind])
    places = {part: place for place, part in enumerate(types)}
    graph = [_label(part) + str([places[p] for p in part.parts]) for part in types]
    return hashlib.blake2b("".join(graph).encode("ascii"), digest_size=16).digest()


@functools.lru_cache(maxsize=256)
def _label(kind: Type) -> str:
    """What a type says of itself, without its parts."""
    return ascii((kind.kind, kind.name, kind.fields, kind.length, kind.id))


# How a type itself is written: as a Go struct, of these types.
_COMMON = made("struct", "CommonType", (STRING, INT), ("Name", "Id"))
_FIELD = made("struct", "fieldType", (STRING, INT), ("Name", "Id"))
_SHAPES: dict[str, tuple[tuple[str, ...], tuple[Type, ...]]] = {
    "array": (("Elem", "Len"), (INT, INT)),
    "slice": (("Elem",), (INT,)),
    "struct": (("Field",), (made("slice", "", (_FIELD,)),)),
    "map": (("Key", "Elem"), (INT, INT)),
    "gob": ((), ()),
    "binary": ((), ()),
    "text": ((), ()),
}
_WIRE_TYPE = made(
    "struct",
    "wireType",
    tuple(
        made("struct", kind, (_COMMON, *parts), ("Common", *names))
        for kind, (names, parts) in _SHAPES.items()
    ),
    tuple(_SHAPES),
)


class Any:
    """What an interface holds: a value that brings its type along.

    :param name: what the type is registered as in Go.
    :param data: the value as it was sent. Read when it is asked for.
    :param depth: how deep it was found.
    """

    __slots__ = ("_value", "data", "depth", "name", "type")

    def __init__(
        self,
        name: str,
        type: Type,
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
        """
        :raises GobError: the bytes are no value of the type.
        """
        if self._value is None:
            self.read()
        return self._value

    def read(self) -> None:
        """
        :raises GobError: as above.
        """
        if self.data is not None:
            reader = Reader(self.data)
            self._value = reader.top(self.type, self.depth)
            reader.finish()


# Reading


class Reader:
    """Reads values one after the other. Whatever the bytes claim, it takes no
    more memory than a multiple of their number, and no deeper stack than
    MAX_DEPTH asks for.

    A message's length is of no use to who has all of them, so it is only checked;
    the value inside an interface then reads as one piece, which Go may have split
    into messages with definitions of types between them.
    """

    def __init__(
        self, data: bytes, position: int = 0, types: dict[int, Type] | None = None
    ) -> None:
        self.data = data
        self.position = position
        self._types = dict(types or {})
        self._definitions: dict[int, dict[str, t.Any]] = {}

    def finish(self) -> None:
        """
        :raises GobError: there is something left.
        """
        if self.position != len(self.data):
            raise GobError("there is more than the value")

    def message(self) -> Type:
        """The type of the one value in a stream, which comes next."""
        self.length()
        return self._announced()

    def definitions(self) -> dict[int, Type]:
        """Nothing but definitions, up to the end."""
        while self.position < len(self.data):
            self._define(-self.signed())
        return {number: self._type(number, 0) for number in self._definitions}

    def unsigned(self) -> int:
        first = self._byte()
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
        """A number of bytes that follow, or of elements, none of which is empty."""
        length = self.unsigned()
        if length > len(self.data) - self.position:
            raise GobError("there is less than announced")
        return length

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self.data):
            raise GobError("the end is missing")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def top(self, kind: Type, depth: int = 0) -> t.Any:
        """A value that is not inside another, or only in an interface."""
        if kind.kind != "struct" and self._byte() != 0:
            raise GobError("a value is not where it should be")
        return self.value(kind, depth)

    def value(self, kind: Type, depth: int = 0) -> t.Any:
        if depth > MAX_DEPTH:
            raise GobError("nested too deeply")
        return _READERS[kind.kind](self, kind, depth + 1)

    def any(self, depth: int = 0) -> Any | None:
        """An interface's value. Left as it is where it can be taken whole."""
        name = self.take(self.length())
        if not name:
            return None
        if len(name) > _LONGEST_NAME:
            raise GobError("a type's name is too long")
        kind = self._announced()
        size = self.length()
        if not kind.mixed:
            return Any(_text(name), kind, data=self.take(size), depth=depth)
        return Any(_text(name), kind, self.top(kind, depth), depth=depth)

    def _byte(self) -> int:
        try:
            byte = self.data[self.position]
        except IndexError:
            raise GobError("the end is missing") from None
        self.position += 1
        return byte

    def _announced(self) -> Type:
        number = self.signed()
        while number < 0:
            self._define(-number)
            # The next message's length, or that of the rest of an interface.
            self.length()
            number = self.signed()
        return self._type(number, 0)

    def _define(self, number: int) -> None:
        if number < _FIRST_ID - 1 or number in self._definitions:
            raise GobError("a type is defined twice")
        if len(self._definitions) >= MOST_TYPES:
            raise GobError("too many types")
        self._definitions[number] = self.value(_WIRE_TYPE)

    def _type(self, number: int, depth: int) -> Type:
        known = _BASIC.get(number) or self._types.get(number)
        if known is not None:
            return known
        resolver = _Resolver(self._definitions, self._types)
        kind = resolver.type(number, depth)
        if resolver.circular or any(part.digest for part in closure([kind])):
            same = shared(self._types.values())
            self._types = {n: same.get(one, one) for n, one in self._types.items()}
        return self._types[number]

    def read_bool(self, kind: Type, depth: int) -> bool:
        return self.unsigned() != 0

    def read_int(self, kind: Type, depth: int) -> int:
        return self.signed()

    def read_uint(self, kind: Type, depth: int) -> int:
        return self.unsigned()

    def read_float(self, kind: Type, depth: int) -> float:
        # Its bytes are the other way round, as then many a number is shorter.
        return t.cast(float, _FLOAT.unpack(self.unsigned().to_bytes(8, "little"))[0])

    def read_complex(self, kind: Type, depth: int) -> complex:
        return complex(self.read_float(kind, depth), self.read_float(kind, depth))

    def read_bytes(self, kind: Type, depth: int) -> bytes:
        return self.take(self.length())

    def read_string(self, kind: Type, depth: int) -> str:
        return _text(self.take(self.length()))

    def read_interface(self, kind: Type, depth: int) -> Any | None:
        return self.any(depth)

    def read_slice(self, kind: Type, depth: int) -> list[t.Any]:
        (element,) = kind.parts
        return [self.value(element, depth) for _ in range(self.length())]

    def read_array(self, kind: Type, depth: int) -> list[t.Any]:
        values = self.read_slice(kind, depth)
        if len(values) != kind.length:
            raise GobError("an array is not as long as its type")
        return values

    def read_map(self, kind: Type, depth: int) -> list[tuple[t.Any, t.Any]]:
        key, element = kind.parts
        return [
            (self.value(key, depth), self.value(element, depth))
            for _ in range(self.length())
        ]

    def read_struct(self, kind: Type, depth: int) -> dict[str, t.Any]:
        values: dict[str, t.Any] = {}
        index = -1
        while delta := self.unsigned():
            index += delta
            if index >= len(kind.fields):
                raise GobError("a struct has a field that its type has not")
            values[kind.fields[index]] = self.value(kind.parts[index], depth)
        return values


_READERS: dict[str, c.Callable[[Reader, Type, int], t.Any]] = {
    kind.kind: getattr(Reader, f"read_{kind.kind}") for kind in _BASIC.values()
} | {
    "slice": Reader.read_slice,
    "array": Reader.read_array,
    "map": Reader.read_map,
    "struct": Reader.read_struct,
    **dict.fromkeys(OPAQUE, Reader.read_bytes),
}

_FLOAT = struct.Struct(">d")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


class _Resolver:
    """Makes types of their definitions, which name each other by number, in any
    order and in circles.
    """

    def __init__(
        self, definitions: dict[int, dict[str, t.Any]], types: dict[int, Type]
    ) -> None:
        self._definitions = definitions
        self._types = types
        # Those whose parts are being looked for; a Type where one is needed for
        # one of its own parts.
        self._begun: dict[int, Type | None] = {}
        #: Whether there was such a circle.
        self.circular = False

    def type(self, number: int, depth: int) -> Type:
        known = _BASIC.get(number) or self._types.get(number)
        if known is not None:
            return known
        if number in self._begun:
            promised = self._begun[number] or Type("")
            self._begun[number] = promised
            return promised
        if number not in self._definitions or depth > MAX_DEPTH:
            raise GobError("a type is not defined, or not to an end")
        self._begun[number] = None
        parsed = self._parsed(self._definitions[number], depth + 1)
        promised_type = self._begun.pop(number)
        if promised_type is None:
            result = made(*parsed)
        else:
            Type.__init__(promised_type, *parsed)
            result = promised_type
            self.circular = True
        self._types[number] = result
        return result

    def _parsed(
        self, definition: dict[str, t.Any], depth: int
    ) -> tuple[str, str, tuple[Type, ...], tuple[str, ...], int]:
        if len(definition) != 1:
            raise GobError("a type is not of one kind")
        ((kind, shape),) = definition.items()
        name = shape.get("Common", {}).get("Name", "")
        numbers, fields = [], ()
        if kind == "struct":
            listed = shape.get("Field", [])
            fields = tuple(field.get("Name", "") for field in listed)
            numbers = [field.get("Id", 0) for field in listed]
            if len(set(fields)) != len(fields):
                raise GobError("a struct has a field twice")
        elif kind not in OPAQUE:
            keys = ("Key", "Elem") if kind == "map" else ("Elem",)
            numbers = [shape.get(key, 0) for key in keys]
        parts = tuple(self.type(number, depth) for number in numbers)
        return kind, name, parts, fields, shape.get("Len", 0)


# Writing


class TypeTable:
    """Numbers for the types of one stream, in the order they are needed in.

    :param first: types that are needed before all others.
    """

    def __init__(self, first: tuple[Type, ...] = ()) -> None:
        self._first = first
        self._numbers = {kind: _FIRST_ID + place for place, kind in enumerate(first)}

    def number(self, kind: Type) -> int:
        if kind.id:
            return kind.id
        if kind not in self._numbers:
            defined = _defined(kind)
            self._first = self._first or defined
            for part in defined:
                self._numbers.setdefault(part, _FIRST_ID + len(self._numbers))
        return self._numbers[kind]

    def definitions(self) -> c.Sequence[bytes]:
        """What has to be sent before a value of these types."""
        if not self._numbers:
            return ()
        # What the first type needs has the same numbers in every stream, and mostly
        # there is no more.
        first = _first_definitions(self._first)
        others = list(self._numbers)[len(first) :]
        return [*first, *map(self.definition, others)]

    def definition(self, kind: Type) -> bytes:
        number = self.number(kind)
        writer = Writer(self)
        writer.signed(-number)
        writer.value(_WIRE_TYPE, {kind.kind: self._shape(kind, number)})
        return bytes(writer.data)

    def _shape(self, kind: Type, number: int) -> dict[str, t.Any]:
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
def _defined(kind: Type) -> tuple[Type, ...]:
    """The types to define before a value of this one."""
    types = [part for part in closure([kind]) if not part.id]
    if kind.digest is not None:
        # The same for all types in a circle, so that they are defined only once.
        types.sort(key=lambda part: part.digest or _digest(part))
    return tuple(types)


@functools.lru_cache(maxsize=256)
def _first_definitions(defined: tuple[Type, ...]) -> tuple[bytes, ...]:
    return tuple(map(TypeTable(defined).definition, defined))


class Writer:
    """Writes values one after the other, as Go writes them.

    :param types: where to find the numbers of the types in interfaces.
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

    def top(self, kind: Type, value: t.Any) -> None:
        if kind.kind != "struct":
            self.data.append(0)
        self.value(kind, value)

    def value(self, kind: Type, value: t.Any) -> None:
        _WRITERS[kind.kind](self, kind, value)

    def any(self, value: Any | None) -> None:
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

    def write_bool(self, kind: Type, value: bool) -> None:
        self.data.append(value)

    def write_int(self, kind: Type, value: int) -> None:
        self.signed(value)

    def write_uint(self, kind: Type, value: int) -> None:
        self.unsigned(value)

    def write_float(self, kind: Type, value: float) -> None:
        self.unsigned(int.from_bytes(_FLOAT.pack(value), "little"))

    def write_complex(self, kind: Type, value: complex) -> None:
        self.write_float(kind, value.real)
        self.write_float(kind, value.imag)

    def write_bytes(self, kind: Type, value: bytes) -> None:
        self.chunk(value)

    def write_string(self, kind: Type, value: str) -> None:
        self.chunk(value.encode("utf-8", "surrogateescape"))

    def write_interface(self, kind: Type, value: Any | None) -> None:
        self.any(value)

    def write_slice(self, kind: Type, value: list[t.Any]) -> None:
        self.unsigned(len(value))
        for element in value:
            self.value(kind.parts[0], element)

    def write_map(self, kind: Type, value: list[tuple[t.Any, t.Any]]) -> None:
        self.unsigned(len(value))
        for key, element in value:
            self.value(kind.parts[0], key)
            self.value(kind.parts[1], element)

    def write_struct(self, kind: Type, value: dict[str, t.Any]) -> None:
        last = -1
        for index, name in enumerate(kind.fields):
            if name in value:
                self.unsigned(index - last)
                self.value(kind.parts[index], value[name])
                last = index
        self.unsigned(0)


_WRITERS: dict[str, c.Callable[[Writer, Type, t.Any], None]] = {
    kind.kind: getattr(Writer, f"write_{kind.kind}") for kind in _BASIC.values()
} | {
    "slice": Writer.write_slice,
    "array": Writer.write_slice,
    "map": Writer.write_map,
    "struct": Writer.write_struct,
    **dict.fromkeys(OPAQUE, Writer.write_bytes),
}
