"""Go's values to Python's."""

from __future__ import annotations

import collections.abc as c
import dataclasses
import datetime as dt
import math
import typing as t
from uuid import UUID

from ..errors import SessionTypeError
from ..registry import ConversionError, Registry
from ..values import path_of
from .gob.reader import Boxed
from .gob.types import INTERFACE, OPAQUE, GobType
from .gotypes import (
    TIME,
    UUID_TYPE,
    elements_of,
    find_registered,
    folded,
)
from .moments import time_from
from .structs import python_fields


class GoStruct(c.Mapping[str, t.Any]):
    """A Go struct for which no class is registered.

    Its fields are items and attributes under their Go names. A field can be set, but
    no field can be added.

    :ivar go_type: the name of its Go type. It has the package if an interface held
        the struct, such as ``main.Person`` or ``*main.Person``. It has none if the
        struct was part of another value.
    """

    __slots__ = ("_gob_type", "_values", "go_type")

    def __init__(
        self, go_type: str, gob_type: GobType, values: dict[str, t.Any]
    ) -> None:
        for name, value in (
            ("go_type", go_type),
            ("_gob_type", gob_type),
            ("_values", values),
        ):
            object.__setattr__(self, name, value)

    def __getitem__(self, name: str) -> t.Any:
        return self._values[name]

    def __setitem__(self, name: str, value: t.Any) -> None:
        if name not in self._values:
            raise KeyError(name)
        self._values[name] = value

    def __iter__(self) -> c.Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> t.Any:
        # While the struct is being copied, its own attributes are missing.
        if not name.startswith("_") and name in self._values:
            return self._values[name]
        raise AttributeError(name)

    def __setattr__(self, name: str, value: t.Any) -> None:
        if name in GoStruct.__slots__:
            object.__setattr__(self, name, value)
        elif name in self._values:
            self._values[name] = value
        else:
            raise AttributeError(name)

    def __repr__(self) -> str:
        return f"<GoStruct {self.go_type} {self._values!r}>"


@dataclasses.dataclass(frozen=True, slots=True)
class GoOpaque:
    """A value whose bytes only its Go type can read, because the type's own method
    ``GobEncode``, ``MarshalBinary`` or ``MarshalText`` wrote them.

    :param go_type: the name of its Go type, as in :class:`GoStruct`.
    :param data: what that method returned.
    """

    go_type: str
    data: bytes
    _gob_type: GobType = dataclasses.field(repr=False, compare=False)


class Decoder:
    """Turns Go values into Python's.

    :param name: the session name, for the error message.
    """

    def __init__(self, registry: Registry, name: t.Hashable) -> None:
        self._registry = registry
        self._name = name

    def boxed(self, value: Boxed | None) -> t.Any:
        """Return the Python value of what an interface holds.

        :raises SessionTypeError: Python has no such value.
        :raises GobError: the value is malformed.
        """
        if value is None:
            return None
        return self.value(value.type, value.value, value.name)

    def value(self, kind: GobType, wire: t.Any, go_type: str) -> t.Any:
        """Return the Python value of a wire value.

        :param kind: the Go type as it goes over the wire.
        :param go_type: the Go type's name, "" if it is unknown.
        :raises SessionTypeError: Python has no such value.
        """
        if kind.id and kind is not INTERFACE:
            return wire
        return _VALUES[kind.kind](self, kind, wire, go_type)

    def key(self, kind: GobType, wire: t.Any, go_type: str) -> t.Any:
        """Return a map's key, as :meth:`value` does. A NaN does not equal itself, so
        it is the same object each time, and a dict finds it again.
        """
        key = self.value(kind, wire, go_type)
        return key if key == key else _NAN.get(type(key), key)

    def _interface(self, kind: GobType, wire: t.Any, go_type: str) -> t.Any:
        return self.boxed(wire)

    def _list(self, kind: GobType, wire: t.Any, go_type: str) -> list[t.Any]:
        (element,) = kind.parts
        inner = elements_of(go_type)[-1]
        return [self.value(element, item, inner) for item in wire]

    def _dict(self, kind: GobType, wire: t.Any, go_type: str) -> dict[t.Any, t.Any]:
        key_kind, element = kind.parts
        key_type, inner = elements_of(go_type)
        found = {}
        try:
            for key, item in wire:
                name = self.key(key_kind, key, key_type)
                found[name] = self.value(element, item, inner)
        except TypeError as error:
            raise self._unreadable("a map with keys that are not hashable") from error
        if len(found) != len(wire):
            raise self._unreadable("a map with keys that are the same in Python")
        return found

    def _struct(self, kind: GobType, wire: t.Any, go_type: str) -> t.Any:
        values = {
            name: self.value(part, wire[name], "") if name in wire else _zero(part)
            for name, part in zip(kind.fields, kind.parts, strict=True)
        }
        go_type = go_type or kind.name
        entry = find_registered(self._registry, go_type)
        if entry is None:
            return GoStruct(go_type, kind, values)
        fields = python_fields(entry.cls)
        try:
            return entry.rebuild(
                {
                    fields[folded(name)]: value
                    for name, value in values.items()
                    if folded(name) in fields
                }
            )
        except ConversionError as error:
            raise self._unreadable(f"a {go_type} of which {error}") from error

    def _opaque(self, kind: GobType, wire: t.Any, go_type: str) -> t.Any:
        known: dt.datetime | UUID | None = None
        if kind.name == TIME.name:
            known = time_from(wire)
        elif kind.name == UUID_TYPE.name and len(wire) == 16:
            known = UUID(bytes=wire)
        if known is not None:
            return known
        return GoOpaque(go_type or kind.name, wire, kind)

    def _unreadable(self, problem: str) -> SessionTypeError:
        return SessionTypeError(path_of(self._name), f"holds {problem}")


_NAN = {float: math.nan, complex: complex(math.nan, math.nan)}

_VALUES: dict[str, c.Callable[[Decoder, GobType, t.Any, str], t.Any]] = {
    "interface": Decoder._interface,
    "slice": Decoder._list,
    "array": Decoder._list,
    "map": Decoder._dict,
    "struct": Decoder._struct,
    **dict.fromkeys(OPAQUE, Decoder._opaque),
}


def _zero(kind: GobType) -> t.Any:
    """Return what a field holds that Go did not send. Go always sends a struct,
    unless it is a nil pointer.
    """
    return {
        "bool": False,
        "int": 0,
        "uint": 0,
        "float": 0.0,
        "complex": 0j,
        "string": "",
        "bytes": b"",
    }.get(kind.kind, {"slice": [], "map": {}}.get(kind.kind))
