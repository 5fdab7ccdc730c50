"""What to do about a value that cannot be stored."""

from __future__ import annotations

import dataclasses
import enum
import typing as t

_MODEL = "store its primary key"
_LIST = "use list(value)"
_DICT = "use dict(value)"
_SCARCE = "store what your code needs to create the object again"

# The first class in a value's MRO that is listed here has the advice. The classes are
# known by their names, because no library is imported for an error message.
_BY_CLASS: dict[str, str] = {
    "builtins.bytearray": "use bytes",
    "builtins.memoryview": "use bytes",
    "builtins.generator": _LIST,
    "builtins.dict_keys": _LIST,
    "builtins.dict_values": _LIST,
    "builtins.dict_items": _LIST,
    "builtins.map": _LIST,
    "builtins.filter": _LIST,
    "builtins.zip": _LIST,
    "collections.deque": _LIST,
    "builtins.mappingproxy": _DICT,
    "collections.ChainMap": _DICT,
    "collections.UserDict": _DICT,
    "builtins.type": "store its name",
    "builtins.module": "store its name",
    "builtins.function": "store its name",
    "builtins.method": "store its name",
    "builtins.builtin_function_or_method": "store its name",
    "functools.partial": "store its name",
    "builtins.coroutine": "use what it returns",
    "builtins.async_generator": "use a list of its items",
    "_io._IOBase": _SCARCE,
    "_socket.socket": _SCARCE,
    "_thread.lock": _SCARCE,
    "_thread.RLock": _SCARCE,
    "threading.Event": _SCARCE,
    "threading.Condition": _SCARCE,
    "threading.Semaphore": _SCARCE,
    "numpy.integer": "use int(value)",
    "numpy.floating": "use float(value)",
    "numpy.bool": "use bool(value)",
    "numpy.bool_": "use bool(value)",
    "numpy.generic": "use value.item()",
    "numpy.ndarray": "use value.tolist()",
    "peewee.Model": _MODEL,
    "django.db.models.base.Model": _MODEL,
    "werkzeug.datastructures.file_storage.FileStorage": (
        "save the file and store its name"
    ),
}

# The same for classes that have one of these attributes.
_BY_ATTRIBUTE: dict[str, str] = {"__mapper__": _MODEL, "_sa_class_manager": _MODEL}

_PROXY = "werkzeug.local.LocalProxy"


def advice_for(value: object) -> str:
    """Return what to store instead of a value, "" if nothing is known about its class.

    The advice for a LocalProxy, such as Flask-Login's ``current_user``, is that for
    the object behind it.
    """
    kind = type(value)
    names = _names(kind)
    if _PROXY in names:
        return _behind(value) or "use value._get_current_object()"
    for name in names:
        if name in _BY_CLASS:
            return _BY_CLASS[name]
    for attribute, advice in _BY_ATTRIBUTE.items():
        if any(attribute in vars(base) for base in kind.__mro__):
            return advice
    return ""


def registration_for(kind: type) -> str:
    """Return the call that registers a class."""
    name = kind.__name__
    if "pydantic.main.BaseModel" in _names(kind):
        how = f", encode={name}.model_dump, decode={name}.model_validate"
    elif "__attrs_attrs__" in vars(kind):
        how = f", encode=attrs.asdict, decode=lambda fields: {name}(**fields)"
    elif (
        dataclasses.is_dataclass(kind)
        or issubclass(kind, enum.Enum)
        or (issubclass(kind, tuple) and hasattr(kind, "_make"))
    ):
        how = ""
    else:
        how = ", encode=..., decode=..."
    return f"add register_type({name}{how})"


def _names(kind: type) -> list[str]:
    """Return the full names of a class and of its bases, nearest first."""
    return [f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__]


def _behind(proxy: t.Any) -> str:
    try:
        return advice_for(proxy._get_current_object())
    except Exception:  # noqa: BLE001 - there may be no object, or its code may fail
        return ""
