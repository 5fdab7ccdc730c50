"""Test the session without an application: its methods, and what counts as changed."""

from __future__ import annotations

import datetime as dt
import enum
import typing as t
from dataclasses import dataclass, field
from types import MappingProxyType
from uuid import UUID

import pytest
from flask.sessions import SecureCookieSession
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_buffalo_session import CookieStore, MemoryStore, Store, register_type
from flask_buffalo_session.backends.base import OWNER_NAME
from flask_buffalo_session.codec import Record
from flask_buffalo_session.errors import (
    SessionClosedError,
    SessionStoreError,
    SessionTypeError,
)
from flask_buffalo_session.registry import registry
from flask_buffalo_session.sessions import Session
from flask_buffalo_session.stores.base import storage_key
from flask_buffalo_session.tombstones import is_tombstone
from tests.conftest import Clock, Counting, Desk

pytestmark = pytest.mark.usefixtures("records")


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(Counting(store))


def calls(desk: Desk) -> list[str]:
    """Return the store operations since the last call of this function."""
    assert isinstance(desk.store, Counting)
    made = desk.store.calls[:]
    desk.store.calls.clear()
    return made


class TestMethods:
    def test_get_returns_the_value_or_the_default(self, desk: Desk) -> None:
        """None is a value. The default is for missing names."""
        session = desk.session(desk.stored(a=1, nothing=None))
        assert session.get("a") == 1
        assert session.get("nothing", "default") is None
        assert session.get("missing") is None
        assert session.get("missing", 7) == 7

    def test_set_is_seen_at_once_and_after_saving(self, desk: Desk) -> None:
        """``session.set(name, value)`` and ``session[name] = value`` do the same."""
        session = desk.session()
        session.set("a", 1)
        session["b"] = 2
        assert dict(session) == {"a": 1, "b": 2}
        session.save()
        assert session.cookie
        assert desk.values(session.cookie) == {"a": 1, "b": 2}

    def test_get_once_deletes_the_value_it_returns(self, desk: Desk) -> None:
        """The next request does not find the value. The other names stay."""
        cookie = desk.stored(flash="Saved", a=1)
        session = desk.session(cookie)
        assert session.get_once("flash") == "Saved"
        assert "flash" not in session
        assert session.get_once("flash", "none") == "none"
        session.save()
        assert desk.values(session.cookie or cookie) == {"a": 1}

    def test_get_once_of_a_value_set_in_this_request(self, desk: Desk) -> None:
        """The value need not have been saved before."""
        session = desk.session(desk.stored(a=1))
        session.set("a", 2)
        assert session.get_once("a") == 2
        assert "a" not in session

    def test_get_once_of_a_value_edited_in_this_request(self, desk: Desk) -> None:
        """It returns the edited value."""
        session = desk.session(desk.stored(a=[1]))
        session["a"].append(2)
        assert session.get_once("a") == [1, 2]

    def test_get_once_of_a_value_read_before(self, desk: Desk) -> None:
        """The value is removed from this session, too."""
        session = desk.session(desk.stored(a=[1]))
        value = session["a"]
        assert session.get_once("a") == [1]
        assert "a" not in session
        value.append(2)
        assert session.get_once("a") is None

    def test_get_once_of_a_missing_name_saves_nothing(self, desk: Desk) -> None:
        """It does not write to the store."""
        session = desk.session(desk.stored(a=1))
        calls(desk)
        assert session.get_once("flash") is None
        session.save()
        assert calls(desk) == ["load"]

    def test_delete_of_a_missing_name_does_nothing(self, desk: Desk) -> None:
        """``del`` raises a KeyError, as it does for any mapping."""
        session = desk.session(desk.stored(a=1))
        session.delete("missing")
        assert not session.modified
        with pytest.raises(KeyError, match=r"^'missing'$"):
            del session["missing"]
        session.delete("a")
        assert session.modified
        assert "a" not in session

    def test_a_session_is_a_mutable_mapping(self, desk: Desk) -> None:
        """The methods of a dict work here."""
        session = desk.session(desk.stored(a=1, b=2))
        assert len(session) == 2
        assert list(session) == ["a", "b"]
        assert "a" in session
        assert "c" not in session
        assert session.pop("a") == 1
        assert session.pop("a", 5) == 5
        assert session.setdefault("c", []) == []
        session.update(d=4)
        assert session == {"b": 2, "c": [], "d": 4}
        assert session.popitem()
        with pytest.raises(KeyError, match=r"^'missing'$"):
            session["missing"]

    def test_a_copy_is_a_dict(self, desk: Desk) -> None:
        """It is shallow. Setting a name in it does not change the session."""
        session = desk.session(desk.stored(a=1, cart=[]))
        copy = session.copy()
        assert type(copy) is dict
        assert copy == {"a": 1, "cart": []}
        copy["a"] = 2
        assert not session.modified
        copy["cart"].append(1)
        assert session["cart"] == [1]

    def test_the_union_with_a_mapping_is_a_dict(self, desk: Desk) -> None:
        """The right side wins, and names may be other than str."""
        session = desk.session(desk.stored(a=1, b=2))
        for other in ({"b": 3, 7: 4}, MappingProxyType({"b": 3, 7: 4})):
            assert session | other == {"a": 1, "b": 3, 7: 4}
            assert other | session == {"b": 2, 7: 4, "a": 1}
            assert type(session | other) is type(other | session) is dict
        assert session | session == {"a": 1, "b": 2}
        assert not session.modified
        wrong: t.Any
        for wrong in ([("a", 1)], None):
            with pytest.raises(TypeError, match="unsupported operand"):
                session | wrong
            with pytest.raises(TypeError, match="unsupported operand"):
                wrong | session

    @pytest.mark.parametrize("other", [{"b": 3}, [("b", 3)]])
    def test_an_update_by_an_operator_is_saved(self, desk: Desk, other: t.Any) -> None:
        """As that of a dict, it takes pairs, too."""
        before = session = desk.session(desk.stored(a=1, b=2))
        session |= other
        assert session is before
        session.save()
        cookie = session.cookie or t.cast(str, session.source)
        assert desk.values(cookie) == {"a": 1, "b": 3}

    def test_the_order_is_that_of_a_dict(self, desk: Desk) -> None:
        """The names that were stored come first. ``popitem`` takes the last one."""
        session = desk.session(desk.stored(a=1))
        session["b"] = [2]
        assert [*session] == ["a", "b"]
        assert [*reversed(session)] == ["b", "a"]
        assert session.popitem() == ("b", [2])
        assert session.popitem() == ("a", 1)
        with pytest.raises(KeyError, match="the session is empty"):
            session.popitem()

    def test_the_methods_of_flasks_session_exist(self) -> None:
        """All of them, except for constructors and those of the dict's own type."""
        flasks = {name for name in dir(SecureCookieSession) if name[0] != "_"}
        assert flasks - set(dir(Session)) == {"fromkeys", "on_update"}

    def test_names_keep_their_types(self, desk: Desk) -> None:
        """``1`` and ``"1"`` are different names."""
        names = [1, "1", 2.5, None, b"x", (1, "a"), UUID(int=5), dt.date(2030, 1, 2)]
        session = desk.session()
        for number, name in enumerate(names):
            session[name] = number
        session.save()
        assert session.cookie
        found = desk.session(session.cookie)
        assert list(found) == names
        assert [type(name) for name in found] == [type(name) for name in names]
        assert [found[name] for name in names] == list(range(len(names)))

    def test_an_unhashable_name_is_a_type_error(self, desk: Desk) -> None:
        """As in a dict, for reading, for writing and for ``in``."""
        session = desk.session()
        unhashable: t.Any = ["x"]
        for use in (session.__getitem__, session.__contains__, session.get):
            with pytest.raises(TypeError):
                use(unhashable)
        with pytest.raises(TypeError):
            session[unhashable] = 1

    def test_a_name_that_cannot_be_stored_is_an_error_on_saving(
        self, desk: Desk
    ) -> None:
        """The message shows the name."""
        session = desk.session()
        session[object] = 1
        with pytest.raises(SessionTypeError, match="class 'object'"):
            session.save()

    def test_the_representation_shows_no_values(self, desk: Desk) -> None:
        """Representations end up in logs. ``repr`` does not load the session either."""
        session = desk.session(desk.stored(a="secret value"))
        calls(desk)
        assert "not loaded" in repr(session)
        assert calls(desk) == []
        session.get("a")
        assert repr(session) == "<Session ['a']>"
        session[10**5000] = 1
        assert repr(session) == "<Session ['a', <int>]>"

    def test_permanent_is_stored_as_flask_stores_it(self, desk: Desk) -> None:
        """The value is stored under Flask's own name."""
        session = desk.session()
        assert session.permanent is False
        session.permanent = True
        session.save()
        assert session.cookie
        assert desk.session(session.cookie).permanent is True
        assert desk.values(session.cookie) == {"_permanent": True}

    def test_created_at_never_changes(self, desk: Desk, clock: Clock) -> None:
        """It is an aware datetime. Neither saving nor a new id changes it."""
        cookie = desk.stored(a=1)
        began = dt.datetime.fromtimestamp(int(clock.now), dt.UTC)
        clock.tick(100)
        session = desk.session(cookie)
        assert session.created_at == began
        session.regenerate()
        session.save()
        assert desk.session(session.cookie).created_at == began

    def test_new_is_true_in_the_first_request_only(self, desk: Desk) -> None:
        """A session that was loaded from a store is not new."""
        session = desk.session()
        assert session.new
        session["a"] = 1
        session.save()
        assert not desk.session(session.cookie).new


