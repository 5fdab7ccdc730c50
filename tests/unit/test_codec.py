"""Test encoding and decoding of values and records."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime as dt
import enum
import itertools
import os
import pickle
import re
import subprocess
import sys
import threading
import time
import typing as t
import zlib
from decimal import Decimal
from pathlib import Path
from random import Random
from unittest.mock import MagicMock
from uuid import UUID
from zoneinfo import ZoneInfo

import ormsgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from flask_buffalo_session import register_type
from flask_buffalo_session.codec import Record, UnreadName
from flask_buffalo_session.errors import RejectedError, SessionTypeError
from flask_buffalo_session.native.codec import NativeCodec
from flask_buffalo_session.registry import Registered, Registry
from tests.support.parameters import stable_repr

codec = NativeCodec()
stranger = NativeCodec(Registry())
"""The same, in an application where no class is registered."""

FORMATS = (Path(__file__).parents[2] / "docs/reference/formats.md").read_text()


def shape(value: t.Any) -> t.Any:
    """Describe a value with types, order and signs of zero, as lists that can be
    compared.
    """
    kind = type(value).__qualname__
    if type(value) in (list, tuple):
        return [kind, *map(shape, value)]
    if type(value) is dict:
        return [kind, *([shape(key), shape(item)] for key, item in value.items())]
    if type(value) in (set, frozenset):
        return [kind, *sorted(map(repr, map(shape, value)))]
    return [kind, repr(value)]


def round_trip(value: t.Any) -> t.Any:
    """Return the value after a round trip."""
    return codec.decode(codec.encode(value, "n"), "n")


# Strategies

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
offsets = st.timedeltas(
    min_value=dt.timedelta(days=-1, microseconds=1),
    max_value=dt.timedelta(days=1, microseconds=-1),
)
zones = st.one_of(
    st.none(),
    st.builds(dt.timezone, offsets),
    st.builds(dt.timezone, offsets, texts),
    st.sampled_from([dt.UTC, ZoneInfo("UTC"), ZoneInfo("Europe/Berlin")]),
    st.sampled_from([ZoneInfo("America/St_Johns"), ZoneInfo("Asia/Kathmandu")]),
)


def moment(naive: t.Any, zone: dt.tzinfo | None, fold: int) -> t.Any:
    return naive.replace(tzinfo=zone, fold=fold)


folds = st.integers(0, 1)
integers = st.one_of(
    st.integers(),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64]),
    st.integers(-(2**2000), 2**2000),
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    integers,
    st.floats(),
    texts,
    st.binary(max_size=20),
    st.builds(moment, st.datetimes(), zones, folds),
    st.dates(),
    st.builds(moment, st.times(), zones, folds),
    st.timedeltas(),
    st.decimals().filter(lambda number: not number.is_snan()),
    st.uuids(),
    st.builds(Markup, texts),
)
hashables = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3)
    ),
    max_leaves=6,
)
values = st.recursive(
    leaves | st.sampled_from([Decimal("sNaN"), Decimal("-sNaN123")]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(texts, inner, max_size=4),
        st.dictionaries(hashables, inner, max_size=4),
        st.sets(hashables, max_size=4),
        st.frozensets(hashables, max_size=4),
    ),
    max_leaves=15,
)
records = st.builds(
    Record,
    st.integers(0, 253402300799),
    st.binary(max_size=12),
    st.dictionaries(hashables | texts, values.map(lambda v: codec.encode(v, "n"))),
    rotated=st.integers(0, 253402300799),
    stamps=st.dictionaries(texts, st.binary(max_size=4), max_size=2),
)

SAMPLES: list[t.Any] = [
    None,
    True,
    0,
    -0.0,
    float("nan"),
    float("-inf"),
    10**5000,
    -(10**5000),
    "",
    "\0 \U0001f403",
    b"\0\xff",
    [],
    (),
    {},
    set(),
    frozenset(),
    [[[]], ((),), {"a": {}}],
    (1, (2.0, [3, (b"4",)])),
    {1: "int", "1": "str", 1.5: "float", None: "none", b"1": "bytes"},
    {(1, "a"): 1, frozenset({2}): 2, UUID(int=3): 3, dt.date(2024, 2, 29): 4},
    {10**5000: b"a key too long for repr()"},
    {True: [b"x"], False: (b"y",)},
    {1, "1", (1,), None, b"1"},
    dt.datetime(1, 1, 1),
    dt.datetime(9999, 12, 31, 23, 59, 59, 999999),
    dt.datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")),
    dt.datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
    dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
    dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(0), "UTC")),
    dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(microseconds=1))),
    dt.time(23, 59, 59, 999999, fold=1),
    dt.time(1, tzinfo=dt.timezone(dt.timedelta(hours=-5), "EST")),
    dt.timedelta.min,
    dt.timedelta.max,
    Decimal("sNaN"),
    Decimal("-NaN7"),
    Decimal("Infinity"),
    Decimal("1E+999999"),
    Decimal("-0E-30"),
    Decimal("1.10"),
    UUID("12345678-1234-5678-1234-567812345678"),
    Markup("<b>&amp;</b>"),
    [Markup("x"), "x", {"k": Markup("x")}],
]


class TestValues:
    @pytest.mark.parametrize("value", SAMPLES, ids=range(len(SAMPLES)))
    def test_samples_round_trip(self, value: t.Any) -> None:
        """The edge cases of every type: alone, in a list, and beside bytes, which are
        encoded in another way.
        """
        wrapped = [value, {"k": (value, b"bytes")}]
        for case in (value, [value], wrapped):
            if 10**5000 in collect_ints(case):
                assert round_trip(case) == case
            else:
                assert shape(round_trip(case)) == shape(case)

    @given(value=values)
    @settings(max_examples=500)
    def test_any_value_round_trips(self, value: t.Any) -> None:
        """With nested types, order of dicts, signs, folds and zones."""
        assert shape(round_trip(value)) == shape(value)

    @given(value=values)
    @settings(max_examples=200)
    def test_a_decoded_value_encodes_to_the_same_bytes(self, value: t.Any) -> None:
        """Otherwise a session that was only read would count as changed."""
        data = codec.encode(value, "n")
        assert codec.encode(codec.decode(data, "n"), "n") == data

    def test_equal_values_of_different_types_encode_differently(self) -> None:
        """A session finds changes by comparing bytes; 1 must not look like True."""
        alike: list[t.Any] = [1, True, 1.0, Decimal(1), Decimal("1.0")]
        assert len({codec.encode(value, "n") for value in alike}) == len(alike)
        zeros: list[t.Any] = [0, False, 0.0, -0.0, Decimal(0), Decimal("-0")]
        assert len({codec.encode(value, "n") for value in zeros}) == len(zeros)
        texts: list[t.Any] = ["a", Markup("a"), b"a"]
        assert len({codec.encode(value, "n") for value in texts}) == len(texts)
        empty: list[t.Any] = [[], (), {}, set(), frozenset(), None, "", b""]
        assert len({codec.encode(value, "n") for value in empty}) == len(empty)

    def test_values_that_are_stored_alike_are_comparable(self) -> None:
        """Not values that Python takes for equal. What cannot be stored is refused."""
        for one, other, alike in (
            ({"a": [1, {2, 3}]}, {"a": [1, {3, 2}]}, True),
            ({"a": [1]}, {"a": [True]}, False),
            (1.0, Decimal(1), False),
        ):
            first, second = codec.comparable(one, "n"), codec.comparable(other, "n")
            assert (first == second) is alike
        with pytest.raises(SessionTypeError, match=r"^session\['cart'\]"):
            codec.comparable(object(), "cart")

    def test_the_fold_of_a_time_is_stored(self) -> None:
        """Half past two happens twice when the clocks are set back."""
        first = dt.datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
        second = first.replace(fold=1)
        assert round_trip(first).utcoffset() == dt.timedelta(hours=2)
        assert round_trip(second).utcoffset() == dt.timedelta(hours=1)

    @given(items=st.lists(hashables, max_size=30), random=st.randoms())
    def test_equal_sets_encode_to_the_same_bytes(
        self, items: list[t.Any], random: Random
    ) -> None:
        """In whatever order their elements were added."""
        items = list(set(items))
        expected = codec.encode(set(items), "n")
        random.shuffle(items)
        assert codec.encode(set(items), "n") == expected

    def test_sets_with_hash_collisions_encode_to_the_same_bytes(self) -> None:
        """The order inside such a set depends on the order of the additions."""
        orders = [set(items) for items in itertools.permutations([0, 8, 16, 24])]
        assert len({tuple(order) for order in orders}) > 1
        assert len({codec.encode(order, "n") for order in orders}) == 1
        assert len({codec.encode(frozenset(o), "n") for o in map(list, orders)}) == 1

    def test_hash_seeds_do_not_change_the_bytes(self) -> None:
        """Every worker of an application encodes a value to the same bytes."""
        outputs = {
            subprocess.run(
                [sys.executable, "-c", PRINT_BYTES],
                env={**os.environ, "PYTHONHASHSEED": seed},
                capture_output=True,
                check=True,
                text=True,
            ).stdout
            for seed in ("0", "1", "2", "3", "random", "random")
        }
        assert len(outputs) == 1
        assert len(outputs.pop()) > 100

    def test_lazy_strings_are_stored_as_text(self) -> None:
        """Flask-Babel's lazy strings are functions that are called when the language is
        known.
        """
        for value in (lazy("Grüße"), [lazy("Grüße"), b"x"], {"k": (lazy("Grüße"),)}):
            expected = eval(repr(value).replace("<lazy>", "'Grüße'"))
            assert shape(round_trip(value)) == shape(expected)

    @pytest.mark.parametrize(
        "value", [str, Markup, collections.UserString("x"), MagicMock()]
    )
    def test_a_class_that_looks_like_a_lazy_string_is_refused(
        self, value: t.Any
    ) -> None:
        """The codec must not store "<class 'str'>"."""
        with pytest.raises(SessionTypeError):
            codec.encode(value, "n")


def collect_ints(value: t.Any) -> set[int]:
    """Collect the absolute values of the ints in a sample."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple):
        return set().union(*map(collect_ints, value))
    return {abs(value)} if type(value) is int else set()


