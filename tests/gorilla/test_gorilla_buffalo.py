"""Test Go's names and types, and the values that Buffalo itself keeps in a session."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from markupsafe import Markup

from flask_buffalo_session import GorillaFormat, MemoryStore, register_type
from flask_buffalo_session.codec import Record
from flask_buffalo_session.errors import SessionTypeError
from flask_buffalo_session.gorilla.codec import GorillaCodec
from flask_buffalo_session.gorilla.gob.types import INT, STRING, gob_type
from flask_buffalo_session.registry import registry
from tests.conftest import Desk
from tests.gorilla.test_gorilla_codec import entry
from tests.support.gopeer import (
    NAME,
    NIL,
    Node,
    Peer,
    b64,
    node,
    number,
    real,
    string,
)

KEY = b"a hash key that is long enough, so"
UUID5 = "github.com/gofrs/uuid/v5.UUID"
ID = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")


@pytest.fixture(autouse=True)
def own_registry() -> t.Iterator[None]:
    before = dict(registry.by_go_name), dict(registry.by_name), dict(registry.by_class)
    yield
    registry.by_go_name, registry.by_name, registry.by_class = before


class Shared:
    """Read and write a session in Python and in Go in turn."""

    def __init__(self, go: Peer, *registered: str) -> None:
        self.go = go
        self.format = GorillaFormat(registered=registered)
        self.seal = self.format.seal([KEY], NAME, encrypt=False)
        self.desk = Desk(MemoryStore())
        self.desk.codec = self.format.codec

    def save(self, cookie: str | None = None, **values: t.Any) -> dict[str, Node]:
        """Set values in Python, and return what Go finds in the session."""
        token = self.desk.stored(a="x") if cookie is None else self._kept(cookie)
        session = self.desk.session(token)
        for name, value in values.items():
            session[name] = value
        session.save()
        data = (self.desk.store.load(token) or b"").decode("latin-1")
        return self.go.values(self.seal.seal(data, permanent=False), [KEY])

    def _kept(self, cookie: str) -> str:
        data = self.seal.unseal(cookie, max_age=3600).token.encode("latin-1")
        return self.desk.store.save(None, data, expected=None, max_age=60)


def fields(value: Node) -> dict[str, Node]:
    """Return the fields of a struct or of a pointer to a struct."""
    inner = value["v"]["v"] if value["t"].startswith("*") else value["v"]
    return dict(inner)


# Field names


def exported(*names: str) -> list[str]:
    """Return the names that Go gets for the fields of a dataclass."""
    cls: t.Any = dataclass(
        type("Made", (), {"__annotations__": dict.fromkeys(names, int)})
    )
    register_type(cls, name="made", go_name="main.Made")
    codec = GorillaCodec(["main.Made"])
    data = codec.encode(cls(*range(1, len(names) + 1)), "n")
    registry.by_go_name.pop("main.Made")
    registry.by_class.pop(cls)
    registry.by_name.pop("made")
    return list(codec.decode(data, "n"))


def test_fields_get_gos_names() -> None:
    """Initialisms such as ID and URL are in capitals, as in Go."""
    assert exported("user_id", "id", "api_url", "name", "first_name", "http_json") == [
        *("UserID", "ID", "APIURL", "Name", "FirstName", "HTTPJSON"),
    ]
    assert exported("UserID", "idle", "uuid", "tls_ip", "xss_html") == [
        *("UserID", "Idle", "UUID", "TLSIP", "XSSHTML"),
    ]


def test_go_finds_every_field_of_a_new_dataclass(go: Peer) -> None:
    """gob silently drops a field whose name differs by one letter."""

    @dataclass
    class Person:
        label: str = field(metadata={"go": "Name"})
        age: int = field(metadata={"go_type": "uint8"})
        user_id: int
        tags: list[str]
        friends: dict[str, int]
        score: float = field(metadata={"go_type": "float32"})

    register_type(Person, go_name="main.Person")
    shared = Shared(go, "*main.Person")
    value = Person("Ann", 41, 7, ["x"], {"Bea": 1}, 0.1)
    found = fields(shared.save(p=value)["p"])
    assert found["Name"] == string("Ann")
    assert found["Age"] == number(41, "uint8")
    assert found["UserID"] == number(7, "int64")
    assert found["Tags"] == node("[]string", [string("x")])
    assert found["Friends"]["v"] == [[string("Bea"), number(1, "int32")]]
    assert found["Score"]["v"].rstrip("0") == real(13421773 / 2**27)["v"].rstrip("0")
    with pytest.raises(SessionTypeError, match=r"session\['p'\]\.Age.* Go's uint8"):
        shared.save(p=Person("Ann", 256, 7, [], {}, 0.1))


def test_a_struct_that_go_stored_overrides_the_annotations(go: Peer) -> None:
    """Python uses Go's field types if the session holds such a struct, even inside
    another value.
    """

    @dataclass
    class Person:
        name: str
        age: int  # uint8 in Go
        tags: list  # type: ignore[type-arg]

    @dataclass
    class Address:
        street: str
        zip: t.Any

    register_type(Person, go_name="main.Person")
    register_type(Address, go_name="main.Address")
    home = node("main.Address", [["Street", string("M")], ["Zip", number(1)]])
    held = [
        *(["Name", string("Ann")], ["Age", number(41, "uint8")]),
        *(["UserID", number(7, "int64")], ["Tags", node("[]string", [])]),
        *(["Home", home], ["Friends", node("map[string]int32", [])]),
        *(["Boss", node("*main.Person", None)], ["Score", real(0, "float32")]),
        *(["Born", node("time.Time", "2000-01-01T00:00:00Z")], ["Extra", NIL]),
    ]
    inside = [NIL, node("*main.Person", node("main.Person", held))]
    for value in (inside[1], node("[]interface {}", inside)):
        cookie = go.cookie({"other": value}, [KEY])
        shared = Shared(go, "main.Address")
        found = shared.save(cookie, new=Person("Bea", 5, ["y"]), home=Address("N", 2))
        assert fields(found["new"])["Age"] == number(5, "uint8")
        assert fields(found["new"])["Tags"] == node("[]string", [string("y")])
        assert fields(found["home"])["Zip"] == number(2)
        assert found["other"] == go.values(cookie, [KEY])["other"]


def test_a_merge_uses_the_type_that_go_stored() -> None:
    """The first request's value does not hold the struct yet."""

    @dataclass
    class Person:
        name: str
        tags: list  # type: ignore[type-arg]

    register_type(Person, go_name="main.Person")
    shop = Desk(MemoryStore())
    shop.codec = codec = GorillaCodec()
    strings = gob_type("slice", "", (STRING,))
    kind = gob_type("struct", "Person", (STRING, strings), ("Name", "Tags"))
    go_wrote = entry(kind, "main.Person", {"Name": "Ann"})
    record = Record(None, b"", {"boss": go_wrote, "team": codec.encode([], "team")})
    token = shop.store.save(None, codec.dumps(record), expected=None, max_age=60)
    one, two = shop.session(token), shop.session(token)
    one["team"].append("x")
    two["team"].append(Person("Bea", ["y"]))
    one.save()
    two.save()
    assert shop.values(token)["team"] == ["x", Person("Bea", ["y"])]


