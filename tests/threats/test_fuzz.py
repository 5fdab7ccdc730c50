"""Inputs that fuzzing has found, and inputs that fuzzing would hardly find."""

from __future__ import annotations

import struct
import time
import typing as t
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_buffalo_session.codec import Record
from flask_buffalo_session.gorilla.gob.reader import Boxed
from flask_buffalo_session.gorilla.gob.types import (
    BOOL,
    BYTES,
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
from tests.fuzz.apps import ASKED, NAME, SHOPS
from tests.fuzz.limits import LONGEST, Cost, cost, least_cost, measured
from tests.fuzz.seeds import FOUND, inputs, seeds
from tests.fuzz.targets import (
    NATIVE,
    TARGETS,
    WORDS,
    check_cookie,
    check_session,
    check_settings,
    check_url,
    distinct,
    sealed_text,
)
from tests.unit.test_codec import values as python_values

INPUTS = {name: inputs(name) for name in TARGETS}


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_a_promise(name: str) -> None:
    """Each seed, and each input that once failed, passes within the limits."""
    for label, data in INPUTS[name].items():
        assert len(data) <= LONGEST
        if cost(lambda data=data: TARGETS[name](data)).too_much:  # type: ignore[misc]
            assert not least_cost(TARGETS[name], data).too_much, label


def test_each_stored_input_belongs_to_a_target() -> None:
    """The test above replays an input only if its folder has the name of a target."""
    folders = {path.name for path in FOUND.iterdir()}
    assert folders
    assert folders <= TARGETS.keys()


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_are_the_same_each_time(name: str) -> None:
    """A failure can be reproduced only if its input can be made again."""
    assert seeds(name)
    assert seeds(name) == seeds(name)


# The limits


def busy(data: bytes) -> None:
    begun = time.thread_time()
    while time.thread_time() - begun < 0.06 * bool(data):
        pass


def greedy(data: bytes) -> None:
    assert bytearray(70_000_000 * bool(data)) is not None


@pytest.mark.parametrize("target", [busy, greedy])
def test_a_target_that_costs_too_much_is_found(
    target: t.Callable[[bytes], None],
) -> None:
    """A target that takes too much time or memory is over the limit."""
    assert least_cost(target, b"x").too_much


def test_the_cost_is_measured_in_a_separate_process(tmp_path: Path) -> None:
    """So no other work slows the target down."""
    path = tmp_path / "seed"
    path.write_bytes(seeds("gob")[0])
    found = measured("gob", path)
    assert 0 < found.seconds < 0.05
    assert not found.too_much
    assert Cost(0.051, 0).too_much
    assert Cost(0, 65).too_much


def test_equal_values_of_other_types_are_distinct() -> None:
    """Python takes these values for equal, but ``distinct`` does not."""
    alike = [1, True, 1.0, 1 + 0j, "1", b"1"]
    zeros = [0.0, -0.0, 0, False, [], (), {}, set(), frozenset()]
    shown = [repr(distinct(value)) for value in alike + zeros]
    assert len(set(shown)) == len(shown)


# Bytes that are nearly right


@st.composite
def spliced(draw: st.DrawFn, bytes_: st.SearchStrategy[bytes]) -> bytes:
    """Return bytes of which some are changed, removed, inserted or doubled."""
    data = draw(bytes_)
    for _ in range(draw(st.integers(0, 3))):
        start, end = sorted(draw(st.integers(0, len(data))) for _ in range(2))
        end = min(end, start + draw(st.integers(0, 4)))
        middle = draw(st.binary(max_size=4) | st.just(data[start:end] * 2))
        data = data[:start] + middle + data[end:]
    return data[:LONGEST]


quickly = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quickly
@given(data=spliced(python_values.map(lambda value: NATIVE.encode(value, "n"))))
def test_nearly_a_value(data: bytes) -> None:
    """Decode values of Python after some bytes have changed."""
    TARGETS["native_value"](data)


@st.composite
def packed(draw: st.DrawFn, depth: int = 0) -> bytes:
    """Return MessagePack with every head and tag. Its lengths may be wrong."""
    wrong = draw(st.integers(-1, 1)) if draw(st.integers(0, 9)) == 0 else 0
    if depth > 3 or draw(st.booleans()):
        return draw(
            st.sampled_from([b"\xc0", b"\xc1", b"\xc3", b"\xcb" + bytes(8), b"\xa1a"])
            | st.integers(0, 0xFF).map(lambda byte: bytes([byte]))
            | st.integers(0, 2**64 - 1).map(lambda n: b"\xcf" + n.to_bytes(8))
            | st.binary(max_size=8).map(lambda data: bytes([0xC4, len(data)]) + data)
        )
    parts = draw(st.lists(packed(depth + 1), max_size=4))
    count = max(0, len(parts) + wrong)
    body = b"".join(parts)
    array = draw(
        st.sampled_from([bytes([0x90 | count]), struct.pack(">BI", 0xDD, count)])
    )
    if draw(st.booleans()):
        return array + body
    tag = draw(st.integers(1, 8) | st.integers(16, 21) | st.integers(0, 127))
    content = array + body
    return struct.pack(">BIB", 0xC9, len(content) + wrong, tag) + content


@quickly
@given(data=packed())
def test_nearly_messagepack(data: bytes) -> None:
    """Decode extension types around any content."""
    TARGETS["native_value"](data[:LONGEST])


@quickly
@given(
    created=st.integers(0, 2**40),
    pairs=st.lists(st.tuples(packed(), packed()), max_size=4),
)
def test_nearly_a_record(created: int, pairs: list[tuple[bytes, bytes]]) -> None:
    """Load records whose names and values have a wrong type, or none."""
    flat = b"".join(
        bytes([0xC5]) + struct.pack(">H", len(part)) + part
        for pair in pairs
        for part in pair
    )
    body = b"\x93" + struct.pack(">BQ", 0xCF, created) + b"\xc4\x00"
    body += bytes([0x90 | 2 * len(pairs)]) + flat
    TARGETS["native_record"](b"\0" + body)


# Go


@st.composite
def go_types(draw: st.DrawFn, depth: int = 0) -> GobType:
    basic = [BOOL, INT, UINT, FLOAT, BYTES, STRING, COMPLEX, INTERFACE]
    if depth > 2 or draw(st.booleans()):
        return draw(st.sampled_from(basic))
    name = draw(st.sampled_from(["", "Basket", "Time", "UUID"]))
    kind = draw(st.sampled_from(["slice", "array", "map", "struct", "gob", "binary"]))
    count = {"slice": 1, "array": 1, "map": 2, "struct": 3}.get(kind, 0)
    parts = tuple(draw(go_types(depth + 1)) for _ in range(count))
    fields = ("Owner", "Lines", "Point") if kind == "struct" else ()
    return gob_type(kind, name, parts, fields, 2 if kind == "array" else 0)


@st.composite
def go_values(draw: st.DrawFn, kind: GobType, depth: int = 0) -> t.Any:
    """Return values as :mod:`.gob` represents those of a type."""
    if kind.kind in _BASIC:
        return draw(_BASIC[kind.kind])
    if kind.kind == "interface":
        if depth > 2 or draw(st.booleans()):
            return None
        inner = draw(go_types(depth + 1).filter(lambda inner: inner is not INTERFACE))
        names = ["main.Basket", "*main.Basket", "float32", "int8", "map[string]int8"]
        return Boxed(
            draw(st.sampled_from(names)), inner, draw(go_values(inner, depth + 1))
        )
    if kind.kind == "struct":
        return {
            name: draw(go_values(part, depth + 1))
            for name, part in zip(kind.fields, kind.parts, strict=True)
            if draw(st.booleans())
        }
    size = kind.length or draw(st.integers(0, 3))
    items = [
        tuple(draw(go_values(part, depth + 1)) for part in kind.parts)
        for _ in range(size)
    ]
    return items if kind.kind == "map" else [item for (item,) in items]


_OPAQUE = st.binary(max_size=17) | st.binary(min_size=15, max_size=16).map(
    lambda data: bytes([len(data) - 14]) + data[1:]
)
_BASIC: dict[str, st.SearchStrategy[t.Any]] = {
    "bool": st.booleans(),
    "int": st.integers(-(2**63), 2**63 - 1),
    "uint": st.integers(0, 2**64 - 1),
    "float": st.floats(),
    "complex": st.complex_numbers(),
    "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    "bytes": st.binary(max_size=5),
    "gob": _OPAQUE,
    "binary": _OPAQUE,
}


def go_entry(kind: GobType, value: t.Any) -> bytes:
    """Return the encoded value of a name."""
    types = TypeTable()
    writer = Writer(types)
    writer.boxed(None)
    writer.boxed(Boxed("main.Thing", kind, value))
    head = Writer(types)
    head.chunk(b"".join(types.definitions()))
    return bytes(head.data + writer.data)


go_entries = (
    go_types()
    .filter(lambda kind: kind is not INTERFACE)
    .flatmap(lambda kind: go_values(kind).map(lambda value: go_entry(kind, value)))
)


@quickly
@given(data=go_entries | spliced(go_entries))
def test_nearly_a_go_value(data: bytes) -> None:
    """Decode values of any Go type after some bytes have changed."""
    TARGETS["gob_value"](b"\0" + data[: LONGEST - 1])


# Sessions, cookies


@quickly
@given(
    record=spliced(
        st.sampled_from([*INPUTS["session"].values()]).map(lambda data: data[2:])
    ),
    data=st.data(),
)
def test_nearly_a_session(record: bytes, data: st.DataObject) -> None:
    """Use the session in every store, every format and every kind of view."""
    shop, view = data.draw(st.sampled_from([*SHOPS])), data.draw(st.sampled_from(ASKED))
    check_session(shop, view, record)


@quickly
@given(
    names=st.sets(
        # Not `_flashes`: Flask's flash() expects what it has stored there itself.
        st.sampled_from(["_permanent", "_owner_", "_flash_", "user_id", "x"])
        | st.integers(0, 1)
    ),
    data=st.data(),
)
def test_any_value_under_the_packages_own_names(
    names: set[str | int], data: st.DataObject
) -> None:
    """The package's own names hold values that are malformed, of a wrong type or of a
    class that is not registered.
    """
    raws = packed() | python_values.map(lambda value: NATIVE.encode(value, "n"))
    held: dict[t.Hashable, bytes] = {name: data.draw(raws) for name in names}
    shop = data.draw(st.sampled_from([name for name in SHOPS if "gorilla" not in name]))
    record = NATIVE.dumps(Record(1, b"", held))
    check_session(shop, data.draw(st.sampled_from(ASKED)), record)


_GOOD = {
    kind: sealed_text(kind, *parts, b"\x01" + zlib.crc32(b"\xc0").to_bytes(4) + b"\xc0")
    for kind, parts in {
        "signed": (b"br", b"arEtgA"),
        "encrypted": (b"~r", b"arEtgA"),
        "gorilla": (b"", b"1790000000"),
        "gorilla-encrypted": (b"", b"1790000000"),
    }.items()
}


@quickly
@given(
    pieces=st.lists(
        st.sampled_from(
            [NAME, f"{NAME}=", "=", ";", "; ", '"', ",", " ", "~", "M", "."]
        )
        | st.sampled_from([*_GOOD.values()])
        | st.text(st.characters(max_codepoint=255), max_size=5),
        max_size=12,
    ),
    shop=st.sampled_from([*SHOPS]),
    view=st.sampled_from(ASKED),
)
def test_nearly_a_cookie(pieces: list[str], shop: str, view: str) -> None:
    """Send names, texts that verify and texts that do not, in any order."""
    check_cookie(shop, view, "".join(pieces)[:LONGEST])


@quickly
@given(
    kind=st.integers(0, 3),
    head=st.sampled_from([b"", b"b", b"br", b"bz", b"~r", b"~z", b"zz"]),
    stamp=st.sampled_from([b"", b"arEtgA", b"1790000000", b"-1", b"_" * 15, b"9" * 15]),
    deflate=st.booleans(),
    body=spliced(st.binary(max_size=40).map(zlib.compress) | st.binary(max_size=40)),
)
def test_nearly_a_sealed_token(
    kind: int, head: bytes, stamp: bytes, deflate: bool, body: bytes
) -> None:
    """Unseal flags, timestamps and bodies that do not belong together."""
    parts = [bytes([kind, len(head)]), head, bytes([len(stamp)]), stamp]
    TARGETS["sealed"](b"".join([*parts, bytes([deflate]), body]))


# Settings

_OPTIONS = (
    *("timeout", "socket_timeout", "protocol", "cache_config", "db", "host", "port"),
    *(
        "charset",
        "plugin",
        "max_connections",
        "retry",
        "uri",
        "ssl",
        "decode_responses",
    ),
)
_words = st.sampled_from(["", "0", "3", "-1", "x", "a:1", "a:1,b:2", "%00", "[", "1e9"])


@quickly
@given(
    scheme=st.sampled_from([*SCHEMES, "", "nosuch"]) | st.text(max_size=5),
    driver=st.sampled_from(["", "+psycopg", "+pymysql", "+sentinel", "+nosuch", "+"]),
    user=st.sampled_from(["", "me@", ":@", "me:hunter2hunter2@", "a@b@", "\ud800@"]),
    place=st.tuples(_words, _words).map("/".join) | st.text(max_size=20),
    options=st.lists(st.tuples(st.sampled_from(_OPTIONS), _words), max_size=3),
)
def test_nearly_a_url(
    scheme: str, driver: str, user: str, place: str, options: list[tuple[str, str]]
) -> None:
    """Use URLs of every scheme, with parts that may not belong there."""
    query = "&".join(map("=".join, options))
    check_url(f"{scheme}{driver}://{user}{place}{'?' * bool(query)}{query}"[:LONGEST])


_anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[]))
    | st.binary()
    | st.timedeltas()
    | st.decimals()
    | st.sampled_from([word for words in WORDS.values() for word in words]),
    lambda inner: (
        st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner)
    ),
    max_leaves=4,
)


@quickly
@given(
    wanted=st.dictionaries(st.sampled_from([*WORDS]), _anything, max_size=4),
    arguments=st.dictionaries(
        st.sampled_from(["name", "store", "format", "api"]), _anything, max_size=2
    ),
)
def test_nearly_settings(wanted: dict[str, t.Any], arguments: dict[str, t.Any]) -> None:
    """Use any value for any setting. It is rejected, or it works."""
    check_settings(wanted, arguments)
