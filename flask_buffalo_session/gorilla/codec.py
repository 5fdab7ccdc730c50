"""Sessions as Go stores them: encoding/gob of a ``map[interface{}]interface{}``."""

from __future__ import annotations

import contextlib
import functools
import typing as t

from ..bases import as_base
from ..codec import LAST_SECOND, NO_VALUES, Encoded, Record, UnreadName
from ..errors import RejectedError, SessionTypeError
from ..flash import FLASH_NAME
from ..registry import Registry
from ..registry import registry as default_registry
from ..values import DAMAGED, SURROGATES, path_of
from .decode import Decoder
from .encode import Encoder
from .equality import described
from .flash import check_asserted, json_of, messages_of, plain_messages
from .gob.reader import Boxed, Reader, add_named_types
from .gob.types import (
    BYTES,
    INT,
    INTERFACE,
    MOST_TYPES,
    STRING,
    GobError,
    GobType,
    gob_type,
)
from .gob.writer import TypeTable, Writer
from .known import KnownTypes

#: The key in Go's map for when the session began: an ``int64``, in seconds since the
#: epoch. It is only there if the session's age counts.
CREATED_NAME = "_flask_created"

#: The key for when the session got its present id, in the same form. It is only there
#: if ids are rotated for their age.
ROTATED_NAME = "_flask_renewed"

_VALUES = gob_type("map", "", (INTERFACE, INTERFACE))


class GorillaCodec:
    """Keeps Go's values with their Go types.

    The encoded value of a name is a gob by itself: the length of the definitions of
    its types, the definitions, the name, and the value. A zero byte takes the place of
    a name that Python's name alone determines.

    :param registered: the names of the Go types that are registered in every Go
        program that shares the session.
    :param registry: the classes that stand for Go structs. The default is the
        registry that :func:`~flask_buffalo_session.register_type` fills.
    """

    keeps_stamps = False
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
            raise RejectedError("corrupt", "not a gob of a session") from error
        created = rotated = None
        values: dict[t.Hashable, bytes] = {}
        typed: list[tuple[t.Hashable, Boxed | None, Boxed | None]] = []
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
        # Go tells 1 from true, and int 1 from int64 1. Go's order changes each time,
        # so the names of the types that Python uses come first.
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
            writer.boxed(_text(date))
            writer.boxed(Boxed("int64", INT, seconds))
        for name, entry in record.values.items():
            if entry[:2] == b"\0\0":
                # The entry defines no types and has no key, so it fits any stream.
                writer.boxed(self._key(name))
                writer.data += entry[2:]
                continue
            key, value = _parsed(entry)
            writer.boxed(self._key(name) if key is None else key)
            writer.boxed(value)
        definitions = types.definitions()
        if len(definitions) > MOST_TYPES:
            raise SessionTypeError(
                "session", "has values of too many Go types: store fewer types"
            )
        stream = Writer(types)
        for definition in definitions:
            stream.chunk(definition)
        message = Writer(types)
        message.signed(number)
        message.unsigned(0)
        message.unsigned(len(record.values) + len(dates))
        stream.chunk(message.data + writer.data)
        return bytes(stream.data)

    def encode(
        self,
        value: t.Any,
        name: t.Hashable,
        was: bytes | None = None,
        beside: Encoded = NO_VALUES,
    ) -> bytes:
        key, old = (None, None) if was is None else _parsed_or_none(was)
        if name == FLASH_NAME:
            messages = plain_messages(value)
            with contextlib.suppress(SessionTypeError):
                if was is not None and self.decode(was, name) == messages:
                    return was
            return _entry(key, Boxed("[]uint8", BYTES, json_of(messages)))
        held = functools.partial(_named_types, was, beside)
        known = KnownTypes(self._registered, held)
        encoded = _entry(key, Encoder(self._registry, name, known).encode(value, old))
        if encoded != was:
            check_asserted(name, value)
        return encoded

    def decode(self, data: bytes, name: t.Hashable) -> t.Any:
        try:
            _, value = _parsed(data)
            if name == FLASH_NAME:
                return messages_of(value)
            return Decoder(self._registry, name).boxed(value)
        except GobError as error:
            raise SessionTypeError(path_of(name), DAMAGED) from error

    def comparable(self, value: t.Any, name: t.Hashable) -> bytes:
        return described(value).encode()

    def is_record(self, data: bytes) -> bool:
        """Return whether the bytes begin as a session's do."""
        try:
            return _opened(data)[0] >= 0
        except GobError:
            return False

    def _name(self, key: Boxed | None) -> tuple[t.Hashable, Boxed | None]:
        """Return the session name of a key of Go's map, and the key itself if the
        name alone does not determine it.
        """
        if key is None:
            return None, None
        if key.type is STRING and key.name == "string":
            return key.value, None
        try:
            name = Decoder(self._registry, None).boxed(key)
            hash(name)
        except (GobError, SessionTypeError, TypeError):
            return UnreadName(_entry(None, key)), None
        try:
            usual = self._key(name)
        except SessionTypeError:
            return name, key
        return name, None if _entry(None, usual) == _entry(None, key) else key

    def _key(self, name: t.Hashable) -> Boxed | None:
        """Return the key of Go's map for a session name.

        :raises SessionTypeError: Go has no such key.
        """
        if type(name) is UnreadName:
            return _parsed(name)[1]
        name = as_base(name, self._registry.by_class)
        if type(name) is str:
            return _text(name)
        if isinstance(name, bytes | tuple):
            raise SessionTypeError(
                path_of(name), f"a {type(name).__name__} cannot be the key of a Go map"
            )
        known = KnownTypes(self._registered)
        return Encoder(self._registry, name, known).encode(name, None)