def test_a_struct_of_another_package_is_another_type() -> None:
    """gob gives both structs the same short name."""

    @dataclass
    class Item:
        sku: str

    @dataclass
    class Other:
        number: int

    register_type(Item, go_name="shop/cart.Item")
    register_type(Other, go_name="shop/wish.Item")
    codec = GorillaCodec(["shop/cart.Item", "shop/wish.Item"])
    beside: dict[t.Hashable, bytes] = {
        "a": codec.encode(Other(1), "a"),
        "broken": b"\xff",
    }
    value = Item("tea")
    assert codec.decode(codec.encode(value, "n", None, beside), "n") == value
    # A struct inside another value has no package. The first has other fields. The
    # second and the third fit.
    for part, name, used in (
        (INT, "Number", "Sku"),
        (STRING, "SKU", "SKU"),
        (INT, "Sku", "Sku"),
    ):
        struct = gob_type("struct", "Item", (part,), (name,))
        kind = gob_type("slice", "", (struct,))
        beside[name] = entry(kind, f"main.{name}s", [])
        data = codec.encode(value, "n", None, beside)
        assert used.encode() in data
        assert codec.decode(data, "n") == value


# Fields whose annotation does not determine the Go type


@pytest.mark.parametrize(
    ("annotation", "advice"),
    [
        (list, r"such as list\[str\]"),
        (dict, r"such as dict\[str, int\]"),
        (tuple, r"such as tuple\[str, \.\.\.\]"),
        (list[list], r"such as list\[str\]"),  # type: ignore[type-arg]
        (list | None, r"such as list\[str\]"),
        (t.List, r"such as list\[str\]"),  # noqa: UP006
        (tuple[int, str], "names no Go type"),
    ],
    ids=str,
)
def test_a_field_without_an_element_type_is_refused(
    annotation: t.Any, advice: str
) -> None:
    """Go may have []string there, and would lose the session."""
    made = type("Made", (), {"__annotations__": {"tags": annotation}})
    cls = t.cast("t.Callable[..., t.Any]", dataclass(made))
    register_type(made, name="made", go_name="main.Made")
    codec = GorillaCodec(["main.Made"])
    with pytest.raises(SessionTypeError, match=f"the field 'tags' of Made: .*{advice}"):
        codec.encode(cls(["x"]), "n")


