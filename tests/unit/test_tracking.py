"""Test the tracker with a codec: what counts as changed, and how changes are merged."""

from __future__ import annotations

import typing as t

import pytest

from flask_buffalo_session.codec import Record
from flask_buffalo_session.errors import SessionTypeError
from flask_buffalo_session.merging import MISSING
from flask_buffalo_session.native.codec import NativeCodec
from flask_buffalo_session.tracking import Change, Changes, Tracker, Values

CODEC = NativeCodec()


def raw(value: object) -> bytes:
    return CODEC.encode(value, "")


def stored(**values: object) -> Values:
    return {name: raw(value) for name, value in values.items()}


def tracking(*whole_names: str, **values: object) -> Tracker:
    """Return a tracker of a session that holds these values."""
    record = Record(0, b"", stored(**values))
    return Tracker(CODEC, record, whole_names, stamped=True)


def saved_over(tracker: Tracker, **theirs: object) -> dict[t.Any, t.Any]:
    """Return what a save stores after another request has stored `theirs`."""
    changes = tracker.changes()
    found = stored(**theirs)
    tracker.follow(Record(0, b"", found, 0, tracker.stamps({}, found)))
    values = save(tracker, changes)
    return {name: CODEC.decode(data, name) for name, data in values.items()}


def save(tracker: Tracker, changes: Changes) -> Values:
    """Save these changes, and return the values that are stored then."""
    values = tracker.applied(changes)
    tracker.saved(changes, Record(0, b"", values, 0, tracker.stamps(changes, values)))
    return values


def test_reading_is_no_change() -> None:
    """Setting an equal value and deleting a new value are no changes either."""
    tracker = tracking(a=1, cart=[1])
    assert (tracker.get("a"), tracker.get("cart"), tracker.get("b")) == (
        *(1, [1]),
        MISSING,
    )
    tracker.set("a", 1)
    tracker.set("b", 2)
    tracker.set("b", MISSING)
    assert tracker.changes() == {}


def test_a_change_has_the_bytes_before_and_now() -> None:
    """None stands for no value. Edits inside a loaded object count, too."""
    tracker = tracking(a=1, cart=[1], gone=0)
    tracker.set("a", 2)
    tracker.get("cart").append(2)
    tracker.set("gone", MISSING)
    tracker.set("new", None)
    assert tracker.changes() == {
        "a": Change(raw(1), raw(2)),
        "cart": Change(raw([1]), raw([1, 2])),
        "gone": Change(raw(0), None),
        "new": Change(None, raw(None)),
    }
    assert tracker.change("a") == {"a": Change(raw(1), raw(2))}
    assert tracker.change("missing") == {}


def test_a_value_that_cannot_be_stored_is_named() -> None:
    """Both when one change is requested and when all are."""
    tracker = tracking()
    tracker.set("cart", object())
    with pytest.raises(SessionTypeError, match=r"^session\['cart'\]"):
        tracker.change("cart")
    with pytest.raises(SessionTypeError, match=r"^session\['cart'\]"):
        tracker.changes()


def test_the_names_with_a_value_are_listed() -> None:
    """The stored names come first, in their order."""
    tracker = tracking(a=1, b=2, c=3)
    tracker.set("new", 1)
    tracker.set("b", MISSING)
    tracker.set("a", 5)
    assert tracker.names() == ["a", "c", "new"]
    assert [tracker.has(name) for name in ("a", "b", "new", "d")] == [
        *(True, False),
        *(True, False),
    ]


def test_a_value_is_decoded_when_it_is_read() -> None:
    """A damaged value raises an error only then."""
    tracker = Tracker(CODEC, Record(0, b"", {"a": b"\xc1", "b": raw(1)}))
    assert tracker.has("a")
    assert tracker.names() == ["a", "b"]
    assert tracker.get("b") == 1
    with pytest.raises(SessionTypeError, match="damaged"):
        tracker.get("a")
    assert tracker.changes() == {}


def test_after_a_save_there_are_no_changes() -> None:
    """An object that the view holds is still tracked."""
    tracker = tracking(cart=[1])
    cart = tracker.get("cart")
    cart.append(2)
    changes = tracker.changes()
    save(tracker, changes)
    assert tracker.changes() == {}
    cart.append(3)
    assert tracker.changes() == {"cart": Change(raw([1, 2]), raw([1, 2, 3]))}