class TestCost:
    def test_an_unused_session_does_not_call_the_store(self, desk: Desk) -> None:
        """Saving an unused session does not call the store either."""
        session = desk.session(desk.stored(a=1))
        calls(desk)
        session.save()
        session.save_once()
        assert calls(desk) == []
        assert not session.accessed
        assert not session.modified

    def test_reading_loads_once(self, desk: Desk) -> None:
        """Several reads in one request need one load."""
        session = desk.session(desk.stored(a=1, b=[1]))
        calls(desk)
        for _ in range(3):
            session.get("a")
            session.get("b")
            list(session.items())
        session.save()
        assert calls(desk) == ["load"]
        assert session.cookie is None

    def test_writing_loads_and_saves(self, desk: Desk) -> None:
        """A changed session needs two store operations, a new one needs one."""
        session = desk.session()
        session["a"] = 1
        session.save()
        assert calls(desk) == ["save"]
        session = desk.session(session.cookie)
        session["a"] = 2
        session.save()
        assert calls(desk) == ["load", "save"]

    def test_a_value_that_is_not_read_is_not_decoded(self, desk: Desk) -> None:
        """The codec decodes each value separately."""
        cookie = desk.stored(a=1, b=2)
        decoded: list[object] = []
        decode = desk.codec.decode

        def spy(data: bytes, name: t.Hashable) -> object:
            decoded.append(name)
            return decode(data, name)

        desk.codec.decode = spy  # type: ignore[method-assign]
        session = desk.session(cookie)
        assert "b" in session
        assert len(session) == 2
        assert session["a"] == 1
        assert decoded == ["a"]


