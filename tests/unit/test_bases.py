"""Test that an instance of a subclass is stored as its base type, by both codecs."""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime as dt
import enum
import typing as t
from decimal import Decimal
from random import Random
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup
from oauthlib.oauth2.rfc6749.tokens import OAuth2Token
from sqlalchemy.sql.elements import quoted_name
from werkzeug.datastructures import CombinedMultiDict, ImmutableMultiDict, MultiDict

from flask_buffalo_session import MemoryStore
from flask_buffalo_session.codec import Record
from flask_buffalo_session.errors import SessionTypeError
from flask_buffalo_session.gorilla.codec import GorillaCodec
from flask_buffalo_session.native.codec import NativeCodec
from flask_buffalo_session.registry import Registered, Registry
from tests.conftest import Desk
from tests.unit.test_codec import shape
from tests.unit.test_codec import values as any_values

GO_TYPES = [
    "map[string]interface {}",
    "map[interface {}]interface {}",
    "time.Time",
    "github.com/gofrs/uuid.UUID",
]
NATIVE = NativeCodec(Registry())
GORILLA = GorillaCodec(GO_TYPES, Registry())
Codecs = NativeCodec | GorillaCodec


class Level(enum.IntEnum):
    HIGH = 3

    def __str__(self) -> str:
        return "odd"


class Color(enum.StrEnum):
    RED = "red"

    def __str__(self) -> str:
        return "odd"


class Older(str, enum.Enum):  # noqa: UP042 - not a StrEnum
    ONE = "one"


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2


class Suit(enum.Enum):
    CLUBS = "c"


class Point(t.NamedTuple):
    x: int
    y: int


def _fail(self: object, *args: object) -> t.Any:
    raise AssertionError("an overridden method was called")


class Odd:
    """A class whose methods must not be called."""

    fail: t.Any = _fail
    # A hash that a subclass of a hashable type keeps.
    __eq__ = __ne__ = __str__ = __repr__ = __format__ = fail
    __int__ = __float__ = __index__ = __bytes__ = __bool__ = fail
    isoformat = replace = encode = hex = copy = to_bytes = fail
    date = timetz = toordinal = items = get = fail


class OddInt(Odd, int):
    __hash__ = int.__hash__


class OddFloat(Odd, float):
    __hash__ = float.__hash__


class OddStr(Odd, str):
    __slots__ = ()
    __hash__ = str.__hash__


class PlainStr(str):
    """A str that can be looked up."""

    __slots__ = ()


class OddBytes(Odd, bytes):
    __hash__ = bytes.__hash__


class OddTuple(Odd, tuple[t.Any, ...]):
    __slots__ = ()
    __hash__ = tuple.__hash__


class OddList(Odd, list[t.Any]):
    __iter__ = Odd.fail


class OddDict(Odd, dict[t.Any, t.Any]):
    pass


class OddSet(Odd, set[t.Any]):
    __iter__ = Odd.fail


class OddFrozenset(Odd, frozenset[t.Any]):
    __hash__ = frozenset.__hash__
    __iter__ = Odd.fail


class OddDateTime(Odd, dt.datetime):
    __hash__ = dt.datetime.__hash__


def odd_datetime(value: dt.datetime) -> OddDateTime:
    """Return the same moment. ``combine`` would lose the fold in a subclass."""
    parts = (value.year, value.month, value.day, value.hour, value.minute)
    rest = (value.second, value.microsecond, value.tzinfo)
    return OddDateTime(*parts, *rest, fold=value.fold)


class OddDate(Odd, dt.date):
    __hash__ = dt.date.__hash__


class OddTime(Odd, dt.time):
    __hash__ = dt.time.__hash__


class OddTimedelta(Odd, dt.timedelta):
    __hash__ = dt.timedelta.__hash__


class OddDecimal(Odd, Decimal):
    __hash__ = Decimal.__hash__


class OddUUID(Odd, UUID):
    __hash__ = UUID.__hash__
    __int__ = UUID.__int__


