"""Buffalo's session for Flask."""

from . import errors, signals
from .extension import BuffaloSession
from .formats import NativeFormat
from .gorilla.format import GorillaFormat
from .registry import register_type
from .sessions import Session, session
from .stores.base import Store
from .stores.cookie import CookieStore
from .stores.memory import MemoryStore
from .stores.null import NullStore

__all__ = [
    "BuffaloSession",
    "CookieStore",
    "GorillaFormat",
    "MemoryStore",
    "NativeFormat",
    "NullStore",
    "Session",
    "Store",
    "errors",
    "register_type",
    "session",
    "signals",
]