@register_type(name="tests.Basket")
@dataclass
class Basket:
    items: list[str] = field(default_factory=list)


class Colour(enum.Enum):
    RED = 1


class TestChanges:
    @pytest.mark.parametrize(
        "value",
        [
            [],
            {},
            {"a": {"b": [1]}},
            {1, 2, 3},
            (1, [2]),
            Basket(["x"]),
            [float("nan")],
            {1: "a", (2,): "b"},
            [b"bytes"],
        ],
        ids=repr,
    )
    def test_reading_a_mutable_value_changes_nothing(
        self, desk: Desk, value: object
    ) -> None:
        """A list that was read and not edited is not saved."""
        session = desk.session(desk.stored(v=value))
        calls(desk)
        repr(session["v"])
        assert not session.modified
        session.save()
        assert calls(desk) == ["load"]
        assert session.cookie is None

    def test_edits_inside_values_are_saved(self, desk: Desk) -> None:
        """In lists, dicts, sets and registered objects, at any depth."""
        cookie = desk.stored(
            cart=[{"sku": "x", "tags": ["a"]}], seen={1}, basket=Basket(), t=([],)
        )
        session = desk.session(cookie)
        session["cart"][0]["tags"].append("b")
        session["seen"].add(2)
        session["basket"].items.append("y")
        session["t"][0].append(1)
        assert session.modified
        session.save()
        assert desk.values(session.cookie or cookie) == {
            "cart": [{"sku": "x", "tags": ["a", "b"]}],
            "seen": {1, 2},
            "basket": Basket(["y"]),
            "t": ([1],),
        }

    def test_edits_through_setdefault_and_views_are_saved(self, desk: Desk) -> None:
        """Every way to get a value counts."""
        cookie = desk.stored(a=[], b=[])
        session = desk.session(cookie)
        session.setdefault("a", []).append(1)
        for value in session.values():
            value.append(2)
        session.setdefault("c", []).append(3)
        session.save()
        assert desk.values(session.cookie or cookie) == {
            "a": [1, 2],
            "b": [2],
            "c": [3],
        }

    def test_an_edit_after_setting_is_saved(self, desk: Desk) -> None:
        """The save stores the value as it is at the end."""
        session = desk.session()
        cart: list[int] = []
        session["cart"] = cart
        cart.append(1)
        session.save()
        cart.append(2)
        assert session.modified
        session.save()
        assert desk.values(session.cookie or "") == {"cart": [1, 2]}

    def test_setting_an_equal_value_saves_nothing(self, desk: Desk) -> None:
        """The session compares encoded values with the loaded ones."""
        session = desk.session(desk.stored(a=1, cart=[1]))
        session["a"] = 1
        session["cart"] = [1]
        assert not session.modified

    @pytest.mark.parametrize(
        ("old", "new"),
        [(1, True), (1, 1.0), (0.0, -0.0), ("a", b"a"), ([1], (1,)), ({1}, [1])],
    )
    def test_an_equal_value_of_another_type_is_a_change(
        self, desk: Desk, old: object, new: object
    ) -> None:
        """Stored values keep their types, so 1 and True differ."""
        cookie = desk.stored(a=old)
        session = desk.session(cookie)
        session["a"] = new
        assert session.modified
        session.save()
        found = desk.values(session.cookie or cookie)["a"]
        assert (repr(found), type(found)) == (repr(new), type(new))

    def test_undoing_a_change_saves_nothing(self, desk: Desk) -> None:
        """By deleting and setting again, or by appending and removing."""
        session = desk.session(desk.stored(a=1, cart=[1]))
        del session["a"]
        session["a"] = 1
        session["cart"].append(2)
        session["cart"].pop()
        assert not session.modified
        assert list(session) == ["a", "cart"]

    def test_modified_can_be_set(self, desk: Desk) -> None:
        """As in Flask: the session is saved once although nothing has changed."""
        session = desk.session(desk.stored(a=1))
        session.modified = True
        assert session.modified
        calls(desk)
        session.save()
        assert calls(desk) == ["save"]
        assert not session.modified

    def test_modified_can_be_reset(self, desk: Desk) -> None:
        """Resetting it does not hide real changes."""
        session = desk.session(desk.stored(a=1))
        session.modified = True
        session.modified = False
        assert not session.modified
        session["a"] = 2
        session.modified = False
        assert session.modified

    def test_setting_modified_sends_a_cookie_sessions_cookie_again(self) -> None:
        """The cookie is where such a session is saved."""
        desk = Desk(CookieStore())
        cookie = desk.stored(a=1)
        session = desk.session(cookie)
        session.modified = True
        session.save()
        assert session.cookie == cookie

    def test_setting_modified_on_an_empty_new_session_saves_nothing(
        self, desk: Desk
    ) -> None:
        """It needs no record."""
        session = desk.session()
        session.modified = True
        session.save()
        assert calls(desk) == []
        assert session.cookie is None

    def test_a_session_emptied_by_deletions_keeps_its_record(self, desk: Desk) -> None:
        """Another request may be writing to the record. A cookie session has no record:
        its cookie is removed.
        """
        cookie = desk.stored(a=1)
        session = desk.session(cookie)
        del session["a"]
        session.save()
        if desk.stateless:
            assert session.cookie == ""
        else:
            assert session.cookie is None
            assert not desk.session(cookie).new

    def test_setting_and_deleting_in_a_new_session_saves_nothing(
        self, desk: Desk
    ) -> None:
        """A new session that ends up empty is not saved."""
        session = desk.session()
        session["a"] = 1
        del session["a"]
        session.clear()
        session.save()
        assert calls(desk) == []
        assert session.cookie is None


