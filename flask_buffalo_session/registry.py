"""Which classes can be stored beside Python's own: :func:`register_type`."""

from __future__ import annotations

import collections.abc as c
import dataclasses
import enum
import typing as t

from .errors import SessionConfigError

T = t.TypeVar("T")


class ConversionError(Exception):
    """Why a value cannot be stored or read. The message never contains the value."""


class Registered(t.NamedTuple):
    """How the codecs store the objects of one class.

    :param name: what the class is called in stored data.
    :param dismantle: turns an object into a value that the codecs know.
    :param rebuild: turns that value into an object again.
    :param go_name: the name of the Go struct that the class stands for, if any.
    """

    name: str
    cls: type
    dismantle: c.Callable[[t.Any], t.Any]
    rebuild: c.Callable[[t.Any], t.Any]
    go_name: str | None = None


class Registry:
    """The registered classes. A codec finds them by class when it writes a value, and
    by name when it reads one.
    """

    def __init__(self) -> None:
        self.by_class: dict[type, Registered] = {}
        self.by_name: dict[str, Registered] = {}
        self.by_go_name: dict[str, Registered] = {}

    def add(self, entry: Registered) -> None:
        """Register a class, or register it again.

        :raises SessionConfigError: a name belongs to another class.
        """
        known = self.by_name.get(entry.name)
        _check_owner(entry.name, known, entry)
        if entry.go_name is not None:
            _check_owner(entry.go_name, self.by_go_name.get(entry.go_name), entry)
            self.by_go_name[entry.go_name] = entry
        if known is not None:
            self.by_class.pop(known.cls, None)
        self.by_class[entry.cls] = entry
        self.by_name[entry.name] = entry


def _check_owner(name: str, known: Registered | None, entry: Registered) -> None:
    # A module that is reloaded defines its classes again.
    if known is not None and _identity(known.cls) != _identity(entry.cls):
        raise SessionConfigError(
            f"register_type: the name {name!r} belongs to {_identity(known.cls)}:"
            f" give {_identity(entry.cls)} another one."
        )


#: The registry that :func:`register_type` fills. All applications of a process share
#: it, as Go programs share the types of ``encoding/gob``.
registry = Registry()


@t.overload
def register_type(
    cls: type[T],
    /,
    *,
    name: str | None = None,
    encode: c.Callable[[T], t.Any] | None = None,
    decode: c.Callable[[t.Any], T] | None = None,
    upgrade: c.Callable[[t.Any], t.Any] | None = None,
    go_name: str | None = None,
) -> type[T]: ...
@t.overload
def register_type(
    cls: None = None,
    /,
    *,
    name: str | None = None,
    encode: c.Callable[[t.Any], t.Any] | None = None,
    decode: c.Callable[[t.Any], t.Any] | None = None,
    upgrade: c.Callable[[t.Any], t.Any] | None = None,
    go_name: str | None = None,
) -> c.Callable[[type[T]], type[T]]: ...
def register_type(
    cls: type[t.Any] | None = None,
    /,
    *,
    name: str | None = None,
    encode: c.Callable[[t.Any], t.Any] | None = None,
    decode: c.Callable[[t.Any], t.Any] | None = None,
    upgrade: c.Callable[[t.Any], t.Any] | None = None,
    go_name: str | None = None,
) -> t.Any:
    """Let values of a class be stored; the counterpart of Go's ``gob.Register``.

    Dataclasses, enums and named tuples need no functions. Call ``register_type``
    once, where the class is defined, or use it as a decorator::

        @register_type
        @dataclass
        class Item:
            sku: str
            count: int = 1

        register_type(Money, name="money", encode=str, decode=Money.parse)

    A dataclass is rebuilt field by field, without calling ``__init__``. A field that
    the stored data lacks takes its default. A field that the class lacks is ignored.

    :param cls: the class. Its subclasses are not included.
    :param name: what the class is called in stored data. It must not change while
        sessions hold such objects. The default is the module and the qualified name.
    :param encode: turns an object into a value that can be stored.
    :param decode: turns that value into an object again.
    :param upgrade: turns stored content that the class no longer accepts into content
        that it accepts. It is called only where building the object fails, with what
        `encode` returned; for a dataclass that is a dict of its fields. Without it,
        reading such a value is a ``SessionTypeError``.
    :param go_name: for ``SESSION_FORMAT = "gorilla"``: the name of the Go struct that
        this dataclass stands for, such as ``"main.Person"``. The fields ``user_id``
        and ``UserID`` match. Declare other names with
        ``field(metadata={"go": "UID"})``, and Go's other number types with
        ``field(metadata={"go_type": "uint"})``.
    :returns: the class.
    :raises SessionConfigError: the class needs `encode` and `decode`, or `name` or
        `go_name` is malformed or belongs to another class.
    """
    if cls is None:
        return lambda cls: register_type(
            cls,
            name=name,
            encode=encode,
            decode=decode,
            upgrade=upgrade,
            go_name=go_name,
        )
    if not isinstance(cls, type):
        raise SessionConfigError(f"register_type: {cls!r} is not a class.")
    if (encode is None) != (decode is None):
        raise SessionConfigError(
            f"register_type({cls.__name__}): give both encode= and decode=, or neither."
        )
    if name is not None and not _is_name(name):
        raise SessionConfigError(
            f"register_type({cls.__name__}): name= must be a str that is not empty"
            " and has no lone surrogates."
        )
    if go_name is not None:
        _check_go_name(cls, go_name, encode)
    if encode is None or decode is None:
        encode, decode = _known_kind(cls)
    elif not (callable(encode) and callable(decode)):
        raise SessionConfigError(
            f"register_type({cls.__name__}): encode= and decode= must be functions."
        )
    if upgrade is not None:
        if not callable(upgrade):
            raise SessionConfigError(
                f"register_type({cls.__name__}): upgrade= must be a function."
            )
        decode = _upgrading(decode, upgrade)
    registry.add(Registered(name or _identity(cls), cls, encode, decode, go_name))
    return cls


