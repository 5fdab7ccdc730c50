"""Values to bytes and back: MessagePack with extension types, never pickle.

Every value has its own bytes inside a record, so what a request does not touch
is neither decoded nor encoded, and a value that cannot be read here leaves the
others alone. ``docs/formats.md`` describes the bytes.
"""

from __future__ import annotations

import bisect
import collections.abc as c
import dataclasses
import datetime as dt
import enum
import threading
import typing as t
import zlib
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import ormsgpack
from markupsafe import Markup

from .errors import RejectedError, SessionTypeError, shown
from .registry import ConversionError, Registry
from .registry import registry as default_registry


class Record(t.NamedTuple):
    """What is stored for one session.

    :param created: when the session began, in seconds since the epoch. None if the
        record does not say.
    :param nonce: random bytes, so that two sessions with the same values differ.
    :param values: the encoded value of each name.
    :param rotated: when the session got its present id, in seconds since the epoch.
        0 if the record does not keep it.
    """

    created: int | None
    nonce: bytes
    values: dict[t.Hashable, bytes]
    rotated: int = 0


class Codec(t.Protocol):
    """Turns records, and the values in them, into bytes and back.

    Both ways it must be a function: equal values give equal bytes, in every
    process, because changes are found by comparing bytes. Where several bytes stand
    for a value, :meth:`encode` gives those that it is told the value had.
    """

    #: Whether a record always says when its session began. If not, `created` may be
    #: None in :meth:`loads` and :meth:`dumps`.
    stores_created: bool

    def loads(self, data: bytes) -> Record:
        """Split a record into its names and their encoded values.

        :raises RejectedError: this is no record, with the reason ``corrupt``.
        """

    def dumps(self, record: Record) -> bytes:
        """The opposite of :meth:`loads`.

        :raises SessionTypeError: a name is of a type that cannot be stored.
        """

    def encode(self, value: t.Any, name: t.Hashable, was: bytes | None = None) -> bytes:
        """
        :param name: the name the value is kept under, for the error message.
        :param was: the encoded value that this one has replaced or is itself,
            perhaps changed.
        :raises SessionTypeError: the value cannot be stored.
        """

    def decode(self, data: bytes, name: t.Hashable) -> t.Any:
        """Return the value that these bytes stand for.

        :raises SessionTypeError: the value cannot be read here: its bytes are
            malformed, its type is not registered or its own decoder fails.
        """

    def same(self, one: t.Any, other: t.Any, name: t.Hashable) -> bool:
        """Whether two values, or parts of values, are stored as the same.

        :raises SessionTypeError: one of them cannot be stored.
        """


# Without these ormsgpack would store the types below as something similar.
_EXACT = (
    ormsgpack.OPT_PASSTHROUGH_BIG_INT
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
)

_VERSION = b"\x01"

# Types that MessagePack has, and that hold nothing else.
_PLAIN = frozenset({type(None), bool, int, float, str, bytes})

#: Types whose values cannot change, nor hold one that could.
IMMUTABLE = _PLAIN | {
    dt.datetime,
    dt.date,
    dt.time,
    dt.timedelta,
    Decimal,
    UUID,
    Markup,
}

# How deeply lists and dicts may be nested, and how many extension types one in
# another. ormsgpack counts anew in each extension type, where nothing but the end
# of the C stack would stop it.
_MAX_DEPTH = 255
_MAX_EXTENSIONS = 16