class TestSaving:
    def test_saving_twice_saves_once(self, desk: Desk) -> None:
        """The second save finds no changes."""
        session = desk.session()
        session["a"] = 1
        session.save()
        session.save()
        assert calls(desk) == ["save"]

    def test_a_change_after_saving_is_saved_too(self, desk: Desk) -> None:
        """The session still tracks changes after an explicit save."""
        cookie = desk.stored(cart=[1])
        session = desk.session(cookie)
        cart = session["cart"]
        cart.append(2)
        session.save()
        calls(desk)
        cart.append(3)
        session["b"] = 1
        session.save()
        assert calls(desk) == ["save"]
        assert desk.values(session.cookie or cookie) == {"cart": [1, 2, 3], "b": 1}

    def test_a_value_that_cannot_be_stored_prevents_the_save(self, desk: Desk) -> None:
        """The message names the place and the fix. The stored record stays."""
        cookie = desk.stored(a=1)
        session = desk.session(cookie)
        session["a"] = 2
        session["b"] = [{"when": Colour.RED}]
        calls(desk)
        with pytest.raises(SessionTypeError) as caught:
            session.save()
        assert caught.value.path == "session['b'][0]['when']"
        assert "register_type(Colour)" in str(caught.value)
        assert calls(desk) == []
        assert session.cookie is None
        assert desk.values(cookie) == {"a": 1}
        del session["b"]
        session.save()
        assert desk.values(session.cookie or cookie) == {"a": 2}

    def test_a_failed_save_keeps_the_stored_record(self, desk: Desk) -> None:
        """The error is raised, and the save can be repeated."""
        assert isinstance(desk.store, Counting)
        cookie = desk.stored(a=1)
        session = desk.session(cookie)
        session["a"] = 2
        desk.store.failing["save"] = SessionStoreError("memory", "full")
        with pytest.raises(SessionStoreError, match="full"):
            session.save()
        assert session.cookie is None
        assert desk.values(cookie) == {"a": 1}
        desk.store.failing.clear()
        session.save()
        assert desk.values(session.cookie or cookie) == {"a": 2}

    def test_a_store_that_fails_on_loading_is_not_an_empty_session(
        self, desk: Desk
    ) -> None:
        """Every use raises while the store is away. Afterwards the session can be
        loaded.
        """
        assert isinstance(desk.store, Counting)
        cookie = desk.stored(a=1)
        session = desk.session(cookie)
        desk.store.failing["load"] = SessionStoreError("memory", "away")
        uses = (
            lambda: session.get("a"),
            lambda: session.set("b", 1),
            lambda: "a" in session,
            session.clear,
            session.regenerate,
            lambda: session.permanent,
        )
        for use in uses:
            with pytest.raises(SessionStoreError):
                use()
        session.save()
        desk.store.failing.clear()
        session.set("b", 2)
        session.save()
        assert desk.values(session.cookie or cookie) == {"a": 1, "b": 2}

    def test_the_automatic_save_does_not_repeat_a_failure(self, desk: Desk) -> None:
        """The view has seen the error and has changed nothing since."""
        assert isinstance(desk.store, Counting)
        session = desk.session(desk.stored(a=1))
        session["a"] = 2
        desk.store.failing["save"] = SessionStoreError("memory", "full")
        with pytest.raises(SessionStoreError):
            session.save()
        calls(desk)
        session.save_once()
        assert calls(desk) == []
        assert session.cookie is None

    def test_the_automatic_save_repeats_a_failed_save_after_a_change(
        self, desk: Desk
    ) -> None:
        """The view may have fixed the value that could not be stored."""
        cookie = desk.stored(a=1)
        session = desk.session(cookie)
        session["b"] = object()
        with pytest.raises(SessionTypeError):
            session.save()
        session["b"] = 2
        session.save_once()
        assert desk.values(session.cookie or cookie) == {"a": 1, "b": 2}

    def test_the_automatic_save_raises_for_another_problem(self, desk: Desk) -> None:
        """The view has seen the first error, but not the error in the new value."""
        session = desk.session(desk.stored(a=1))
        session["b"] = object()
        with pytest.raises(SessionTypeError):
            session.save()
        session["b"] = [object()]
        with pytest.raises(SessionTypeError, match=r"^session\['b'\]\[0\]"):
            session.save_once()

    def test_the_cookie_of_an_explicit_save_survives_a_later_failure(
        self, desk: Desk
    ) -> None:
        """Without its cookie nobody could find the saved session again."""
        session = desk.session()
        session["a"] = 1
        session.save()
        cookie = session.cookie
        assert cookie
        session["b"] = object()
        with pytest.raises(SessionTypeError):
            session.save_once()
        session.abandon()
        assert session.cookie == cookie
        assert desk.values(cookie) == {"a": 1}

    def test_values_set_after_clear_set_no_cookie_until_the_old_session_ended(
        self, server_store: Store
    ) -> None:
        """The cookie is set only after the whole save has succeeded."""
        store = Counting(server_store)
        desk = Desk(store)
        cookie = desk.stored(a=1)
        session = desk.session(cookie)
        session.clear()
        session["b"] = 2
        end = desk.backend.end

        def failing(ending: object) -> bool:
            raise SessionStoreError("memory", "away")

        desk.backend.end = failing  # type: ignore[method-assign]
        with pytest.raises(SessionStoreError):
            session.save()
        assert session.cookie is None
        assert desk.values(cookie) == {"a": 1}
        desk.backend.end = end  # type: ignore[method-assign]
        session.save()
        assert session.cookie
        assert desk.values(session.cookie) == {"b": 2}
        assert desk.values(cookie) == {}

    def test_changes_after_the_response_raise(self, desk: Desk) -> None:
        """Every kind of change raises. Reading still works."""
        session = desk.session(desk.stored(a=1, cart=[]))
        session.get("a")
        session.closed = True
        changes = (
            lambda: session.set("a", 2),
            lambda: session.delete("a"),
            lambda: session.get_once("a"),
            lambda: session.pop("a"),
            session.clear,
            session.destroy,
            session.regenerate,
            lambda: setattr(session, "modified", True),
            lambda: setattr(session, "permanent", True),
            lambda: session.flash.add("info", "x"),
        )
        for change in changes:
            with pytest.raises(SessionClosedError):
                change()
        assert dict(session) == {"a": 1, "cart": []}
        session.save()
        session.check_saved()
        session["cart"].append(1)
        with pytest.raises(SessionClosedError):
            session.save()
        with pytest.raises(SessionClosedError):
            session.check_saved()


