"""Python's values to Go's.

The encoder follows the Go value that was there before. A new value that fits the
old Go type keeps that type, and an unchanged value keeps its bytes.
"""

from __future__ import annotations

import collections.abc as c
import dataclasses
import datetime as dt
import typing as t
from uuid import UUID

from ..advice import advice_for
from ..bases import EXACT, as_base, with_base_keys
from ..errors import SessionTypeError
from ..registry import ConversionError, Registered, Registry
from ..values import (
    SAME_KEY,
    TOO_DEEP,
    ValuePath,
    class_shown,
    problem_shown,
)
from .decode import Decoder, GoOpaque, GoStruct
from .equality import same
from .gob.reader import Boxed, in_interface
from .gob.types import INT, INTERFACE, MAX_DEPTH, OPAQUE, STRING, UINT, GobType
from .gotypes import (
    ANY_DICT,
    ANY_DICT_NAME,
    DICT,
    DICT_NAME,
    FRESH,
    LIST,
    LIST_NAME,
    SCALARS,
    TIME,
    UUID_TYPE,
    elements_of,
    find_registered,
    folded,
)
from .known import KnownTypes
from .scalars import (
    SCALAR_ENCODERS,
    MismatchError,
    alike,
    encode_int,
    encode_opaque,
    encode_string,
    is_text,
    is_zero,
    mismatch,
)
from .structs import declared_types, python_fields, struct_type

# The reader counts a session's value as one level deep already.
_DEEPEST = MAX_DEPTH - 1

# The kinds of Go types that a value of a Python class may keep.
_FITTING: dict[type, frozenset[str]] = {
    bool: frozenset({"bool"}),
    int: frozenset({"int", "uint"}),
    float: frozenset({"float"}),
    complex: frozenset({"complex"}),
    str: frozenset({"string"}),
    bytes: frozenset({"bytes"}),
    list: frozenset({"slice", "array"}),
    tuple: frozenset({"slice", "array"}),
    dict: frozenset({"map"}),
    dt.datetime: OPAQUE,
    UUID: OPAQUE,
}