class OddMarkup(Odd, Markup):
    __slots__ = ()
    __hash__ = Markup.__hash__


class Elsewhere(ZoneInfo):
    """A time zone as Pendulum's, which derives from ZoneInfo."""


def moved() -> collections.OrderedDict[str, int]:
    """Return an OrderedDict whose order is not that of the dict below it."""
    ordered = collections.OrderedDict(a=1, b=2)
    ordered.move_to_end("a")
    return ordered


NOW = dt.datetime(2024, 10, 27, 2, 30, 1, 7, ZoneInfo("Europe/Berlin"), fold=1)
FORM = MultiDict([("tag", "a"), ("tag", "b"), ("q", "x")])
LISTS = {"tag": ["a", "b"], "q": ["x"]}
COMBINED = CombinedMultiDict([MultiDict({"q": "x"}), FORM])

BOTH: list[tuple[t.Any, t.Any]] = [
    (True, True),
    (Level.HIGH, 3),
    (Color.RED, "red"),
    (Older.ONE, "one"),
    (Rights.READ | Rights.WRITE, 3),
    (OddInt(-7), -7),
    (OddFloat(-0.0), -0.0),
    (OddStr("a"), "a"),
    (OddBytes(b"\0\xff"), b"\0\xff"),
    (OddList([1]), [1]),
    (OddDict(a=1), {"a": 1}),
    (OddDateTime.fromtimestamp(0, dt.UTC), dt.datetime.fromtimestamp(0, dt.UTC)),
    (OddUUID(int=7), UUID(int=7)),
    (numpy.float64(1.5), 1.5),
    (numpy.str_("a"), "a"),
    (numpy.bytes_(b"a"), b"a"),
    (quoted_name("users", True), "users"),
    (moved(), {"b": 2, "a": 1}),
    (collections.defaultdict(list, {"a": [1]}), {"a": [1]}),
    (collections.Counter("aab"), {"a": 2, "b": 1}),
    (OAuth2Token({"scope": "a b"}, old_scope="a"), {"scope": "a b"}),
    (FORM, LISTS),
    (ImmutableMultiDict(FORM), LISTS),
    (COMBINED, {"q": ["x", "x"], "tag": ["a", "b"]}),
    ({Color.RED: Level.HIGH, "a": 1}, {"red": 3, "a": 1}),
    ({OddStr("a"): 1}, {"a": 1}),
    ({Level.HIGH: {OddStr("b"): [Color.RED]}}, {3: {"b": ["red"]}}),
    (collections.OrderedDict({Level.HIGH: OddList([OddInt(1)])}), {3: [1]}),
]  # fmt: skip

NATIVE_ONLY: list[tuple[t.Any, t.Any]] = [
    (OddInt(2**70), 2**70),
    (Point(1, 2), (1, 2)),
    ([Point(1, OddInt(2))], [(1, 2)]),
    ({Point(1, 2): 1}, {(1, 2): 1}),
    (OddTuple((1, OddInt(2))), (1, 2)),
    (OddSet({1, Color.RED}), {1, "red"}),
    (OddFrozenset({1}), frozenset({1})),
    ({OddFrozenset({Level.HIGH})}, {frozenset({3})}),
    (odd_datetime(NOW), NOW),
    (NOW.replace(tzinfo=Elsewhere("Europe/Berlin")), NOW),
    (OddDate(2024, 2, 29), dt.date(2024, 2, 29)),
    (OddTime(1, 2, 3, 4, dt.UTC, fold=1), dt.time(1, 2, 3, 4, dt.UTC, fold=1)),
    (OddTimedelta(-1, 2, 3), dt.timedelta(-1, 2, 3)),
    (OddDecimal("sNaN1"), Decimal("sNaN1")),
    (OddDecimal("1.10"), Decimal("1.10")),
    (OddMarkup("<b>"), Markup("<b>")),
]

CASES = [
    *((codec, value, base) for codec in (NATIVE, GORILLA) for value, base in BOTH),
    *((NATIVE, value, base) for value, base in NATIVE_ONLY),
]