PRINT_BYTES = """
import dataclasses, datetime as dt
from decimal import Decimal
from uuid import UUID
from flask_buffalo_session import register_type
from flask_buffalo_session.codec import Record
from flask_buffalo_session.native.codec import NativeCodec

@register_type
@dataclasses.dataclass(frozen=True)
class Tags:
    names: frozenset

words = {"amber", "bridge", "canvas", "delta", "ember", b"forest", None, 1.5,
         UUID(int=7), Decimal("1.0"), dt.date(2024, 1, 1)}
value = [words, {frozenset(words): Tags(frozenset(words))}, ({*"abcdefgh"},)]
codec = NativeCodec()
data = codec.encode(value, "n")
print(data.hex())
print(codec.dumps(Record(1, b"n", {"a": data, frozenset("abcdef"): data})).hex())
"""


class Lazy:
    """Behave as the LazyString of flask_babel does."""

    def __init__(self, func: t.Callable[[], str]) -> None:
        self._func = func

    def __str__(self) -> str:
        return self._func()

    def __getattr__(self, name: str) -> t.Any:
        return getattr(str(self), name)

    def __repr__(self) -> str:
        return "<lazy>"


def lazy(text: str) -> Lazy:
    return Lazy(lambda: text)


# Values that cannot be stored


