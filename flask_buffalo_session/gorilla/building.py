"""Python's values as Go's, without harm to the types they had there.

What goes back is built along what was there before: the same Go type where the
new value fits into it, and the old bytes where nothing has changed.
"""

from __future__ import annotations

import collections.abc as c
import dataclasses
import datetime as dt
import functools
import math
import struct
import typing as t
from uuid import UUID

from markupsafe import Markup

from ..errors import SessionTypeError
from ..registry import ConversionError, Registered, Registry
from ..values import (
    SURROGATES,
    TOO_DEEP,
    ValuePath,
    advice_for,
    class_shown,
    is_lazy_text,
)
from .gob import INT, INTERFACE, MAX_DEPTH, OPAQUE, STRING, UINT, Any, Type
from .gotypes import (
    ALWAYS_REGISTERED,
    ANY_DICT,
    ANY_DICT_NAME,
    DICT,
    DICT_NAME,
    LIST,
    LIST_NAME,
    PLAIN,
    RANGES,
    SCALARS,
    TIME,
    UUID_TYPE,
    elements_of,
    find_registered,
    folded,
    python_fields,
    struct_type,
)
from .moments import time_from, time_to
from .reading import GoOpaque, GoStruct, Reading

# Counted as the reader does, which is one level down when it comes to a value.
_DEEPEST = MAX_DEPTH - 1

# Which kinds a value of a Python class may stay.
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


class _MismatchError(SessionTypeError):
    """A value is of another type than the Go type it should become."""