class TestDetached:
    """After the response, a test may read and change the session; nothing is saved."""

    @pytest.mark.parametrize("used", [True, False])
    def test_it_reads_and_changes_and_saves_nothing(
        self, desk: Desk, used: bool
    ) -> None:
        """The store is asked for the record once, at the first use."""
        cookie = desk.stored(a=1, cart=[], once="x", _flash_={"info": ["m"]})
        calls(desk)
        emitted = desk.emitted[:]
        session = desk.session(cookie)
        if used:
            session.get("a")
        session.closed = True
        session.detach()
        assert session["a"] == 1
        session["a"] = 2
        session["cart"].append(1)
        assert session.get_once("once") == "x"
        assert session.get_once("once") is None
        assert session.flash.take() == {"info": ["m"]}
        session.permanent = True
        session.regenerate()
        session.save()
        session.save_once()
        session.check_saved()
        expected = {"a": 2, "cart": [1], "_permanent": True}
        assert session == expected
        session.clear()
        session["b"] = 1
        session.save()
        assert session == {"b": 1}
        assert session.cookie is None
        assert calls(desk) == ["load"]
        assert desk.emitted == emitted
        assert desk.values(cookie)["a"] == 1

    def test_it_keeps_its_id(self, server_store: Store) -> None:
        """So a test can look at the id of the session that the view has saved."""
        desk = Desk(server_store)
        session = desk.session()
        session["a"] = 1
        session.save()
        saved = session.id
        session.closed = True
        session.detach()
        session["a"] = 2
        assert saved is not None
        assert session.id == session.sid == saved