def test_names_that_did_not_change_keep_the_stored_value() -> None:
    """Another request may have changed, added or deleted them."""
    tracker = tracking(a=1, b=1, gone=1)
    assert tracker.get("b") == 1
    tracker.set("a", 2)
    assert saved_over(tracker, a=1, b=5, new=6) == {"a": 2, "b": 5, "new": 6}


def test_an_append_after_a_merging_save_keeps_both_appends() -> None:
    """The stored list is then longer than the view's object."""
    tracker = tracking(log=[1])
    log = tracker.get("log")
    log.append(2)
    assert saved_over(tracker, log=[1, "theirs"]) == {"log": [1, "theirs", 2]}
    log.append(3)
    changes = tracker.changes()
    assert tracker.applied(changes)["log"] == raw([1, "theirs", 2, 3])


class TestWholeValues:
    """Dicts that a request assigned replace the stored dict. Dicts that it edited are
    merged.
    """

    def test_the_later_of_two_assigned_dicts_wins(self) -> None:
        """The result is never a mixture of two accounts."""
        tracker = tracking(user={"id": 1})
        tracker.set("user", {"id": 2, "name": "bob"})
        found = saved_over(tracker, user={"id": 3, "role": "admin"})
        assert found == {"user": {"id": 2, "name": "bob"}}

    def test_an_edit_inside_is_merged_by_key(self) -> None:
        """Both edits survive."""
        tracker = tracking(cart={"a": 1})
        tracker.get("cart")["b"] = 2
        assert saved_over(tracker, cart={"a": 1, "c": 3}) == {
            "cart": {"a": 1, "c": 3, "b": 2}
        }

    def test_assigning_the_same_object_again_is_an_edit(self) -> None:
        """Flask's users write it that way."""
        tracker = tracking(cart={"a": 1})
        cart = tracker.get("cart")
        cart["b"] = 2
        tracker.set("cart", cart)
        assert saved_over(tracker, cart={"a": 1, "c": 3}) == {
            "cart": {"a": 1, "c": 3, "b": 2}
        }

    @pytest.mark.parametrize("empty", [{}, set()], ids=["dict", "set"])
    def test_filling_an_assigned_empty_dict_is_an_edit(self, empty: t.Any) -> None:
        """For example ``session.setdefault("cart", {})[sku] = 1``."""
        tracker = tracking()
        tracker.set("cart", empty)
        theirs: t.Any
        both: t.Any
        if isinstance(empty, dict):
            empty["a"], theirs, both = 1, {"b": 2}, {"a": 1, "b": 2}
        else:
            empty.add("a")
            theirs, both = {"b"}, {"a", "b"}
        assert saved_over(tracker, cart=theirs) == {"cart": both}

    @pytest.mark.parametrize("value", [{"id": 1}, {1}], ids=["dict", "set"])
    def test_an_edit_inside_a_deleted_value_is_dropped(self, value: t.Any) -> None:
        """A logout deleted it."""
        tracker = tracking(user=value)
        user = tracker.get("user")
        user.update({"seen": 2} if isinstance(user, dict) else {2})
        assert saved_over(tracker) == {}

    @pytest.mark.parametrize("value", [{"id": 2}, {2}, 2], ids=["dict", "set", "int"])
    def test_a_value_assigned_after_a_deletion_stays(self, value: object) -> None:
        """It is saved later."""
        tracker = tracking(user={"id": 1})
        tracker.set("user", value)
        assert saved_over(tracker) == {"user": value}

    def test_an_assigned_list_may_still_be_an_append(self) -> None:
        """Its first elements are the loaded list, so the rest is appended."""
        tracker = tracking(log=[1])
        tracker.set("log", [*tracker.get("log"), 2])
        assert saved_over(tracker, log=[1, "theirs"]) == {"log": [1, "theirs", 2]}

    def test_after_a_save_an_assigned_dict_is_edited(self) -> None:
        """The rule is about one save."""
        tracker = tracking()
        cart = {"a": 1}
        tracker.set("cart", cart)
        changes = tracker.changes()
        save(tracker, changes)
        cart["b"] = 2
        assert saved_over(tracker, cart={"a": 1, "c": 3}) == {
            "cart": {"a": 1, "c": 3, "b": 2}
        }