class Suit(enum.Enum):
    CLUBS = "c"


class Point(t.NamedTuple):
    x: int


@dataclasses.dataclass
class Basket:
    items: list[t.Any]


class Elsewhere(dt.tzinfo):
    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(0)

    def tzname(self, when: dt.datetime | None) -> str:
        return "elsewhere"

    def dst(self, when: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(0)


REFUSED: list[tuple[t.Any, str]] = [
    # One for each length that MessagePack encodes in its own way.
    (bytearray(b"x"), "bytearray cannot be stored: use bytes"),
    (bytearray(b"x" * 300), "bytearray cannot be stored: use bytes"),
    (bytearray(b"x" * 70_000), "bytearray cannot be stored: use bytes"),
    (memoryview(b"x"), "memoryview cannot be stored: use bytes"),
    (Suit.CLUBS, "register_type(Suit)"),
    (Basket([]), "register_type(Basket)"),
    (object(), "register_type(object, encode=..., decode=...)"),
    (1j, "register_type(complex, encode=..., decode=...)"),
    (range(3), "register_type(range, encode=..., decode=...)"),
    (len, "a value of the class builtins.builtin_function_or_method"),
    (dt.datetime(2024, 1, 1, tzinfo=Elsewhere()), "use zoneinfo.ZoneInfo"),
    (dt.time(1, tzinfo=Elsewhere()), "use zoneinfo.ZoneInfo or datetime.timezone"),
    ("\ud800", "lone surrogates"),
    (Markup("\ud800"), "lone surrogates"),
    (lazy("\ud800"), "lone surrogates"),
    ("a\udfffb" * 20, "lone surrogates"),
]


HASHABLE = [case for case in REFUSED if isinstance(case[0], t.Hashable)]


@pytest.mark.parametrize(
    ("value", "message"), REFUSED, ids=[type(value).__name__ for value, _ in REFUSED]
)
class TestRefused:
    def test_a_value_alone_is_refused(self, value: t.Any, message: str) -> None:
        """The path is the name, and the message explains the fix."""
        with pytest.raises(SessionTypeError) as caught:
            codec.encode(value, "cart")
        assert caught.value.path == "session['cart']"
        assert str(caught.value).startswith("session['cart']: ")
        assert message in str(caught.value)

    def test_a_value_inside_a_container_is_refused(
        self, value: t.Any, message: str
    ) -> None:
        """The path leads to the value through every kind of container."""
        holders: list[tuple[t.Any, str]] = [
            ([{"when": value}], "[0]['when']"),
            ({"a": (1, [value])}, "['a'][1][0]"),
            ({1: {None: value}}, "[1][None]"),
            ([b"x", {(1, "b"): [value]}], "[1][(1, 'b')][0]"),
        ]
        for holder, path in holders:
            with pytest.raises(SessionTypeError) as caught:
                codec.encode(holder, "cart")
            assert caught.value.path == f"session['cart']{path}"
            assert message in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"), HASHABLE, ids=[type(value).__name__ for value, _ in HASHABLE]
)
class TestRefusedWhereHashed:
    def test_a_key_or_element_is_refused(self, value: t.Any, message: str) -> None:
        """Keys of dicts and elements of sets are encoded as values, too."""
        holders: list[t.Any] = [
            {value: 1},
            {"other": 1, value: 1},
            {None: 1, value: 1},
            {value},
            [frozenset({value, None})],
        ]
        for holder in holders:
            with pytest.raises(SessionTypeError, match=re.escape(message)):
                codec.encode(holder, "cart")

    def test_a_name_is_refused(self, value: t.Any, message: str) -> None:
        """A name is encoded as a value, whatever the other names are."""
        for names in ({value: b"\x01"}, {value: b"\x01", None: b"\x01"}):
            with pytest.raises(SessionTypeError, match=re.escape(message)):
                codec.dumps(Record(1, b"", names))