class NativeCodec:
    """Python's values, kept exactly, type included.

    :param registry: the classes that can be stored beside them; those of
        :func:`~flask_buffalo_session.register_type` by default.
    """

    stores_created = True

    def __init__(self, registry: Registry = default_registry) -> None:
        self._registry = registry
        self._scratch = _Scratch()

    def loads(self, data: bytes) -> Record:
        if data[:1] != _VERSION:
            raise RejectedError("corrupt", "a record of an unknown version")
        body = data[5:]
        if data[1:5] != zlib.crc32(body).to_bytes(4, "big"):
            raise RejectedError("corrupt", "a record with a wrong checksum")
        try:
            created, nonce, values, *rest = ormsgpack.unpackb(body)
            (rotated,) = rest or (0,)
            if type(values) is list:
                flat = iter(values)
                values = {
                    self._name(name): value
                    for name, value in zip(flat, flat, strict=True)
                }
        except (ValueError, TypeError) as error:
            raise RejectedError("corrupt", "a record that is malformed") from error
        if not (
            _is_second(created)
            and _is_second(rotated)
            and type(nonce) is bytes
            and type(values) is dict
            and set(map(type, values.values())) <= {bytes}
        ):
            raise RejectedError("corrupt", "a record of another shape")
        return Record(created, nonce, values, rotated)

    def dumps(self, record: Record) -> bytes:
        rest = [record.rotated] if record.rotated else []
        try:
            body = ormsgpack.packb([record.created, record.nonce, record.values, *rest])
        except TypeError:
            # Not every name is a plain str.
            flat: list[bytes] = []
            for name, value in record.values.items():
                if type(name) is UnreadName:
                    flat += bytes(name), value
                else:
                    flat += self.encode(name, name), value
            body = ormsgpack.packb([record.created, record.nonce, flat, *rest])
        return _VERSION + zlib.crc32(body).to_bytes(4, "big") + body

    def encode(self, value: t.Any, name: t.Hashable, was: bytes | None = None) -> bytes:
        try:
            data = self._pack(value)
        except (TypeError, RecursionError):
            # Either a value is at fault, which this finds, or a dict has keys
            # that ormsgpack does not take.
            return self._pack_lowered(value, Place(name))
        if type(value) not in _PLAIN and (
            # Perhaps there are bytes inside, and ormsgpack takes a bytearray
            # for the same.
            any(mark in data for mark in _BINARY) or _is_too_deep(data)
        ):
            return self._pack_lowered(value, Place(name))
        return data

    def decode(self, data: bytes, name: t.Hashable) -> t.Any:
        try:
            return self._unpack(data)
        except ValueError as error:
            problem, self._scratch.problem = self._scratch.problem, None
            if problem is None:
                raise SessionTypeError(path_of(name), DAMAGED) from error
            raise SessionTypeError(path_of(name), _problem_shown(problem)) from problem

    def same(self, one: t.Any, other: t.Any, name: t.Hashable) -> bool:
        return self.encode(one, name) == self.encode(other, name)

    def _pack(self, value: t.Any) -> bytes:
        return ormsgpack.packb(value, default=self._extension, option=_EXACT)

    def _extension(self, value: t.Any) -> t.Any:
        """What ormsgpack asks for a value that MessagePack does not have."""
        tag, content = self._unfolded(value)
        if not tag:
            return content
        if type(content) is bytes:
            return ormsgpack.Ext(tag, content)
        with self._scratch:
            return _container(tag, [self._pack(item) for item in content])

    def _unfolded(self, value: t.Any) -> tuple[int, t.Any]:
        """An extension's tag and content: bytes, or a list of the values inside.
        With the tag 0 the content is stored in the value's place.
        """
        kind = type(value)
        if leaf := _LEAVES.get(kind):
            return leaf.tag, leaf.dump(value)
        if kind in _COLLECTIONS:
            return _COLLECTIONS[kind], list(value)
        if entry := self._registry.by_class.get(kind):
            return _REGISTERED, [entry.name, entry.dismantle(value)]
        method = getattr(value, "casefold", None)
        if isinstance(getattr(method, "__self__", None), str) and not isinstance(
            value, str
        ):
            # Not a str, yet a str answers for it: a translation that waits for
            # the language to be known, such as Babel's lazy strings.
            return 0, str(value)
        raise ConversionError(_advice(kind))

    def _pack_lowered(self, value: t.Any, path: Place) -> bytes:
        try:
            return self._pack(self._lowered(value, path, set()))
        except RecursionError:
            raise SessionTypeError(str(path), "nested too deeply") from None

    def _lowered(
        self,
        value: t.Any,
        path: Place,
        parents: set[int],
        depth: int = 0,
        extensions: int = 0,
    ) -> t.Any:
        """The value made of nothing but what ormsgpack packs as it is. Slower
        than handing it the whole, but it knows where it is.

        :param parents: the ids of the values around this one.
        :param depth: how many lists and dicts there are around it, up to the
            next of the `extensions` around it.
        """
        kind = type(value)
        if kind is int or kind is str:
            return self._lowered_scalar(value, path)
        if kind in _PLAIN:
            return value
        if id(value) in parents:
            raise SessionTypeError(str(path), "the value contains itself")
        if kind is list:
            tag, content = 0, value
        elif kind is dict:
            tag = 0 if all(type(key) is str for key in value) else _MAPPING
            content = value
        else:
            tag, content = self._checked_unfolded(value, path)
            if type(content) is bytes:
                return ormsgpack.Ext(tag, content)
            if not tag:
                return self._lowered_scalar(content, path)
        if tag:
            depth, extensions = 0, extensions + 1
        else:
            depth += 1
        if depth > _MAX_DEPTH or extensions > _MAX_EXTENSIONS:
            raise SessionTypeError(str(path), "nested too deeply")
        parents.add(id(value))
        around = (parents, depth, extensions)
        # Loops, not comprehensions, as those would take a frame more each.
        parts = []
        if kind is dict:
            for key, item in content.items():
                at_key = Place(path, " (the key {})", key)
                parts.append(self._lowered(key, at_key, *around))
                parts.append(self._lowered(item, Place(path, "[{}]", key), *around))
        else:
            form = "[{}]" if kind is list or kind is tuple else ""
            for index, item in enumerate(content):
                parts.append(self._lowered(item, Place(path, form, index), *around))
        parents.remove(id(value))
        if tag:
            return _container(tag, [self._pack(part) for part in parts])
        return _pairs(parts) if kind is dict else parts

    def _checked_unfolded(self, value: t.Any, path: Place) -> tuple[int, t.Any]:
        try:
            return self._unfolded(value)
        except UnicodeEncodeError as error:
            raise SessionTypeError(str(path), SURROGATES) from error
        except Exception as error:
            raise SessionTypeError(str(path), _problem_shown(error)) from error

    def _lowered_scalar(self, value: int | str, path: Place) -> t.Any:
        try:
            self._pack(value)
        except TypeError:
            raise SessionTypeError(str(path), SURROGATES) from None
        return value

    def _unpack(self, data: bytes) -> t.Any:
        if _is_too_deep(data):
            raise ValueError("nested too deeply")
        return ormsgpack.unpackb(data, ext_hook=self._revived)

    def _revived(self, tag: int, data: bytes) -> t.Any:
        """What ormsgpack asks for an extension type. It swallows what is raised
        here, so a problem that is not one of the bytes is left in the scratch.
        """
        if load := _LEAF_LOADERS.get(tag):
            try:
                return load(data)
            except ConversionError as problem:
                self._scratch.problem = problem
                raise
        with self._scratch:
            content = self._unpack(data)
        if tag == _REGISTERED:
            return self._rebuilt(*content)
        return _COLLECTION_LOADERS[tag](content)

    def _rebuilt(self, name: str, content: t.Any) -> t.Any:
        try:
            entry = self._registry.by_name.get(name)
            if entry is None:
                raise ConversionError(
                    f"holds a value registered as {shown(name)}, and no class is"
                    " registered by that name here: call register_type for it"
                    " where the application starts"
                )
            return entry.rebuild(content)
        except Exception as problem:
            self._scratch.problem = problem
            raise

    def _name(self, data: bytes) -> t.Hashable:
        try:
            return t.cast(t.Hashable, self.decode(data, None))
        except SessionTypeError:
            return UnreadName(data)


