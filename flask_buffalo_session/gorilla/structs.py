"""The Go structs that dataclasses stand for."""

from __future__ import annotations

import collections.abc as c
import dataclasses
import datetime as dt
import functools
import typing as t
from uuid import UUID

from ..registry import ConversionError, Registry
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
from .gotypes import SCALARS, TIME, UUID_TYPE, folded

# The words that Go writes in capitals, as golint lists them.
_INITIALISMS = frozenset(
    {
        *("ACL", "API", "ASCII", "CPU", "CSS", "DNS", "EOF", "GUID", "HTML"),
        *("HTTP", "HTTPS", "ID", "IP", "JSON", "LHS", "QPS", "RAM", "RHS"),
        *("RPC", "SLA", "SMTP", "SQL", "SSH", "TCP", "TLS", "TTL", "UDP"),
        *("UI", "UID", "UUID", "URI", "URL", "UTF8", "VM", "XML", "XMPP"),
        *("XSRF", "XSS"),
    }
)

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
}

# What to write instead of an annotation that leaves the type of the elements open.
_WITH_ELEMENTS = {
    list: "list[str]",
    tuple: "tuple[str, ...]",
    dict: "dict[str, int]",
}

#: Returns the type of a Go struct that the session holds already, by its name and the
#: folded names of its fields.
Sent: t.TypeAlias = c.Callable[[str, c.Set[str]], GobType | None]


@functools.lru_cache(maxsize=256)
def python_fields(cls: type) -> dict[str, str]:
    """Return the names of a dataclass's fields by their folded Go names."""
    return {
        folded(field.metadata.get("go", field.name)): field.name
        for field in dataclasses.fields(cls)
    }


@functools.lru_cache(maxsize=256)
def declared_types(cls: type) -> dict[str, str]:
    """Return the Go types that a dataclass declares, by the folded Go names of its
    fields.
    """
    return {
        folded(field.metadata.get("go", field.name)): field.metadata["go_type"]
        for field in dataclasses.fields(cls)
        if "go_type" in field.metadata
    }


def struct_type(cls: type, registry: Registry, sent: Sent) -> GobType:
    """Return the struct that a dataclass stands for: the one that Go has sent, or else
    the one that the annotations describe.

    :raises ConversionError: a field's annotation has no Go type.
    """
    kind = _Structs(registry, sent).struct(cls)
    return shared([kind]).get(kind, kind)


class _Structs:
    """Makes structs of dataclasses, which may hold each other."""

    def __init__(self, registry: Registry, sent: Sent) -> None:
        self._registry = registry
        self._sent = sent
        self._begun: dict[type, GobType] = {}

    def struct(self, cls: type) -> GobType:
        if cls in self._begun:
            return self._begun[cls]
        go_name = self._registry.by_class[cls].go_name or cls.__name__
        if (sent := self._sent(go_name, python_fields(cls).keys())) is not None:
            return sent
        kind = self._begun[cls] = GobType("struct")
        hints = t.get_type_hints(cls)
        names, parts = [], []
        for field in dataclasses.fields(cls):
            names.append(field.metadata.get("go") or _exported(field.name))
            try:
                parts.append(self._field(field, hints[field.name]))
            except ConversionError as error:
                raise ConversionError(
                    f"the field {field.name!r} of {cls.__name__}: {error}"
                ) from None
        name = go_name.rpartition(".")[2]
        GobType.__init__(kind, "struct", name, tuple(parts), tuple(names))
        return kind

    def _field(self, field: dataclasses.Field[t.Any], hint: t.Any) -> GobType:
        part = self._annotated(hint)
        if "go_type" not in field.metadata:
            return part
        declared = SCALARS.get(field.metadata["go_type"], part)
        fits = declared is FLOAT if part is FLOAT else {declared, part} <= {INT, UINT}
        if field.metadata["go_type"] not in SCALARS or not fits:
            raise ConversionError(
                "the declared go_type does not fit the annotation: use one of Go's"
                " integer types with int, float32 or float64 with float"
            )
        return declared

    def _annotated(self, hint: t.Any) -> GobType:
        """Return the Go type of an annotation.

        :raises ConversionError: there is none.
        """
        origin = t.get_origin(hint) or hint
        arguments = [part for part in t.get_args(hint) if part not in (type(None), ...)]
        if origin in _WITH_ELEMENTS:
            size = 2 if origin is dict else 1
            if not arguments:
                raise ConversionError(
                    f"a bare {origin.__name__} does not say which type Go's elements"
                    f" have: write it, such as {_WITH_ELEMENTS[origin]}"
                )
            if len(arguments) == size:
                parts = tuple(map(self._annotated, arguments))
                return gob_type("map" if size == 2 else "slice", "", parts)
        elif origin is not hint and len(arguments) == 1:
            return self._annotated(arguments[0])
        elif isinstance(hint, type) and hint in self._registry.by_class:
            return self.struct(hint)
        elif hint in _KINDS:
            return _KINDS[hint]
        raise ConversionError(
            "the annotation names no Go type: use another annotation, or let Go send"
            " the struct first"
        )


def _exported(name: str) -> str:
    """Return the name that Go gives a field: ``UserID`` for ``user_id``."""
    return "".join(
        part.upper() if part.upper() in _INITIALISMS else part[:1].upper() + part[1:]
        for part in name.split("_")
    )
