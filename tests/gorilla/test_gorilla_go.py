"""Test sessions that a running Go program and Python read and write in turn."""

from __future__ import annotations

import datetime as dt
import os
import typing as t
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st

from flask_buffalo_session import GorillaFormat, register_type
from flask_buffalo_session.codec import Record
from flask_buffalo_session.errors import SessionTypeError
from flask_buffalo_session.registry import registry
from tests.support.gopeer import (
    NAME,
    NIL,
    REGISTERED,
    GoError,
    Node,
    Peer,
    b64,
    flag,
    in_order,
    moments,
    node,
    nodes,
    number,
    real,
    scalars,
    string,
    strings,
)

# Hypothesis warns about the large strategy of all kinds of values.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

KEY = b"a hash key that is long enough, so"
KEYS: list[bytes | None] = [KEY]

live = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class PythonSide:
    """Read and write cookies in Python, with one format."""

    def __init__(self, *keys: bytes | None, registered: t.Iterable[str] = ()) -> None:
        self.format = GorillaFormat(*keys, registered=registered)
        self.codec = self.format.codec
        self.seal = self.format.seal([KEY], NAME, encrypt=False)

    def record(self, cookie: str) -> Record:
        token = self.seal.unseal(cookie, max_age=3600).token
        return self.codec.loads(token.encode("latin-1"))

    def read(self, cookie: str) -> dict[t.Any, t.Any]:
        record = self.record(cookie)
        return {
            name: self.codec.decode(data, name) for name, data in record.values.items()
        }

    def cookie(self, record: Record) -> str:
        token = self.codec.dumps(record).decode("latin-1")
        return self.seal.seal(token, permanent=False)

    def written(self, **values: t.Any) -> str:
        encoded: dict[t.Hashable, bytes] = {
            name: self.codec.encode(value, name) for name, value in values.items()
        }
        return self.cookie(Record(None, b"", encoded))

    def changed(self, cookie: str, **values: t.Any) -> str:
        """Return the cookie after assigning values to some names."""
        record = self.record(cookie)
        for name, value in values.items():
            stored_data = record.values.get(name)
            record.values[name] = self.codec.encode(value, name, stored_data)
        return self.cookie(record)


def cookie_or_reject(go: Peer, values: dict[str, Node]) -> str:
    """Return Go's cookie. Reject an example whose cookie would be too large."""
    try:
        cookie = go.cookie(values, KEYS)
    except GoError as error:
        assert "too long" in str(error)
        reject()
    assume(len(cookie) < 3500)
    return cookie


@pytest.fixture
def side() -> PythonSide:
    return PythonSide()


@pytest.fixture
def person() -> t.Iterator[type]:
    """Return a dataclass with some of the fields of Go's Person."""
    before = dict(registry.by_go_name), dict(registry.by_name), dict(registry.by_class)

    @dataclass
    class Person:
        name: str
        age: int
        home: t.Any
        uid: int = field(default=0, metadata={"go": "UserID"})

    register_type(Person, go_name="main.Person")
    yield Person
    registry.by_go_name, registry.by_name, registry.by_class = before


@live
@given(value=nodes)
def test_gos_values_stay_unchanged_beside_a_new_value(go: Peer, value: Node) -> None:
    """This holds for values of all types. Python decodes them and encodes them
    again.
    """
    side = PythonSide()
    cookie = cookie_or_reject(go, {"a": value, "b": value})
    record = side.record(cookie)
    for name, stored_data in list(record.values.items()):
        read = side.codec.decode(stored_data, name)
        assert side.codec.encode(read, name, stored_data) == stored_data
    record.values["new"] = side.codec.encode("x", "new")
    expected = go.values(cookie, KEYS)
    assert go.values(side.cookie(record), KEYS) == {**expected, "new": string("x")}


@live
@given(value=nodes)
def test_gos_values_keep_their_type_in_a_changed_list(go: Peer, value: Node) -> None:
    """The change makes Python encode the whole list again."""
    side = PythonSide()
    held = node("[]interface {}", [value, string("x")])
    cookie = cookie_or_reject(go, {"a": held})
    read = side.read(cookie)["a"]
    read[1] = "y"
    read.append(None)
    first = go.values(cookie, KEYS)["a"]["v"][0]
    found = go.values(side.changed(cookie, a=read), KEYS)["a"]
    assert found["v"] == [first, string("y"), NIL]