def test_the_message_shows_a_refused_key() -> None:
    """A key has no path of its own."""
    with pytest.raises(SessionTypeError) as caught:
        codec.encode([{"ok": 1, Suit.CLUBS: 2}], 7)
    assert caught.value.path == "session[7][0] (the key <Suit.CLUBS: 'c'>)"


def circles() -> dict[str, t.Any]:
    direct: list[t.Any] = []
    direct.append(direct)
    mapping: dict[t.Any, t.Any] = {}
    mapping["self"] = [mapping]
    odd: dict[t.Any, t.Any] = {}
    odd[1] = odd
    through: list[t.Any] = []
    through.append((1, through))
    basket = Circular([])
    basket.items.append(basket)
    return {
        "list": direct,
        "dict": mapping,
        "dict with other keys": odd,
        "tuple in a list": through,
        "list in a tuple": (through,),
        "registered": basket,
        "registered in a list": [basket],
    }


@register_type
@dataclasses.dataclass
class Circular:
    items: list[t.Any]


@pytest.mark.parametrize("name", circles())
def test_values_that_contain_themselves_are_refused(name: str) -> None:
    """They raise an error and do not crash the interpreter."""
    with pytest.raises(SessionTypeError, match="the value contains itself") as caught:
        codec.encode(circles()[name], "n")
    assert caught.value.path.startswith("session['n']")


def test_a_value_may_be_in_several_places() -> None:
    """Only circles are refused."""
    shared = [1, (2,)]
    assert round_trip([shared, {"a": shared}, (shared, b"x")]) == [
        shared,
        {"a": shared},
        (shared, b"x"),
    ]


class Endless:
    """Encode to another object of the same class."""


_ENDLESS = Registered("endless", Endless, lambda value: Endless(), lambda value: value)


def test_a_class_whose_encode_never_ends_is_refused() -> None:
    """It makes a new object each time, so the codec finds no circle."""
    registry = Registry()
    registry.add(_ENDLESS)
    with pytest.raises(SessionTypeError, match="nested too deeply"):
        NativeCodec(registry).encode(Endless(), "n")


# Depth


def nested(depth: int, wrap: t.Callable[[t.Any], t.Any], value: t.Any = 1) -> t.Any:
    for _ in range(depth):
        value = wrap(value)
    return value


WRAPS: dict[str, t.Callable[[t.Any], t.Any]] = {
    "list": lambda value: [value],
    "dict": lambda value: {"key": value},
    "tuple": lambda value: (value,),
    "dict with other keys": lambda value: {1: value},
    "frozenset": lambda value: frozenset([value]),
    "key": lambda value: {(value,): 1} if isinstance(value, int) else {"k": [value]},
    "registered": lambda value: Circular([value]),
    "list of a tuple": lambda value: [[[(value,)]]],
}


CORES: list[t.Any] = [1, b"bytes", 196, 2**70, "\xc4", Markup("x"), None]


@pytest.mark.parametrize("core", [*CORES, ()], ids=repr)
@pytest.mark.parametrize("name", WRAPS)
def test_every_value_that_encodes_also_decodes(name: str, core: t.Any) -> None:
    """The codec refuses to encode deeper values than it can decode."""
    refused = False
    for depth in [*range(1, 24), 64, 101, 200, *range(250, 260), 400, 2000]:
        value = nested(depth, WRAPS[name], core)
        try:
            data = codec.encode(value, "n")
        except SessionTypeError as error:
            assert "nested too deeply" in str(error)
            refused = True
        else:
            assert not refused, "what is deeper was refused"
            # Not compared with ==, which would need Python's own stack.
            assert codec.encode(codec.decode(data, "n"), "n") == data
    assert refused


@pytest.mark.parametrize("core", CORES, ids=repr)
def test_the_maximal_depth_is_the_same_for_bytes(core: t.Any) -> None:
    """Bytes are encoded in another way, with the same limit."""
    for name, deepest in (("list", 255), ("dict", 255), ("tuple", 16)):
        value = nested(deepest, WRAPS[name], core)
        codec.encode(value, "n")
        with pytest.raises(SessionTypeError, match="nested too deeply") as caught:
            codec.encode(WRAPS[name](value), "n")
        step = "['key']" if name == "dict" else "[0]"
        assert caught.value.path == f"session['n']{step * deepest}"


@pytest.mark.parametrize("core", CORES, ids=repr)
@pytest.mark.parametrize("name", ["tuple", "dict with other keys", "registered"])
def test_each_extension_type_has_its_own_depth(name: str, core: t.Any) -> None:
    """A value inside one may have the full depth."""
    lists = nested(253 if name == "registered" else 255, WRAPS["list"], core)
    value = WRAPS[name](lists)
    assert shape(round_trip(value)) == shape(value)
    with pytest.raises(SessionTypeError, match="nested too deeply"):
        codec.encode([WRAPS[name]([lists])], "n")