class Building:
    """Turns one Python value into a Go value.

    :param name: the session name the value is kept under.
    :param registered: the names of the types that Go can read; None for any.
    """

    def __init__(
        self, registry: Registry, name: t.Hashable, registered: frozenset[str] | None
    ) -> None:
        self._registry = registry
        self._path = ValuePath(name)
        self._reading = Reading(registry, name)
        self._registered = registered
        self._old: Any | None = None

    def built(self, value: t.Any, old: Any | None) -> Any | None:
        """
        :param old: what is replaced. Go can read the types in there.
        :raises SessionTypeError: there is no such Go value.
        """
        self._old = old
        return self.any(value, old, self._path)

    def any(self, value: t.Any, old: Any | None, path: ValuePath) -> Any | None:
        if value is None:
            return None
        if path.depth > _DEEPEST:
            raise SessionTypeError(str(path), TOO_DEEP)
        if old is not None and self._may_stay(value, old):
            try:
                plain = self.plain(old.type, value, old.name, old.value, path)
                return Any(old.name, old.type, plain)
            except _MismatchError:
                pass
        return self._fresh(value, old, path)

    def plain(
        self, kind: Type, value: t.Any, go_type: str, old: t.Any, path: ValuePath
    ) -> t.Any:
        """A value of a given Go type, as :mod:`.gob` has it.

        :raises SessionTypeError: the value does not fit.
        """
        if path.depth > _DEEPEST:
            raise SessionTypeError(str(path), TOO_DEEP)
        return _PLAINS[kind.kind](self, kind, value, go_type, old, path)

    # Of the type that it was

    def _may_stay(self, value: t.Any, old: Any) -> bool:
        kinds = _FITTING.get(type(value))
        if kinds is not None:
            return old.type.kind in kinds
        if isinstance(value, GoStruct):
            return bool(old.name == value.go_type)
        if isinstance(value, GoOpaque):
            return old.name == value.go_type and _alike(old.type, value._wire)
        if type(value) in self._registry.by_class:
            return old.type.kind == "struct"
        return old.type.kind == "string"

    def _bool(
        self, kind: Type, value: t.Any, go_type: str, old: t.Any, path: ValuePath
    ) -> bool:
        if type(value) is not bool:
            raise _mismatch(path, value, go_type or kind.kind)
        return value

    def _int(
        self, kind: Type, value: t.Any, go_type: str, old: t.Any, path: ValuePath
    ) -> int:
        if type(value) is not int:
            raise _mismatch(path, value, go_type or kind.kind)
        low, high = RANGES.get(go_type) or RANGES[f"{kind.kind}64"]
        # What was there stays, even where Go would not have sent it.
        if value != old and not low <= value <= high:
            raise SessionTypeError(
                str(path), f"the number does not fit into Go's {go_type or kind.kind}"
            )
        return value

    def _float(
        self, kind: Type, value: t.Any, go_type: str, old: t.Any, path: ValuePath
    ) -> float:
        if type(value) is int and abs(value) <= 1 << 53:
            value = float(value)
        if type(value) is not float:
            raise _mismatch(path, value, go_type or kind.kind)
        # What was there stays, as above.
        if go_type != "float32" or _same(value, old):
            return value
        return _shortened(value, path)

    def _complex(
        self, kind: Type, value: t.Any, go_type: str, old: t.Any, path: ValuePath
    ) -> complex:
        if type(value) is not complex:
            raise _mismatch(path, value, go_type or kind.kind)
        if go_type != "complex64" or _same(value, old):
            return value
        return complex(_shortened(value.real, path), _shortened(value.imag, path))

    def _string(
        self, kind: Type, value: t.Any, go_type: str, old: t.Any, path: ValuePath
    ) -> str:
        if type(value) is not str and not is_text(value):
            raise _mismatch(path, value, go_type or kind.kind)
        text = str.__str__(value) if isinstance(value, str) else str(value)
        try:
            text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise SessionTypeError(str(path), SURROGATES) from None
        return text

    def _bytes(
        self, kind: Type, value: t.Any, go_type: str, old: t.Any, path: ValuePath
    ) -> bytes:
        if type(value) is not bytes:
            raise _mismatch(path, value, go_type or kind.kind)
        return value

    def _interface(
        self, kind: Type, value: t.Any, go_type: str, old: t.Any, path: ValuePath
    ) -> Any | None:
        return self.any(value, old, ValuePath(path))

    def _list(
        self, kind: Type, value: t.Any, go_type: str, old: t.Any, path: ValuePath
    ) -> list[t.Any]:
        if type(value) not in (list, tuple) or (
            kind.kind == "array" and len(value) != kind.length
        ):
            raise _mismatch(path, value, go_type or kind.kind)
        (element,) = kind.parts
        inner = elements_of(go_type)[-1]
        before = self._aligned(value, element, inner, old or [])
        return [
            self.plain(element, item, inner, was, ValuePath(path, "[{}]", index))
            for index, (item, was) in enumerate(zip(value, before, strict=True))
        ]

    def _aligned(
        self, value: c.Sequence[t.Any], element: Type, inner: str, old: list[t.Any]
    ) -> list[t.Any]:
        """For each element the one that it was. If some have come or gone, then
        those at the start and at the end that are still the same.
        """
        if len(old) == len(value):
            return old
        before: list[t.Any] = [None] * len(value)
        shorter = min(len(old), len(value))
        were = [self._reading.value(element, item, inner) for item in old]
        start = 0
        while start < shorter and _same(were[start], value[start]):
            before[start] = old[start]
            start += 1
        end = 1
        while end <= shorter - start and _same(were[-end], value[-end]):
            before[-end] = old[-end]
            end += 1
        return before

    def _map(
        self, kind: Type, value: t.Any, go_type: str, old: t.Any, path: ValuePath
    ) -> list[tuple[t.Any, t.Any]]:
        if type(value) is not dict:
            raise _mismatch(path, value, go_type or kind.kind)
        key_kind, element = kind.parts
        key_type, inner = elements_of(go_type)
        # Those that were there, in their order, then the new ones.
        were = (
            {self._reading.key(key_kind, pair[0], key_type): pair for pair in old}
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
                (old_key, self.plain(element, value[key], inner, old_item, step))
            )
        return pairs

    def _key(self, kind: Type, key: t.Any, go_type: str, path: ValuePath) -> t.Any:
        plain = self.plain(
            kind, key, go_type, None, ValuePath(path, " (the key {})", key)
        )
        if isinstance(plain, Any) and plain.type.kind in ("bytes", "slice", "map"):
            raise SessionTypeError(
                str(path), f"a {type(key).__name__} cannot be the key of a Go map"
            )
        return plain

    def _struct(
        self, kind: Type, value: t.Any, go_type: str, old: t.Any, path: ValuePath
    ) -> dict[str, t.Any]:
        given = self._fields(kind, value, go_type, path)
        before = old or {}
        plain = {}
        for name, part in zip(kind.fields, kind.parts, strict=True):
            was = before.get(name)
            if name not in given:
                # The class does not have it, so it stays.
                now = was
            elif given[name] is None:
                continue
            else:
                now = self.plain(
                    part, given[name], "", was, ValuePath(path, f".{name}", None)
                )
            # It may be a zero, of a kind that is sent nevertheless.
            if name in before and _same(now, was):
                plain[name] = was
            elif now is not None and not _is_zero(part, now):
                plain[name] = now
        return plain

    def _fields(
        self, kind: Type, value: t.Any, go_type: str, path: ValuePath
    ) -> c.Mapping[str, t.Any]:
        """The values of a struct's fields by their Go names."""
        if isinstance(value, GoStruct):
            if value._wire is kind or value.go_type in (go_type, kind.name):
                return value
            raise _mismatch(path, value, go_type or kind.name)
        entry = self._registry.by_class.get(type(value))
        known = find_registered(self._registry, go_type or kind.name)
        if entry is None or known is None or entry.cls is not known.cls:
            raise _mismatch(path, value, go_type or kind.name)
        fields = python_fields(entry.cls)
        return {
            name: getattr(value, fields[folded(name)])
            for name in kind.fields
            if folded(name) in fields
        }

    def _opaque(
        self, kind: Type, value: t.Any, go_type: str, old: t.Any, path: ValuePath
    ) -> bytes:
        if isinstance(value, GoOpaque) and _alike(kind, value._wire):
            return value.data
        if type(value) is UUID and kind.name == UUID_TYPE.name:
            return value.bytes
        if type(value) is dt.datetime and kind.name == TIME.name:
            was = None if old is None else time_from(old)
            # It may have had nanoseconds.
            if _same(was, value) and value.utcoffset() is not None:
                return t.cast(bytes, old)
            return time_to(value, path)
        raise _mismatch(path, value, go_type or kind.name)

    # Of a type that it is given here

    def _fresh(self, value: t.Any, old: Any | None, path: ValuePath) -> Any:
        kind = type(value)
        if kind is int:
            name = "uint64" if 1 << 63 <= value < 1 << 64 else "int"
            type_ = UINT if name == "uint64" else INT
            return Any(name, type_, self._int(type_, value, name, None, path))
        if kind in PLAIN:
            name, type_ = PLAIN[kind]
            return Any(name, type_, self.plain(type_, value, name, None, path))
        if kind is list or kind is tuple:
            return self._fresh_container(LIST_NAME, LIST, value, old, path)
        if kind is dict:
            return self._fresh_dict(value, old, path)
        if isinstance(value, GoStruct):
            return self._moved(value, path)
        if isinstance(value, GoOpaque):
            return Any(value.go_type, value._wire, value.data)
        if kind is dt.datetime:
            self._check("time.Time", "time.Time{}", path)
            return Any("time.Time", TIME, self._opaque(TIME, value, "", None, path))
        if kind is UUID:
            return Any(self._uuid_name(path), UUID_TYPE, value.bytes)
        entry = self._registry.by_class.get(kind)
        if entry is not None and entry.go_name is not None:
            return self._fresh_struct(value, entry, path)
        if is_text(value):
            return Any("string", STRING, self._string(STRING, value, "", None, path))
        raise SessionTypeError(str(path), _no_go_type(kind, entry))

    def _fresh_container(
        self, name: str, kind: Type, value: t.Any, old: Any | None, path: ValuePath
    ) -> Any:
        """Of any elements, where those may not be all of the type they were."""
        before: t.Any = None
        if old is not None and old.type.kind in ("slice", "array", "map"):
            element, inner = old.type.parts[-1], elements_of(old.name)[-1]
            if element is not INTERFACE and inner not in SCALARS:
                before = None
            elif old.type.kind != "map" and kind is LIST:
                before = [_boxed(element, inner, item) for item in old.value]
            elif old.type.kind == "map" and old.type.parts[0] is kind.parts[0]:
                before = [(key, _boxed(element, inner, v)) for key, v in old.value]
        return Any(name, kind, self.plain(kind, value, name, before, path))

    def _fresh_dict(self, value: t.Any, old: Any | None, path: ValuePath) -> Any:
        if all(type(key) is str for key in value):
            self._check(DICT_NAME, "map[string]interface{}{}", path)
            return self._fresh_container(DICT_NAME, DICT, value, old, path)
        self._check(ANY_DICT_NAME, "map[interface{}]interface{}{}", path)
        return self._fresh_container(ANY_DICT_NAME, ANY_DICT, value, old, path)

    def _moved(self, value: GoStruct, path: ValuePath) -> Any:
        if "." not in value.go_type and self._registered is not None:
            raise SessionTypeError(
                str(path),
                f"a Go {value.go_type or 'struct'} that was a part of another value"
                " cannot be one of its own, as its package is not known here",
            )
        plain = self._struct(value._wire, value, value.go_type, None, path)
        return Any(value.go_type, value._wire, plain)

    def _fresh_struct(self, value: t.Any, entry: Registered, path: ValuePath) -> Any:
        name = t.cast(str, entry.go_name)
        bare = name.lstrip("*")
        # The same type can be registered in Go by value or by pointer.
        name = next(
            (other for other in (name, bare, f"*{bare}") if self._can_read(other)), name
        )
        self._check(name, f"{'&' if name[0] == '*' else ''}{bare}{{}}", path)
        try:
            kind = struct_type(entry.cls, self._registry)
        except ConversionError as error:
            raise SessionTypeError(str(path), str(error)) from error
        plain = self._struct(kind, value, entry.go_name or "", None, path)
        return Any(name, kind, plain)

    def _uuid_name(self, path: ValuePath) -> str:
        known = (self._registered or frozenset()) | self._names_of_old
        names = sorted(name for name in known if name.endswith("uuid.UUID"))
        if names:
            return names[0]
        name = "github.com/gofrs/uuid.UUID"
        self._check(name, "uuid.UUID{}", path)
        return name

    def _check(self, name: str, example: str, path: ValuePath) -> None:
        if not self._can_read(name):
            raise SessionTypeError(
                str(path),
                f"Go could not read a {name} unless it is registered: add"
                f" gob.Register({example}) to the Go program, and here"
                f" GorillaFormat(registered=[{name!r}])",
            )

    def _can_read(self, name: str) -> bool:
        return (
            self._registered is None
            or name in self._registered
            or name in ALWAYS_REGISTERED
            or name in self._names_of_old
        )

    @functools.cached_property
    def _names_of_old(self) -> frozenset[str]:
        names: set[str] = set()
        _collect(INTERFACE, self._old, names)
        return frozenset(names)