class TestUnknownTypes:
    def test_a_value_of_an_unknown_type_affects_no_other_value(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Saving keeps its bytes. It can be deleted."""
        cookie = desk.stored(basket=Basket(["x"]), a=1)
        entry = registry.by_name["tests.Basket"]
        monkeypatch.delitem(registry.by_name, "tests.Basket")
        session = desk.session(cookie)
        assert session["a"] == 1
        assert "basket" in session
        with pytest.raises(SessionTypeError, match=r"tests\.Basket"):
            session["basket"]
        with pytest.raises(SessionTypeError):
            session.get_once("basket")
        session["a"] = 2
        session.save()
        cookie = session.cookie or cookie
        monkeypatch.setitem(registry.by_name, "tests.Basket", entry)
        assert desk.values(cookie) == {"basket": Basket(["x"]), "a": 2}
        monkeypatch.delitem(registry.by_name, "tests.Basket")
        session = desk.session(cookie)
        session.delete("basket")
        session.save()
        assert desk.values(session.cookie or cookie) == {"a": 2}


class TestIds:
    def test_the_id_is_the_hash_that_a_server_side_store_uses(
        self, server_store: Store
    ) -> None:
        """The id is safe to show, as the cookie carries another value."""
        desk = Desk(server_store)
        session = desk.session()
        assert session.id is None
        session["a"] = 1
        assert session.id is None
        session.save()
        assert session.cookie
        assert session.id == storage_key(session.cookie)
        assert desk.session(session.cookie).id == session.id

    def test_a_cookie_session_has_no_id(self, desk: Desk) -> None:
        """The server keeps no record that an id could name."""
        session = desk.session(desk.stored(a=1))
        assert (session.id is None) == desk.stateless

    def test_an_unknown_id_is_not_adopted(self, server_store: Store) -> None:
        """This prevents session fixation: the first write makes an id of its own."""
        desk = Desk(server_store)
        session = desk.session("chosen-by-an-attacker")
        assert session.new
        assert dict(session) == {}
        session["a"] = 1
        session.save()
        assert session.cookie not in (None, "", "chosen-by-an-attacker")
        assert server_store.load("chosen-by-an-attacker") is None
        assert ("rejected", "unknown") in desk.emitted

    def test_regenerate_moves_the_values_to_a_new_id(self, desk: Desk) -> None:
        """After the save, the old cookie is rejected on a server-side store."""
        cookie = desk.stored(a=1)
        session = desk.session(cookie)
        session.regenerate()
        assert session.modified
        session.save()
        assert session.cookie
        assert session.cookie != cookie
        assert desk.values(session.cookie) == {"a": 1}
        if not desk.stateless:
            assert desk.values(cookie) == {}

    def test_regenerate_changes_the_id_once(self, desk: Desk) -> None:
        """A later save in the same request keeps the new id."""
        session = desk.session(desk.stored(a=1))
        session.regenerate()
        session.save()
        cookie = session.cookie
        session.save()
        assert session.cookie == cookie
        if not desk.stateless:
            session["b"] = 1
            session.save()
            assert session.cookie == cookie

    def test_no_two_new_ids_are_the_same(self, desk: Desk) -> None:
        """Not even for two sessions with the same values and the same start."""
        cookies = set()
        for _ in range(5):
            session = desk.session(desk.stored(a=1))
            session.regenerate()
            session.save()
            cookies.add(session.cookie)
        assert len(cookies) == 5

    def test_the_date_of_the_last_rotation_is_stored_only_with_rotation(
        self, server_store: Store
    ) -> None:
        """Without ``rotate_after`` it would waste room."""
        for rotate_after in (None, 3600):
            desk = Desk(server_store, rotate_after=rotate_after)
            session = desk.session(desk.stored(a=1))
            session.regenerate()
            session.save()
            rotated = desk.record(str(session.cookie)).rotated
            assert bool(rotated) == (rotate_after is not None)

    def test_regenerate_retires_the_id_of_an_empty_session_too(
        self, server_store: Store
    ) -> None:
        """An id from before a login must not stay good after it."""
        desk = Desk(server_store)
        cookie = desk.stored(a=1)
        session = desk.session(cookie)
        del session["a"]
        session.regenerate()
        session.save()
        assert session.cookie
        late = desk.session(cookie)
        late["b"] = 1
        late.save()
        assert late.cookie is None
        assert desk.values(session.cookie) == {}

    def test_regenerate_without_a_session_does_nothing(self, desk: Desk) -> None:
        """There is no old id. The first write makes a new one anyway."""
        session = desk.session()
        session.regenerate()
        session.save()
        assert calls(desk) == []
        assert session.cookie is None

    def test_changing_an_auth_name_changes_the_id(self, desk: Desk) -> None:
        """``SESSION_AUTH_NAMES`` lists these names. Other names keep the id."""
        desk.auth_names = ("user_id",)
        cookie = desk.stored(a=1)
        session = desk.session(cookie)
        session["user_id"] = 42
        session.save()
        assert session.cookie
        assert session.cookie != cookie
        if not desk.stateless:
            assert desk.values(cookie) == {}
            other = desk.session(session.cookie)
            other["a"] = 2
            other["user_id"] = 42
            other.save()
            assert other.cookie is None
        assert desk.values(session.cookie)["user_id"] == 42

    @pytest.mark.parametrize("name", ["user_id", OWNER_NAME, "a"])
    def test_get_once_of_an_auth_name_changes_the_id(
        self, desk: Desk, name: str
    ) -> None:
        """Deleting the name does, too. ``get_once`` of other names keeps the id."""
        desk.auth_names = ("user_id",)
        cookie = desk.stored(a=1, user_id=42, **{OWNER_NAME: "ann"})
        session = desk.session(cookie)
        values = dict(session)
        assert session.get_once(name) == values.pop(name)
        session.save()
        if name == "a" and not desk.stateless:
            assert session.cookie is None
            return
        assert session.cookie
        assert session.cookie != cookie
        assert desk.values(session.cookie) == values
        if not desk.stateless:
            assert desk.values(cookie) == {}

    def test_clear_ends_the_session_and_removes_the_cookie(self, desk: Desk) -> None:
        """The store deletes the record."""
        cookie = desk.stored(a=1)
        session = desk.session(cookie)
        session.clear()
        assert dict(session) == {}
        session.save()
        assert session.cookie == ""
        assert ("destroyed", None) in desk.emitted
        if not desk.stateless:
            assert desk.values(cookie) == {}

    def test_values_set_after_clear_start_another_session(self, desk: Desk) -> None:
        """The values, for example a farewell message, get a new id and a new
        ``created_at``.
        """
        cookie = desk.stored(a=1)
        session = desk.session(cookie)
        session.clear()
        session["flash"] = "Bye"
        assert session.new
        session.save()
        assert session.cookie
        assert session.cookie != cookie
        assert desk.values(session.cookie) == {"flash": "Bye"}
        if not desk.stateless:
            assert desk.values(cookie) == {}

    def test_clear_drops_unsaved_values(self, desk: Desk) -> None:
        """There is nothing to save and no id to end."""
        session = desk.session()
        session["a"] = 1
        session.clear()
        assert dict(session) == {}
        session.save()
        assert session.cookie is None
        assert calls(desk) == []

    def test_clear_ends_an_empty_session_too(self, server_store: Store) -> None:
        """The session has a record, and other requests may be writing to it."""
        desk = Desk(server_store)
        cookie = desk.stored(a=1)
        emptied = desk.session(cookie)
        del emptied["a"]
        emptied.save()
        session = desk.session(cookie)
        session.clear()
        session.save()
        assert session.cookie == ""
        assert is_tombstone(server_store.load(cookie))

    def test_clear_without_a_session_does_nothing(self, desk: Desk) -> None:
        """It makes no record and sends no cookie."""
        session = desk.session()
        session.clear()
        session.destroy()
        session.save()
        assert calls(desk) == []
        assert session.cookie is None

    def test_a_retired_id_answers_as_an_empty_session_for_60_seconds(
        self, server_store: Store, clock: Clock
    ) -> None:
        """Writes under it are dropped and set no cookie, so the browser keeps the newer
        one. Afterwards the id is unknown.
        """
        desk = Desk(server_store)
        cookie = desk.stored(a=1)
        session = desk.session(cookie)
        session.destroy()
        session.save()
        clock.tick(58)
        late = desk.session(cookie)
        late["b"] = 1
        late.flash.add("info", "x")
        late.clear()
        late["b"] = 1
        desk.emitted.clear()
        late.save()
        late.save()
        assert late.cookie is None
        assert desk.emitted == [("conflict", None)]
        desk.session(cookie).get("b")
        assert desk.emitted == [("conflict", None)]
        clock.tick(4)
        later = desk.session(cookie)
        later["b"] = 1
        later.save()
        assert later.cookie
        assert later.cookie != cookie


class TestLogoutByDeletions:
    """Flask's users log out by ``session.pop("user_id")``."""

    def test_it_ends_the_session(self, desk: Desk) -> None:
        """As ``clear()`` does: the cookie is removed, and the id is retired."""
        desk.auth_names = ("user_id",)
        cookie = desk.stored(user_id=1, cart=[1])
        session = desk.session(cookie)
        session.pop("cart")
        session.pop("user_id")
        session.save()
        assert session.cookie == ""
        assert desk.emitted[-1] == ("destroyed", None)
        if not desk.stateless:
            assert desk.values(cookie) == {}

    def test_a_session_that_is_not_empty_gets_a_new_id(self, desk: Desk) -> None:
        """The session continues without its user."""
        desk.auth_names = ("user_id",)
        cookie = desk.stored(user_id=1, cart=[1])
        session = desk.session(cookie)
        session.pop("user_id")
        session.save()
        assert session.cookie not in (None, "", cookie)
        assert desk.values(str(session.cookie)) == {"cart": [1]}

    def test_other_names_leave_an_empty_record(self, server_store: Store) -> None:
        """Another request may be writing to the session."""
        desk = Desk(server_store, auth_names=("user_id",))
        cookie = desk.stored(cart=[1])
        writing, emptying = desk.session(cookie), desk.session(cookie)
        writing["b"] = 2
        emptying.pop("cart")
        emptying.save()
        assert emptying.cookie is None
        writing.save()
        assert desk.values(cookie) == {"b": 2}


class TestTimeouts:
    def test_a_session_expires_at_its_absolute_timeout(
        self, desk: Desk, clock: Clock
    ) -> None:
        """Used or unused, it never expires early, and at most a second late."""
        desk.set_times(absolute_timeout=100)
        cookie = desk.stored(a=1)
        clock.tick(99)
        assert desk.values(cookie) == {"a": 1}
        clock.tick(1.75)
        assert desk.values(cookie) == {}
        assert ("rejected", "expired") in desk.emitted or not desk.stateless

    def test_a_new_id_does_not_extend_the_absolute_timeout(
        self, desk: Desk, clock: Clock
    ) -> None:
        """Saving does not extend it either."""
        desk.set_times(absolute_timeout=100)
        cookie = desk.stored(a=1)
        for _ in range(2):
            clock.tick(40)
            session = desk.session(cookie)
            session.regenerate()
            session["a"] += 1
            session.save()
            assert session.cookie
            cookie = session.cookie
        clock.tick(22)
        assert desk.values(cookie) == {}

    def test_a_record_expires_with_the_absolute_timeout(self, clock: Clock) -> None:
        """The store gets the shorter of the idle and the remaining absolute time."""
        desk = Desk(MemoryStore(), idle_timeout=80, absolute_timeout=100)
        cookie = desk.stored(a=1)
        clock.tick(70)
        session = desk.session(cookie)
        session["a"] = 2
        session.save()
        clock.tick(32)
        assert desk.store.load(cookie) is None

    def test_a_session_in_use_is_refreshed_when_it_is_due(
        self, desk: Desk, clock: Clock
    ) -> None:
        """Reading is enough. The values stay, and the cookie is sent again."""
        desk.set_times(idle_timeout=100)
        cookie = desk.stored(a=1)
        clock.tick(8)
        session = desk.session(cookie)
        session.get("a")
        session.save()
        assert session.cookie is None
        desk.refresh_due = True
        calls(desk)
        session = desk.session(cookie)
        session.get("a")
        session.save()
        assert calls(desk) == ["load", "save"]
        assert session.cookie == cookie
        session.save()
        assert calls(desk) == []
        clock.tick(60)
        assert desk.values(cookie) == {"a": 1}
        assert "saved" not in [name for name, _ in desk.emitted[2:]]

    def test_an_unused_session_expires(self, server_store: Store, clock: Clock) -> None:
        """The store deletes its record."""
        desk = Desk(server_store, idle_timeout=100)
        cookie = desk.stored(a=1)
        clock.tick(101)
        assert desk.values(cookie) == {}
        assert ("rejected", "expired") in desk.emitted


# Its examples share a store, and each store is a test of its own.
SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]