def _upgrading(
    decode: c.Callable[[t.Any], t.Any], upgrade: c.Callable[[t.Any], t.Any]
) -> c.Callable[[t.Any], t.Any]:
    def decode_or_upgrade(content: t.Any) -> t.Any:
        try:
            return decode(content)
        except Exception:  # noqa: BLE001 - a decoder of the application raises anything
            return decode(upgrade(content))

    return decode_or_upgrade


def _check_go_name(cls: type, go_name: object, encode: object) -> None:
    if not _is_name(go_name):
        raise SessionConfigError(
            f"register_type({cls.__name__}): go_name= must be a str that is not empty"
            " and has no lone surrogates."
        )
    if not dataclasses.is_dataclass(cls) or encode is not None:
        raise SessionConfigError(
            f"register_type({cls.__name__}): go_name= needs a dataclass, without"
            " encode= and decode=."
        )


def _is_name(name: object) -> bool:
    try:
        return type(name) is str and name.encode() != b""
    except UnicodeEncodeError:
        return False


def _identity(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _known_kind(
    cls: type,
) -> tuple[c.Callable[[t.Any], t.Any], c.Callable[[t.Any], t.Any]]:
    if issubclass(cls, enum.Flag):
        # A combination of flags has a value, but no name.
        return (lambda flags: flags.value), cls
    if issubclass(cls, enum.Enum):
        # In an enum of str, cls.__getitem__ would be that of str.
        return (lambda member: member.name), lambda name: cls[name]
    if issubclass(cls, tuple) and hasattr(cls, "_make"):
        return list, cls._make
    if dataclasses.is_dataclass(cls) and _is_nothing_but_fields(cls):
        return fields_of, lambda values: _dataclass_from(cls, values)
    raise SessionConfigError(
        f"register_type({cls.__name__}): give encode= and decode=, because this is"
        " not a dataclass, an enum or a named tuple."
    )


def _is_nothing_but_fields(cls: type) -> bool:
    try:
        object.__new__(cls)
    except TypeError:
        # It derives from a type such as list, and so holds more than its fields.
        return False
    return True


def fields_of(obj: t.Any) -> dict[str, t.Any]:
    """Return the values of a dataclass's fields by their names."""
    return {field.name: getattr(obj, field.name) for field in dataclasses.fields(obj)}


def _dataclass_from(cls: type, values: dict[str, t.Any]) -> t.Any:
    obj: t.Any = object.__new__(cls)
    for field in dataclasses.fields(cls):
        if field.name in values:
            value = values[field.name]
        elif field.default is not dataclasses.MISSING:
            value = field.default
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        else:
            raise ConversionError(
                f"the field {field.name!r} is missing in the stored data and has no"
                " default"
            )
        # A frozen dataclass refuses an ordinary assignment.
        object.__setattr__(obj, field.name, value)
    return obj