@live
@given(data=st.data())
def test_names_of_any_type_are_kept(go: Peer, data: st.DataObject) -> None:
    """In Go, 1 and int64 1 are different names."""
    kinds = st.lists(
        st.tuples(scalars | st.just(NIL), strings),
        max_size=5,
        unique_by=lambda p: str(p),
    )
    pairs = [
        pair
        for pair in data.draw(kinds)
        if pair[0]["t"] not in ("[]uint8", "time.Time")
    ]
    pairs += [(number(1), string("i")), (number(1, "int64"), string("i64"))]
    # In Go, too, 0.0 and -0.0 are the same key.
    unique = {
        str(key).replace("'8000000000000000'", "'0'"): (key, value)
        for key, value in pairs
    }
    side = PythonSide()
    record = side.record(go.cookie(list(unique.values()), KEYS))
    assert len(record.values) == len(unique)
    found = go.pairs(side.cookie(record), KEYS)
    assert sorted(map(str, found)) == sorted(map(str, unique.values()))


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"), max_size=9)
    | st.binary(max_size=9)
    | st.complex_numbers(allow_nan=False)
    | st.datetimes(timezones=st.just(dt.UTC)).map(lambda value: value.replace(fold=0))
    | st.uuids(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=4
        )
        | st.dictionaries(
            st.integers(0, 9) | st.text("ab", max_size=2), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@live
@given(value=json_like)
def test_pythons_values_survive_go(go: Peer, value: t.Any) -> None:
    """Go decodes the values and encodes them again."""
    side = PythonSide(registered=REGISTERED)
    cookie = side.written(a=value)
    again = side.read(go.cookie(go.pairs(cookie, KEYS), KEYS))
    assert repr_of(again["a"]) == repr_of(value)


def repr_of(value: t.Any) -> str:
    """Return a text with the types and signs of a value. The order of a dict does not
    matter.
    """
    if isinstance(value, dict):
        return str(sorted((repr(key), repr_of(item)) for key, item in value.items()))
    if isinstance(value, list):
        return str(list(map(repr_of, value)))
    return repr(value)


@live
@given(value=json_like)
def test_a_go_program_without_registrations_reads_every_accepted_value(
    bare_go: Peer, value: t.Any
) -> None:
    """A value that Python accepts never makes Go lose the session."""
    side = PythonSide()
    try:
        cookie = side.written(a=value)
    except SessionTypeError as error:
        assert "gob.Register(" in str(error) or "key of a Go map" in str(error)
    else:
        assert "a" in bare_go.values(cookie, KEYS)


def test_go_loses_a_session_with_an_unregistered_type(bare_go: Peer) -> None:
    """This is why Python refuses such a value."""
    cookie = PythonSide(registered=REGISTERED).written(a={"b": 1}, c="kept")
    with pytest.raises(GoError, match="not registered"):
        bare_go.values(cookie, KEYS)


SIMPLE: list[tuple[t.Any, Node]] = [
    ("x", string("x")),
    (True, flag(True)),
    (5, number(5)),
    (2**63, number(2**63, "uint64")),
    (1.5, real(1.5)),
    (b"x", node("[]uint8", b64(b"x"))),
    (1 + 2j, node("complex128", [real(1.0)["v"], real(2.0)["v"]])),
    (None, NIL),
    ([1, None], node("[]interface {}", [number(1), NIL])),
    ((1, "a"), node("[]interface {}", [number(1), string("a")])),
]


@pytest.mark.parametrize(("value", "expected"), SIMPLE, ids=repr)
def test_new_values_have_types_that_every_go_program_knows(
    bare_go: Peer, side: PythonSide, value: t.Any, expected: Node
) -> None:
    """Go itself would use the same types."""
    assert bare_go.values(side.written(a=value), KEYS)["a"] == expected


CHANGED: list[tuple[Node, t.Any, Node]] = [
    (number(1, "int64"), 2, number(2, "int64")),
    (number(1, "uint8"), 255, number(255, "uint8")),
    (number(1, "main.Level"), 3, number(3, "main.Level")),
    (string("red", "main.Color"), "blue", string("blue", "main.Color")),
    (real(1.5, "float32"), 2.5, real(2.5, "float32")),
    (real(1.5, "float32"), 0.1, real(0.10000000149011612, "float32")),
    (real(1.5), 2, number(2)),
    (number(1), True, flag(True)),
    (number(1, "int8"), "x", string("x")),
    (
        node("[]string", [string("a")]),
        ["a", "b"],
        node("[]string", [string("a"), string("b")]),
    ),
    (
        node("[]string", [string("a")]),
        ["a", 1],
        node("[]interface {}", [string("a"), number(1)]),
    ),
    (
        node("[]int64", [number(1, "int64")]),
        [1, "x"],
        node("[]interface {}", [number(1, "int64"), string("x")]),
    ),
    (
        node("map[string]int", [[string("a"), number(1)]]),
        {"b": 2, "a": 3},
        node("map[string]int", [[string("a"), number(3)], [string("b"), number(2)]]),
    ),
    (
        node("[]interface {}", [number(1, "int8"), number(2, "int16")]),
        [2],
        node("[]interface {}", [number(2, "int16")]),
    ),
    (
        node("[]interface {}", [node("map[string]interface {}", [])]),
        [{}, {"new": 1}],
        node(
            "[]interface {}",
            [
                node("map[string]interface {}", []),
                node("map[string]interface {}", [[string("new"), number(1)]]),
            ],
        ),
    ),
    (
        node("time.Time", "2026-01-01T00:00:00Z"),
        dt.datetime(2026, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=-5, seconds=9))),
        node("time.Time", "2026-01-02T00:00:00-04:59"),
    ),
    (
        node("uuid.UUID", str(UUID(int=1))),
        UUID(int=2),
        node("uuid.UUID", str(UUID(int=2))),
    ),
    (number(1, "int64"), None, NIL),
]


