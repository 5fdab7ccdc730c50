"""Test the rules of the three-way merge."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_buffalo_session import MemoryStore
from flask_buffalo_session.merging import MISSING, merge
from flask_buffalo_session.native.codec import NativeCodec
from tests.conftest import Desk

CODEC = NativeCodec()


def encode(value: object) -> bytes:
    return CODEC.encode(value, "")


def encode_alike(a: object, b: object) -> bool:
    """Return whether two values are stored alike, in whatever order the keys are."""
    if a is MISSING or b is MISSING:
        return a is b
    return encode(ordered(a)) == encode(ordered(b))


def ordered(value: t.Any) -> t.Any:
    if type(value) is dict:
        return {key: ordered(value[key]) for key in sorted(value)}
    return value


def merged(base: object, mine: object, theirs: object) -> t.Any:
    return merge(base, mine, theirs, encode=encode)


scalars = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from("abc")
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)
        | st.sets(st.integers(0, 3), max_size=3)
    ),
    max_leaves=6,
)
maybe = values | st.just(MISSING)
names = st.sampled_from("abcdef")
sessions = st.dictionaries(names, values, max_size=5)


@given(base=maybe, theirs=maybe)
def test_a_value_that_i_did_not_change_is_theirs(base: object, theirs: object) -> None:
    """Without a change on my side, the stored value stays."""
    assert encode_alike(merged(base, base, theirs), theirs)


@given(base=maybe, mine=maybe)
def test_a_value_that_they_did_not_change_is_mine(base: object, mine: object) -> None:
    """Without a change on their side, my value is stored."""
    assert encode_alike(merged(base, mine, base), mine)


def test_a_value_that_one_side_deletes_and_the_other_empties_is_deleted() -> None:
    """The order of the two changes does not matter."""
    for base, empty in (([1], []), ({"x": 1}, {}), ({1}, set())):
        assert merged(base, MISSING, empty) is MISSING
        assert merged(base, empty, MISSING) is MISSING


@given(base=maybe, mine=maybe)
def test_two_equal_changes_are_one_change(base: object, mine: object) -> None:
    """Appends are the exception: both are kept."""
    result = merged(base, mine, mine)
    assert encode_alike(result, mine)


@given(
    base=st.lists(scalars),
    mine=st.lists(scalars, min_size=1),
    theirs=st.lists(scalars, min_size=1),
)
def test_no_append_is_lost(base: list[t.Any], mine: list[t.Any], theirs: t.Any) -> None:
    """Their append comes first, as they saved first."""
    if encode_alike(mine, theirs):
        mine = [*mine, "different"]
    assert encode_alike(merged(base, base + mine, base + theirs), base + theirs + mine)


@given(
    base=st.lists(scalars, min_size=1),
    tail=st.lists(scalars, min_size=1),
    empty=st.sampled_from([[], MISSING]),
)
def test_an_append_survives_when_the_other_side_empties_the_list(
    base: list[t.Any], tail: list[t.Any], empty: object
) -> None:
    """Whichever side emptied or deleted it."""
    assert encode_alike(merged(base, base + tail, empty), tail)
    assert encode_alike(merged(base, empty, base + tail), tail)


@given(
    base=st.lists(scalars, min_size=1),
    tail=st.lists(scalars, min_size=1),
    other=st.lists(scalars, min_size=1),
)
def test_an_append_follows_the_elements_of_a_replaced_list(
    base: list[t.Any], tail: list[t.Any], other: list[t.Any]
) -> None:
    """The old elements of the list do not come back."""
    other = [["other", item] for item in other]
    assert encode_alike(merged(base, base + tail, other), other + tail)
    assert encode_alike(merged(base, other, base + tail), other + tail)


@given(base=st.lists(scalars), tail=st.lists(scalars, min_size=1), other=values)
def test_an_append_after_a_merge_is_applied_to_the_merged_list(
    base: list[t.Any], tail: list[t.Any], other: object
) -> None:
    """Lists inside dicts are merged, too. For values that are not lists, mine wins."""
    mine = base + tail
    expected = mine
    if isinstance(other, list) and not encode_alike(mine, other):
        expected = other + tail
    assert encode_alike(merge(base, mine, other, encode=encode, within=True), expected)
    inside = merge({"x": base}, {"x": mine}, {"x": other}, encode=encode, within=True)
    assert encode_alike(inside, {"x": expected})


@given(
    base=st.lists(st.integers(), min_size=2, unique=True),
    tail=st.lists(scalars, min_size=1),
)
def test_the_later_change_to_a_list_wins_unless_both_append(
    base: list[int], tail: list[t.Any]
) -> None:
    """The merge does not compare the edits of single elements."""
    edited = ["edited", *base[1:]]
    for one, other in ((base + tail, edited), (edited, base + tail)):
        assert encode_alike(merged(base, one, other), one)


def test_list_elements_are_compared_by_their_encoding() -> None:
    """With ``==``, 1 would equal True, and some objects refuse to compare."""

    class Several:
        def __eq__(self, other: object) -> bool:
            raise ValueError("ambiguous")

        __hash__ = None  # type: ignore[assignment]

    def stored(value: t.Any) -> bytes:
        if isinstance(value, list):
            return b"[%s]" % b",".join(map(stored, value))
        known = id(value) if isinstance(value, Several) else value
        return f"{type(value).__name__} {known}".encode()

    one, two, three = Several(), Several(), Several()
    for base, mine, theirs, expected in (
        ([one, two], [one, two, three], [two], [one, two, three]),
        ([one, two], [one, two, three], [], [three]),
        ([1], [1, 2], [True], [True, 2]),
        ([1, 0], [1, 0, 2], [0], [1, 0, 2]),
        ([["x"]], [["x"], ["y"]], [["z"], ["x"]], [["x"], ["y"]]),
    ):
        result = merge(base, mine, theirs, encode=stored)
        assert stored(result) == stored(expected)


@given(base=values, mine=maybe, theirs=maybe)
def test_a_merge_edits_none_of_its_arguments(
    base: object, mine: object, theirs: object
) -> None:
    """Views still hold these objects."""
    before = [
        None if side is MISSING else encode(side) for side in (base, mine, theirs)
    ]
    merged(base, mine, theirs)
    after = [None if side is MISSING else encode(side) for side in (base, mine, theirs)]
    assert after == before


def test_an_edit_inside_a_dict_or_set_that_was_deleted_is_dropped() -> None:
    """Whichever side deleted it, at any depth."""
    for base, edited in (({"id": 1}, {"id": 1, "seen": 2}), ({1}, {1, 2})):
        assert merged(base, edited, MISSING) is MISSING
        assert merged(base, MISSING, edited) is MISSING
        assert merged({"x": base, "y": 1}, {"x": edited, "y": 1}, {"y": 1}) == {"y": 1}


def test_an_append_survives_when_the_dict_of_lists_is_deleted() -> None:
    """A request that takes all flash messages does not lose a new one."""
    base = {"info": ["a"], "error": ["b"]}
    added = {"info": ["a", "new"], "error": ["b"]}
    assert merged(base, added, MISSING) == {"info": ["new"]}
    assert merged(base, MISSING, added) == {"info": ["new"]}


@pytest.mark.parametrize("kind", ["a list of dicts", "nested dicts"])
def test_the_cost_of_a_merge_is_linear(kind: str) -> None:
    """Each part of the values is encoded at most once for each side."""
    encoded = 0

    def counting(value: object) -> bytes:
        nonlocal encoded
        data = encode(value)
        encoded += len(data)
        return data

    sides: list[t.Any] = []
    for side in range(3):
        if kind == "a list of dicts":
            sides.append([{"sku": n, "side": 0} for n in range(1000)] + [{"s": side}])
        else:
            nested: t.Any = {"leaf": side}
            for _ in range(200):
                nested = {"inner": nested, "encode_alike": "x" * 20}
            sides.append(nested)
    merge(*sides, encode=counting)
    assert encoded <= sum(len(encode(side)) for side in sides)


@given(
    base=st.sets(st.integers(0, 9)),
    mine=st.sets(st.integers(0, 9)),
    theirs=st.sets(st.integers(0, 9)),
)
def test_sets_keep_each_addition_and_removal(
    base: set[int], mine: set[int], theirs: set[int]
) -> None:
    """Sets and frozen sets are merged element by element."""
    result = merged(base, mine, theirs)
    assert result >= (mine - base) - (base - theirs)
    assert result >= theirs - base
    assert not result & (base - mine)
    assert not result & (base - theirs)
    frozen = merged(*map(frozenset, (base, mine, theirs)))
    assert frozen == result
    assert type(frozen) is frozenset


@given(base=sessions, mine=sessions, theirs=sessions)
def test_disjoint_changes_commute_and_none_is_lost(
    base: dict[str, t.Any], mine: dict[str, t.Any], theirs: dict[str, t.Any]
) -> None:
    """One side changes the names a to c, the other side the names d to f."""
    mine = {**base, **{k: v for k, v in mine.items() if k < "d"}}
    mine.pop("a", None)
    theirs = {**base, **{k: v for k, v in theirs.items() if k >= "d"}}
    theirs.pop("f", None)
    expected = {k: v for k, v in mine.items() if k < "d"}
    expected |= {k: v for k, v in theirs.items() if k >= "d"}
    for one, other in ((mine, theirs), (theirs, mine)):
        result = merged(base, one, other)
        assert encode_alike(
            dict(sorted(result.items())), dict(sorted(expected.items()))
        )


def edit(session: t.Any, name: str, value: t.Any) -> None:
    """Edit a name: replace its value, or edit the dict or set in place."""
    kind = type(value)
    if kind is not dict and kind is not set:
        session[name] = value
        return
    if type(session.get(name)) is not kind:
        session[name] = kind()
    session[name].clear()
    session[name].update(value)


@given(base=sessions, mine=sessions, theirs=sessions)
def test_sessions_merge_each_name(
    base: dict[str, t.Any], mine: dict[str, t.Any], theirs: dict[str, t.Any]
) -> None:
    """Two sessions on one store are saved as :func:`merge` merges their names."""
    desk = Desk(MemoryStore())
    cookie = desk.stored(_=0, **base)
    first, second = desk.session(cookie), desk.session(cookie)
    for session, target in ((first, theirs), (second, mine)):
        for name in set(base) - set(target):
            del session[name]
        for name, value in target.items():
            edit(session, name, value)
    first.save()
    second.save()
    found = desk.values(cookie)
    assert found.pop("_") == 0
    expected = {
        name: value
        for name in {*base, *mine, *theirs}
        if (value := merged(*(d.get(name, MISSING) for d in (base, mine, theirs))))
        is not MISSING
    }
    assert encode_alike(dict(sorted(found.items())), dict(sorted(expected.items())))