@pytest.mark.parametrize(
    ("annotation", "go_type"),
    [(int, "unit"), (int, "float32"), (str, "string"), (float, "uint"), (bool, "int")],
)
def test_a_declared_go_type_must_fit_the_annotation(
    annotation: t.Any, go_type: str
) -> None:
    """The error is raised when a value is stored."""

    @dataclass
    class Made:
        size: annotation = field(metadata={"go_type": go_type})

    Made.__annotations__["size"] = annotation
    register_type(Made, go_name="main.Made")
    with pytest.raises(SessionTypeError, match="'size' of Made: the declared go_type"):
        GorillaCodec(["main.Made"]).encode(Made(1), "n")


def test_a_declared_go_type_limits_a_struct_that_go_stored(go: Peer) -> None:
    """gob does not say how wide an integer field is."""

    @dataclass
    class Address:
        street: str
        zip: int | None = field(metadata={"go_type": "int8"})

    register_type(Address, go_name="main.Address")
    shared = Shared(go)
    home = node("main.Address", [["Street", string("M")], ["Zip", number(1)]])
    cookie = go.cookie({"home": home}, [KEY])
    found = shared.save(cookie, home=Address("M", 127))
    assert fields(found["home"])["Zip"] == number(127)
    with pytest.raises(SessionTypeError, match=r"\.Zip: .* Go's int8"):
        shared.save(cookie, home=Address("M", 128))


# Values that Buffalo's own code reads


@pytest.mark.parametrize(
    "value",
    [
        *(5, None, "x", b"{}", [], {"a": "text"}, {"a": ("x",)}, {"a": [1]}),
        *({1: ["x"]}, {"a": None}, {"a": [b"x"]}),
    ],
    ids=str,
)
def test_flash_messages_of_another_shape_are_refused(value: t.Any) -> None:
    """Buffalo's code requires a []byte with lists of texts."""
    codec = GorillaCodec()
    stored_data = codec.encode({"a": ["b"]}, "_flash_")
    for old in (None, stored_data):
        with pytest.raises(SessionTypeError, match="a dict of str to list of str"):
            codec.encode(value, "_flash_", old)


def test_flash_messages_are_bytes_after_any_other_value(go: Peer) -> None:
    """Buffalo's code would panic on a string and drop the connection."""
    cookie = go.cookie({"_flash_": string("x")}, [KEY])
    found = Shared(go).save(cookie, _flash_={"a": [Markup("b")]})["_flash_"]
    assert found == node("[]uint8", b64(b'{"a":["b"]}'))


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("requestor_id", "some id", [b"x", 5, None, ID, ["x"]]),
        ("authenticity_token", b"token", ["x", 5, None, ID, [1]]),
    ],
)
def test_values_whose_type_buffalo_requires_keep_that_type(
    name: str, good: t.Any, bad: list[t.Any]
) -> None:
    """A value of another type is refused, None too. Reading a value that Go stored does
    not change it.
    """
    codec = GorillaCodec(["github.com/gofrs/uuid.UUID"])
    for stored_data in (None, codec.encode(good, name)):
        for value in bad:
            with pytest.raises(SessionTypeError, match=f"'{name}'.*Buffalo keeps a"):
                codec.encode(value, name, stored_data)
        assert codec.decode(codec.encode(good * 2, name, stored_data), name) == good * 2
    # Reading a value that Go stored does not change it.
    for value in bad:
        stored_data = codec.encode(value, "other")
        assert (
            codec.encode(codec.decode(stored_data, name), name, stored_data)
            == stored_data
        )


# gofrs/uuid v5


def test_a_uuid_uses_the_registered_or_stored_type() -> None:
    """The session may also hold such a UUID under another name."""
    codec = GorillaCodec([UUID5])
    data = codec.encode(ID, "n")
    assert UUID5.encode() in data
    assert codec.decode(data, "n") == ID
    bare = GorillaCodec()
    assert UUID5.encode() in bare.encode(ID, "m", None, {"n": data})
    assert bare.encode(UUID(int=1), "n", data) == codec.encode(UUID(int=1), "n")
    for names in ([], ["main.Myuuid.UUID"], ["github.com/gofrs/uuid/v5.UUIDs"]):
        with pytest.raises(SessionTypeError, match="uuid"):
            GorillaCodec(names).encode(ID, "n")


def test_go_reads_a_uuid_of_gofrs_v5(go: Peer) -> None:
    """The UUID has the type of that module."""
    found = Shared(go, UUID5).save(user=ID)
    assert found["user"] == node("uuid5.UUID", str(ID))