def _text(name: str) -> Boxed:
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise SessionTypeError(path_of(name), SURROGATES) from None
    return Boxed("string", STRING, name)


@functools.cache
def _usual_start() -> tuple[bytes, Reader]:
    """Return the definition that most sessions begin with, and a reader that has read
    it. To read it again would take a seventh of a read.
    """
    types = TypeTable()
    types.number(_VALUES)
    (definition,) = types.definitions()
    reader = Reader(definition)
    reader.definitions()
    return _chunk(definition), reader


def _opened(data: bytes) -> tuple[int, Reader]:
    """Return the number of values, and a reader in front of them."""
    start, usual = _usual_start()
    begins_so = data.startswith(start)
    reader = usual.resumed(data, len(start)) if begins_so else Reader(data)
    kind = reader.message()
    if kind.kind != "map" or kind.parts != (INTERFACE, INTERFACE):
        raise GobError("another type than that of a session's values")
    if reader.unsigned() != 0:
        raise GobError("a value is not where it should be")
    return reader.length(), reader


def _entries(data: bytes) -> t.Iterator[tuple[Boxed | None, Boxed | None]]:
    count, reader = _opened(data)
    for _ in range(count):
        key, value = reader.boxed(1), reader.boxed(1)
        if key is not None:
            # A malformed key leaves no record. A malformed value is found when
            # the value is read, and leaves the others alone.
            key.read()
        yield key, value
    reader.finish()


def _entry(key: Boxed | None, value: Boxed | None) -> bytes:
    if key is None and value is not None and value.data is not None and value.type.id:
        # Most entries: a value of one of Go's own types, as it was read. Without a
        # table of types it costs half, which is 7 % of a read.
        return _basic_head(value.name, value.type) + _chunk(value.data)
    types = TypeTable()
    writer = Writer(types)
    writer.boxed(key)
    writer.boxed(value)
    definitions = types.definitions()
    if not definitions:
        return bytes(b"\0" + writer.data)
    head = Writer(types)
    head.chunk(b"".join(definitions))
    return bytes(head.data + writer.data)


@functools.lru_cache(maxsize=64)
def _basic_head(name: str, kind: GobType) -> bytes:
    """Return the start of an entry that has no key and defines no types."""
    writer = Writer(TypeTable())
    writer.data += b"\0\0"
    writer.value(STRING, name)
    writer.signed(kind.id)
    return bytes(writer.data)


def _chunk(data: bytes) -> bytes:
    if len(data) < 0x80:
        # Nearly every value, and a reader splits a session into many.
        return bytes((len(data),)) + data
    writer = Writer(TypeTable())
    writer.chunk(data)
    return bytes(writer.data)


def _parsed(entry: bytes) -> tuple[Boxed | None, Boxed | None]:
    """Return the key and the value of an entry.

    :raises GobError: the entry holds malformed bytes.
    """
    outer = Reader(entry)
    head = outer.chunk()
    reader = Reader(entry, outer.position, _types(head) if head else None)
    return reader.boxed(1), reader.boxed(1)


def _parsed_or_none(entry: bytes) -> tuple[Boxed | None, Boxed | None]:
    """Return the key and the value of an entry, or None twice if it is malformed."""
    try:
        key, value = _parsed(entry)
        if value is not None:
            value.read()
    except GobError:
        return None, None
    return key, value


@functools.lru_cache(maxsize=128)
def _types(definitions: bytes) -> dict[int, GobType]:
    """Return an entry's types by number. They are the same objects each time, so that
    a record defines them once.
    """
    return Reader(definitions).definitions()


def _named_types(was: bytes | None, beside: Encoded) -> dict[str, GobType]:
    """Return the types that interfaces in these entries name, by that name."""
    found: dict[str, GobType] = {}
    for entry in filter(None, (was, *beside.values())):
        with contextlib.suppress(GobError):
            add_named_types(INTERFACE, _parsed(entry)[1], found)
    return found


def _date(value: Boxed | None) -> int | None:
    if value is None or value.type is not INT:
        return None
    try:
        seconds = value.value
    except GobError:
        return None
    return seconds if 0 <= seconds <= LAST_SECOND else None
