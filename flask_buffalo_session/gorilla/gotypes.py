"""Go's types: those every program knows, their names, and the structs that
dataclasses stand for.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import typing as t
from uuid import UUID

from ..registry import ConversionError, Registered, Registry
from .gob.types import (
    BOOL,
    BYTES,
    COMPLEX,
    FLOAT,
    INT,
    INTERFACE,
    STRING,
    UINT,
    GobType,
    gob_type,
    shared,
)

# The lowest and the highest number of each Go type.
RANGES = {
    f"{sign}int{bits or ''}": (low << (bits or 64) - 1, (1 << (bits or 64) + high) - 1)
    for bits in (0, 8, 16, 32, 64)
    for sign, low, high in (("", -1, -1), ("u", 0, 0))
}
RANGES["uintptr"] = RANGES["uint64"]

# The types that Go's encoding/gob registers in every program.
SCALARS: dict[str, GobType] = {
    **{name: UINT if name[0] == "u" else INT for name in RANGES},
    **dict.fromkeys(("float32", "float64"), FLOAT),
    **dict.fromkeys(("complex64", "complex128"), COMPLEX),
    "bool": BOOL,
    "string": STRING,
}

#: The names of the types that every program can read: Go registers the scalars, and
#: gorilla/sessions registers the rest.
ALWAYS_REGISTERED = frozenset(
    {*SCALARS, *(f"[]{name}" for name in SCALARS), "[]interface {}"}
)

# The Go types of Python's scalars that have none yet.
FRESH: dict[type, tuple[str, GobType]] = {
    bool: ("bool", BOOL),
    float: ("float64", FLOAT),
    complex: ("complex128", COMPLEX),
    str: ("string", STRING),
    bytes: ("[]uint8", BYTES),
}

LIST, LIST_NAME = gob_type("slice", "", (INTERFACE,)), "[]interface {}"
DICT, DICT_NAME = gob_type("map", "", (STRING, INTERFACE)), "map[string]interface {}"
ANY_DICT_NAME = "map[interface {}]interface {}"
ANY_DICT = gob_type("map", "", (INTERFACE, INTERFACE))
TIME = gob_type("gob", "Time")
UUID_TYPE = gob_type("binary", "UUID")


# Names of Go types


@functools.lru_cache(maxsize=256)
def elements_of(go_type: str) -> tuple[str, str]:
    """Return the names of the Go types of a map's keys and elements. For a slice or
    an array, both are the type of its elements. "" stands for an unknown type.
    """
    name = go_type.lstrip("*")
    if not name.startswith(("[", "map[")):
        return "", ""
    start = name.index("[")
    depth = 0
    for place in range(start, len(name)):
        depth += {"[": 1, "]": -1}.get(name[place], 0)
        if depth == 0:
            element = name[place + 1 :]
            return (name[start + 1 : place] if start else element), element
    return "", ""


def find_registered(registry: Registry, go_type: str) -> Registered | None:
    """Return the class that stands for a Go struct, if exactly one does.

    :param go_type: the struct's name, in any of the forms that Go sends.
    """
    if not registry.by_go_name or not go_type:
        return None
    exact = registry.by_go_name.get(go_type)
    if exact is not None:
        return exact
    wanted = go_type.lstrip("*")
    found = [
        entry
        for name, entry in registry.by_go_name.items()
        if wanted in _spellings(name)
    ]
    return found[0] if len({entry.cls for entry in found}) == 1 else None


@functools.lru_cache(maxsize=256)
def _spellings(go_name: str) -> frozenset[str]:
    """Return the names that Go sends a struct under. Go sends the package's path for
    a struct in an interface, only the package's name for a pointer in an interface,
    and no package for a struct that is part of another value.
    """
    full = go_name.lstrip("*")
    return frozenset({full, full.rpartition("/")[2], full.rpartition(".")[2]})


def folded(name: str) -> str:
    """Return a field's name as it is compared: without case and underscores."""
    return name.replace("_", "").lower()


@functools.lru_cache(maxsize=256)
def python_fields(cls: type) -> dict[str, str]:
    """Return the names of a dataclass's fields by their folded Go names."""
    return {
        folded(field.metadata.get("go", field.name)): field.name
        for field in dataclasses.fields(cls)
    }


# Structs for dataclasses that Go has not sent yet

_KINDS: dict[t.Any, GobType] = {
    bool: BOOL,
    int: INT,
    float: FLOAT,
    complex: COMPLEX,
    str: STRING,
    bytes: BYTES,
    dt.datetime: TIME,
    UUID: UUID_TYPE,
    t.Any: INTERFACE,
    object: INTERFACE,
    list: LIST,
    tuple: LIST,
    dict: DICT,
}


def struct_type(cls: type, registry: Registry) -> GobType:
    """Return the struct that a dataclass's annotations describe.

    :raises ConversionError: a field's annotation has no Go type.
    """
    kind = _struct_type(cls, registry, {})
    return shared([kind]).get(kind, kind)


def _struct_type(cls: type, registry: Registry, begun: dict[type, GobType]) -> GobType:
    if cls in begun:
        return begun[cls]
    kind = begun[cls] = GobType("struct")
    hints = t.get_type_hints(cls)
    names, parts = [], []
    for field in dataclasses.fields(cls):
        names.append(field.metadata.get("go") or _exported(field.name))
        part = _annotated(hints[field.name], registry, begun)
        if part is None:
            raise ConversionError(
                f"the annotation of the field {field.name!r} of {cls.__name__} names"
                " no Go type: use another annotation, or let Go send the struct first"
            )
        parts.append(part)
    go_name = registry.by_class[cls].go_name or cls.__name__
    GobType.__init__(
        kind, "struct", go_name.rpartition(".")[2], tuple(parts), tuple(names)
    )
    return kind


def _annotated(hint: t.Any, registry: Registry, begun: t.Any) -> GobType | None:
    arguments = [part for part in t.get_args(hint) if part not in (type(None), ...)]
    origin = t.get_origin(hint)
    if origin in (list, tuple, dict) and len(set(arguments)) <= 2:
        parts = [_annotated(part, registry, begun) for part in arguments]
        size = 2 if origin is dict else 1
        if None in parts or len(parts) != size:
            return None
        return gob_type("map" if size == 2 else "slice", "", tuple(filter(None, parts)))
    if origin is not None and len(arguments) == 1:
        return _annotated(arguments[0], registry, begun)
    if isinstance(hint, type) and hint in registry.by_class:
        return _struct_type(hint, registry, begun)
    return _KINDS.get(hint)


def _exported(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))
