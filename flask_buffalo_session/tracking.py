"""What a request changed: a session's values, and over them those it has touched."""

from __future__ import annotations

import collections.abc as c
import secrets
import typing as t

from .codec import IMMUTABLE, Codec, Record
from .errors import SessionTypeError
from .merging import MISSING, merge

Values: t.TypeAlias = dict[t.Hashable, bytes]

# Types whose values get a stamp. As a union, they would be put together on each use.
_KEYED = (dict, set)

_STAMP_BYTES = 4  # pragma: no mutate: any number that is large enough


class Change(t.NamedTuple):
    """What became of one value: its bytes before and now, None where there is none."""

    before: bytes | None
    now: bytes | None


Changes: t.TypeAlias = dict[t.Hashable, Change]


class Touched:
    """A value that was set, deleted, or handed out and possibly edited since.

    :ivar value: the view's object; MISSING if the value was deleted.
    :ivar began: the value's bytes when it was first touched, or at the last save.
    :ivar stored: the bytes that are stored for `began`. After a save that merged the
        value with another request's, they differ from `began`.
    :ivar assigned: whether the view assigned the value as a whole, so that it is not
        merged with another request's edits.
    :ivar stamp: the stamp of the stored value when it was first touched, or at the last
        save. The store has another stamp once another request replaced the value.
    """

    __slots__ = ("assigned", "began", "stamp", "stored", "value")

    def __init__(self, value: t.Any, began: bytes | None, stamp: bytes | None) -> None:
        self.value = value
        self.began = self.stored = began
        self.assigned = False
        self.stamp = stamp


