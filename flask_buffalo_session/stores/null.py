"""No session at all."""

from __future__ import annotations

import typing as t


class NullStore:
    """The store for APIs, Buffalo's ``sessions.Null{}``: it finds nothing and
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