_PLAINS: dict[
    str, c.Callable[[Building, Type, t.Any, str, t.Any, ValuePath], t.Any]
] = {
    "bool": Building._bool,
    "int": Building._int,
    "uint": Building._int,
    "float": Building._float,
    "complex": Building._complex,
    "string": Building._string,
    "bytes": Building._bytes,
    "interface": Building._interface,
    "slice": Building._list,
    "array": Building._list,
    "map": Building._map,
    "struct": Building._struct,
    **dict.fromkeys(OPAQUE, Building._opaque),
}


def _boxed(kind: Type, go_type: str, plain: t.Any) -> Any | None:
    """What would be in an interface instead of a value of a fixed type."""
    if kind is INTERFACE:
        return t.cast("Any | None", plain)
    return Any(go_type, kind, plain)


def _collect(kind: Type, plain: t.Any, names: set[str]) -> None:
    """Add the names of the types in interfaces."""
    if kind is INTERFACE:
        if plain is not None:
            names.add(plain.name)
            if plain.type.mixed:
                _collect(plain.type, plain.value, names)
    elif kind.kind in ("slice", "array"):
        for item in plain:
            _collect(kind.parts[0], item, names)
    elif kind.kind == "map":
        for key, item in plain:
            _collect(kind.parts[0], key, names)
            _collect(kind.parts[1], item, names)
    elif kind.kind == "struct":
        for name, part in zip(kind.fields, kind.parts, strict=True):
            if name in plain:
                _collect(part, plain[name], names)


