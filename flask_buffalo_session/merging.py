"""Merge what two requests made of one value. Pure functions: no argument is edited."""

from __future__ import annotations

import collections.abc as c
import enum
import typing as t

Encode: t.TypeAlias = c.Callable[[t.Any], bytes]


class Missing(enum.Enum):
    """Sentinel for a missing value, since None is a valid one."""

    MISSING = enum.auto()  # pragma: no mutate: only its identity counts


MISSING: t.Final = Missing.MISSING


def merge(
    base: t.Any, mine: t.Any, theirs: t.Any, *, encode: Encode, within: bool = False
) -> t.Any:
    """Merge three ways: what two requests made of a value that began as `base`.

    - Dicts are merged by key, sets by element.
    - Of lists that were only appended to, both appends are kept, `theirs` first.
      Where one side emptied or deleted the list, the other's appends stay.
    - An edit inside a dict or a set that the other side deleted is dropped. In a dict
      that holds only lists, such as flash messages, appended elements stay.
    - Of anything else `mine` wins, because it is saved later.

    The cost is linear in the sizes of the values: each part is encoded at most once.

    :param base: the value that both sides began with, or MISSING.
    :param mine: the value that this request is about to save, or MISSING.
    :param theirs: the value that is stored now, or MISSING.
    :param encode: returns equal bytes for values that are stored alike.
    :param within: True if `theirs` already contains `base`, merged with something
        else. Then elements appended to `base` are appended to `theirs`, whatever
        `theirs` has become.
    :returns: the merged value, or MISSING.
    """
    if base is MISSING and theirs is MISSING:
        return mine
    if base is MISSING and mine is MISSING:
        return theirs
    kinds = {type(value) for value in (base, mine, theirs) if value is not MISSING}
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind is dict:
        return _merge_dicts(base, mine, theirs, encode, within)
    if kind is list:
        return _merge_lists(base, mine, theirs, encode, within)
    was, is_mine = (
        None if value is MISSING else encode(value) for value in (base, mine)
    )
    if is_mine == was:
        return theirs
    if kind is set or kind is frozenset:
        return _merge_sets(base, mine, theirs)
    return mine


def _merge_dicts(
    base: t.Any, mine: t.Any, theirs: t.Any, encode: Encode, within: bool
) -> t.Any:
    deleted = mine is MISSING or theirs is MISSING
    if deleted:
        rest = theirs if mine is MISSING else mine
        if rest is MISSING or not all(type(item) is list for item in rest.values()):
            return MISSING
    sides = [{} if value is MISSING else value for value in (base, mine, theirs)]
    merged = {}
    for key in sides[2] | sides[1]:
        parts = (side.get(key, MISSING) for side in sides)
        value = merge(*parts, encode=encode, within=within)
        if value is not MISSING:
            merged[key] = value
    return MISSING if deleted and not merged else merged


def _merge_sets(base: t.Any, mine: t.Any, theirs: t.Any) -> t.Any:
    if base is MISSING:
        return theirs | mine
    if mine is MISSING or theirs is MISSING:
        return MISSING
    return (theirs | (mine - base)) - (base - mine)


def _merge_lists(
    base: t.Any, mine: t.Any, theirs: t.Any, encode: Encode, within: bool
) -> t.Any:
    was, is_mine, is_theirs = (
        [] if value is MISSING else list(map(encode, value))
        for value in (base, mine, theirs)
    )
    if is_mine == was and (mine is MISSING) == (base is MISSING):
        return theirs
    if is_mine == is_theirs and (mine is MISSING) == (theirs is MISSING):
        return mine
    ours, other = ([] if side is MISSING else side for side in (mine, theirs))
    begins, length = set(was), len(was)
    mine_appended = is_mine[:length] == was
    theirs_appended = is_theirs[:length] == was
    merged = ours
    if mine_appended and (within or theirs_appended or begins.isdisjoint(is_theirs)):
        merged = [*other, *ours[length:]]
    elif theirs_appended and begins.isdisjoint(is_mine):
        merged = [*ours, *other[length:]]
    if not merged and (mine is MISSING or theirs is MISSING):
        return MISSING
    return merged
