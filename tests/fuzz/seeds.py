"""The inputs that fuzzing begins with, and those for which a target once failed.

The seeds are generated: an encoding of every kind of value and cookie, and every
setting and scheme.
"""

from __future__ import annotations

import base64
import collections.abc as c
import datetime as dt
import json
import typing as t
from decimal import Decimal
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

from markupsafe import Markup

from flask_buffalo_session import GorillaFormat
from flask_buffalo_session.codec import Record
from flask_buffalo_session.gorilla.gob.reader import Boxed
from flask_buffalo_session.gorilla.gob.types import (
    BOOL,
    COMPLEX,
    FLOAT,
    INT,
    INTERFACE,
    STRING,
    UINT,
    GobType,
    gob_type,
)
from flask_buffalo_session.gorilla.gob.writer import TypeTable, Writer
from flask_buffalo_session.stores.url import SCHEMES

from .apps import ASKED, NAME, SHOPS
from .targets import (
    CIPHER,
    GORILLA,
    NATIVE,
    SESSION_ID,
    WORDS,
    Basket,
    Point,
    Suit,
    sealed_text,
)

#: One file for each input for which a target once failed, in a folder for each target.
FOUND = Path(__file__).parent / "found"

_VECTORS = Path(__file__).parents[1] / "gorilla/gorilla_vectors.json"

_ZONES = [
    None,
    dt.UTC,
    ZoneInfo("Europe/Berlin"),
    dt.timezone(dt.timedelta(1 / 5), "x"),
]

VALUES: list[t.Any] = [
    *(None, True, 0, -1, 2**40, -(2**63), 2**64, -(10**30)),
    *(1.5, -0.0, float("nan"), float("inf"), 1.5 + 2j),
    *("", "text", "\u00fc" * 40, b"", b"\0\xff", Markup("<b>")),
    *([], [1, [2, "3"]], (), (1, (2,)), {}, {"a": {"b": [1]}}, {1: "a", (2,): b"b"}),
    *(set(), {1, "2"}, frozenset({3}), [None] * 20),
    *(dt.datetime(2026, 3, 29, 2, 30, 0, 5, zone, fold=1) for zone in _ZONES),
    *(dt.time(1, 2, 3, tzinfo=zone) for zone in _ZONES),
    *(dt.date(2026, 1, 1), dt.timedelta(-1, 5, 7)),
    *(Decimal("1.50"), Decimal("-1E+999999"), Decimal("sNaN1"), UUID(int=5)),
    *(Suit.HEARTS, Point(1, [2]), Basket("me", [1], Point(1, 2))),
    {"cart": [{"sku": "a", "price": Decimal("9.99"), "at": dt.date(2026, 1, 1)}]},
]

FLASH = {"success": ["Saved"], "danger": ["<No>", "\u00fc"]}


def _gorillas() -> c.Iterator[bytes]:
    """Return the sessions that Go has written."""
    vectors = json.loads(_VECTORS.read_text())
    for vector in vectors:
        block_key = vector.get("block_key_base64")
        key = base64.b64decode(block_key) if block_key else None
        seal = GorillaFormat(vector["secret"], key).seal(
            [], vector["session_name"], encrypt=False
        )
        token = seal.unseal(vector["cookie"], max_age=10**10).token
        yield token.encode("latin-1")


def _entries() -> c.Iterator[bytes]:
    """Return the encoded values as Go has them."""
    for value in [*VALUES, FLASH]:
        name = "_flash_" if value is FLASH else "name"
        try:
            yield GORILLA.encode(value, name)
        except TypeError:
            continue
    for record in _gorillas():
        yield from GORILLA.loads(record).values.values()
    for kind, value in _GO_VALUES:
        types = TypeTable()
        writer = Writer(types)
        writer.boxed(None)
        writer.boxed(Boxed("main.Thing", kind, value))
        head = Writer(types)
        head.chunk(b"".join(types.definitions()))
        yield bytes(head.data + writer.data)