@pytest.mark.parametrize(
    ("codec", "value", "base"),
    CASES,
    ids=[f"{type(codec).__name__}-{type(value).__name__}" for codec, value, _ in CASES],
)
class TestStoredAsBase:
    def test_the_bytes_are_those_of_the_base(
        self, codec: Codecs, value: t.Any, base: t.Any
    ) -> None:
        """So a value of a subclass is no change where its base is stored, also inside
        other values.
        """
        assert codec.encode(value, "n") == codec.encode(base, "n")
        for holder in (lambda v: [0, v], lambda v: {"k": v}, lambda v: {1: [v]}):
            encoded = codec.encode(holder(value), "n")
            assert encoded == codec.encode(holder(base), "n")
            # As after an edit: the codec follows the bytes that were there.
            assert codec.encode(holder(value), "n", encoded) == encoded

    def test_the_base_comes_back(
        self, codec: Codecs, value: t.Any, base: t.Any
    ) -> None:
        """The type is exactly the base type, inside too."""
        again = codec.decode(codec.encode(value, "n"), "n")
        assert type(again) is type(base)
        assert shape(again) == shape(codec.decode(codec.encode(base, "n"), "n"))


@pytest.mark.parametrize("codec", [NATIVE, GORILLA], ids=["native", "gorilla"])
class TestBothCodecs:
    def test_the_value_is_not_changed(self, codec: Codecs) -> None:
        """Reading it creates no keys, and keeps its attributes and its parts."""
        counted: t.Any = collections.defaultdict(list, a=collections.Counter("x"))
        before = copy.deepcopy(counted)
        codec.encode(counted, "n")
        codec.encode([counted, collections.OrderedDict(a=counted)], "n")
        assert counted == before
        assert type(counted["a"]) is collections.Counter

    def test_a_subclass_that_contains_itself_is_refused(self, codec: Codecs) -> None:
        """The copy that is stored must not hide that."""
        looped: collections.OrderedDict[str, t.Any] = collections.OrderedDict()
        looped["self"] = [looped]
        with pytest.raises(SessionTypeError):
            codec.encode(looped, "n")

    def test_keys_that_become_equal_are_refused(self, codec: Codecs) -> None:
        """One of the two values would be lost."""

        class Unequal(str):
            __slots__ = ()
            __hash__ = object.__hash__

            def __eq__(self, other: object) -> bool:
                return self is other

        for value in ({Unequal("a"): 1, Unequal("a"): 2}, [{"a": 1, Unequal("a"): 2}]):
            with pytest.raises(SessionTypeError, match="two keys of the dict"):
                codec.encode(value, "n")

    def test_a_class_that_fails_is_named_without_its_error(self, codec: Codecs) -> None:
        """The error of an application's class may quote the value."""

        class Failing(dict[str, int]):
            def __iter__(self) -> t.Any:
                raise ValueError("secret")

            keys = __iter__

        with pytest.raises(SessionTypeError, match="because of a ValueError") as caught:
            codec.encode([Failing(a=1)], "n")
        assert caught.value.path == "session['n'][0]"
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        "name", [Color.RED, OddStr("red"), Level.HIGH], ids=["str", "odd", "int"]
    )
    def test_a_name_becomes_its_base(self, codec: Codecs, name: t.Any) -> None:
        """A session finds its value under both."""
        base = "red" if isinstance(name, str) else 3
        raw = codec.encode(1, "n")
        data = codec.dumps(Record(1, b"", {name: raw, "other": raw}))
        assert data == codec.dumps(Record(1, b"", {base: raw, "other": raw}))
        assert list(map(type, codec.loads(data).values)) == [type(base), str]

    def test_unregistered_classes_stay_errors(self, codec: Codecs) -> None:
        """They would lose their fields, or have no base that can be stored."""

        @dataclasses.dataclass
        class Tagged(dict[str, int]):
            tag: str

        class Pandas(dt.datetime):
            """Pandas' NaT is a datetime with a date of its own."""

        Pandas.__name__ = "NaTType"
        for value in (Tagged("x"), Suit.CLUBS, numpy.int64(1), Pandas(1, 1, 1)):
            with pytest.raises(SessionTypeError):
                codec.encode([value], "n")

    def test_lazy_text_stays_text(self, codec: Codecs) -> None:
        """A proxy for a str is no subclass of str."""

        class Lazy:
            def __getattr__(self, name: str) -> t.Any:
                return getattr("text", name)

            def __str__(self) -> str:
                return "text"

        assert codec.encode(Lazy(), "n") == codec.encode("text", "n")