@pytest.mark.parametrize(
    "head",
    [
        *(b"\x91", b"\xdc\0\1", b"\xdd\0\0\0\1"),
        *(b"\x81\xa1k", b"\xde\0\1\xa1k", b"\xdf\0\0\0\1\xa1k"),
    ],
)
def test_a_message_that_is_nested_too_deeply_is_rejected(head: bytes) -> None:
    """In each form of lists and dicts. Decoding allows a few levels more, as an
    extension type holds a list.
    """
    codec.decode(head * 256 + b"\xc0", "n")
    for depth in (257, 400, 1000, 5000):
        with pytest.raises(SessionTypeError, match="damaged"):
            codec.decode(head * depth + b"\xc0", "n")


def test_a_dict_with_a_key_without_value_is_rejected() -> None:
    """The decoder must not drop the key."""
    flat = ormsgpack.packb([1, "one", 2])
    with pytest.raises(SessionTypeError, match="damaged"):
        codec.decode(ormsgpack.packb(ormsgpack.Ext(19, flat)), "n")


def test_a_value_deeper_than_pythons_stack_is_refused() -> None:
    """No single layer is too deep, and there are bytes inside."""
    value: t.Any = b"bytes"
    for _ in range(12):
        value = (nested(250, WRAPS["list"], value),)
    with pytest.raises(SessionTypeError, match="nested too deeply") as caught:
        codec.encode(value, "n")
    assert caught.value.path == "session['n']"


def test_many_deeply_nested_values_are_encoded_quickly() -> None:
    """The cost of a path and of the search for circles does not grow with the depth.
    Bytes make the codec check every value.
    """
    flat = [*([] for _ in range(20_000)), b""]
    deep = nested(200, WRAPS["list"], flat)

    def seconds(value: t.Any) -> float:
        begun = time.thread_time()
        codec.encode(value, "n")
        return time.thread_time() - begun

    ratio = min(seconds(deep) for _ in range(3)) / min(seconds(flat) for _ in range(3))
    assert ratio < 2


def test_large_flat_values_are_not_refused_as_too_deep() -> None:
    """A cart may have thousands of lists and dicts side by side, or text that looks
    like their encoding.
    """
    cart = [{"id": n, "tags": ["a", "b"], "size": (n, n)} for n in range(2000)]
    assert round_trip(cart) == cart
    assert (
        round_trip({"text": ["\u0416\u0410\u0411" * 5000]})["text"][0][:2]
        == "\u0416\u0410"
    )


