"""Sessions in the cookie itself."""

from __future__ import annotations

import typing as t


class CookieStore:
    """Sessions in the cookie: the token is the data. The server keeps nothing.

    Two requests at once overwrite each other's changes. A copied cookie stays valid
    after logout until it expires, unless ``SESSION_REVOCATION`` is set. A server-side
    store has neither limit.
    """

    stateless: t.Literal[True] = True

    def load(self, token: str) -> bytes | None:
        try:
            return token.encode("latin-1")
        except UnicodeEncodeError:
            return None

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        return data.decode("latin-1")

    def delete(self, token: str) -> None:
        pass
