"""Go's types as they go over the wire."""

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

#: The longest name of a type that Go reads.
LONGEST_NAME = 1024

#: The first number for a program's own types. Go's types have those below.
FIRST_ID = 65

#: The most types in one session. Each costs time, and no program has as many.
MOST_TYPES = 128


class GobError(ValueError):
    """Invalid gob data."""


class GobType:
    """A type as it goes over the wire, where int8 and int64 are the same.

    :param kind: ``"int"``, ``"slice"`` and so on.
    :param name: the Go type's own name without its package, often empty.
    :param parts: the types of a slice's elements, of a map's keys and elements,
        or of a struct's fields.
    :param fields: the names of a struct's fields.
    :param length: of an array.
    :param id: the number of a type that every program has, else 0.
    :ivar digest: identifies a type that holds itself, or that is part of such a
        type. None for all others.
    """

    # Types are compared by identity, because a type can hold itself.
    __slots__ = (
        *("_mixed", "digest", "fields", "id", "kind", "length", "name", "parts"),
        "__weakref__",
    )

    def __init__(
        self,
        kind: str,
        name: str = "",
        parts: tuple[GobType, ...] = (),
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
        """Whether values of the type may hold interfaces, which name more types."""
        if self._mixed is None:
            self._mixed = any(part.kind == "interface" for part in closure([self]))
        return self._mixed


BOOL, INT, UINT, FLOAT, BYTES, STRING, COMPLEX, INTERFACE = (
    GobType(kind, id=number)
    for number, kind in enumerate(
        ("bool", "int", "uint", "float", "bytes", "string", "complex", "interface"), 1
    )
)

BASIC = {
    kind.id: kind
    for kind in (BOOL, INT, UINT, FLOAT, BYTES, STRING, COMPLEX, INTERFACE)
}

#: The same by the byte that a stream holds for the number.
BASIC_BYTES = {number << 1: kind for number, kind in BASIC.items()}

#: How Go lays out a float64. gob sends the bytes as a number, in reverse.
FLOAT64 = struct.Struct(">d")

#: The kinds whose bytes only the Go type itself can read.
OPAQUE = frozenset({"gob", "binary", "text"})


def gob_type(
    kind: str,
    name: str = "",
    parts: tuple[GobType, ...] = (),
    fields: tuple[str, ...] = (),
    length: int = 0,
) -> GobType:
    """Return the type of these parts: the same object each time, so that a stream
    defines it once.
    """
    return _made(kind, name, parts, fields, length)


# The cache keeps the types of late, and _alive those that are still in use.
@functools.lru_cache(maxsize=256)
def _made(*parsed: t.Any) -> GobType:
    return _alive.setdefault(parsed, GobType(*parsed))


_alive: weakref.WeakValueDictionary[tuple[t.Any, ...], GobType] = (
    weakref.WeakValueDictionary()
)


def closure(types: c.Iterable[GobType]) -> list[GobType]:
    """Return the types and all their parts, each once."""
    found = dict.fromkeys(types)
    waiting = list(found)
    for kind in waiting:
        for part in kind.parts:
            if part not in found:
                found[part] = None
                waiting.append(part)
    return waiting


def shared(types: c.Iterable[GobType]) -> dict[GobType, GobType]:
    """Return the shared type for each of the types and their parts that holds itself,
    or holds a type that does.

    :func:`gob_type` cannot find such a type by its parts. Without a shared object a
    record would define the type again for each of its values.
    """
    known = _shared_once(types)
    fewer, most = set(known.values()), len(known)
    while len(fewer) < most:
        # Some types were the same, so the types that hold them may be the same too.
        most = len(fewer)
        again = _shared_once(fewer)
        known = {kind: again[one] for kind, one in known.items()}
        fewer = set(known.values())
    return known


def _shared_once(types: c.Iterable[GobType]) -> dict[GobType, GobType]:
    inside = {kind: dict.fromkeys(closure(kind.parts)) for kind in closure(types)}
    circular = {kind for kind, parts in inside.items() if kind in parts}
    digests = {
        kind: digest_of(kind)
        for kind, parts in inside.items()
        if kind in circular or not circular.isdisjoint(parts)
    }
    with _sharing:
        known = {kind: _known(digest) for kind, digest in digests.items()}
        for kind, one in known.items():
            if not one.kind:
                parts = tuple(known.get(part, part) for part in kind.parts)
                GobType.__init__(
                    one, kind.kind, kind.name, parts, kind.fields, kind.length
                )
                one.digest = digests[kind]
    return known


def _known(digest: bytes) -> GobType:
    """Return the shared type for a digest, empty until it is filled in."""
    kind = _shared_types.get(digest)
    if kind is None:
        kind = _shared_types[digest] = GobType("")
    return kind


# Types stay known as long as a record holds them. Otherwise a record would come to hold
# the same type twice.
_shared_types: weakref.WeakValueDictionary[bytes, GobType] = (
    weakref.WeakValueDictionary()
)

_sharing = threading.Lock()


def digest_of(kind: GobType) -> bytes:
    """Return a hash of a type with all its parts."""
    types = closure([kind])
    places = {part: place for place, part in enumerate(types)}
    graph = [_label(part) + str([places[p] for p in part.parts]) for part in types]
    return hashlib.blake2b("".join(graph).encode("ascii"), digest_size=16).digest()


@functools.lru_cache(maxsize=256)
def _label(kind: GobType) -> str:
    """Describe a type without its parts."""
    return ascii((kind.kind, kind.name, kind.fields, kind.length, kind.id))


# gob sends a type as a Go struct of these types.
_COMMON = gob_type("struct", "CommonType", (STRING, INT), ("Name", "Id"))
_FIELD = gob_type("struct", "fieldType", (STRING, INT), ("Name", "Id"))
_SHAPES: dict[str, tuple[tuple[str, ...], tuple[GobType, ...]]] = {
    "array": (("Elem", "Len"), (INT, INT)),
    "slice": (("Elem",), (INT,)),
    "struct": (("Field",), (gob_type("slice", "", (_FIELD,)),)),
    "map": (("Key", "Elem"), (INT, INT)),
    "gob": ((), ()),
    "binary": ((), ()),
    "text": ((), ()),
}
WIRE_TYPE = gob_type(
    "struct",
    "wireType",
    tuple(
        gob_type("struct", kind, (_COMMON, *parts), ("Common", *names))
        for kind, (names, parts) in _SHAPES.items()
    ),
    tuple(_SHAPES),
)


class Resolver:
    """Makes types of their definitions. Definitions refer to each other by number, in
    any order and in circles.

    :param definitions: the definitions by number.
    :param types: the types by number, which the resolver adds to.
    """

    def __init__(
        self, definitions: dict[int, dict[str, t.Any]], types: dict[int, GobType]
    ) -> None:
        self._definitions = definitions
        self._types = types
        # The types whose parts are being resolved. One that is part of itself has a
        # GobType here, which is filled in last.
        self._begun: dict[int, GobType | None] = {}
        #: Whether a type was part of itself.
        self.circular = False

    def type(self, number: int, depth: int) -> GobType:
        """Return the type of a number.

        :param depth: how many types there are around this one.
        :raises GobError: a definition is missing, malformed or nested too deeply.
        """
        known = BASIC.get(number) or self._types.get(number)
        if known is not None:
            return known
        if number in self._begun:
            promised = self._begun[number] or GobType("")
            self._begun[number] = promised
            return promised
        if number not in self._definitions or depth > MAX_DEPTH:
            raise GobError("a type is not defined, or not to an end")
        self._begun[number] = None
        parsed = self._parsed(self._definitions[number], depth + 1)
        promised_type = self._begun.pop(number)
        if promised_type is None:
            result = gob_type(*parsed)
        else:
            GobType.__init__(promised_type, *parsed)
            result = promised_type
            self.circular = True
        self._types[number] = result
        return result

    def _parsed(
        self, definition: dict[str, t.Any], depth: int
    ) -> tuple[str, str, tuple[GobType, ...], tuple[str, ...], int]:
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