class Tracker:
    """The values of one request's session.

    A value has changed if it would be stored as other bytes than it began as. So edits
    inside lists, dicts and registered objects count, and a value that was only read
    does not.

    :param codec: encodes and decodes the values.
    :param record: the record that the store holds.
    :param whole_names: names whose values are never merged.
    :param stamped: whether the record can hold stamps, and another request needs them.
    """

    __slots__ = ("_codec", "_stamps", "_whole_names", "stamped", "stored", "touched")

    def __init__(
        self,
        codec: Codec,
        record: Record,
        whole_names: c.Collection[t.Hashable] = (),
        *,
        stamped: bool = False,
    ) -> None:
        self._codec = codec
        self.stamped = stamped
        #: What the view was handed out, and can edit; and what it set or deleted.
        self.touched: dict[t.Hashable, Touched] = {}
        self._whole_names = whole_names
        #: The values that the store holds, encoded.
        self.stored = record.values
        self._stamps = record.stamps

    def follow(self, record: Record) -> None:
        """Take over what the store holds now."""
        self.stored = record.values
        self._stamps = record.stamps

    def get(self, name: t.Hashable) -> t.Any:
        """Return the value, or MISSING.

        :raises SessionTypeError: the value cannot be decoded here.
        """
        if (touched := self.touched.get(name)) is not None:
            return touched.value
        if (raw := self.stored.get(name)) is None:
            return MISSING
        value = self._codec.decode(raw, name)
        if type(value) not in IMMUTABLE:
            # The view can edit this object from now on.
            self.touched[name] = Touched(value, raw, self._stamps.get(name))
        return value

    def set(self, name: t.Hashable, value: t.Any) -> None:
        """Set or replace a value. With MISSING, delete the value."""
        touched = self.touched.get(name)
        if touched is None:
            raw, stamp = self.stored.get(name), self._stamps.get(name)
            touched = self.touched[name] = Touched(value, raw, stamp)
        elif touched.value is value:
            # Assigning the object that was handed out is an edit in place.
            return
        touched.value = value
        # So is filling a dict or a set that was empty when it was assigned.
        touched.assigned = not isinstance(value, _KEYED) or len(value) > 0

    def assigned(self, name: t.Hashable) -> bytes | None:
        """Return a value's bytes if this request has set the value."""
        touched = self.touched.get(name)
        return None if touched is None else self._encoded(name, touched)

    def has(self, name: t.Hashable) -> bool:
        """Return whether there is a value under this name. Decode nothing."""
        if (touched := self.touched.get(name)) is not None:
            return touched.value is not MISSING
        return name in self.stored

    def names(self) -> list[t.Hashable]:
        """Return all names: those stored first, then those added here."""
        touched = self.touched
        names = [
            name
            for name in self.stored
            if name not in touched or touched[name].value is not MISSING
        ]
        for name, entry in touched.items():
            if name not in self.stored and entry.value is not MISSING:
                names.append(name)
        return names

    def forget(self, name: t.Hashable, record: Record) -> None:
        """Forget a value that was taken out of the store.

        :param record: the record that the store holds now.
        """
        self.touched.pop(name, None)
        self.follow(record)

    def changes(self) -> Changes:
        """Return what this request changed since the last save.

        :raises SessionTypeError: a value cannot be stored.
        """
        changes = {}
        for name, touched in self.touched.items():
            now = self._encoded(name, touched)
            if now != touched.began:
                changes[name] = Change(touched.began, now)
        return changes

    def change(self, name: t.Hashable) -> Changes:
        """Return what this request changed about one value: one entry, or none.

        :raises SessionTypeError: the value cannot be stored.
        """
        touched = self.touched.get(name)
        if touched is None or (now := self._encoded(name, touched)) == touched.began:
            return {}
        return {name: Change(touched.began, now)}

    def applied(self, changes: Changes) -> Values:
        """Return the stored values with these changes applied to them.

        Where another request changed the same name, the two values are merged.
        """
        values = dict(self.stored)
        for name, change in changes.items():
            ours, theirs = self.touched[name].stored, values.get(name)
            mine = change.now
            if ours != change.before or theirs != ours:
                mine = self._reconciled(name, change, theirs)
            if mine is None:
                values.pop(name, None)
            else:
                values[name] = mine
        return values

    def stamps(self, changes: Changes, values: Values) -> c.Mapping[t.Hashable, bytes]:
        """Return the stamps of these values once the changes are applied."""
        stamps = {name: old for name, old in self._stamps.items() if name in values}
        for name in changes:
            touched = self.touched[name]
            # A name that is not a str gets no stamp, so its dicts are merged by key.
            if (
                touched.assigned
                and isinstance(touched.value, _KEYED)
                and isinstance(name, str)
            ):
                stamps[name] = secrets.token_bytes(_STAMP_BYTES)
        return stamps

    def saved(self, changes: Changes, record: Record) -> None:
        """Begin anew from what was saved.

        :param changes: the changes that were saved.
        :param record: the record that the store holds now.
        """
        self.stored, self._stamps = record.values, record.stamps
        for name, (_, now) in changes.items():
            touched = self.touched[name]
            touched.began, touched.stored = now, self.stored.get(name)
            touched.assigned, touched.stamp = False, self._stamps.get(name)

    def _encoded(self, name: t.Hashable, touched: Touched) -> bytes | None:
        if touched.value is MISSING:
            return None
        return self._codec.encode(touched.value, name, touched.began, self.stored)

    def _reconciled(
        self, name: t.Hashable, change: Change, theirs: bytes | None
    ) -> bytes | None:
        """Return what to store where the stored value is not the one that the view's
        object began as.

        :param theirs: the value that is stored now.
        """
        touched, (before, mine) = self.touched[name], change
        ours = touched.stored
        if self._replaces(name, touched, theirs):
            return mine
        if ours != before:
            # The last save stored more than the view's object holds. Apply the view's
            # further edits to that.
            mine = self._merged(name, before, mine, ours, within=True)
        if theirs == ours:
            return mine
        if name in self._whole_names:
            # An edit inside an authentication name must not bring it back.
            return None if theirs is None else mine
        if theirs is not None and touched.stamp != self._stamps.get(name):
            # Another request has replaced the dict or the set that the view edited.
            return theirs
        return self._merged(name, ours, mine, theirs)

    def _replaces(
        self, name: t.Hashable, touched: Touched, theirs: bytes | None
    ) -> bool:
        """Return whether a value wins as a whole over what another request saved."""
        if not touched.assigned:
            return False
        if name in self._whole_names:
            return True
        value = touched.value
        return isinstance(value, dict) or (
            theirs is None and not isinstance(value, list)
        )

    def _merged(
        self,
        name: t.Hashable,
        base: bytes | None,
        mine: bytes | None,
        theirs: bytes | None,
        *,
        within: bool = False,
    ) -> bytes | None:
        """Merge encoded values. What cannot be decoded here cannot be merged: then the
        later save wins, which is this one.
        """
        codec = self._codec

        def decoded(raw: bytes | None) -> t.Any:
            return MISSING if raw is None else codec.decode(raw, name)

        def comparable(value: t.Any) -> bytes:
            return codec.comparable(value, name)

        try:
            merged = merge(
                decoded(base),
                decoded(mine),
                decoded(theirs),
                encode=comparable,
                within=within,
            )
            if merged is MISSING:
                return None
            return codec.encode(merged, name, theirs or mine, self.stored)
        except SessionTypeError:
            return mine