@pytest.mark.parametrize(
    "value", [Level.HIGH, Color.RED, Point(1, 2), moved()], ids=repr
)
def test_a_registered_class_wins_over_its_base(value: t.Any) -> None:
    """Also as a key of a dict, and as a name."""
    registry = Registry()
    kind = type(value)
    registry.add(Registered("kept", kind, lambda value: repr(value), lambda _: value))
    codec = NativeCodec(registry)
    for held in (value, [value], {"a": (value,)}):
        assert shape(codec.decode(codec.encode(held, "n"), "n")) == shape(held)
    if isinstance(value, t.Hashable):
        keyed = {value: 1, "other": 2}
        assert shape(codec.decode(codec.encode(keyed, "n"), "n")) == shape(keyed)
        raw = codec.encode(1, "n")
        stamps = {value: b"1234", "other": b"1234"}
        record = Record(1, b"", {value: raw, "other": raw}, 0, stamps)
        again = codec.loads(codec.dumps(record))
        assert list(map(type, again.values)) == [kind, str]
        assert dict(again.stamps) == {"other": b"1234"}


def test_go_types_are_kept_beside_a_subclass() -> None:
    """A longer list of subclasses keeps the old Go types of equal elements."""
    old = GORILLA.encode([{"n": 1.5}, {"n": 2}], "n")
    shorter: list[t.Any] = [OddDict(n=OddInt(2))]
    assert GORILLA.encode(shorter, "n", old) == GORILLA.encode([{"n": 2}], "n", old)


def test_buffalos_own_names_take_subclasses() -> None:
    """Flash messages and the names whose Go types Buffalo asserts."""
    messages = collections.defaultdict(list, {Color.RED: [OddStr("Saved")]})
    plain = GORILLA.encode({"red": ["Saved"]}, "_flash_")
    assert GORILLA.encode(messages, "_flash_") == plain
    assert GORILLA.encode(OddDict(messages), "_flash_", plain) == plain
    assert GORILLA.encode(OddStr("a"), "requestor_id") == GORILLA.encode(
        "a", "requestor_id"
    )
    token = numpy.bytes_(b"a")
    assert GORILLA.decode(GORILLA.encode(token, "authenticity_token"), "n") == b"a"


class TestTracking:
    """What counts as changed, and what is merged, where a subclass was assigned."""

    def test_an_edit_after_assignment_is_saved(self) -> None:
        """The view goes on with the object that it assigned."""
        desk = Desk(MemoryStore())
        view = desk.session()
        hits: t.Any = collections.defaultdict(int)
        view["hits"] = hits
        view.save()
        hits["a"] += 1
        assert view.modified
        view.save()
        again = desk.session(view.cookie)
        assert type(again["hits"]) is dict
        again["hits"]["b"] = 2
        again.save()
        assert desk.session(view.cookie)["hits"] == {"a": 1, "b": 2}

    def test_an_equal_value_is_no_change(self) -> None:
        """Not even if its class compares in another way."""
        desk = Desk(MemoryStore())
        view = desk.session()
        view["cart"] = OddDict(a=OddStr("x"))
        view.save()
        again = desk.session(view.cookie)
        again["cart"] = OddDict(a=OddStr("x"))
        assert not again.modified

    @pytest.mark.parametrize("kind", [dict, collections.Counter])
    def test_requests_that_fill_an_empty_dict_are_merged(self, kind: t.Any) -> None:
        """An empty Counter that is assigned and then filled acts as a dict does."""
        desk = Desk(MemoryStore())
        view = desk.session()
        view["other"] = 1
        view.save()
        tabs = [desk.session(view.cookie) for _ in range(2)]
        for number, tab in enumerate(tabs):
            tab["hits"] = kind()
            tab["hits"][f"tab {number}"] = 1
        for tab in tabs:
            tab.save()
        expected = {"tab 0": 1, "tab 1": 1}
        assert desk.values(str(view.cookie))["hits"] == expected

    @pytest.mark.parametrize("kind", [dict, collections.OrderedDict])
    @pytest.mark.parametrize(
        "name", ["cart", PlainStr("cart")], ids=["str", "subclass"]
    )
    def test_an_edit_inside_a_replaced_dict_is_dropped(
        self, kind: t.Any, name: str
    ) -> None:
        """The dict that is assigned gets a stamp, whatever its class."""
        desk = Desk(MemoryStore())
        view = desk.session()
        view["cart"] = {"a": 1}
        view.save()
        first, second = desk.session(view.cookie), desk.session(view.cookie)
        second["cart"]["b"] = 2
        first[name] = kind({"c": 3})
        first.save()
        second.save()
        assert desk.values(str(view.cookie))["cart"] == {"c": 3}