_TREE = GobType("struct")
GobType.__init__(
    _TREE,
    "struct",
    "Tree",
    (INT, gob_type("slice", "", (_TREE,))),
    ("Size", "Branches"),
)
_LEAF = {"Size": 1}

_GO_VALUES: list[tuple[GobType, t.Any]] = [
    (gob_type("array", "Pair", (INT,), (), 2), [1, 2]),
    (gob_type("slice", "", (UINT,)), [1, 2**63]),
    (gob_type("map", "", (FLOAT, BOOL)), [(1.5, True), (float("nan"), False)]),
    (gob_type("map", "", (INTERFACE, COMPLEX)), [(Boxed("int", INT, 5), 1j)]),
    (gob_type("text", "Text"), b"text"),
    (gob_type("binary", "UUID"), bytes(16)),
    (gob_type("gob", "Time"), b"\1" + bytes(14)),
    (
        gob_type("struct", "Basket", (STRING, INTERFACE), ("Owner", "Point")),
        {"Owner": "me"},
    ),
    (_TREE, {"Size": 5, "Branches": [_LEAF, {"Branches": [_LEAF]}]}),
]


def _native_records() -> c.Iterator[bytes]:
    values: dict[t.Hashable, bytes] = {
        f"name{i}": NATIVE.encode(v, "n") for i, v in enumerate(VALUES[:40:5])
    }
    yield NATIVE.dumps(Record(1_700_000_000, b"a nonce here", values))
    names: list[t.Hashable] = [
        5,
        None,
        (1, "x"),
        UUID(int=7),
        Suit.SPADES,
        b"bytes",
        1.5,
    ]
    odd: dict[t.Hashable, bytes] = {name: NATIVE.encode(name, "n") for name in names}
    yield NATIVE.dumps(Record(1_700_000_000, b"a nonce here", odd))
    own_names: dict[str, t.Any] = {
        "_permanent": True,
        "_owner_": "somebody",
        "_flash_": FLASH,
        "user_id": 5,
        "suit": Suit.HEARTS,
        "list": [1],
    }
    steering: dict[t.Hashable, bytes] = {
        name: NATIVE.encode(value, name) for name, value in own_names.items()
    }
    yield NATIVE.dumps(Record(1, b"", dict(steering)))
    yield NATIVE.dumps(Record(1, b"", dict.fromkeys(steering, b"\xc1")))


def _encrypted_records() -> c.Iterator[bytes]:
    for record in _native_records():
        yield b"\0" + CIPHER.encrypt(record, SESSION_ID)
        for kind in range(5):
            yield bytes([kind]) + record


def _gorilla_records() -> c.Iterator[bytes]:
    yield from _gorillas()
    names = [5, None, True, 1.5, UUID(int=7)]
    codec = type(GORILLA)(["github.com/gofrs/uuid.UUID", "map[string]interface {}"])
    values: dict[t.Hashable, bytes] = {name: codec.encode(1, name) for name in names}
    values |= {
        "_permanent": codec.encode(True, "_permanent"),
        "_owner_": codec.encode("somebody", "_owner_"),
        "_flash_": codec.encode(FLASH, "_flash_"),
        "dict": codec.encode({"a": [1]}, "dict"),
    }
    yield codec.dumps(Record(1, b"", values))


def _records(shop: str) -> list[bytes]:
    return [*(_gorilla_records() if "gorilla" in shop else _native_records())]