def test_hostile_messages_neither_crash_nor_stall(tmp_path: Path) -> None:
    """Deep nesting and huge lengths, on the main thread and on another one. A crash of
    the interpreter fails no test, so they run in another process.
    """
    result = subprocess.run(
        [sys.executable, "-c", HOSTILE], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, (result.returncode, result.stderr)
    # The peak of memory in KB, and the seconds.
    memory, seconds = map(float, result.stdout.split())
    assert seconds < 5
    assert memory < 300_000


HOSTILE = r"""
import pathlib, struct, threading, time, zlib
from flask_buffalo_session.native.codec import NativeCodec
from flask_buffalo_session.errors import RejectedError, SessionTypeError

def ext(tag, data):
    return b"\xc9" + struct.pack(">I", len(data)) + bytes([tag]) + data

def layers(count, tag, between):
    data = b"\x01"
    for _ in range(count):
        data = ext(tag, between + data)
    return data

cases = [b"\x91" * n for n in (300, 1000, 1022, 1023, 5000, 1_000_000)]
cases += [b"\x81\xa1k" * n for n in (300, 1000, 1022, 5000, 300_000)]
leads = (0xdc, 0xdd, 0xde, 0xdf, 0xda, 0xdb, 0xc5, 0xc6, 0xc9)
cases += [bytes([lead]) + b"\xff" * size for size in (2, 4) for lead in leads]
cases += [bytes([lead]) + b"\xff" * 4 + b"\x00" * 1_000_000 for lead in leads]
cases += [layers(count, tag, b"\x91" * depth) for tag in range(16, 22)
          for count in (16, 17, 1000) for depth in (1, 255, 256, 1000)]
cases += [layers(16, 16, b"\x91\x81\xa1k" * 500), layers(1, 8, b"\xff" * 1_000_000)]

codec = NativeCodec()
def run():
    for case in cases:
        for attempt in (codec.decode, lambda data, name: codec.loads(
                b"\x01" + zlib.crc32(data).to_bytes(4, "big") + data)):
            try:
                attempt(case, "n")
            except (RejectedError, SessionTypeError):
                pass
start = time.process_time()
run()
other = threading.Thread(target=run)
other.start()
other.join()

def full():
    value = 1
    for layer in range(16):
        for _ in range(252):
            value = [value] if layer % 2 else {"k": value}
        value = (value,)
    data = codec.encode(value, "n")
    codec.decode(data, "n")
other = threading.Thread(target=full)
other.start()
other.join()
# The process inherits the peak in getrusage() from its parent process.
status = pathlib.Path("/proc/self/status").read_text()
print(status.partition("VmHWM:")[2].split()[0], time.process_time() - start)
"""


# Records

RECORD = Record(
    created=1_700_000_000,
    nonce=bytes(range(12)),
    values={
        "user_id": codec.encode(42, "user_id"),
        "cart": codec.encode([("tea", 2)], "cart"),
    },
)


class TestRecords:
    @given(record=records)
    def test_any_record_round_trips(self, record: Record) -> None:
        """Names of every type that can be stored, their order and bytes, and both
        dates.
        """
        data = codec.dumps(record)
        again = codec.loads(data)
        assert (again.created, again.rotated) == (record.created, record.rotated)
        assert (again.nonce, again.stamps) == (record.nonce, record.stamps)
        assert shape(again.values) == shape(record.values)
        assert codec.dumps(again) == data

    @pytest.mark.parametrize("record", [RECORD, Record(0, b"", {})])
    def test_a_record_of_str_names_is_a_map(self, record: Record) -> None:
        """Nearly all sessions have only str names, and a map is shorter."""
        created, nonce, named = ormsgpack.unpackb(codec.dumps(record)[5:])
        assert Record(created, nonce, named) == record

    def test_1_and_its_text_are_different_names(self) -> None:
        """As in Buffalo, where a name is any value."""
        names: dict[t.Any, bytes] = {1: b"\x01", "1": b"\x02", b"1": b"\x03"}
        again = codec.loads(codec.dumps(Record(1, b"", names))).values
        assert shape(again) == shape(names)

    @pytest.mark.parametrize("names", ["str", "others"])
    def test_every_changed_byte_is_detected(self, names: str) -> None:
        """Any byte of a record is changed to any other."""
        data = codec.dumps(RECORD if names == "str" else odd_record())
        for index, byte in enumerate(data):
            for other in range(256):
                if other != byte:
                    assert corrupt(data[:index] + bytes([other]) + data[index + 1 :])

    @pytest.mark.parametrize("names", ["str", "others"])
    def test_every_truncated_record_is_detected(self, names: str) -> None:
        """At every byte, as after a full disk."""
        data = codec.dumps(RECORD if names == "str" else odd_record())
        for end in range(len(data)):
            assert corrupt(data[:end])

    @given(tail=st.binary(min_size=1))
    def test_appended_bytes_are_detected(self, tail: bytes) -> None:
        """A record may have been written over a longer one."""
        assert corrupt(codec.dumps(RECORD) + tail)

    @given(data=st.binary(max_size=100))
    @example(b"\x00retired")
    @example(b"")
    @example(b"\x01")
    @example(b"\x02" + codec.dumps(RECORD)[1:])
    def test_foreign_bytes_are_rejected(self, data: bytes) -> None:
        """No other error is raised, whatever the bytes are."""
        assert corrupt(data)

    @given(body=st.binary(max_size=60))
    @settings(max_examples=500)
    def test_a_record_with_a_valid_checksum_is_still_checked(self, body: bytes) -> None:
        """Its content may be malformed."""
        assert rejected_or_sound(with_checksum(body))

    @given(data=st.data())
    @settings(max_examples=500)
    def test_a_record_with_changed_content_and_valid_checksum_is_checked(
        self, data: st.DataObject
    ) -> None:
        """Bytes are changed, removed and inserted."""
        body = bytearray(codec.dumps(odd_record())[5:])
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, len(body) - 1))
            body[place : place + data.draw(st.integers(0, 2))] = data.draw(
                st.binary(max_size=2)
            )
        assert rejected_or_sound(with_checksum(bytes(body)))

    @pytest.mark.parametrize("count", [0, 15, 16, 65535, 65536, 70_000])
    def test_extension_types_of_every_length_are_decoded(self, count: int) -> None:
        """Their content is an array in the form of ormsgpack."""
        value = tuple(range(count))
        data = codec.encode(value, "n")
        assert data.endswith(ormsgpack.packb(list(value)))
        assert codec.decode(data, "n") == value

    @pytest.mark.parametrize(
        "content",
        [
            None,
            [],
            "abc",
            {"a": 1, "b": 2, "c": 3},
            [1, b"", {}, "4"],
            [1, b"", {}, -4],
            [1, b"", {}, 253402300800],
            [1, b"", {}, 4, 5],
            [True, b"", {}],
            [-1, b"", {}],
            [253402300800, b"", {}],
            [2**60, b"", {}],
            [1.0, b"", {}],
            [1, "", {}],
            [1, b"", None],
            [1, b"", {"a": 1}],
            [1, b"", {"a": "\x01"}],
            [1, b"", [b"\x01"]],
            [1, b"", [b"\x01", b"\x01", b"\x02"]],
            [1, b"", ["a", b"\x01"]],
            [1, b"", [b"\x90", b"\x01"]],
            [1, b"", [b"\x01", 1]],
            [1, b"", ormsgpack.Ext(16, b"\x90")],
        ],
        ids=stable_repr,
    )
    def test_records_of_another_shape_are_rejected(self, content: t.Any) -> None:
        """They are valid MessagePack with a valid checksum."""
        assert corrupt(with_checksum(ormsgpack.packb(content)))

    @given(data=st.binary(max_size=60))
    @settings(max_examples=500)
    def test_any_bytes_are_a_value_or_an_error_of_that_value(self, data: bytes) -> None:
        """Other values of the record are not affected."""
        with contextlib.suppress(SessionTypeError):
            codec.decode(data, "n")

    @given(tag=st.integers(-128, 127), data=st.binary(max_size=30))
    @settings(max_examples=1000)
    def test_any_bytes_in_an_extension_are_a_value_or_an_error(
        self, tag: int, data: bytes
    ) -> None:
        """With every tag, known or unknown."""
        packed = bytes([0xC7, len(data), tag % 256]) + data
        with contextlib.suppress(SessionTypeError):
            codec.decode(packed, "n")


