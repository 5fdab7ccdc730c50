"""Make values of every kind from the bytes of a fuzzer."""

from __future__ import annotations

import collections.abc as c
import datetime as dt
import struct
import typing as t
from decimal import Decimal

from flask_buffalo_session.errors import shown

T = t.TypeVar("T")

#: Part of each secret, such as a password. No message may contain it.
CANARY = "hunter2hunter2"


class Source:
    """Make values from bytes, one after the other.

    After the last byte, all bytes are zero.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def rest(self) -> bytes:
        return self.take(len(self._data))

    def take(self, size: int) -> bytes:
        taken = self._data[self._position : self._position + size]
        self._position += size
        return taken

    def byte(self) -> int:
        return int.from_bytes(self.take(1))

    def pick(self, options: c.Sequence[T]) -> T:
        return options[self.byte() % len(options)]

    def bytes(self) -> bytes:
        return self.take(self.byte())

    def text(self) -> str:
        """Return any text, with lone surrogates too."""
        return self.bytes().decode("utf-8", "surrogateescape")

    def number(self) -> int:
        return int.from_bytes(self.take(self.byte() % 16), signed=True)

    def float(self) -> float:
        return t.cast(float, struct.unpack(">d", self.take(8).ljust(8, b"\0"))[0])

    def value(self, words: c.Sequence[t.Any] = (), depth: int = 0) -> t.Any:
        """Return a value of any kind.

        :param words: values that are worth trying.
        """
        makers: list[c.Callable[[], t.Any]] = [
            lambda: self.pick(words) if words else None,
            lambda: self.pick(_PLAIN),
            self.number,
            self.float,
            self.text,
            self.bytes,
            lambda: self.text() + CANARY,
            lambda: self.bytes() + CANARY.encode(),
            lambda: Decimal(self.number()),
            lambda: dt.timedelta(seconds=self.number() % 10**13),
        ]
        if depth < 3:
            makers += [
                lambda: self.values(words, depth),
                lambda: tuple(self.values(words, depth)),
                lambda: dict.fromkeys(map(shown, self.values(words, depth)), CANARY),
                lambda: frozenset(map(shown, self.values(words, depth))),
            ]
        return self.pick(makers)()

    def values(self, words: c.Sequence[t.Any] = (), depth: int = 0) -> list[t.Any]:
        return [self.value(words, depth + 1) for _ in range(self.byte() % 4)]


_PLAIN: tuple[t.Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    10**5000,
    "",
    b"",
    object(),
    object,
    float("nan"),
    dt.timedelta.max,
    dt.timedelta.min,
    len,
)
