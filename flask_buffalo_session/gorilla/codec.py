"""Sessions as Go keeps them: an encoding/gob of ``map[interface{}]interface{}``."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import typing as t

from ..codec import DAMAGED, LAST_SECOND, SURROGATES, Record, UnreadName, path_of
from ..errors import RejectedError, SessionTypeError
from ..registry import Registry
from ..registry import registry as default_registry
from .building import Building, is_text
from .gob import (
    BYTES,
    INT,
    INTERFACE,
    MOST_TYPES,
    STRING,
    Any,
    GobError,
    Reader,
    Type,
    TypeTable,
    Writer,
    made,
)
from .reading import Reading

#: The session name of Buffalo's flash messages: JSON in a ``[]byte``.
FLASH_NAME = "_flash_"

#: The key in Go's map that says when the session began, in seconds since the
#: epoch as ``int64``. Only there where its age counts.
CREATED_NAME = "_flask_created"

#: The key that says when the session got its present id, likewise. Only there where
#: ids are rotated for their age.
ROTATED_NAME = "_flask_renewed"

_VALUES = made("map", "", (INTERFACE, INTERFACE))


class GorillaCodec:
    """Go's values, kept with their Go types.

    The encoded value of a name is a gob by itself: how long the definitions of its
    types are, those definitions, the name, and the value. In place of a name that
    is of the Go type which a name of Python has anyway there is a zero byte.

    :param registered: the names of Go types that every Go program which shares the
        session has registered.
    """

    stores_created = False

    def __init__(
        self,
        registered: t.Iterable[str] = (),
        registry: Registry = default_registry,
    ) -> None:
        self._registered = frozenset(registered)
        self._registry = registry

    def loads(self, data: bytes) -> Record:
        try:
            entries = list(_entries(data))
        except GobError as error:
            raise RejectedError("corrupt", "no gob of a session") from error
        created = rotated = None
        values: dict[t.Hashable, bytes] = {}
        typed: list[tuple[t.Hashable, Any | None, Any | None]] = []
        for key, value in entries:
            name, explicit = self._name(key)
            if name == CREATED_NAME and explicit is None:
                created = _date(value)
            elif name == ROTATED_NAME and explicit is None:
                rotated = _date(value)
            elif explicit is not None or name in values:
                typed.append((name, key, value))
            else:
                values[name] = _entry(None, value)
        # Go tells 1 from true, and int 1 from int64 1. The types that Python's own
        # names have come first, as Go's order is another one each time.
        for name, key, value in typed:
            if name in values:
                name = UnreadName(_entry(None, key))
            values[name] = _entry(key, value)
        return Record(created, b"", values, rotated or 0)

    def dumps(self, record: Record) -> bytes:
        types = TypeTable()
        number = types.number(_VALUES)
        writer = Writer(types)
        dates = []
        if record.created is not None:
            dates.append((CREATED_NAME, record.created))
        if record.rotated:
            dates.append((ROTATED_NAME, record.rotated))
        for date, seconds in dates:
            writer.any(_text(date))
            writer.any(Any("int64", INT, seconds))
        for name, entry in record.values.items():
            if entry[:2] == b"\0\0":
                # No definitions and no key, so nothing in there has a number.
                writer.any(self._key(name))
                writer.data += entry[2:]
                continue
            key, value = _parsed(entry)
            writer.any(self._key(name) if key is None else key)
            writer.any(value)
        definitions = types.definitions()
        if len(definitions) > MOST_TYPES:
            raise SessionTypeError("session", "has values of too many Go types")
        stream = Writer(types)
        for definition in definitions:
            stream.chunk(definition)
        message = Writer(types)
        message.signed(number)
        message.unsigned(0)
        message.unsigned(len(record.values) + len(dates))
        stream.chunk(message.data + writer.data)
        return bytes(stream.data)

    def encode(self, value: t.Any, name: t.Hashable, was: bytes | None = None) -> bytes:
        building = Building(self._registry, name, self._registered)
        plain = _json(value) if name == FLASH_NAME else value
        if was is not None:
            with contextlib.suppress(GobError):
                key, old = _parsed(was)
                if name == FLASH_NAME and _messages(old) == value:
                    return was
                return _entry(key, building.built(plain, old))
        # What was there is malformed or nothing, so there is nothing to go by.
        return _entry(None, building.built(plain, None))

    def decode(self, data: bytes, name: t.Hashable) -> t.Any:
        try:
            _, value = _parsed(data)
            if name == FLASH_NAME:
                return _messages(value)
            return Reading(self._registry, name).any(value)
        except GobError as error:
            raise SessionTypeError(path_of(name), DAMAGED) from error

    def same(self, one: t.Any, other: t.Any, name: t.Hashable) -> bool:
        building = Building(self._registry, name, None)
        first = building.built(one, None)
        return _entry(None, first) == _entry(None, building.built(other, first))

    def is_record(self, data: bytes) -> bool:
        """Whether the bytes are a session's, without looking at all of it."""
        try:
            return _opened(data)[0] >= 0
        except GobError:
            return False

    def _name(self, key: Any | None) -> tuple[t.Hashable, Any | None]:
        """The session name that a key of Go's map is, and the key itself where the
        name does not say all of it.
        """
        if key is None:
            return None, None
        if key.type is STRING and key.name == "string":
            return key.value, None
        try:
            name = Reading(self._registry, None).any(key)
            hash(name)
        except (GobError, SessionTypeError, TypeError):
            return UnreadName(_entry(None, key)), None
        try:
            usual = self._key(name)
        except SessionTypeError:
            return name, key
        return name, None if _entry(None, usual) == _entry(None, key) else key

    def _key(self, name: t.Hashable) -> Any | None:
        """
        :raises SessionTypeError: no Go program has such a key.
        """
        if type(name) is str:
            return _text(name)
        if type(name) is UnreadName:
            return _parsed(name)[1]
        if isinstance(name, bytes | tuple):
            raise SessionTypeError(
                path_of(name), f"a {type(name).__name__} cannot be the key of a Go map"
            )
        return Building(self._registry, name, self._registered).built(name, None)