class Encoder:
    """Turns one Python value into a Go value.

    :param name: the session name the value is kept under, for the error message.
    :param known: the types that Go can read.
    """

    def __init__(self, registry: Registry, name: t.Hashable, known: KnownTypes) -> None:
        self._registry = registry
        self._path = ValuePath(name)
        self._decoder = Decoder(registry, name)
        self._known = known

    def encode(self, value: t.Any, old: Boxed | None) -> Boxed | None:
        """Return the Go value for a Python value.

        :param old: the Go value that this one replaces. Go can read its types.
        :raises SessionTypeError: Go has no such value, or could not read its type.
        """
        return self.boxed(value, old, self._path)

    def boxed(self, value: t.Any, old: Boxed | None, path: ValuePath) -> Boxed | None:
        if value is None:
            return None
        if path.depth > _DEEPEST:
            raise SessionTypeError(str(path), TOO_DEEP)
        value = self._as_base(value, path)
        if old is not None and self._may_stay(value, old):
            try:
                wire = self.wire_value(old.type, value, old.name, old.value, path)
                return Boxed(old.name, old.type, wire)
            except MismatchError:
                pass
        return self._fresh(value, old, path)

    def wire_value(
        self, kind: GobType, value: t.Any, go_type: str, old: t.Any, path: ValuePath
    ) -> t.Any:
        """Return the wire value of a given Go type.

        :param kind: the Go type as it goes over the wire.
        :param go_type: the Go type's name, "" if it is unknown.
        :param old: the wire value that was there before, if any.
        :raises SessionTypeError: the value does not fit the Go type.
        """
        if path.depth > _DEEPEST:
            raise SessionTypeError(str(path), TOO_DEEP)
        value = self._as_base(value, path)
        if (scalar := SCALAR_ENCODERS.get(kind.kind)) is not None:
            return scalar(kind, value, go_type, old, path)
        return _ENCODERS[kind.kind](self, kind, value, go_type, old, path)

    def _as_base(self, value: t.Any, path: ValuePath) -> t.Any:
        if type(value) not in EXACT:
            try:
                value = as_base(value, self._registry.by_class)
            except Exception as error:
                raise SessionTypeError(str(path), problem_shown(error)) from error
        if type(value) is not dict:
            return value
        keyed = with_base_keys(value, self._registry.by_class)
        if len(keyed) != len(value):
            raise SessionTypeError(str(path), SAME_KEY)
        return keyed

    # Values that keep their Go type

    def _may_stay(self, value: t.Any, old: Boxed) -> bool:
        kinds = _FITTING.get(type(value))
        if kinds is not None:
            return old.type.kind in kinds
        if isinstance(value, GoStruct):
            return bool(old.name == value.go_type)
        if isinstance(value, GoOpaque):
            return old.name == value.go_type and alike(old.type, value._gob_type)
        if type(value) in self._registry.by_class:
            return old.type.kind == "struct"
        return old.type.kind == "string"

    def _interface(
        self, kind: GobType, value: t.Any, go_type: str, old: t.Any, path: ValuePath
    ) -> Boxed | None:
        return self.boxed(value, old, ValuePath(path))

    def _list(
        self, kind: GobType, value: t.Any, go_type: str, old: t.Any, path: ValuePath
    ) -> list[t.Any]:
        if type(value) not in (list, tuple) or (
            kind.kind == "array" and len(value) != kind.length
        ):
            raise mismatch(path, value, go_type or kind.kind)
        (element,) = kind.parts
        inner = elements_of(go_type)[-1]
        before = self._aligned(value, element, inner, old or [])
        return [
            self.wire_value(element, item, inner, was, ValuePath(path, "[{}]", index))
            for index, (item, was) in enumerate(zip(value, before, strict=True))
        ]

    def _aligned(
        self, value: c.Sequence[t.Any], element: GobType, inner: str, old: list[t.Any]
    ) -> list[t.Any]:
        """Return the old element for each element, None for a new one. If the
        length has changed, only equal elements at both ends have an old one.
        """
        if len(old) == len(value):
            return old
        before: list[t.Any] = [None] * len(value)
        shorter = min(len(old), len(value))
        were = [self._decoder.value(element, item, inner) for item in old]
        start = 0
        while start < shorter and same(were[start], value[start]):
            before[start] = old[start]
            start += 1
        end = 1
        while end <= shorter - start and same(were[-end], value[-end]):
            before[-end] = old[-end]
            end += 1
        return before

    def _map(
        self, kind: GobType, value: t.Any, go_type: str, old: t.Any, path: ValuePath
    ) -> list[tuple[t.Any, t.Any]]:
        if type(value) is not dict:
            raise mismatch(path, value, go_type or kind.kind)
        key_kind, element = kind.parts
        key_type, inner = elements_of(go_type)
        # The old keys come first, in their old order.
        were = (
            {self._decoder.key(key_kind, pair[0], key_type): pair for pair in old}
            if old
            else {}
        )
        order = [key for key in were if key in value]
        order += [key for key in value if key not in were]
        pairs = []
        for key in order:
            old_key, old_item = were.get(key, (None, None))
            if key not in were:
                old_key = self._key(key_kind, key, key_type, path)
            step = ValuePath(path, "[{}]", key)
            pairs.append(
                (old_key, self.wire_value(element, value[key], inner, old_item, step))
            )
        return pairs

    def _key(self, kind: GobType, key: t.Any, go_type: str, path: ValuePath) -> t.Any:
        wire = self.wire_value(
            kind, key, go_type, None, ValuePath(path, " (the key {})", key)
        )
        if isinstance(wire, Boxed) and wire.type.kind in ("bytes", "slice", "map"):
            raise SessionTypeError(
                str(path), f"a {type(key).__name__} cannot be the key of a Go map"
            )
        return wire

    def _struct(
        self, kind: GobType, value: t.Any, go_type: str, old: t.Any, path: ValuePath
    ) -> dict[str, t.Any]:
        given = self._fields(kind, value, go_type, path)
        kept = self._registry.by_class.get(type(value))
        declared = declared_types(kept.cls) if kept is not None else {}
        before = old or {}
        wire = {}
        for name, part in zip(kind.fields, kind.parts, strict=True):
            was = before.get(name)
            if name not in given:
                # The Python class lacks this field, so the field stays as it was.
                now = was
            elif given[name] is None:
                continue
            else:
                step = ValuePath(path, f".{name}", None)
                part_type = declared.get(folded(name), "")
                now = self.wire_value(part, given[name], part_type, was, step)
            # An old zero stays, because Go sends some zeros, such as a nil's.
            if name in before and same(now, was):
                wire[name] = was
            elif now is not None and not is_zero(part, now):
                wire[name] = now
        return wire

    def _fields(
        self, kind: GobType, value: t.Any, go_type: str, path: ValuePath
    ) -> c.Mapping[str, t.Any]:
        """Return the values of a struct's fields by their Go names."""
        if isinstance(value, GoStruct):
            if value._gob_type is kind or value.go_type in (go_type, kind.name):
                return value
            raise mismatch(path, value, go_type or kind.name)
        entry = self._registry.by_class.get(type(value))
        known = find_registered(self._registry, go_type or kind.name)
        if entry is None or known is None or entry.cls is not known.cls:
            raise mismatch(path, value, go_type or kind.name)
        fields = python_fields(entry.cls)
        return {
            name: getattr(value, fields[folded(name)])
            for name in kind.fields
            if folded(name) in fields
        }

    # Values that have no Go type yet, or lose the one they had

    def _fresh(self, value: t.Any, old: Boxed | None, path: ValuePath) -> Boxed:
        kind = type(value)
        if kind is int:
            name = "uint64" if 1 << 63 <= value < 1 << 64 else "int"
            type_ = UINT if name == "uint64" else INT
            return Boxed(name, type_, encode_int(type_, value, name, None, path))
        if kind in FRESH:
            name, type_ = FRESH[kind]
            return Boxed(name, type_, self.wire_value(type_, value, name, None, path))
        if kind is list or kind is tuple:
            return self._fresh_container(LIST_NAME, LIST, value, old, path)
        if kind is dict:
            return self._fresh_dict(value, old, path)
        if isinstance(value, GoStruct):
            return self._moved(value, path)
        if isinstance(value, GoOpaque):
            return Boxed(value.go_type, value._gob_type, value.data)
        if kind is dt.datetime:
            self._known.check("time.Time", "time.Time{}", path)
            return Boxed("time.Time", TIME, encode_opaque(TIME, value, "", None, path))
        if kind is UUID:
            return Boxed(self._known.uuid_name(path), UUID_TYPE, value.bytes)
        entry = self._registry.by_class.get(kind)
        if entry is not None and entry.go_name is not None:
            return self._fresh_struct(value, entry, path)
        if is_text(value):
            return Boxed("string", STRING, encode_string(STRING, value, "", None, path))
        raise SessionTypeError(str(path), _no_go_type(value, entry))

    def _fresh_container(
        self, name: str, kind: GobType, value: t.Any, old: Boxed | None, path: ValuePath
    ) -> Boxed:
        """Return a list or a map that may hold elements of any type. Elements that
        were there keep their own Go types.
        """
        before: t.Any = None
        kinds = ("slice", "array") if kind is LIST else ("map",)
        if old is not None and old.type.kind in kinds:
            element, inner = old.type.parts[-1], elements_of(old.name)[-1]
            if element is not INTERFACE and inner not in SCALARS:
                before = None
            elif kind is LIST:
                before = [in_interface(element, inner, item) for item in old.value]
            elif old.type.parts[0] is kind.parts[0]:
                before = [
                    (key, in_interface(element, inner, v)) for key, v in old.value
                ]
        return Boxed(name, kind, self.wire_value(kind, value, name, before, path))

    def _fresh_dict(self, value: t.Any, old: Boxed | None, path: ValuePath) -> Boxed:
        if all(type(key) is str for key in value):
            self._known.check(DICT_NAME, "map[string]interface{}{}", path)
            return self._fresh_container(DICT_NAME, DICT, value, old, path)
        self._known.check(ANY_DICT_NAME, "map[interface{}]interface{}{}", path)
        return self._fresh_container(ANY_DICT_NAME, ANY_DICT, value, old, path)

    def _moved(self, value: GoStruct, path: ValuePath) -> Boxed:
        if "." not in value.go_type and not self._known.unlimited:
            raise SessionTypeError(
                str(path),
                f"a Go {value.go_type or 'struct'} that was part of another value"
                " cannot stand alone, because its package is not known here: keep the"
                " whole value",
            )
        wire = self._struct(value._gob_type, value, value.go_type, None, path)
        return Boxed(value.go_type, value._gob_type, wire)

    def _fresh_struct(self, value: t.Any, entry: Registered, path: ValuePath) -> Boxed:
        name = t.cast(str, entry.go_name)
        bare = name.lstrip("*")
        # Go may have registered the struct or a pointer to it.
        name = next(
            (
                other
                for other in (name, bare, f"*{bare}")
                if self._known.can_read(other)
            ),
            name,
        )
        self._known.check(name, f"{'&' if name[0] == '*' else ''}{bare}{{}}", path)
        try:
            kind = struct_type(entry.cls, self._registry, self._known.struct)
        except ConversionError as error:
            raise SessionTypeError(str(path), str(error)) from error
        wire = self._struct(kind, value, entry.go_name or "", None, path)
        return Boxed(name, kind, wire)


_ENCODERS: dict[
    str, c.Callable[[Encoder, GobType, t.Any, str, t.Any, ValuePath], t.Any]
] = {
    "interface": Encoder._interface,
    "slice": Encoder._list,
    "array": Encoder._list,
    "map": Encoder._map,
    "struct": Encoder._struct,
}


def _no_go_type(value: object, entry: Registered | None) -> str:
    kind = type(value)
    if entry is not None and dataclasses.is_dataclass(kind):
        return (
            f"a {kind.__name__} needs to know its Go type: add go_name= to its"
            " register_type"
        )
    advice = advice_for(value) or "keep a str, a number, a list or a dict instead"
    return f"a {class_shown(kind)} has no Go type: {advice}"