def _mismatch(path: ValuePath, value: object, go_type: str) -> _MismatchError:
    name = type(value).__name__
    return _MismatchError(str(path), f"a {name} cannot be Go's {go_type or 'struct'}")


def _no_go_type(kind: type, entry: Registered | None) -> str:
    if entry is not None and dataclasses.is_dataclass(kind):
        return (
            f"a {kind.__name__} needs to know its Go type: add go_name= to its"
            " register_type"
        )
    advice = advice_for(kind, "keep a str, a number, a list or a dict instead")
    return f"a {class_shown(kind)} has no Go type: {advice}"


def is_text(value: object) -> bool:
    """Whether a value stands for a str: a Markup, which Go has no type for and
    which comes back as a str that is escaped, or a translation that waits for the
    language to be known, such as Babel's lazy strings.
    """
    if isinstance(value, str):
        return type(value) in (str, Markup)
    return is_lazy_text(value)


def _alike(one: Type, other: Type) -> bool:
    return (one.kind, one.name) == (other.kind, other.name)


def _is_zero(kind: Type, plain: t.Any) -> bool:
    return kind.kind not in ("struct", "array", *OPAQUE) and not plain


def _same(one: t.Any, other: t.Any) -> bool:
    """Whether two Python values are the same to a Go program too, which 1 and True
    are not, nor 0.0 and -0.0.
    """
    if type(one) is not type(other):
        return {type(one), type(other)} == {list, tuple} and _same(
            list(one), list(other)
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            _same(one[key], other[key]) for key in one
        )
    if isinstance(one, float):
        return one.hex() == other.hex() and math.copysign(1, one) == math.copysign(
            1, other
        )
    if isinstance(one, GoStruct):
        named = bool(one.go_type == other.go_type)
        return named and _same(one._values, other._values)
    if isinstance(one, dt.datetime):
        return bool(one == other and one.utcoffset() == other.utcoffset())
    if dataclasses.is_dataclass(one):
        return _same(_fields_of(one), _fields_of(other))
    return bool(one == other)


def _fields_of(value: t.Any) -> dict[str, t.Any]:
    """A dataclass's fields."""
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}


def _shortened(value: float, path: ValuePath) -> float:
    """What is left of a float64 in a float32."""
    try:
        return t.cast(float, struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        raise SessionTypeError(
            str(path), "the number does not fit into Go's float32"
        ) from None
