"""Values to MessagePack and back, never pickle.

``docs/reference/formats.md`` describes the bytes.
"""

from __future__ import annotations

import itertools
import threading
import typing as t
import zlib

import ormsgpack

from ..advice import advice_for, registration_for
from ..bases import as_base, with_base_keys
from ..codec import LAST_SECOND, NO_STAMPS, NO_VALUES, Encoded, Record, UnreadName
from ..errors import RejectedError, SessionTypeError, shown
from ..registry import ConversionError, Registry
from ..registry import registry as default_registry
from ..values import (
    DAMAGED,
    SAME_KEY,
    SURROGATES,
    TOO_DEEP,
    ValuePath,
    class_shown,
    is_lazy_text,
    path_of,
    problem_shown,
)
from .types import (
    COLLECTION_LOADERS,
    COLLECTIONS,
    LEAF_LOADERS,
    LEAVES,
    MAPPING,
    REGISTERED,
    container,
    pairs,
)

# Without these options ormsgpack would store these types as something similar.
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

# The seconds since the epoch that a date may have.
_SECONDS = range(LAST_SECOND + 1)

# The types of what a record holds.
_BYTES_ALONE = frozenset({bytes})

# The types that MessagePack has and that hold no other value.
_PLAIN = frozenset({type(None), bool, int, float, str, bytes})

# The levels of lists and dicts that ormsgpack packs. It counts anew in each
# extension type, so only the second limit bounds the C stack.
_MAX_DEPTH = 255
_MAX_EXTENSIONS = 16


