"""A ``SESSION_STORE`` URL to a store."""

from __future__ import annotations

from .base import Store
from .memory import MemoryStore

#: The schemes of the URLs that :func:`store_from_url` knows.
SCHEMES = ("memory",)


def store_from_url(url: str) -> Store:
    """
    :raises ValueError: the URL's scheme is none of :data:`SCHEMES`, or the rest
        does not fit it.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "memory":
        if rest.strip("/"):
            raise ValueError("a memory: URL has nothing behind the colon")
        return MemoryStore()
    raise ValueError("no such kind of store")