def _cookies() -> c.Iterator[bytes]:
    kinds = ("signed", "encrypted", "gorilla", "gorilla-encrypted")
    for index, shop in enumerate(SHOPS):
        kind = kinds[index // 2]
        head, stamp = _stamped(kind)
        record = _records(shop)[-1]
        good = sealed_text(kind, head, stamp, record if index % 2 == 0 else b"token")
        for view, header in enumerate(
            (
                f"{NAME}={good}",
                f"other=1; {NAME}=bad; {NAME}={good}",
                f'{NAME}="{good}"; {NAME}; ={NAME}',
                f"{NAME}=~r{good[2:]}",
            )
        ):
            yield bytes([index, view]) + header.encode("latin-1")


def _stamped(kind: str) -> tuple[bytes, bytes]:
    """Return a head and a timestamp that suit a seal."""
    return (b"", b"1790000000") if "gorilla" in kind else (b"br", b"arEtgA")


def _sealed() -> c.Iterator[bytes]:
    for number in range(4):
        head, stamp = _stamped("gorilla" if number > 1 else "")
        for mark in (b"bz", b"br", b"~r", b"b?"):
            chosen = mark if head else b""
            parts = [bytes([number, len(chosen)]), chosen, bytes([len(stamp)]), stamp]
            yield b"".join(parts) + bytes([mark == b"bz"]) + b"a token" * 9


def _seal_texts() -> c.Iterator[bytes]:
    for number, kind in enumerate(
        ("signed", "encrypted", "gorilla", "gorilla-encrypted")
    ):
        text = sealed_text(kind, *_stamped(kind), b"a token of some length")
        yield bytes([number]) + text.encode()


def _sessions() -> c.Iterator[bytes]:
    for number, shop in enumerate(SHOPS):
        for index, record in enumerate(_records(shop)):
            yield bytes([number, (number + index) % len(ASKED)]) + record


def _urls() -> c.Iterator[bytes]:
    for scheme in SCHEMES:
        for rest in (
            "//user:secret@host:1,other:2/0?timeout=3",
            "///path/x",
            "x%20y",
            "",
        ):
            yield b"\0" + f"{scheme}:{rest}".encode()
    for text in (
        *("redis://h?protocol=3&cache_config=x", "redis://h?max_connections=x"),
        *("sqlite:///x.db?plugin=x", "sqlite+x:///y", "mysql+x://h", "redis+x:"),
        *("postgresql://h/x?host=a:1&host=b&port=3", "memcached://[::1]:5"),
        "file:%00",
    ):
        yield b"\x09" + text.encode()


def _settings() -> c.Iterator[bytes]:
    # One setting; its key; how its value is made; from which of the words.
    for number, words in enumerate(WORDS.values()):
        for word in range(max(1, len(words))):
            yield bytes([1, 0, number, 0, word, 0, 1])
        for maker in (1 + number % 13, 1 + (number + 6) % 13):
            yield bytes([1, 0, number, maker, 4, 4, 4, 4, 4, 0, 1])
    for keys in range(4):
        yield bytes([1, 0, 0, 0, 0, 7, 0, 0, 0, 1, 0, 2, 0, 0, 0, keys, 4, 8, 65, 66])


_SEEDS: dict[str, c.Callable[[], c.Iterator[bytes]]] = {
    "cookie": _cookies,
    "seal": _seal_texts,
    "sealed": _sealed,
    "encrypted_record": _encrypted_records,
    "native_record": lambda: (b"\0" + record[5:] for record in _native_records()),
    "native_value": lambda: (
        NATIVE.encode(v, "n") for v in VALUES if type(v) is not complex
    ),
    "gob_record": _gorilla_records,
    "gob_value": lambda: (b"\0" + entry for entry in _entries()),
    "gob": _gorillas,
    "session": _sessions,
    "url": _urls,
    "settings": _settings,
}


def seeds(name: str) -> list[bytes]:
    """Return the generated inputs of a target, each once and always the same."""
    return list(dict.fromkeys(_SEEDS[name]()))


def inputs(name: str) -> dict[str, bytes]:
    """Return the seeds of a target and its stored inputs, by a name for each."""
    generated = {f"seed-{number:03}": data for number, data in enumerate(seeds(name))}
    stored = {path.name: path.read_bytes() for path in sorted(FOUND.glob(f"{name}/*"))}
    return generated | stored