# Properties

DISGUISES: dict[type, t.Any] = {
    int: OddInt,
    float: OddFloat,
    str: OddStr,
    bytes: OddBytes,
    list: OddList,
    tuple: OddTuple,
    dict: OddDict,
    dt.timedelta: lambda v: OddTimedelta(v.days, v.seconds, v.microseconds),
    dt.date: lambda v: OddDate(v.year, v.month, v.day),
    dt.datetime: odd_datetime,
    dt.time: lambda v: OddTime(
        v.hour, v.minute, v.second, v.microsecond, v.tzinfo, fold=v.fold
    ),
    Decimal: OddDecimal,
    UUID: lambda v: OddUUID(int=v.int),
    Markup: OddMarkup,
}


def disguised(value: t.Any, random: Random) -> t.Any:
    """Return a value in which some parts are instances of subclasses. The keys of
    dicts and the elements of sets stay, because Odd instances cannot be compared.
    """
    made = value
    if type(value) in (list, tuple):
        made = type(value)(disguised(item, random) for item in value)
    elif type(value) is dict:
        made = {key: disguised(item, random) for key, item in value.items()}
    if type(value) in DISGUISES and random.random() < 0.5:
        made = DISGUISES[type(value)](made)
    return made


@given(any_values, st.randoms(use_true_random=False))
def test_any_subclass_is_stored_as_its_base(value: t.Any, random: Random) -> None:
    """The native codec writes the same bytes, and reads the base."""
    plain = NATIVE.encode(value, "n")
    assert NATIVE.encode(disguised(value, random), "n", plain) == plain
    assert shape(NATIVE.decode(plain, "n")) == shape(value)


@given(st.integers() | st.binary() | st.text(st.characters(exclude_categories=["Cs"])))
def test_any_name_is_stored_as_its_base(name: t.Hashable) -> None:
    """So a name of a subclass finds what the base name stored."""
    disguise = DISGUISES[type(name)](name)
    plain, odd = (
        NATIVE.dumps(Record(1, b"", {held: b"\x01"})) for held in (name, disguise)
    )
    assert odd == plain


go_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
        st.binary(max_size=10),
        st.uuids(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text("abc"), inner, max_size=4),
        st.dictionaries(st.integers(0, 9), inner, max_size=4),
    ),
    max_leaves=10,
)


@given(go_values, st.one_of(st.none(), go_values), st.randoms(use_true_random=False))
@settings(max_examples=100)
def test_any_subclass_is_a_go_value_as_its_base(
    value: t.Any, before: t.Any, random: Random
) -> None:
    """The gorilla codec writes the same bytes, whatever was stored before."""
    was = None if before is None else GORILLA.encode(before, "n")
    odd = disguised(value, random)
    assert GORILLA.encode(odd, "n", was) == GORILLA.encode(value, "n", was)