class UnreadName(bytes):
    """A session name whose type is not registered here, as it is stored."""


class _Scratch(threading.local):
    """What must survive the way through ormsgpack, which neither counts how
    deep its hooks call it again nor hands on what they raise.
    """

    depth = 0
    problem: Exception | None = None

    def __enter__(self) -> None:
        if self.depth >= _MAX_EXTENSIONS:
            raise RecursionError
        self.depth += 1

    def __exit__(self, *exc_info: object) -> None:
        self.depth -= 1


# What MessagePack's three kinds of binary string begin with.
_BINARY = (b"\xc4", b"\xc5", b"\xc6")

LAST_SECOND = 253402300799  # of the year 9999, where datetime ends


def _is_second(value: object) -> bool:
    return type(value) is int and 0 <= value <= LAST_SECOND


# Tags of the extension types. They are part of the format: never use one again.
_BIG_INT, _DATETIME, _DATE, _TIME, _TIMEDELTA, _DECIMAL, _UUID, _MARKUP = range(1, 9)
_TUPLE, _SET, _FROZENSET, _MAPPING, _REGISTERED = range(16, 21)


DAMAGED = "the stored bytes are damaged: delete the name or assign a new value"

SURROGATES = "a str with lone surrogates has no UTF-8 form to be stored in"


