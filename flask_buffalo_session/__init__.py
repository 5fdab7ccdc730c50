"""Buffalo's session for Flask."""

from __future__ import annotations

import importlib.util
import typing as t

from . import errors, previous, signals, testing
from .extension import BuffaloSession
from .formats import NativeFormat
from .owners import SessionInfo
from .registry import register_type
from .sessions import Session, session
from .stores.base import Store
from .stores.cache import CacheStore
from .stores.cookie import CookieStore
from .stores.memory import MemoryStore
from .stores.null import NullStore
from .stores.redis import RedisStore

if t.TYPE_CHECKING:
    from .gorilla.format import GorillaFormat
    from .stores.sql import SQLStore

__all__ = [
    "BuffaloSession",
    "CacheStore",
    "CookieStore",
    "GorillaFormat",
    "MemoryStore",
    "NativeFormat",
    "NullStore",
    "RedisStore",
    "SQLStore",
    "Session",
    "SessionInfo",
    "Store",
    "errors",
    "previous",
    "register_type",
    "session",
    "signals",
    "testing",
]


if not t.TYPE_CHECKING and importlib.util.find_spec("sqlalchemy") is None:
    # A star import asks for every name, and must work without the extra "sql".
    __all__.remove("SQLStore")


def __getattr__(name: str) -> t.Any:
    # Most applications use neither, and so import neither the format nor SQLAlchemy.
    if name == "GorillaFormat":
        from .gorilla.format import GorillaFormat

        return GorillaFormat
    if name != "SQLStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from .stores.sql import SQLStore
    except ImportError as error:
        raise ImportError(
            "SQLStore needs SQLAlchemy: install flask-buffalo-session[sql]."
        ) from error
    return SQLStore
