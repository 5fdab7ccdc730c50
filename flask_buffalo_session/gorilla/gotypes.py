"""Go's types that every program knows, and the names of Go's types."""

from __future__ import annotations

import functools
import re

from ..registry import Registered, Registry
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

#: The names of the types for a UUID: gofrs/uuid, gofrs/uuid/v5 and google/uuid.
UUID_NAME = re.compile(r"(?:.*/)?uuid(?:/v[0-9]+)?\.UUID")


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
        if wanted in spellings(name)
    ]
    return found[0] if len({entry.cls for entry in found}) == 1 else None


@functools.lru_cache(maxsize=256)
def spellings(go_name: str) -> frozenset[str]:
    """Return the names that Go sends a struct under. Go sends the package's path for
    a struct in an interface, only the package's name for a pointer in an interface,
    and no package for a struct that is part of another value.
    """
    full = go_name.lstrip("*")
    return frozenset({full, full.rpartition("/")[2], full.rpartition(".")[2]})


def folded(name: str) -> str:
    """Return a field's name as it is compared: without case and underscores."""
    return name.replace("_", "").lower()
