"""A store that keeps nothing."""

from __future__ import annotations

import typing as t


class NullStore:
    """The store for APIs, like Buffalo's ``sessions.Null{}``. It finds nothing and
    never issues a token.
    """

    stateless: t.Literal[True] = True

    def load(self, token: str) -> bytes | None:
        return None

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        return ""

    def delete(self, token: str) -> None:
        pass