class TestReplaced:
    """An edit inside a dict or a set that another request replaced is dropped."""

    @pytest.mark.parametrize(
        ("before", "replacement"),
        [({"id": 1, "role": "user"}, {"id": 2, "role": "user"}), ({1, 2}, {2, 3})],
        ids=["dict", "set"],
    )
    def test_a_replacement_is_not_merged_with_an_edit(
        self, before: t.Any, replacement: object
    ) -> None:
        """Even if both values have a part in common."""
        editing, assigning = tracking(user=before), tracking(user=before)
        user = editing.get("user")
        user.update({"seen": 1} if isinstance(user, dict) else {9})
        assigning.set("user", replacement)
        changes = assigning.changes()
        values = save(assigning, changes)
        stamps = assigning.stamps({}, values)
        assert list(stamps) == ["user"]
        edits = editing.changes()
        editing.follow(Record(0, b"", values, 0, stamps))
        assert editing.applied(edits) == {"user": raw(replacement)}

    def test_an_edit_keeps_the_stamp(self) -> None:
        """So two edits after an assignment are merged."""
        stamps: dict[t.Hashable, bytes] = {"cart": b"1234"}
        record = Record(0, b"", stored(cart={"a": 1}), 0, stamps)
        tracker = Tracker(CODEC, record, stamped=True)
        tracker.get("cart")["b"] = 2
        changes = tracker.changes()
        tracker.follow(Record(0, b"", stored(cart={"a": 1, "c": 3}), 0, stamps))
        values = tracker.applied(changes)
        assert CODEC.decode(values["cart"], "") == {"a": 1, "c": 3, "b": 2}
        assert tracker.stamps(changes, values) == stamps

    def test_each_assignment_has_a_stamp_of_its_own(self) -> None:
        """A deleted value has none, nor has a value that cannot be edited."""
        tracker = tracking(a={}, b=1)
        found: set[bytes] = set()
        for _ in range(2):
            tracker.set("a", {"x": len(found)})
            tracker.set("b", len(found) + 5)
            changes = tracker.changes()
            values = save(tracker, changes)
            stamps = tracker.stamps({}, values)
            assert list(stamps) == ["a"]
            found.add(stamps["a"])
        assert len(found) == 2
        tracker.set("a", MISSING)
        changes = tracker.changes()
        assert tracker.stamps(changes, tracker.applied(changes)) == {}

    def test_only_a_name_that_is_a_str_has_a_stamp(self) -> None:
        """Dicts under other names are merged by key."""
        for name, kept in (("a", 1), (1, 0)):
            tracker = Tracker(CODEC, Record(0, b"", {}), stamped=True)
            tracker.set(name, {"x": 1})
            changes = tracker.changes()
            assert len(tracker.stamps(changes, tracker.applied(changes))) == kept


class TestWholeNames:
    """Authentication names are never merged."""

    def test_the_later_save_wins(self) -> None:
        """As a whole, also where both edited a dict or appended to a list."""
        for mine, theirs in (({"id": 1, "a": 1}, {"id": 1, "b": 1}), ([1, 2], [1, 3])):
            tracker = tracking("user", user={"id": 1} if type(mine) is dict else [1])
            user = tracker.get("user")
            user.update(mine) if type(mine) is dict else user.append(2)
            assert saved_over(tracker, user=theirs) == {"user": mine}

    def test_an_edit_inside_does_not_bring_it_back(self) -> None:
        """Another request logged out."""
        for value in ({"id": 1}, [1]):
            tracker = tracking("user", user=value)
            user = tracker.get("user")
            user.update(seen=2) if isinstance(user, dict) else user.append(2)
            assert saved_over(tracker) == {}

    def test_a_value_that_is_assigned_stays(self) -> None:
        """That is a login."""
        for value in (2, [2], {"id": 2}):
            tracker = tracking("user", user=1)
            tracker.set("user", value)
            assert saved_over(tracker) == {"user": value}


def test_a_value_that_cannot_be_decoded_is_not_merged() -> None:
    """Then the later save wins."""
    tracker = tracking(a=[1])
    tracker.get("a").append(2)
    changes = tracker.changes()
    tracker.follow(Record(0, b"", {"a": b"\xc1"}))
    assert tracker.applied(changes) == {"a": raw([1, 2])}


def test_forgetting_a_value_follows_the_store() -> None:
    """Its object is not tracked any more."""
    tracker = tracking(a=[1], b=2)
    tracker.get("a").append(2)
    tracker.forget("a", Record(0, b"", stored(b=2)))
    assert tracker.get("a") is MISSING
    assert tracker.changes() == {}
