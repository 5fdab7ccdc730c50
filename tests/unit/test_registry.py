"""Test which classes can be stored besides Python's own."""

from __future__ import annotations

import abc
import collections
import dataclasses
import enum
import importlib
import sys
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_buffalo_session import MemoryStore, register_type
from flask_buffalo_session import registry as registry_module
from flask_buffalo_session.codec import Record
from flask_buffalo_session.errors import SessionConfigError, SessionTypeError
from flask_buffalo_session.native.codec import NativeCodec
from flask_buffalo_session.registry import Registry
from tests.conftest import Desk


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Return a registry for this test alone."""
    registry = Registry()
    monkeypatch.setattr(registry_module, "registry", registry)
    return registry


@pytest.fixture
def codec(registry: Registry) -> NativeCodec:
    return NativeCodec(registry)


def round_trip(codec: NativeCodec, value: t.Any) -> t.Any:
    """Return the value after a round trip, alone and beside bytes, which the codec
    encodes in another way.
    """
    other, _ = codec.decode(codec.encode((value, b"x"), "n"), "n")
    again = codec.decode(codec.encode(value, "n"), "n")
    assert repr(other) == repr(again)
    return again


@dataclasses.dataclass
class Item:
    sku: str
    count: int = 1
    tags: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: int
    y: tuple[int, ...] = ()


@dataclasses.dataclass(slots=True)
class Slotted:
    x: int
    y: t.Any = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FrozenSlotted:
    x: int


@dataclasses.dataclass
class Cart:
    items: list[Item]
    best: Item | None = None
    by_key: dict[Frozen, FrozenSlotted] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Derived(Item):
    extra: int = 0


@dataclasses.dataclass
class Checked:
    x: int
    twice: int = dataclasses.field(init=False)
    scale: dataclasses.InitVar[int] = 2
    kind: t.ClassVar[str] = "checked"

    def __post_init__(self, scale: int) -> None:
        if self.x < 0:
            raise ValueError("below zero")
        self.twice = self.x * scale


class TestDataclasses:
    @pytest.mark.parametrize(
        "value",
        [
            Item("tea"),
            Item("tea", 2, ["hot"]),
            Frozen(1, (2, 3)),
            Slotted(1, {"a": (1,)}),
            FrozenSlotted(x=1),
            Cart([Item("tea"), Item("milk")], Item("tea")),
            Cart([], None, {Frozen(1): FrozenSlotted(x=2)}),
            Derived("tea", 1, [], 5),
        ],
        ids=repr,
    )
    def test_dataclasses_round_trip(self, codec: NativeCodec, value: t.Any) -> None:
        """Plain, frozen, with slots, nested, and as keys."""
        for cls in (Item, Frozen, Slotted, FrozenSlotted, Cart, Derived):
            register_type(cls)
        again = round_trip(codec, value)
        assert again == value
        assert type(again) is type(value)

    def test_dataclasses_are_restored_without_init(self, codec: NativeCodec) -> None:
        """Their ``__init__`` might compute, check or count something again."""
        register_type(Checked)
        value = Checked(3, 10)
        value.x = -1
        again = round_trip(codec, value)
        assert (again.x, again.twice) == (-1, 30)
        assert vars(again) == vars(value)

    def test_subclasses_of_a_dataclass_are_refused(self, codec: NativeCodec) -> None:
        """They would be restored as the base class."""
        register_type(Item)
        with pytest.raises(SessionTypeError, match=r"register_type\(Derived\)"):
            codec.encode(Derived("tea"), "n")

    def test_the_path_names_the_field(self, codec: NativeCodec) -> None:
        """The error names the field whose value cannot be stored."""
        register_type(Cart)
        with pytest.raises(SessionTypeError) as caught:
            codec.encode([Cart([], Item("tea"))], "n")
        assert caught.value.path == "session['n'][0]['best']"


class TestFieldsThatChanged:
    """Sessions outlive deployments."""

    @staticmethod
    def written(codec: NativeCodec) -> bytes:
        @dataclasses.dataclass
        class Before:
            round_trip: int
            lost: int

        register_type(Before, name="item")
        return codec.encode(Before(1, 2), "n")

    @staticmethod
    def forget(registry: Registry) -> None:
        registry.by_name.clear()
        registry.by_class.clear()

    def test_a_new_field_takes_its_default(
        self, codec: NativeCodec, registry: Registry
    ) -> None:
        """A default or a default factory. Each object gets a fresh value."""
        data = self.written(codec)
        self.forget(registry)

        @dataclasses.dataclass
        class After:
            round_trip: int
            lost: int
            plain: str = "new"
            made: list[int] = dataclasses.field(default_factory=list)

        register_type(After, name="item")
        first, second = (codec.decode(data, "n") for _ in range(2))
        assert first == After(1, 2, "new", [])
        assert first.made is not second.made

    def test_a_removed_field_is_ignored(
        self, codec: NativeCodec, registry: Registry
    ) -> None:
        """The next save no longer stores it."""
        data = self.written(codec)
        self.forget(registry)

        @dataclasses.dataclass(slots=True)
        class After:
            round_trip: int

        register_type(After, name="item")
        value = codec.decode(data, "n")
        assert value == After(1)
        assert b"lost" in data
        assert b"lost" not in codec.encode(value, "n")

    def test_a_new_field_without_default_is_an_error(
        self, codec: NativeCodec, registry: Registry
    ) -> None:
        """The message names the field. An incomplete object would be worse."""
        data = self.written(codec)
        self.forget(registry)

        @dataclasses.dataclass
        class After:
            round_trip: int
            needed: int

        register_type(After, name="item")
        with pytest.raises(SessionTypeError, match="'needed'") as caught:
            codec.decode(data, "n")
        assert caught.value.path == "session['n']"


class Plain(enum.Enum):
    A = "a"
    B = (1, 2)
    SAME = "a"  # noqa: PIE796 - another name for A


class Whole(enum.IntEnum):
    ONE = 1


class Written(enum.StrEnum):
    RED = "red"


class Access(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Bits(enum.IntFlag):
    LOW = 1
    HIGH = 2**70


class TestEnums:
    @pytest.mark.parametrize(
        "member", [Plain.A, Plain.B, Plain.SAME, Whole.ONE, Written.RED], ids=repr
    )
    def test_enum_members_round_trip(
        self, codec: NativeCodec, member: enum.Enum
    ) -> None:
        """The same member comes back, even if it equals an int or a str."""
        register_type(type(member))
        assert round_trip(codec, member) is member
        assert round_trip(codec, {member: [member]}) == {member: [member]}
        assert [type(key) for key in round_trip(codec, {member: 1})] == [type(member)]

    @pytest.mark.parametrize(
        "flags",
        [Access.READ, Access.READ | Access.WRITE, Access(0), Bits.LOW | Bits.HIGH],
        ids=repr,
    )
    def test_combined_flags_round_trip(
        self, codec: NativeCodec, flags: enum.Flag
    ) -> None:
        """A combination has no name."""
        register_type(type(flags))
        assert round_trip(codec, flags) is flags

    def test_enum_members_are_stored_by_name(
        self, codec: NativeCodec, registry: Registry
    ) -> None:
        """The value of a member may change."""
        register_type(Plain, name="plain")
        data = codec.encode(Plain.A, "n")
        registry.by_name.clear()

        class Changed(enum.Enum):
            A = 7

        register_type(Changed, name="plain")
        assert codec.decode(data, "n") is Changed.A

    def test_a_removed_enum_member_is_an_error(
        self, codec: NativeCodec, registry: Registry
    ) -> None:
        """Only its own value is affected."""
        register_type(Plain, name="plain")
        data = codec.encode(Plain.B, "n")
        registry.by_name.clear()

        class Changed(enum.Enum):
            A = 7

        register_type(Changed, name="plain")
        with pytest.raises(SessionTypeError, match="KeyError"):
            codec.decode(data, "n")


class Point(t.NamedTuple):
    x: int
    y: t.Any = 0


Pair = collections.namedtuple("Pair", "a b")


class TestNamedTuples:
    def test_both_kinds_of_named_tuples_round_trip(self, codec: NativeCodec) -> None:
        """They do not become plain tuples."""
        register_type(Point)
        register_type(Pair)
        for value in (Point(1), Point(1, [Pair(1, 2)]), Pair(Point(1), (2,))):
            again = round_trip(codec, value)
            assert again == value
            assert type(again) is type(value)
        assert round_trip(codec, {Point(1): 1})[Point(1)] == 1

    def test_an_extra_field_of_a_named_tuple_is_an_error(
        self, codec: NativeCodec, registry: Registry
    ) -> None:
        """The stored values have no names."""
        register_type(Point, name="point")
        data = codec.encode(Point(1, 2), "n")
        registry.by_name.clear()
        shorter = collections.namedtuple("shorter", "x")
        registry.by_class.clear()
        register_type(shorter, name="point")
        with pytest.raises(SessionTypeError):
            codec.decode(data, "n")


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __repr__(self) -> str:
        return f"Money({self.cents})"


class TestOtherClasses:
    def test_other_classes_use_functions(self, codec: NativeCodec) -> None:
        """One function encodes to a value that can be stored, one decodes."""
        register_type(Money, encode=lambda money: money.cents, decode=Money)
        assert round_trip(codec, [Money(5)])[0].cents == 5

    @pytest.mark.parametrize(
        ("value", "encode", "decode"),
        [
            (
                collections.OrderedDict(b=1, a=2),
                lambda value: list(value.items()),
                collections.OrderedDict,
            ),
            (bytearray(b"x"), bytes, bytearray),
            (
                complex(1, 2),
                lambda value: (value.real, value.imag),
                lambda v: complex(*v),
            ),
            (collections.deque([1, 2]), list, collections.deque),
        ],
        ids=["OrderedDict", "bytearray", "complex", "deque"],
    )
    def test_pythons_own_classes_can_be_registered(
        self, codec: NativeCodec, value: t.Any, encode: t.Any, decode: t.Any
    ) -> None:
        """Even classes that MessagePack would confuse with a similar type."""
        register_type(type(value), encode=encode, decode=decode)
        for case in (value, [value], {"a": (value,)}):
            again = round_trip(codec, case)
            assert again == case
            assert repr(again) == repr(case)

    def test_functions_win_over_the_default_encoding(self, codec: NativeCodec) -> None:
        """A dataclass, for example, may be stored in another way."""
        register_type(
            Item, encode=lambda item: item.sku, decode=lambda sku: Item(sku, 99)
        )
        assert round_trip(codec, Item("tea", 1)) == Item("tea", 99)


class TestNames:
    def test_the_name_defaults_to_module_and_qualified_name(
        self, registry: Registry
    ) -> None:
        """It is stable as long as the class is not moved."""
        register_type(Item)
        assert list(registry.by_name) == [f"{__name__}.Item"]

    def test_a_class_with_a_given_name_can_be_moved(
        self, codec: NativeCodec, registry: Registry
    ) -> None:
        """The stored value holds the name and no Python path."""
        register_type(Money, name="money", encode=lambda m: m.cents, decode=Money)
        data = codec.encode(Money(5), "n")
        assert b"money" in data
        assert __name__.encode() not in data

        class Cash(Money):
            pass

        registry.by_name.clear()
        register_type(Cash, name="money", encode=lambda m: m.cents, decode=Cash)
        assert type(codec.decode(data, "n")) is Cash

    def test_a_name_belongs_to_one_class(self) -> None:
        """Two classes could be confused otherwise."""
        register_type(Item, name="item")
        with pytest.raises(SessionConfigError, match="'item'") as caught:
            register_type(Frozen, name="item")
        assert f"{__name__}.Item" in str(caught.value)
        assert f"{__name__}.Frozen" in str(caught.value)

    def test_a_name_clash_keeps_the_first_class(self, codec: NativeCodec) -> None:
        """The error changes nothing in the registry."""
        register_type(Item, name="item")
        with pytest.raises(SessionConfigError):
            register_type(Frozen, name="item")
        assert round_trip(codec, Item("tea")) == Item("tea")
        with pytest.raises(SessionTypeError):
            codec.encode(Frozen(1), "n")

    def test_a_renamed_class_is_read_under_both_names(self, codec: NativeCodec) -> None:
        """The newest name is written."""
        register_type(Item, name="old")
        before = codec.encode(Item("tea"), "n")
        register_type(Item, name="new")
        after = codec.encode(Item("tea"), "n")
        assert b"old" in before
        assert b"new" in after
        assert codec.decode(before, "n") == codec.decode(after, "n") == Item("tea")

    def test_registering_twice_changes_nothing(self, codec: NativeCodec) -> None:
        """A process may make several applications, above all in tests."""
        register_type(Item)
        data = codec.encode(Item("tea"), "n")
        register_type(Item)
        assert codec.encode(codec.decode(data, "n"), "n") == data


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[t.Any]:
    """A module that registers a class of its own."""
    (tmp_path / "reloaded.py").write_text(
        "import dataclasses\n"
        "from flask_buffalo_session import register_type\n"
        "@register_type\n"
        "@dataclasses.dataclass\n"
        "class Item:\n"
        "    sku: str\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("reloaded")
    del sys.modules["reloaded"]


def test_a_module_may_be_reloaded(codec: NativeCodec, module: t.Any) -> None:
    """Its new classes replace the old ones of the same name."""
    before = module.Item
    data = codec.encode(before("tea"), "n")
    after = importlib.reload(module).Item
    assert after is not before
    assert type(codec.decode(data, "n")) is after
    assert codec.encode(after("tea"), "n") == data
    with pytest.raises(SessionTypeError):
        codec.encode(before("tea"), "n")


class TestDecorator:
    def test_the_decorator_without_arguments(self, codec: NativeCodec) -> None:
        """It returns the class."""

        @register_type
        @dataclasses.dataclass
        class Here:
            x: int

        assert isinstance(Here, type)
        assert round_trip(codec, Here(1)) == Here(1)

    def test_the_decorator_with_a_name(
        self, codec: NativeCodec, registry: Registry
    ) -> None:
        """It returns the class and registers the name."""

        @register_type(name="here")
        @dataclasses.dataclass
        class Here:
            x: int

        assert isinstance(Here, type)
        assert registry.by_name["here"].cls is Here
        assert round_trip(codec, Here(1)) == Here(1)

    def test_the_decorator_with_functions(self, codec: NativeCodec) -> None:
        """For a class that cannot be stored without functions."""

        @register_type(encode=lambda here: here.x, decode=lambda x: here(x))
        class Here:
            x = 0

        def here(x: int) -> Here:
            made = Here()
            made.x = x
            return made

        assert kept_x(codec, here(5)) == 5


def kept_x(codec: NativeCodec, value: t.Any) -> t.Any:
    return codec.decode(codec.encode(value, "n"), "n").x


class Abstract(abc.ABC):
    @abc.abstractmethod
    def method(self) -> None: ...


BAD: list[tuple[tuple[t.Any, ...], dict[str, t.Any], str]] = [
    ((Money,), {}, r"Money.*encode= and decode="),
    ((Abstract,), {}, r"Abstract.*encode= and decode="),
    ((dict,), {}, r"dict.*encode= and decode="),
    ((Money,), {"encode": str}, "both encode= and decode="),
    ((Money,), {"decode": Money}, "both encode= and decode="),
    ((Item,), {"encode": str}, "both encode= and decode="),
    ((Money,), {"encode": "cents", "decode": Money}, "functions"),
    ((Money,), {"encode": str, "decode": 5}, "functions"),
    ((Item("tea"),), {}, "not a class"),
    (("Item",), {}, "not a class"),
    ((Item,), {"name": ""}, "name="),
    ((Item,), {"name": 5}, "name="),
    ((Item,), {"name": b"item"}, "name="),
    ((Item,), {"name": "\ud800"}, "name="),
]


@pytest.mark.parametrize(("args", "kwargs", "says"), BAD, ids=repr)
def test_bad_arguments_are_refused(
    registry: Registry, args: tuple[t.Any, ...], kwargs: dict[str, t.Any], says: str
) -> None:
    """The decorator raises and registers nothing."""
    with pytest.raises(SessionConfigError, match=says):
        register_type(*args, **kwargs)
    if not isinstance(args[0], str):
        with pytest.raises(SessionConfigError, match=says):
            register_type(**kwargs)(args[0])
    assert registry.by_name == {}
    assert registry.by_class == {}


def test_a_dataclass_that_is_a_list_too_needs_functions() -> None:
    """Its fields are not its whole content."""

    @dataclasses.dataclass
    class Both(list[int]):
        x: int = 0

    with pytest.raises(SessionConfigError, match="encode= and decode="):
        register_type(Both)
    register_type(Both, encode=list, decode=Both)


@dataclasses.dataclass
class Person:
    name: str


@pytest.mark.parametrize("go_name", ["", 5, "\ud800"])
def test_a_malformed_go_name_is_refused(go_name: t.Any) -> None:
    """It must be a str that is not empty."""
    with pytest.raises(SessionConfigError, match="go_name="):
        register_type(Person, go_name=go_name)


def test_a_go_name_belongs_to_one_dataclass(registry: Registry) -> None:
    """A Go struct needs the fields of a dataclass."""
    with pytest.raises(SessionConfigError, match="needs a dataclass"):
        register_type(Plain, go_name="main.Plain")
    with pytest.raises(SessionConfigError, match="without encode="):
        register_type(Person, go_name="main.P", encode=str, decode=lambda _: Person(""))
    assert register_type(go_name="main.Taken")(Person) is Person
    assert registry.by_go_name["main.Taken"].cls is Person
    with pytest.raises(SessionConfigError, match=r"'main\.Taken' belongs to"):
        register_type(Item, go_name="main.Taken")


class TestUpgrade:
    """A class that no longer accepts what an earlier version of it stored."""

    @pytest.fixture
    def old(self) -> bytes:
        """The bytes of a value whose class had one field."""

        @dataclasses.dataclass
        class Address:
            street: str

        register_type(Address, name="shop.Address")
        return self.codec().encode(Address("Harbour Road 14"), "home")

    @staticmethod
    def codec() -> NativeCodec:
        return NativeCodec(registry_module.registry)

    @staticmethod
    def registered(**settings: t.Any) -> t.Any:
        """Return the class with a second field, which has no default."""

        @dataclasses.dataclass
        class Address:
            street: str
            number: int

        registry_module.registry.by_name.pop("shop.Address")
        return register_type(Address, name="shop.Address", **settings)

    def test_old_content_is_turned_into_new(self, old: bytes) -> None:
        """The function gets what was stored. Content that fits is left alone."""
        given: list[t.Any] = []

        def split(content: dict[str, t.Any]) -> dict[str, t.Any]:
            given.append(content)
            street, _, number = content["street"].rpartition(" ")
            return {"street": street, "number": int(number)}

        address = self.registered(upgrade=split)
        codec = self.codec()
        found = codec.decode(old, "home")
        assert found == address("Harbour Road", 14)
        assert codec.decode(codec.encode(found, "home"), "home") == found
        assert given == [{"street": "Harbour Road 14"}]

    def test_without_it_only_reading_that_value_fails(self, old: bytes) -> None:
        """The error names it. Everything else works, and deleting mends the session."""
        self.registered()
        desk = Desk(MemoryStore(), codec=self.codec())
        values: dict[t.Hashable, bytes] = {"home": old, "a": desk.codec.encode(1, "a")}
        data = desk.codec.dumps(Record(0, b"", values))
        token = desk.store.save(None, data, expected=None, max_age=60)
        session = desk.session(token)
        for read in (lambda: session["home"], lambda: dict(session)):
            with pytest.raises(SessionTypeError, match=r"^session\['home'\].*'number'"):
                read()
        with pytest.raises(SessionTypeError):
            session.pop("home")
        assert ("home" in session, list(session), len(session)) == (
            *(True, ["home", "a"]),
            2,
        )
        session["a"] = 2
        session.save()
        assert desk.session(token)["a"] == 2
        session = desk.session(token)
        assert session.pop("home", "none") == "none"
        session.save()
        assert desk.values(token) == {"a": 2}

    def test_an_upgrade_that_is_no_function_is_refused(self) -> None:
        """Where the class is registered."""
        with pytest.raises(SessionConfigError, match="upgrade= must be a function"):
            register_type(Money, encode=str, decode=Money, upgrade=t.cast(t.Any, 5))