class NativeCodec:
    """Keeps Python's values exactly, type included.

    :param registry: the classes that can be stored beside Python's own types. The
        default is the registry that :func:`~flask_buffalo_session.register_type`
        fills.
    """

    keeps_stamps = True
    stores_created = True

    def __init__(self, registry: Registry = default_registry) -> None:
        self._registry = registry
        self._scratch = _Scratch()

    def loads(self, data: bytes) -> Record:
        if data[:1] != _VERSION:
            raise RejectedError("corrupt", "a record of an unknown version")
        body = data[5:]
        if int.from_bytes(data[1:5]) != zlib.crc32(body):
            raise RejectedError("corrupt", "a record with a wrong checksum")
        try:
            created, nonce, values, *rest = ormsgpack.unpackb(body)
            rotated, stamps = _ending(rest) if rest else (0, NO_STAMPS)
            if type(values) is list:
                flat = iter(values)
                values = {
                    self._name(name): value
                    for name, value in zip(flat, flat, strict=True)
                }
        except (ValueError, TypeError) as error:
            raise RejectedError("corrupt", "a malformed record") from error
        if not (
            type(created) is int
            and created in _SECONDS
            and type(nonce) is bytes
            and type(values) is dict
            and _BYTES_ALONE.issuperset(map(type, values.values()))
        ):
            raise RejectedError("corrupt", "a record of another shape")
        return Record(created, nonce, values, rotated, stamps)

    def dumps(self, record: Record) -> bytes:
        values, stamps = record.values, record.stamps
        try:
            body = _body(record, values, stamps)
        except TypeError:
            # Some name is not a plain str.
            stamps = dict(stamps)
            kept = {*self._registry.by_class, UnreadName}
            values, stamps = with_base_keys(values, kept), with_base_keys(stamps, kept)
            stamps = {name: old for name, old in stamps.items() if type(name) is str}
            # Encoding the names finds one that cannot be stored.
            flat = self._flat(values)
            are_str = all(type(name) is str for name in values)
            body = _body(record, values if are_str else flat, stamps)
        return _VERSION + zlib.crc32(body).to_bytes(4, "big") + body

    def encode(
        self,
        value: t.Any,
        name: t.Hashable,
        was: bytes | None = None,
        beside: Encoded = NO_VALUES,
    ) -> bytes:
        try:
            data = self._pack(value)
        except (TypeError, RecursionError):
            # The slower path finds the value at fault. It also packs dicts with
            # keys that ormsgpack does not take.
            return self._pack_lowered(value, ValuePath(name))
        if type(value) not in _PLAIN and any(head in data for head in _BINARY):
            # There may be bytes inside. ormsgpack packs a bytearray as bytes, and
            # the slower path refuses it.
            return self._pack_lowered(value, ValuePath(name))
        return data

    def decode(self, data: bytes, name: t.Hashable) -> t.Any:
        try:
            return self._unpack(data)
        except ValueError as error:
            problem, self._scratch.problem = self._scratch.problem, None
            if problem is None:
                raise SessionTypeError(path_of(name), DAMAGED) from error
            raise SessionTypeError(path_of(name), problem_shown(problem)) from problem

    def comparable(self, value: t.Any, name: t.Hashable) -> bytes:
        return self.encode(value, name)

    def _pack(self, value: t.Any) -> bytes:
        return ormsgpack.packb(value, default=self._extension, option=_EXACT)

    def _extension(self, value: t.Any) -> t.Any:
        """Return what ormsgpack packs for a value that MessagePack does not have."""
        tag, content = self._unfolded(value)
        if not tag:
            return content
        if type(content) is bytes:
            return ormsgpack.Ext(tag, content)
        with self._scratch:
            return container(tag, [self._pack(item) for item in content])

    def _unfolded(self, value: t.Any) -> tuple[int, t.Any]:
        """Return an extension's tag and content: bytes, or a list of the values
        inside. With the tag 0 the content is stored in the value's place.
        """
        kind = type(value)
        if leaf := LEAVES.get(kind):
            return leaf.tag, leaf.dump(value)
        if kind in COLLECTIONS:
            return COLLECTIONS[kind], list(value)
        if entry := self._registry.by_class.get(kind):
            return REGISTERED, [entry.name, entry.dismantle(value)]
        if is_lazy_text(value):
            return 0, str(value)
        if (base := as_base(value)) is not value:
            return 0, base
        raise ConversionError(_refusal(value))

    def _pack_lowered(self, value: t.Any, path: ValuePath) -> bytes:
        try:
            return self._pack(self._lowered(value, path, set()))
        except RecursionError:
            raise SessionTypeError(str(path), TOO_DEEP) from None

    def _lowered(
        self,
        value: t.Any,
        path: ValuePath,
        parents: set[int],
        depth: int = 0,
        extensions: int = 0,
    ) -> t.Any:
        """Return the value made of nothing but what ormsgpack packs as it is. This
        is slower than packing the whole, but it knows the path of each part.

        :param parents: the ids of the values around this one.
        :param depth: how many lists and dicts there are around this value, up to
            the nearest extension type.
        :param extensions: how many extension types there are around this value.
        :raises SessionTypeError: a part cannot be stored.
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
            content = with_base_keys(value, self._registry.by_class)
            if len(content) != len(value):
                raise SessionTypeError(str(path), SAME_KEY)
            tag = 0 if all(type(key) is str for key in content) else MAPPING
        else:
            tag, content = self._checked_unfolded(value, path)
            if not tag:
                parents.add(id(value))
                content = self._lowered(content, path, parents, depth, extensions)
                parents.remove(id(value))
                return content
            if type(content) is bytes:
                return ormsgpack.Ext(tag, content)
        if tag:
            depth, extensions = 0, extensions + 1
        else:
            depth += 1
        if depth > _MAX_DEPTH or extensions > _MAX_EXTENSIONS:
            raise SessionTypeError(str(path), TOO_DEEP)
        parents.add(id(value))
        around = (parents, depth, extensions)
        # Loops, because each comprehension would take one more frame of the stack.
        parts = []
        if kind is dict:
            for key, item in content.items():
                at_key = ValuePath(path, " (the key {})", key)
                parts.append(self._lowered(key, at_key, *around))
                at_item = ValuePath(path, "[{}]", key)
                parts.append(self._lowered(item, at_item, *around))
        else:
            form = "[{}]" if kind is list or kind is tuple else ""
            for index, item in enumerate(content):
                at_item = ValuePath(path, form, index)
                parts.append(self._lowered(item, at_item, *around))
        parents.remove(id(value))
        if tag:
            return container(tag, [self._pack(part) for part in parts])
        return pairs(parts) if kind is dict else parts

    def _checked_unfolded(self, value: t.Any, path: ValuePath) -> tuple[int, t.Any]:
        try:
            return self._unfolded(value)
        except UnicodeEncodeError as error:
            raise SessionTypeError(str(path), SURROGATES) from error
        except Exception as error:
            raise SessionTypeError(str(path), problem_shown(error)) from error

    def _lowered_scalar(self, value: int | str, path: ValuePath) -> t.Any:
        try:
            self._pack(value)
        except TypeError:
            raise SessionTypeError(str(path), SURROGATES) from None
        return value

    def _unpack(self, data: bytes) -> t.Any:
        # Each level takes a byte, and most values are short.
        if len(data) > _MAX_DEPTH and _is_too_deep(data):
            raise ValueError(TOO_DEEP)
        return ormsgpack.unpackb(data, ext_hook=self._revived)

    def _revived(self, tag: int, data: bytes) -> t.Any:
        """Return the value of an extension type. ormsgpack swallows what is raised
        here, so a problem other than damaged bytes is left in the scratch.
        """
        if load := LEAF_LOADERS.get(tag):
            try:
                return load(data)
            except ConversionError as problem:
                self._scratch.problem = problem
                raise
        with self._scratch:
            content = self._unpack(data)
        if tag == REGISTERED:
            return self._rebuilt(*content)
        return COLLECTION_LOADERS[tag](content)

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

    def _flat(self, values: Encoded) -> list[bytes]:
        flat: list[bytes] = []
        for name, value in values.items():
            if type(name) is UnreadName:
                flat += bytes(name), value
            else:
                flat += self.encode(name, name), value
        return flat

    def _name(self, data: bytes) -> t.Hashable:
        try:
            return t.cast(t.Hashable, self._unpack(data))
        except ValueError:
            problem, self._scratch.problem = self._scratch.problem, None
            if problem is None:
                raise
            return UnreadName(data)


class _Scratch(threading.local):
    """Carries across ormsgpack what it does not: how deep its hooks call it again,
    and the errors that they raise.
    """

    depth = 0
    problem: Exception | None = None

    def __enter__(self) -> None:
        if self.depth >= _MAX_EXTENSIONS:
            raise RecursionError
        self.depth += 1

    def __exit__(self, *exc_info: object) -> None:
        self.depth -= 1


# The first bytes of MessagePack's three kinds of binary string.
_BINARY = (b"\xc4", b"\xc5", b"\xc6")

# The first bytes of lists and dicts. A value that is nested deeply has many of them.
_OPENERS = bytes([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF])


def _is_too_deep(data: bytes) -> bool:
    """Return whether the lists and dicts in a value are nested too deeply. Those in
    extension types do not count. One level more than _MAX_DEPTH is fine, because
    the array that an extension type holds is one.
    """
    if len(data) - len(data.translate(None, _OPENERS)) <= _MAX_DEPTH:
        return False
    try:
        level = [ormsgpack.unpackb(data, ext_hook=_ignored)]
    except ValueError:
        # Malformed, or even deeper than ormsgpack reads.
        return True
    for _ in range(_MAX_DEPTH + 2):
        lists = [part for part in level if type(part) is list]
        dicts = [part.values() for part in level if type(part) is dict]
        if not (lists or dicts):
            return False
        level = [*itertools.chain.from_iterable([*lists, *dicts])]
    return True


def _ignored(tag: int, data: bytes) -> None:
    """Return None in place of an extension type."""


def _body(record: Record, values: object, stamps: Encoded) -> bytes:
    rest: list[t.Any] = [record.rotated] if record.rotated else []
    if stamps:
        rest = [record.rotated, dict(stamps)]
    return ormsgpack.packb([record.created, record.nonce, values, *rest])


def _ending(rest: list[t.Any]) -> tuple[int, dict[t.Hashable, bytes]]:
    """Return the optional end of a record: when its id was issued, and its stamps.

    :raises ValueError: it has another shape.
    """
    rotated, stamps = rest if len(rest) > 1 else (*rest, {})
    if not (
        type(rotated) is int
        and rotated in _SECONDS
        and type(stamps) is dict
        and _BYTES_ALONE.issuperset(map(type, stamps.values()))
    ):
        raise ValueError
    return rotated, stamps


def _refusal(value: object) -> str:
    kind = type(value)
    advice = advice_for(value) or registration_for(kind)
    return f"a value of the class {class_shown(kind)} cannot be stored: {advice}"