class TestRecords:
    @settings(suppress_health_check=SHARED)
    @given(data=st.binary(max_size=200).filter(lambda data: not is_tombstone(data)))
    def test_a_malformed_record_gives_a_fresh_session(
        self, store: Store, data: bytes
    ) -> None:
        """The session is rejected with the reason "corrupt"."""
        desk = Desk(store)
        token = store.save(None, data, expected=None, max_age=3600)
        session = desk.session(token)
        assert dict(session) == {}
        assert session.new
        assert desk.emitted == [("rejected", "corrupt")]

    def test_the_id_of_a_corrupt_record_is_not_used_again(
        self, server_store: Store
    ) -> None:
        """The session saves its values under another id."""
        desk = Desk(server_store)
        token = server_store.save(None, b"damaged", expected=None, max_age=3600)
        session = desk.session(token)
        session["a"] = 1
        session.save()
        assert session.cookie not in (None, "", token)
        assert server_store.load(token) == b"damaged"

    def test_a_damaged_value_affects_no_other_value(self, store: Store) -> None:
        """All other values of the record can be read, changed and saved."""
        desk = Desk(store)
        some = desk.codec.encode([1], "b")
        record = Record(0, b"", {"a": b"\xc1", "b": some, "c": some})
        token = desk.keep(record)
        session = desk.session(token)
        session["b"].append(2)
        for read in (session.get, session.get_once, session.__getitem__):
            with pytest.raises(SessionTypeError, match=r"^session\['a'\]: .*damaged"):
                read("a")
        assert "a" in session
        session.save()
        assert desk.emitted == [("saved", None)]
        cookie = session.cookie or token
        assert desk.session(cookie)["b"] == [1, 2]
        session = desk.session(cookie)
        session.delete("a")
        session.save()
        assert desk.values(session.cookie or cookie) == {"b": [1, 2], "c": [1]}

    @pytest.mark.parametrize(
        "raw", [b"\xc1", b"\xc7\x05\x14\x92\xa1x\x01\x01", b"\x90"]
    )
    @pytest.mark.parametrize("name", ["_permanent", "_owner_"])
    def test_a_malformed_internal_value_does_not_prevent_a_save(
        self, server_store: Store, name: str, raw: bytes
    ) -> None:
        """The save keeps its bytes, so reading the value still raises an error."""
        desk = Desk(server_store)
        record = Record(0, b"", {name: raw})
        session = desk.session(desk.keep(record))
        session["a"] = 1
        session.regenerate()
        session.save()
        assert session.cookie
        assert desk.record(session.cookie).values[name] == raw
        assert not session.cookie_permanent