# What lists and dicts begin with: without many of these there is no depth.
_OPENERS = bytes([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF])


def _is_too_deep(data: bytes) -> bool:
    """Whether lists and dicts are nested more than _MAX_DEPTH levels deep, those
    in extension types not counted.
    """
    if len(data) <= _MAX_DEPTH:
        return False
    if len(data) - len(data.translate(None, _OPENERS)) <= _MAX_DEPTH:
        return False
    try:
        ormsgpack.unpackb(_LADDER + data, ext_hook=_ignored)
    except ValueError:
        return True
    return False


def _ignored(tag: int, data: bytes) -> None:
    """Stands for the extension types where only the depth matters."""


def _unpacks(depth: int) -> bool:
    try:
        ormsgpack.unpackb(b"\x91" * depth + b"\xc0")
    except ValueError:
        return False
    return True


# ormsgpack unpacks more levels than it packs. What still unpacks on top of as many
# as this is not too deep: _MAX_DEPTH and the list that an extension type holds.
_DEEPEST = bisect.bisect_left(range(4096), True, key=lambda depth: not _unpacks(depth))
_LADDER = b"\x91" * (_DEEPEST - 1 - _MAX_DEPTH - 1)


def _pairs(flat: list[t.Any]) -> dict[t.Any, t.Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _container(tag: int, parts: list[bytes]) -> ormsgpack.Ext:
    if tag in (_SET, _FROZENSET):
        # A set's own order depends on PYTHONHASHSEED.
        parts.sort()
    return ormsgpack.Ext(tag, _array(parts))


def _array(parts: list[bytes]) -> bytes:
    # By hand, as ormsgpack.Fragment reads each part again, and less deeply than
    # it was packed.
    count = len(parts)
    if count < 0x10:
        head = bytes([0x90 | count])
    elif count < 0x10000:
        head = b"\xdc" + count.to_bytes(2)
    else:
        head = b"\xdd" + count.to_bytes(4)
    return head + b"".join(parts)


_COLLECTIONS: dict[type, int] = {tuple: _TUPLE, set: _SET, frozenset: _FROZENSET}

_COLLECTION_LOADERS: dict[int, c.Callable[[list[t.Any]], t.Any]] = {
    _TUPLE: tuple,
    _SET: set,
    _FROZENSET: frozenset,
    _MAPPING: _pairs,
}


class _Leaf(t.NamedTuple):
    tag: int
    dump: c.Callable[[t.Any], bytes]
    load: c.Callable[[bytes], t.Any]


def _dump_int(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _dump_moment(value: dt.datetime | dt.time) -> bytes:
    parts: list[t.Any] = [value.replace(tzinfo=None).isoformat(), value.fold]
    if value.tzinfo is not None:
        parts.append(_dump_zone(value.tzinfo))
    return ormsgpack.packb(parts)


def _load_moment(kind: t.Any, data: bytes) -> t.Any:
    text, fold, *zone = ormsgpack.unpackb(data)
    moment = kind.fromisoformat(text).replace(fold=fold)
    return moment.replace(tzinfo=_load_zone(zone[0])) if zone else moment


def _dump_zone(zone: dt.tzinfo) -> str | list[t.Any]:
    if type(zone) is dt.timezone:
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
        return [_dump_timedelta(offset), *name]
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key
    raise ConversionError(
        f"a time zone of the class {_class_shown(type(zone))} cannot be stored:"
        " use zoneinfo.ZoneInfo or datetime.timezone"
    )


def _load_zone(zone: str | list[t.Any]) -> dt.tzinfo:
    if isinstance(zone, str):
        try:
            return ZoneInfo(zone)
        except ZoneInfoNotFoundError:
            # Without its message, which may be as long as the zone's name.
            raise ConversionError(
                f"holds a time in the zone {shown(zone)}, which is not known here:"
                " install tzdata"
            ) from None
    offset, *name = zone
    return dt.timezone(_load_timedelta(offset), *name)


def _dump_timedelta(value: dt.timedelta) -> bytes:
    return ormsgpack.packb([value.days, value.seconds, value.microseconds])


def _load_timedelta(data: bytes) -> dt.timedelta:
    return dt.timedelta(*ormsgpack.unpackb(data))


_LEAVES: dict[type, _Leaf] = {
    int: _Leaf(_BIG_INT, _dump_int, lambda data: int.from_bytes(data, signed=True)),
    dt.datetime: _Leaf(
        _DATETIME, _dump_moment, lambda data: _load_moment(dt.datetime, data)
    ),
    dt.date: _Leaf(
        _DATE,
        lambda value: value.isoformat().encode(),
        lambda data: dt.date.fromisoformat(data.decode()),
    ),
    dt.time: _Leaf(_TIME, _dump_moment, lambda data: _load_moment(dt.time, data)),
    dt.timedelta: _Leaf(_TIMEDELTA, _dump_timedelta, _load_timedelta),
    Decimal: _Leaf(
        _DECIMAL,
        lambda value: str(value).encode(),
        lambda data: Decimal(data.decode()),
    ),
    UUID: _Leaf(_UUID, lambda value: value.bytes, lambda data: UUID(bytes=data)),
    Markup: _Leaf(
        _MARKUP,
        lambda value: str(value).encode(),
        lambda data: Markup(data.decode()),  # noqa: S704 - as it was
    ),
}

_LEAF_LOADERS = {leaf.tag: leaf.load for leaf in _LEAVES.values()}


def _class_shown(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _advice(kind: type) -> str:
    if kind in (bytearray, memoryview):
        return f"a {kind.__name__} cannot be stored: use bytes"
    ready = (
        dataclasses.is_dataclass(kind)
        or issubclass(kind, enum.Enum)
        or (issubclass(kind, tuple) and hasattr(kind, "_make"))
    )
    how = "" if ready else ", encode=..., decode=..."
    return (
        f"a value of the class {_class_shown(kind)} cannot be stored: add"
        f" register_type({kind.__name__}{how})"
    )


def _problem_shown(problem: Exception) -> str:
    if isinstance(problem, ConversionError):
        return str(problem)
    # Not its message, which may well quote the value.
    return f"it cannot be converted, because of a {type(problem).__name__}"


def path_of(name: t.Hashable) -> str:
    """How an error message speaks of the value of a name."""
    return f"session[{shown(name)}]"


class Place:
    """Where a value is: shown in messages only, so made of nothing but links.

    :param parent: the place of what it is in, or the name of the session's value.
    :param form: how to show the step from there.
    """

    __slots__ = ("_form", "_parent", "_step", "depth")

    def __init__(self, parent: t.Any, form: str = "", step: object = None) -> None:
        self._parent = parent
        self._form = form
        self._step = step
        self.depth: int = parent.depth + 1 if isinstance(parent, Place) else 0

    def __str__(self) -> str:
        steps, place = [], self
        while isinstance(place._parent, Place):
            steps.append(place._form.format(shown(place._step)))
            place = place._parent
        return "".join([path_of(place._parent), *reversed(steps)])