@pytest.mark.parametrize(("before", "value", "after"), CHANGED)
def test_a_changed_value_keeps_its_go_type_where_it_fits(
    go: Peer, side: PythonSide, before: Node, value: t.Any, after: Node
) -> None:
    """The container and its elements keep their types."""
    cookie = side.changed(go.cookie({"a": before}, KEYS), a=value)
    assert go.values(cookie, KEYS)["a"] == in_order(after)


@live
@given(value=moments)
def test_times_keep_nanoseconds_and_zone(go: Peer, value: Node) -> None:
    """The list is encoded again, although a datetime has no nanoseconds."""
    side = PythonSide()
    cookie = go.cookie({"a": node("[]time.Time", [value, value])}, KEYS)
    read = side.read(cookie)["a"]
    shown = dt.datetime.fromisoformat(
        value["v"][:19] + value["v"][19:].lstrip(".0123456789")
    )
    assert read[0].replace(microsecond=0) == shown
    assert read[0].utcoffset() == shown.utcoffset()
    found = go.values(side.changed(cookie, a=[*read, read[0]]), KEYS)["a"]
    assert found["v"][:2] == [value, value]


def test_the_fields_of_a_struct_can_be_changed(go: Peer, side: PythonSide) -> None:
    """Attributes and items work alike. The other fields stay."""
    home = node("main.Address", [["Street", string("Main")], ["Zip", number(1)]])
    cookie = go.cookie({"a": node("main.Address", home["v"])}, KEYS)
    read = side.read(cookie)["a"]
    assert (read.go_type, read.Street, read["Zip"]) == ("main.Address", "Main", 1)
    read.Zip = 0
    read["Street"] = "PythonSide"
    assert go.values(side.changed(cookie, a=read), KEYS)["a"] == node(
        "main.Address", [["Street", string("PythonSide")], ["Zip", number(0)]]
    )
    with pytest.raises(AttributeError):
        read.Planet = "Earth"
    with pytest.raises(KeyError):
        read["Planet"] = "Earth"
    moved = side.changed(cookie, b=[read])
    assert go.values(moved, KEYS)["b"]["v"][0]["t"] == "main.Address"


def test_a_dataclass_represents_a_struct(
    go: Peer, side: PythonSide, person: t.Any
) -> None:
    """Python changes the fields of the dataclass. Other fields of the struct stay."""
    fields: list[t.Any] = [
        ["Name", string("Ann")],
        ["Age", number(41, "uint8")],
        ["UserID", number(7, "int64")],
        ["Tags", node("[]string", [string("x")])],
        ["Home", node("main.Address", [["Street", string("M")], ["Zip", number(1)]])],
        ["Friends", node("map[string]int32", [])],
        ["Boss", node("*main.Person", None)],
        ["Score", real(1.5, "float32")],
        ["Born", node("time.Time", "2000-01-01T00:00:00.000000001Z")],
        ["Extra", number(3, "int8")],
    ]
    held = node("*main.Person", node("main.Person", fields))
    cookie = go.cookie({"a": held}, KEYS)
    read = side.read(cookie)["a"]
    assert type(read) is person
    assert (read.name, read.age, read.uid, read.home.Street) == ("Ann", 41, 7, "M")
    assert side.changed(cookie, a=read) == side.cookie(side.record(cookie))
    read.name, read.home.Zip = "Bea", 2
    fields[0][1] = string("Bea")
    fields[4][1]["v"][1][1] = number(2)
    assert go.values(side.changed(cookie, a=read), KEYS)["a"] == in_order(held)