class TestSignals:
    def test_signals_follow_the_life_of_a_session(self, desk: Desk) -> None:
        """The session emits "created" once, "saved" with each change, and "destroyed"
        at its end.
        """
        cookie = desk.stored(a=1)
        session = desk.session(cookie)
        session["a"] = 2
        session.save()
        session["a"] = 3
        session.save()
        session.clear()
        session.save()
        assert [name for name, _ in desk.emitted] == [
            "created",
            "saved",
            "saved",
            "saved",
            "destroyed",
        ]

    def test_each_signal_carries_the_id_of_the_session(
        self, server_store: Store
    ) -> None:
        """The id is safe to log."""
        desk = Desk(server_store)
        emitted: list[tuple[str, str | None]] = []

        def record(
            signal: t.Any, session_id: str | None, *_: object, **__: object
        ) -> None:
            emitted.append((signal.name, session_id))

        desk.emit = record  # type: ignore[method-assign]
        session = desk.session()
        session["a"] = 1
        session.save()
        token, name = str(session.cookie), session.id
        assert emitted == [("session-created", name), ("session-saved", name)]
        late = desk.session(token)
        assert late["a"] == 1
        session.clear()
        session.save()
        late["a"] = 2
        late.save()
        too_late = desk.session(token)
        too_late["a"] = 3
        too_late.save()
        conflict = ("session-conflict", name)
        assert emitted[2:] == [("session-destroyed", name), conflict, conflict]
        emitted.clear()
        broken = server_store.save(None, b"damaged", expected=None, max_age=3600)
        for cookie in ("unknown", broken):
            assert desk.session(cookie).get("a") is None
        assert emitted == [
            ("session-rejected", storage_key("unknown")),
            ("session-rejected", storage_key(broken)),
        ]
        emitted.clear()
        token = desk.stored(a=1)
        session = desk.session(token)
        session["a"] = 2
        name = session.id
        found = server_store.load(token)
        server_store.save(token, b"damaged", expected=found, max_age=3600)
        session.save()
        assert ("session-rejected", name) in emitted
        assert ("session-conflict", name) in emitted

    def test_a_receiver_can_use_a_rejected_session(self, server_store: Store) -> None:
        """The receiver sees the fresh session."""
        desk = Desk(server_store)
        session = desk.session("unknown")
        seen: list[object] = []
        desk.emit = lambda *_: seen.append(dict(session))  # type: ignore[method-assign]
        session["a"] = 1
        assert seen == [{}]


class TestFlash:
    def test_messages_are_taken_once(self, desk: Desk) -> None:
        """They are stored under Buffalo's name, by kind and in order."""
        session = desk.session()
        session.flash.add("success", "one")
        session.flash.add("success", "two")
        session.flash.set("danger", ["three"])
        session.flash.add("gone", "x")
        session.flash.delete("gone")
        session.flash.delete("missing")
        session.save()
        cookie = session.cookie or ""
        assert "_flash_" in desk.values(cookie)
        session = desk.session(cookie)
        assert session.flash.take() == {"success": ["one", "two"], "danger": ["three"]}
        assert session.flash.take() == {}
        session.save()
        assert session.cookie == ("" if desk.stateless else None)
        if not desk.stateless:
            assert desk.values(cookie) == {}

    def test_clearing_messages_keeps_the_other_values(self, desk: Desk) -> None:
        """Clearing without messages is no change."""
        session = desk.session(desk.stored(a=1))
        session.flash.clear()
        session.flash.delete("info")
        assert not session.modified
        session.flash.add("info", "x")
        session.flash.clear()
        assert dict(session) == {"a": 1}

    @pytest.mark.parametrize("found", [[], ["x"], "text", 7, {"info": "x"}])
    def test_a_malformed_value_counts_as_no_messages(
        self, desk: Desk, found: object
    ) -> None:
        """The application or another program may have stored it."""
        cookie = desk.stored(_flash_=found)
        assert desk.session(cookie).flash.take() == {}
        session = desk.session(desk.stored(_flash_=found))
        session.flash.delete("info")
        session.flash.add("info", "new")
        assert session.flash.take() == {"info": ["new"]}


def test_a_session_is_flasks_session_mixin() -> None:
    """Flask-Login, Flask-WTF and ``flash()`` use its attributes."""
    from flask.sessions import SessionMixin

    assert issubclass(Session, SessionMixin)