def with_checksum(body: bytes) -> bytes:
    return b"\x01" + zlib.crc32(body).to_bytes(4, "big") + body


def corrupt(data: bytes) -> bool:
    with pytest.raises(RejectedError) as caught:
        codec.loads(data)
    return caught.value.reason == "corrupt"


def rejected_or_sound(data: bytes) -> bool:
    """Load a record; check that it is rejected or that its parts are valid."""
    try:
        record = codec.loads(data)
        codec.dumps(record)
        for name, value in record.values.items():
            codec.decode(value, name)
    except SessionTypeError:
        return True
    except RejectedError as error:
        return error.reason == "corrupt"
    return True


def odd_record() -> Record:
    return Record(
        5,
        b"nonce",
        {
            1: codec.encode({1: {"a"}, "b": (1.5, b"x")}, 1),
            "1": codec.encode(Circular([UUID(int=1)]), "1"),
            (None, dt.date(2024, 1, 1)): codec.encode(Decimal("1.50"), ""),
        },
    )


class TestUnknownTypes:
    """The reader has not registered the class of a value."""

    def test_reading_an_unknown_type_names_the_class(self) -> None:
        """The message shows the registered name and explains the fix."""
        data = codec.encode([Circular([1])], "cart")
        with pytest.raises(SessionTypeError) as caught:
            stranger.decode(data, "cart")
        assert caught.value.path == "session['cart']"
        assert f"{__name__}.Circular" in str(caught.value)
        assert "register_type" in str(caught.value)

    def test_values_beside_an_unknown_type_can_be_read(self) -> None:
        """One unknown value must not end the session."""
        record = stranger.loads(codec.dumps(odd_record()))
        assert stranger.decode(record.values[1], 1) == {1: {"a"}, "b": (1.5, b"x")}
        with pytest.raises(SessionTypeError):
            stranger.decode(record.values["1"], "1")

    def test_the_bytes_of_an_unknown_type_are_kept(self) -> None:
        """An application that has registered the class can still read them."""
        data = codec.dumps(odd_record())
        assert stranger.dumps(stranger.loads(data)) == data

    @pytest.mark.parametrize(
        ("zone", "problem"),
        [
            ("Europe/Atlantis", "in the zone 'Europe/Atlantis', which is not known"),
            ("no\nsuch" + "x" * 3000, "in the zone 'no\\\\nsuchxxx"),
            ("../../../etc/passwd", None),
            ("/etc/passwd", None),
            ("", None),
        ],
    )
    def test_an_unknown_time_zone_is_named_in_the_error(
        self, zone: str, problem: str | None
    ) -> None:
        """Only installed zones are looked up. A long name is shortened."""
        moment = ormsgpack.packb(["2026-01-01T00:00:00", 0, zone])
        data = ormsgpack.packb(ormsgpack.Ext(2, moment))
        with pytest.raises(SessionTypeError, match=problem or "damaged") as caught:
            codec.decode(data, "n")
        assert len(str(caught.value)) < 200
        assert "passwd" not in str(caught.value)

    def test_an_unreadable_name_is_kept(self) -> None:
        """Other names can be added and removed."""
        registry = Registry()
        register_in(registry, Ticket, "ticket")
        knowing = NativeCodec(registry)
        ticket = Ticket(5)
        data = knowing.dumps(Record(1, b"", {"a": b"\x01", ticket: b"\x02"}))
        record = stranger.loads(data)
        assert [type(name) for name in record.values] == [str, UnreadName]
        assert stranger.dumps(record) == data
        del record.values["a"]
        record.values["b"] = b"\x03"
        again = knowing.loads(stranger.dumps(record)).values
        assert again == {ticket: b"\x02", "b": b"\x03"}

    def test_the_error_of_a_decoder_does_not_show_the_value(self) -> None:
        """The decoder's own message may quote the stored value. The codec's message
        names the class.
        """
        registry = Registry()

        def refuse(value: t.Any) -> Ticket:
            raise ValueError(f"what is {value}?")

        registry.add(Registered("ticket", Ticket, lambda ticket: "hunter2", refuse))
        failing = NativeCodec(registry)
        data = failing.encode(Ticket(1), "n")
        with pytest.raises(SessionTypeError, match="ValueError") as caught:
            failing.decode(data, "n")
        assert "hunter2" not in str(caught.value)
        assert "hunter2" in str(caught.value.__cause__)

    def test_the_error_of_an_encoder_does_not_show_the_value(self) -> None:
        """The message names the class and the path."""
        registry = Registry()

        def refuse(ticket: Ticket) -> str:
            raise KeyError("hunter2")

        registry.add(Registered("ticket", Ticket, refuse, Ticket))
        with pytest.raises(SessionTypeError, match="KeyError") as caught:
            NativeCodec(registry).encode([{"t": Ticket(1)}], "n")
        assert caught.value.path == "session['n'][0]['t']"
        assert "hunter2" not in str(caught.value)

    def test_a_failed_value_does_not_affect_the_next_error(self) -> None:
        """The next error must not show the problem of an earlier value."""
        data = codec.encode(Circular([]), "n")
        with pytest.raises(SessionTypeError, match="register_type"):
            stranger.decode(data, "n")
        with pytest.raises(SessionTypeError, match="damaged"):
            stranger.decode(b"\xc1", "n")

    def test_a_time_zone_that_is_not_installed_is_named(self) -> None:
        """The zone's data may be missing on one of two machines."""
        when = dt.datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Berlin"))
        data = codec.encode(when, "n").replace(b"Berlin", b"Xanadu")
        with pytest.raises(SessionTypeError, match="Europe/Xanadu"):
            codec.decode(data, "n")

    @pytest.mark.parametrize(
        "key", [b"../../e/passwd", b"/etc/passwd/ab", b"Europe\0/Berlin"]
    )
    def test_a_time_zone_name_cannot_reach_another_file(self, key: bytes) -> None:
        """The name becomes part of a path."""
        when = dt.datetime(2024, 1, 1, tzinfo=ZoneInfo("America/Denver"))
        data = codec.encode(when, "n")
        assert len(key) == len(b"America/Denver")
        with pytest.raises(SessionTypeError):
            codec.decode(data.replace(b"America/Denver", key), "n")