def test_a_new_dataclass_has_the_types_of_its_annotations(go: Peer) -> None:
    """Go has registered the struct, and no session holds one yet."""
    before = dict(registry.by_go_name), dict(registry.by_name), dict(registry.by_class)

    @dataclass
    class Address:
        street: str
        zip: int

    try:
        register_type(Address, go_name="main.Address")
        with pytest.raises(
            SessionTypeError, match=r"gob\.Register\(main\.Address\{\}\)"
        ):
            PythonSide().written(a=Address("M", 5))
        cookie = PythonSide(registered=["main.Address"]).written(a=Address("M", 5))
        assert PythonSide().read(cookie)["a"] == Address("M", 5)
    finally:
        registry.by_go_name, registry.by_name, registry.by_class = before
    assert go.values(cookie, KEYS)["a"] == node(
        "main.Address", [["Street", string("M")], ["Zip", number(5)]]
    )


# The cookie

KEY_SETS: dict[str, list[bytes | None]] = {
    "one key": [KEY],
    "aes-128": [KEY, b"b" * 16],
    "aes-192": [KEY, b"b" * 24],
    "aes-256": [KEY, b"b" * 32],
    "rotated": [b"new" * 12, None, KEY, None],
    "rotated, encrypted": [b"new" * 12, b"n" * 32, KEY, b"o" * 16],
    "newly encrypted, same hash key": [KEY, b"n" * 32, KEY, None],
}


@pytest.mark.parametrize("keys", KEY_SETS.values(), ids=KEY_SETS)
def test_both_sides_read_each_others_cookies(
    go: Peer, keys: list[bytes | None]
) -> None:
    """This holds for each kind of key pair, and for the older of two pairs."""
    for used in (keys[:2], keys[-2:] if len(keys) > 2 else keys):
        here, there = PythonSide(*used), PythonSide(*keys)
        cookie = go.cookie({"a": number(1, "int8")}, used)
        assert there.read(cookie) == {"a": 1}
        assert go.values(here.written(a="x"), keys) == {"a": string("x")}


def test_go_rejects_a_cookie_of_another_key_or_name(go: Peer) -> None:
    """The hash key, the block key or the cookie's name differs."""
    side = PythonSide(KEY, b"b" * 32)
    cookie = side.written(a=1)
    wrong_keys: list[list[bytes | None]] = [
        [b"other" * 7, b"b" * 32],
        [KEY, b"c" * 32],
        [KEY],
    ]
    for keys in wrong_keys:
        with pytest.raises(GoError):
            go.values(cookie, keys)
    with pytest.raises(GoError):
        go.values(cookie, [KEY, b"b" * 32], "other")


def test_go_reads_the_largest_cookie_that_python_makes(
    go: Peer, side: PythonSide
) -> None:
    """Both have the same limit."""
    from flask_buffalo_session.errors import SessionTooLargeError

    size = 2000
    while True:
        try:
            largest = side.written(a=b64(os.urandom(size))[:size])
        except SessionTooLargeError as error:
            assert error.size > error.limit == 4096
            break
        size += 1
    assert 4080 < len(largest) <= 4096
    assert "a" in go.values(largest, KEYS)


# Flash messages

FLASHES: list[dict[str, list[str]]] = [
    {},
    {"success": ["Saved"]},
    {
        "b": ["<b>&\u2028\u2029'\"\\/", "\b\f\n\r\t\x00\x1f\x7f"],
        "a": ["gr\u00fc\u00dfe \U0001f403"],
    },
]


@pytest.mark.parametrize("messages", FLASHES)
def test_flash_messages_are_json_in_bytes(
    go: Peer, side: PythonSide, messages: dict[str, list[str]]
) -> None:
    """Buffalo keeps them in this way. Both sides read them."""
    cookie = side.written(_flash_=messages)
    held = go.values(cookie, KEYS)["_flash_"]
    assert held["t"] == "[]uint8"
    again = go.cookie({"_flash_": held}, KEYS)
    assert side.read(again)["_flash_"] == messages