def _text(name: str) -> Any:
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise SessionTypeError(path_of(name), SURROGATES) from None
    return Any("string", STRING, name)


def _opened(data: bytes) -> tuple[int, Reader]:
    """How many values there are, and where they are."""
    reader = Reader(data)
    kind = reader.message()
    if kind.kind != "map" or kind.parts != (INTERFACE, INTERFACE):
        raise GobError("another type than that of a session's values")
    if reader.unsigned() != 0:
        raise GobError("a value is not where it should be")
    return reader.length(), reader


def _entries(data: bytes) -> t.Iterator[tuple[Any | None, Any | None]]:
    count, reader = _opened(data)
    for _ in range(count):
        key, value = reader.any(1), reader.any(1)
        if key is not None:
            # A malformed key leaves no record. A malformed value is found when
            # the value is read, and leaves the others alone.
            key.read()
        yield key, value
    reader.finish()


def _entry(key: Any | None, value: Any | None) -> bytes:
    types = TypeTable()
    writer = Writer(types)
    writer.any(key)
    writer.any(value)
    definitions = types.definitions()
    if not definitions:
        return bytes(b"\0" + writer.data)
    head = Writer(types)
    head.chunk(b"".join(definitions))
    return bytes(head.data + writer.data)


def _parsed(entry: bytes) -> tuple[Any | None, Any | None]:
    """
    :raises GobError: not malformed by itself, but made of something that is.
    """
    outer = Reader(entry)
    head = outer.take(outer.length())
    reader = Reader(entry, outer.position, _types(head) if head else None)
    return reader.any(1), reader.any(1)


@functools.lru_cache(maxsize=128)
def _types(definitions: bytes) -> dict[int, Type]:
    """The types of an entry; the same ones each time, so that a record holds their
    definitions once.
    """
    return Reader(definitions).definitions()


def _date(value: Any | None) -> int | None:
    if value is None or value.type is not INT:
        return None
    try:
        seconds = value.value
    except GobError:
        return None
    return seconds if 0 <= seconds <= LAST_SECOND else None


# Buffalo's flash messages


def _messages(value: Any | None) -> dict[str, list[str]]:
    """Messages by kind; none where these are not Buffalo's."""
    if value is None or value.type is not BYTES:
        return {}
    try:
        found = json.loads(value.value.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    messages = {_as_go(kind): listed or [] for kind, listed in found.items()}
    sound = all(
        isinstance(listed, list) and all(isinstance(text, str) for text in listed)
        for listed in messages.values()
    )
    if not sound:
        return {}
    return {kind: list(map(_as_go, listed)) for kind, listed in messages.items()}


def _as_go(text: str) -> str:
    """The text that Go's json.Unmarshal makes of it: a lone surrogate is none."""
    return _SURROGATE.sub("\ufffd", text)


_SURROGATE = re.compile("[\ud800-\udfff]")


# What Go's json.Marshal writes differently.
_ESCAPES = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})


def _json(messages: t.Any) -> t.Any:
    """The bytes that Go's json.Marshal makes of messages; anything else as it is."""
    if not isinstance(messages, dict):
        return messages
    try:
        listed = {
            _str(kind): list(map(_str, texts)) for kind, texts in messages.items()
        }
        text = json.dumps(
            listed, ensure_ascii=False, separators=(",", ":"), sort_keys=True
        )
        text = text.translate(_ESCAPES)
        return text.replace("\\b", "\\u0008").replace("\\f", "\\u000c").encode()
    except TypeError:
        return messages
    except UnicodeEncodeError:
        raise SessionTypeError(path_of(FLASH_NAME), SURROGATES) from None


def _str(text: t.Any) -> str:
    """
    :raises TypeError: it is none.
    """
    if not is_text(text):
        raise TypeError
    return str(text)