@dataclasses.dataclass(frozen=True)
class Ticket:
    number: int


def register_in(registry: Registry, cls: type[Ticket], name: str) -> None:
    registry.add(Registered(name, cls, lambda ticket: ticket.number, cls))


class Exploit:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[t.Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_are_never_loaded(tmp_path: Path, protocol: int) -> None:
    """As a record, its body, a value, or inside any extension type."""
    trap = tmp_path / "created"
    data = pickle.dumps(Exploit(trap), protocol)
    assert len(data) < 256
    assert corrupt(data)
    assert corrupt(with_checksum(data))
    lengths = [bytes([0xC7, len(data), tag]) for tag in range(256)]
    for lead in (b"", *lengths):
        # Some decode it to a number or a text, most refuse it.
        with contextlib.suppress(SessionTypeError):
            codec.decode(lead + data, "n")
    assert not trap.exists()
    pickle.loads(data)
    assert trap.exists(), "the trap does not work"


def test_threads_do_not_disturb_each_other() -> None:
    """All threads of an application share one codec."""
    failures: list[str] = []

    def work(seed: int) -> None:
        value: t.Any = nested(12, WRAPS["tuple"], [seed, b"x", {seed: {str(seed)}}])
        for _ in range(200):
            if shape(round_trip(value)) != shape(value):
                failures.append("changed")
            try:
                stranger.decode(codec.encode((Circular([seed]),), "n"), seed)
            except SessionTypeError as error:
                if error.path != f"session[{seed}]":
                    failures.append(error.path)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_names_are_shortened_in_messages() -> None:
    """A message stays readable with long names and deep paths."""
    with pytest.raises(SessionTypeError) as caught:
        codec.encode({"k" * 1000: nested(100, WRAPS["list"], object())}, "n" * 1000)
    assert len(str(caught.value)) < 500
    assert caught.value.path.endswith("[0]" * 100)


# The documentation


def test_the_codec_writes_the_documented_record() -> None:
    """It matches the worked example in docs/reference/formats.md, byte for byte."""
    block = re.search(r"```text\n(01 .*?)```", FORMATS, re.DOTALL)
    assert block
    digits = ""
    for line in block[1].splitlines():
        digits += re.match(r"(?:[0-9a-f]{2} )*", line)[0]  # type: ignore[index]
    documented = bytes.fromhex(digits)
    assert documented == codec.dumps(RECORD)
    assert codec.loads(documented) == RECORD


def test_every_extension_type_is_documented() -> None:
    """For each tag, the document's example decodes to the documented value."""
    rows = re.findall(
        r"^\| (\d+) \| .*? \| `([0-9a-f ]+)` = `(.+?)` \|$", FORMATS, re.M
    )
    names: dict[str, t.Any] = {
        "datetime": dt.datetime,
        "date": dt.date,
        "time": dt.time,
        "timedelta": dt.timedelta,
        "timezone": dt.timezone,
        "ZoneInfo": ZoneInfo,
        "Decimal": Decimal,
        "UUID": UUID,
        "Markup": Markup,
        "Point": Point,
    }
    registry = Registry()
    registry.add(Registered("shop.Point", Point, list, Point._make))
    documented = NativeCodec(registry)
    for tag, digits, source in rows:
        data = bytes.fromhex(digits)
        value = eval(source, names)
        assert documented.encode(value, "n") == data, source
        assert shape(documented.decode(data, "n")) == shape(value), source
        assert int(tag) in (data[1], data[2]), source
    tags = {int(tag) for tag, _, _ in rows}
    assert tags == {*range(1, 9), *range(16, 21)}
