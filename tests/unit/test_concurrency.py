"""Two requests at once, interleaved by hand: each of these tests fails on a
store or a session that does not keep the promise, every time.
"""

from __future__ import annotations

import typing as t
from contextlib import suppress
from dataclasses import dataclass

import pytest

from flask_buffalo_session import CookieStore, MemoryStore, Store, register_type
from flask_buffalo_session.errors import SessionConflictError, SessionStoreError
from flask_buffalo_session.registry import registry
from flask_buffalo_session.revocation import RevocationList
from flask_buffalo_session.sessions import Session
from flask_buffalo_session.tombstones import is_tombstone
from tests.conftest import Counting, Desk

pytestmark = pytest.mark.usefixtures("records")


@pytest.fixture
def desk(server_store: Store) -> Desk:
    return Desk(server_store)


def two(desk: Desk, cookie: str) -> tuple[Session, Session]:
    """Return two requests with the same cookie that have both loaded the session."""
    sessions = desk.session(cookie), desk.session(cookie)
    for session in sessions:
        list(session)
    return sessions


class TestDifferentNames:
    def test_both_writes_survive(self, desk: Desk) -> None:
        """The two requests set different names."""
        cookie = desk.stored(a=1)
        first, second = two(desk, cookie)
        first["x"] = 1
        second["y"] = 2
        first.save()
        second.save()
        assert desk.values(cookie) == {"a": 1, "x": 1, "y": 2}

    def test_a_deletion_is_not_undone(self, desk: Desk) -> None:
        """The other request saves without having changed that name."""
        cookie = desk.stored(a=1, b=2)
        first, second = two(desk, cookie)
        second["b"] = 3
        del first["a"]
        first.save()
        second.save()
        assert desk.values(cookie) == {"b": 3}

    def test_a_name_that_was_only_read_is_not_written_back(self, desk: Desk) -> None:
        """Reading an old value does not overwrite a newer one."""
        cookie = desk.stored(cart=[1], b=1)
        first, second = two(desk, cookie)
        assert second["cart"] == [1]
        first["cart"].append(2)
        first.save()
        second["b"] = 2
        second.save()
        assert desk.values(cookie) == {"cart": [1, 2], "b": 2}

    def test_a_request_that_only_reads_writes_nothing(self, desk: Desk) -> None:
        """It does not overwrite what the other request saved."""
        cookie = desk.stored(a=[1])
        first, second = two(desk, cookie)
        assert second["a"] == [1]
        first["a"].append(2)
        first.save()
        second.save()
        assert desk.values(cookie) == {"a": [1, 2]}

    def test_an_untouched_session_writes_nothing(self, desk: Desk) -> None:
        """It does not even extend the session's life."""
        cookie = desk.stored(a=1)
        untouched = desk.session(cookie)
        writer = desk.session(cookie)
        writer["a"] = 2
        writer.save()
        untouched.save()
        assert desk.values(cookie) == {"a": 2}

    def test_a_save_succeeds_after_several_conflicts(self, desk: Desk) -> None:
        """Each attempt merges again until one write succeeds."""
        cookie = desk.stored(a=0)
        loser = desk.session(cookie)
        loser["mine"] = 1
        save, rounds = desk.store.save, iter(range(5))

        def interrupted(*args: object, **kwargs: object) -> str:
            if (number := next(rounds, None)) is not None:
                desk.store.save = save  # type: ignore[method-assign]
                other = desk.session(cookie)
                other[f"other{number}"] = number
                other.save()
                desk.store.save = interrupted  # type: ignore[method-assign]
            return save(*args, **kwargs)  # type: ignore[arg-type]

        desk.store.save = interrupted  # type: ignore[method-assign]
        loser.save()
        assert desk.values(cookie) == {
            "a": 0,
            "mine": 1,
            **{f"other{number}": number for number in range(5)},
        }

    def test_a_merging_save_shows_the_changes_of_the_other_request(
        self, desk: Desk
    ) -> None:
        """After the save the session shows what is stored."""
        cookie = desk.stored(a=1)
        first, second = two(desk, cookie)
        first["x"] = 1
        first.save()
        second["y"] = 1
        second.save()
        assert dict(second) == {"a": 1, "x": 1, "y": 1}

    def test_an_edit_after_a_merging_save_keeps_both(self, desk: Desk) -> None:
        """The list that the view holds is older than the stored one. Only the edit is
        applied to the stored list.
        """
        cookie = desk.stored(cart=[1], b=1)
        first, second = two(desk, cookie)
        cart = second["cart"]
        first["cart"].append(2)
        first.save()
        second["b"] = 2
        second.save()
        cart.append(3)
        second.save()
        assert desk.values(cookie) == {"cart": [1, 2, 3], "b": 2}


class TestTheSameName:
    def test_two_appends_are_both_kept(self, desk: Desk) -> None:
        """Two ``flash()`` calls both arrive, even if no list was stored before."""
        cookie = desk.stored(a=1)
        for expected in (["x", "y"], ["x", "y", "x", "y"]):
            first, second = two(desk, cookie)
            first.setdefault("_flashes", []).append("x")
            second.setdefault("_flashes", []).append("y")
            first.save()
            second.save()
            assert desk.values(cookie)["_flashes"] == expected

    def test_taking_all_messages_keeps_the_message_of_another_request(
        self, desk: Desk
    ) -> None:
        """One request shows the messages, the other adds one."""
        cookie = desk.stored(_flashes=["old"])
        first, second = two(desk, cookie)
        first.pop("_flashes")
        second["_flashes"].append("new")
        first.save()
        second.save()
        assert desk.values(cookie) == {"_flashes": ["new"]}

    def test_a_message_is_kept_when_another_request_takes_all(self, desk: Desk) -> None:
        """The request that takes all messages is saved first."""
        cookie = desk.stored(_flashes=["old"])
        first, second = two(desk, cookie)
        first.pop("_flashes")
        second["_flashes"].append("new")
        second.save()
        first.save()
        assert desk.values(cookie) == {"_flashes": ["new"]}

    def test_an_append_after_a_merging_save_is_applied_to_the_stored_list(
        self, desk: Desk
    ) -> None:
        """The view's list lacks the other request's elements. Lists inside other values
        are merged, too.
        """
        cookie = desk.stored(log=["old"], flash={"info": ["old"]})
        first, second = two(desk, cookie)
        for number in range(3):
            for session, who in ((second, "second"), (first, "first")):
                session["log"].append(f"{who} {number}")
                session["flash"]["info"].append(f"{who} {number}")
                session.save()
        found = desk.values(cookie)
        expected = [f"{who} {n}" for n in range(3) for who in ("second", "first")]
        assert found == {"log": ["old", *expected], "flash": {"info": found["log"]}}

    def test_an_append_after_a_merging_save_does_not_restore_taken_elements(
        self, desk: Desk
    ) -> None:
        """The view's list still holds elements that another request has taken."""
        cookie = desk.stored(_flashes=["old"])
        adding, taking = two(desk, cookie)
        adding["_flashes"].append("one")
        taking.pop("_flashes")
        taking.save()
        adding.save()
        adding["_flashes"].append("two")
        adding.save()
        assert desk.values(cookie) == {"_flashes": ["one", "two"]}

    @pytest.mark.parametrize("again", ["set", "claimed and set"])
    def test_a_new_list_after_a_merging_save_replaces_the_stored_one(
        self, desk: Desk, again: str
    ) -> None:
        """The later save wins. Edits of the new list are saved, too."""
        cookie = desk.stored(log=["old"])
        first, second = two(desk, cookie)
        first["log"].append("first")
        second["log"].append("second")
        first.save()
        second.save()
        if again == "claimed and set":
            assert second.get_once("log") == ["old", "first", "second"]
        second["log"] = ["old", "new"]
        second.save()
        assert desk.values(cookie) == {"log": ["old", "new"]}
        second["log"].append("newer")
        second.save()
        assert desk.values(cookie) == {"log": ["old", "new", "newer"]}

    @pytest.mark.parametrize("first_to_save", [0, 1])
    def test_a_message_that_was_taken_does_not_come_back(
        self, desk: Desk, first_to_save: int
    ) -> None:
        """One request adds a message. Another one takes all and adds its own."""
        cookie = desk.stored(_flashes=["old"])
        adding, taking = two(desk, cookie)
        adding["_flashes"].append("new")
        taking["_flashes"] = ["other"]
        sessions = [adding, taking]
        sessions.pop(first_to_save).save()
        sessions.pop().save()
        assert desk.values(cookie) == {"_flashes": ["other", "new"]}

    def test_buffalo_flashes_are_merged_by_kind(self, desk: Desk) -> None:
        """The dict is merged by key, and each list in it keeps both appends."""
        cookie = desk.stored(a=1)
        first, second = two(desk, cookie)
        first.flash.add("info", "one")
        second.flash.add("info", "two")
        second.flash.add("danger", "three")
        first.save()
        second.save()
        assert desk.session(cookie).flash.take() == {
            "info": ["one", "two"],
            "danger": ["three"],
        }

    def test_a_cart_is_merged_by_key(self, desk: Desk) -> None:
        """Two browser tabs put different things into the cart."""
        cookie = desk.stored(cart={"tea": 1, "cup": 1})
        first, second = two(desk, cookie)
        first["cart"]["tea"] = 2
        del first["cart"]["cup"]
        second["cart"]["milk"] = 1
        first.save()
        second.save()
        assert desk.values(cookie) == {"cart": {"tea": 2, "milk": 1}}

    def test_sets_are_merged_by_element(self, desk: Desk) -> None:
        """One request adds an element, the other removes one."""
        cookie = desk.stored(seen={1, 2})
        first, second = two(desk, cookie)
        first["seen"].add(3)
        second["seen"].discard(1)
        first.save()
        second.save()
        assert desk.values(cookie) == {"seen": {2, 3}}

    def test_the_later_save_wins_for_other_values(self, desk: Desk) -> None:
        """Two numbers cannot be merged."""
        cookie = desk.stored(a=1)
        first, second = two(desk, cookie)
        first["a"] = 2
        second["a"] = 3
        first.save()
        second.save()
        assert desk.values(cookie) == {"a": 3}

    def test_an_append_to_a_list_that_another_request_edited_wins(
        self, desk: Desk
    ) -> None:
        """The later save replaces the whole list."""
        cookie = desk.stored(a=[1, 2])
        first, second = two(desk, cookie)
        first["a"][0] = "edited"
        second["a"].append(3)
        first.save()
        second.save()
        assert desk.values(cookie) == {"a": [1, 2, 3]}

    def test_a_value_of_an_unknown_class_is_not_merged(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another release of the application wrote it. The later save wins without an
        error.
        """
        entry = registry.by_name["tests.Point"]
        cookie = desk.stored(p=[Point(1)])
        first, second = two(desk, cookie)
        first["p"].append(Point(2))
        first.save()
        second["p"] = ["unread"]
        monkeypatch.delitem(registry.by_name, "tests.Point")
        second.save()
        assert desk.values(cookie) == {"p": ["unread"]}
        monkeypatch.setitem(registry.by_name, "tests.Point", entry)


@register_type(name="tests.Point")
@dataclass
class Point:
    x: int


class TestEnded:
    @pytest.mark.parametrize("ending", ["clear", "destroy", "regenerate"])
    def test_a_slow_request_does_not_restore_an_ended_session(
        self, desk: Desk, ending: str
    ) -> None:
        """The session drops its write, emits a conflict and sets no cookie."""
        cookie = desk.stored(user_id=1)
        slow, logout = two(desk, cookie)
        slow["seen"] = True
        getattr(logout, ending)()
        logout.save()
        desk.emitted.clear()
        slow.save()
        assert slow.cookie is None
        assert desk.emitted == [("conflict", None)]
        assert desk.values(cookie) == {}
        slow["more"] = 1
        slow.save()
        assert slow.cookie is None
        assert desk.values(cookie) == {}

    def test_a_slow_request_does_not_restore_an_expired_session(
        self, desk: Desk
    ) -> None:
        """The record expired while the request ran."""
        cookie = desk.stored(a=1)
        slow = desk.session(cookie)
        slow["a"] = 2
        desk.store.delete(cookie)
        slow.save()
        assert slow.cookie is None
        assert ("conflict", None) in desk.emitted
        assert desk.store.load(cookie) is None

    def test_a_record_that_was_damaged_meanwhile_is_left_alone(
        self, desk: Desk
    ) -> None:
        """The session cannot apply its change to a damaged record."""
        cookie = desk.stored(a=1)
        slow = desk.session(cookie)
        slow["a"] = 2
        stored = desk.store.load(cookie)
        desk.store.save(cookie, b"damaged", expected=stored, max_age=60)
        slow.save()
        assert slow.cookie is None
        assert desk.emitted[-2:] == [("rejected", "corrupt"), ("conflict", None)]
        assert desk.store.load(cookie) == b"damaged"

    @pytest.mark.parametrize("asked", ["regenerate", "modified"])
    def test_regenerate_and_modified_are_dropped_after_the_end(
        self, desk: Desk, asked: str
    ) -> None:
        """They are a conflict although no value changed: the view relies on them."""
        cookie = desk.stored(a=1)
        asking, leaving = two(desk, cookie)
        leaving.clear()
        leaving.save()
        if asked == "regenerate":
            asking.regenerate()
        else:
            asking.modified = True
        desk.emitted.clear()
        asking.save()
        assert asking.cookie is None
        assert desk.emitted == [("conflict", None)]

    def test_a_late_refresh_of_an_ended_session_is_no_conflict(
        self, desk: Desk, request: pytest.FixtureRequest
    ) -> None:
        """The request changed nothing, so no change is lost."""
        cookie = desk.stored(a=1)
        desk.refresh_due = True
        reading, leaving = two(desk, cookie)
        leaving.clear()
        leaving.save()
        desk.emitted.clear()
        reading.save()
        assert reading.cookie is None
        assert desk.emitted == []

    def test_a_refresh_does_not_restore_an_ended_session(self, desk: Desk) -> None:
        """The request only reads while its cookie is due for a refresh."""
        desk.refresh_due = True
        cookie = desk.stored(a=1)
        slow, logout = two(desk, cookie)
        logout.clear()
        logout.save()
        slow.save()
        assert slow.cookie is None
        assert desk.values(cookie) == {}

    def test_a_logout_ends_a_session_that_changed_meanwhile(self, desk: Desk) -> None:
        """Another request saved after the logout had loaded the session."""
        cookie = desk.stored(user_id=1)
        writer, logout = two(desk, cookie)
        writer["seen"] = True
        writer.save()
        logout.clear()
        logout.save()
        assert logout.cookie == ""
        assert desk.values(cookie) == {}

    def test_saves_after_a_dropped_save_are_dropped_too(self, desk: Desk) -> None:
        """The request's session has ended. It emits the conflict once."""
        cookie = desk.stored(a=1)
        ending, late = two(desk, cookie)
        ending.clear()
        ending.save()
        for number in (2, 3):
            late["a"] = number
            late.save()
        assert late.cookie is None
        assert desk.emitted.count(("conflict", None)) == 1
        assert desk.values(cookie) == {}

    def test_only_the_first_of_two_logouts_removes_the_cookie(self, desk: Desk) -> None:
        """The browser may hold the cookie of a new login by then."""
        cookie = desk.stored(user_id=1)
        first, second = two(desk, cookie)
        first.clear()
        first.save()
        second.clear()
        second.save()
        assert first.cookie == ""
        assert second.cookie is None

    def test_a_logout_from_an_expired_session_sets_no_cookie(self, desk: Desk) -> None:
        """It leaves no record under the old id."""
        cookie = desk.stored(user_id=1)
        session = desk.session(cookie)
        session.clear()
        desk.store.delete(cookie)
        session.save()
        assert session.cookie is None
        assert ("conflict", None) in desk.emitted
        assert desk.store.load(cookie) is None

    def test_values_set_after_clear_are_kept_if_the_old_session_has_ended(
        self, desk: Desk
    ) -> None:
        """They belong to a new session, which does not depend on the old one."""
        cookie = desk.stored(user_id=1)
        first, second = two(desk, cookie)
        first.destroy()
        first.save()
        second.clear()
        second["user_id"] = 2
        second.save()
        assert second.cookie
        assert desk.values(second.cookie) == {"user_id": 2}

    def test_regenerate_keeps_the_write_of_another_request(self, desk: Desk) -> None:
        """A change saved under the old id moves to the new id."""
        cookie = desk.stored(a=1)
        writer, login = two(desk, cookie)
        login.regenerate()
        login["user_id"] = 1
        writer["b"] = 2
        writer.save()
        login.save()
        assert login.cookie
        assert desk.values(login.cookie) == {"a": 1, "b": 2, "user_id": 1}
        assert desk.values(cookie) == {}

    def test_a_conflict_during_regenerate_leaves_one_new_id(self, desk: Desk) -> None:
        """The second attempt makes another id and deletes the first one."""
        cookie = desk.stored(a=1)
        login, other = two(desk, cookie)
        made = new_tokens(desk)
        other["b"] = 2
        other.save()
        login.regenerate()
        login.save()
        assert made[-1] == login.cookie
        assert [desk.store.load(token) for token in made[:-1]] == [None]

    def test_only_one_of_two_requests_regenerates(self, desk: Desk) -> None:
        """The old id never has two live successors."""
        cookie = desk.stored(a=1)
        first, second = two(desk, cookie)
        made = new_tokens(desk)
        first.regenerate()
        second.regenerate()
        first.save()
        second.save()
        assert second.cookie is None
        assert [desk.values(token) for token in made] == [{"a": 1}, {}]

    def test_a_store_failure_during_regenerate_keeps_the_old_session(
        self, desk: Desk
    ) -> None:
        """Whichever of the two writes fails, the old cookie stays good."""
        for failing in (1, 2):
            cookie = desk.stored(a=1)
            session = desk.session(cookie)
            session.regenerate()
            save, count = desk.store.save, iter(range(1, 9))

            def breaking(
                *args: object,
                save: object = save,
                count: object = count,
                failing: int = failing,
                **kwargs: object,
            ) -> str:
                if next(count) == failing:  # type: ignore[call-overload]
                    raise SessionStoreError("memory", "away")
                return save(*args, **kwargs)  # type: ignore[operator, no-any-return]

            desk.store.save = breaking  # type: ignore[method-assign]
            with pytest.raises(SessionStoreError):
                session.save()
            desk.store.save = save  # type: ignore[method-assign]
            assert session.cookie is None
            assert desk.values(cookie) == {"a": 1}


def new_tokens(desk: Desk) -> list[str]:
    """Return the list of the tokens that the store issues from now on."""
    made: list[str] = []
    save = desk.store.save

    def recording(token: str | None, *args: object, **kwargs: object) -> str:
        result = save(token, *args, **kwargs)  # type: ignore[arg-type]
        if kwargs["expected"] is None:
            made.append(result)
        return result

    desk.store.save = recording  # type: ignore[method-assign]
    return made


class TestGetOnce:
    def test_only_one_of_two_requests_gets_the_value(self, desk: Desk) -> None:
        """Both had loaded the session before the first claim."""
        cookie = desk.stored(ticket="prize")
        first, second = two(desk, cookie)
        assert first.get_once("ticket") == "prize"
        assert second.get_once("ticket", "none") == "none"

    def test_the_call_itself_claims_the_value(self, desk: Desk) -> None:
        """The claim does not wait for the end of the request and is never undone."""
        cookie = desk.stored(ticket="prize", a=1)
        first = desk.session(cookie)
        first["a"] = 2
        assert first.get_once("ticket") == "prize"
        assert desk.values(cookie) == {"a": 1}
        first.save()
        assert desk.values(cookie) == {"a": 2}

    def test_reading_a_value_does_not_claim_it(self, desk: Desk) -> None:
        """A request that read the value earlier gets the default, too."""
        cookie = desk.stored(ticket=["prize"])
        first, second = two(desk, cookie)
        assert second["ticket"] == ["prize"]
        assert first.get_once("ticket") == ["prize"]
        assert second.get_once("ticket") is None

    def test_an_edited_list_is_claimed_element_by_element(self, desk: Desk) -> None:
        """The request adds a flash message to the list. Each older message is still
        handed out once.
        """
        cookie = desk.stored(messages=["old"], a=1)
        first, second = two(desk, cookie)
        for session in (first, second):
            session["messages"].append("new")
        assert first.get_once("messages") == ["old", "new"]
        assert desk.values(cookie) == {"a": 1}
        assert second.get_once("messages") == ["new"]
        assert second.get_once("messages") is None
        for session in (first, second):
            session.save()
        assert desk.values(cookie) == {"a": 1}

    def test_replacing_a_value_before_get_once_claims_the_old_value_too(
        self, desk: Desk
    ) -> None:
        """No other request gets the value that was replaced."""
        cookie = desk.stored(ticket="first")
        first, second = two(desk, cookie)
        first["ticket"] = "second"
        assert first.get_once("ticket") == "second"
        assert second.get_once("ticket") is None
        assert "ticket" not in first

    def test_a_claimed_value_can_be_set_again(self, desk: Desk) -> None:
        """The request may even set an equal value."""
        cookie = desk.stored(ticket=["prize"])
        session = desk.session(cookie)
        assert session["ticket"] == ["prize"]
        session["ticket"] = session.get_once("ticket")
        session.save()
        assert desk.values(cookie) == {"ticket": ["prize"]}

    def test_a_claim_keeps_the_changes_of_another_request(self, desk: Desk) -> None:
        """Claiming deletes nothing but the one name."""
        cookie = desk.stored(ticket="prize")
        first, second = two(desk, cookie)
        first["x"] = 1
        first.save()
        assert second.get_once("ticket") == "prize"
        assert desk.values(cookie) == {"x": 1}

    def test_get_once_returns_the_newest_stored_value(self, desk: Desk) -> None:
        """It returns the value that it removes from the store."""
        cookie = desk.stored(ticket="old")
        first, second = two(desk, cookie)
        first["ticket"] = "new"
        first.save()
        assert second.get_once("ticket") == "new"
        assert desk.values(cookie) == {}

    def test_get_once_returns_the_default_if_the_session_has_ended(
        self, desk: Desk
    ) -> None:
        """The value ended with the session."""
        cookie = desk.stored(ticket="prize")
        first, second = two(desk, cookie)
        first.destroy()
        first.save()
        desk.emitted.clear()
        assert second.get_once("ticket", "none") == "none"
        assert desk.emitted == [("conflict", None)]
        second.save()
        assert second.cookie is None
        assert desk.values(cookie) == {}

    def test_get_once_raises_if_the_store_fails(self, desk: Desk) -> None:
        """The value stays for another request."""
        cookie = desk.stored(ticket="prize")
        session = desk.session(cookie)
        list(session)
        save = desk.store.save

        def failing(*args: object, **kwargs: object) -> str:
            raise SessionStoreError("memory", "away")

        desk.store.save = failing  # type: ignore[method-assign]
        with pytest.raises(SessionStoreError):
            session.get_once("ticket")
        desk.store.save = save  # type: ignore[method-assign]
        assert desk.values(cookie) == {"ticket": "prize"}


class TestWholeDicts:
    """Dicts that a request assigned replace the stored dict. Dicts that a request
    edited are merged.
    """

    @pytest.mark.parametrize("first", ["editing", "assigning"])
    def test_an_edit_is_dropped_when_another_request_assigns_the_dict(
        self, desk: Desk, first: str
    ) -> None:
        """Whichever is saved first: the edit was made inside another user's dict."""
        cookie = desk.stored(user={"id": 1, "role": "user"})
        editing, assigning = two(desk, cookie)
        editing["user"]["seen"] = 1
        assigning["user"] = {"id": 2, "role": "user"}
        order = [editing, assigning] if first == "editing" else [assigning, editing]
        for session in order:
            session.save()
        assert desk.values(cookie) == {"user": {"id": 2, "role": "user"}}

    def test_an_authentication_name_is_never_merged(self, desk: Desk) -> None:
        """An edit inside its value does not restore a deleted name."""
        desk.auth_names = ("user",)
        cookie = desk.stored(user={"id": 1}, a=1)
        editing, leaving = two(desk, cookie)
        leaving.pop("user")
        editing["user"]["seen"] = 1
        editing["b"] = 2
        leaving.save()
        editing.save()
        assert "user" not in desk.values(leaving.cookie or cookie)
        assert "user" not in desk.values(editing.cookie or cookie)

    def test_edits_after_an_assignment_are_merged(self, desk: Desk) -> None:
        """Both requests have seen the same assignment."""
        cookie = desk.stored(cart={"a": 1})
        session = desk.session(cookie)
        session["cart"] = {"b": 1}
        session.save()
        first, second = two(desk, cookie)
        first["cart"]["c"] = 2
        second["cart"]["d"] = 3
        first.save()
        second.save()
        assert desk.values(cookie) == {"cart": {"b": 1, "c": 2, "d": 3}}

    def test_a_cookie_holds_no_stamps(self) -> None:
        """Cookie sessions are not merged, and a cookie must stay small."""
        for store, kept in ((CookieStore(), 0), (MemoryStore(), 1)):
            desk = Desk(store)
            assert len(desk.record(desk.stored(cart={"a": 1})).stamps) == kept

    def test_the_later_of_two_assignments_wins(self, desk: Desk) -> None:
        """The result is never a mixture of two accounts."""
        cookie = desk.stored(user={"id": 1})
        first, second = two(desk, cookie)
        first["user"] = {"id": 2, "admin": True}
        second["user"] = {"id": 3}
        first.save()
        second.save()
        assert desk.values(cookie) == {"user": {"id": 3}}


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_each_cleared_session_ends(desk: Desk, failing: int) -> None:
    """Even if ending one of them fails and the save is repeated."""
    first = desk.stored(a=1)
    session = desk.session(first)
    session.clear()
    session["b"] = 1
    session.save()
    second = str(session.cookie)
    session.clear()
    session["c"] = 1
    end, calls = desk.backend.end, []

    def ending(snapshot: t.Any) -> bool:
        calls.append(snapshot)
        if len(calls) <= failing:
            raise SessionStoreError("it", "is away")
        return end(snapshot)

    desk.backend.end = ending  # type: ignore[assignment, method-assign]
    for _ in range(failing):
        with pytest.raises(SessionStoreError):
            session.save()
    session.save()
    third = str(session.cookie)
    assert [desk.values(cookie) for cookie in (first, second, third)] == [
        *({}, {}),
        {"c": 1},
    ]


def test_a_repeated_conflict_waits_a_random_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the second conflict on, a request waits at most a few hundredths of a
    second.
    """
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    monkeypatch.setattr("flask_buffalo_session.attempts.ATTEMPTS", 100)
    store = Counting(MemoryStore())
    desk = Desk(store)
    session = desk.session(desk.stored(a=1))
    session["a"] = 2
    store.failing["save"] = SessionConflictError("changed")
    with pytest.raises(SessionConflictError):
        session.save()
    assert len(waits) == len(set(waits)) == 98
    assert 0 <= min(waits) <= max(waits) <= 0.05


def test_too_many_conflicts_are_an_error(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of attempts is limited: nothing is overwritten and nothing hangs."""
    monkeypatch.setattr("flask_buffalo_session.attempts.ATTEMPTS", 3)
    cookie = desk.stored(a=1, ticket="prize")
    store = Counting(desk.store)
    desk.store = store
    for use in (
        lambda session: session.get_once("ticket"),
        lambda session: (session.set("a", 2), session.save()),
        lambda session: (session.regenerate(), session.save()),
        lambda session: (session.clear(), session.save()),
    ):
        session = desk.session(cookie)
        list(session)
        store.calls.clear()
        store.failing["save"] = SessionConflictError("changed")
        with pytest.raises(SessionConflictError, match="3 times in a row"):
            use(session)
        assert store.calls == ["save", "load"] * 3
        store.failing.clear()
        assert desk.values(cookie) == {"a": 1, "ticket": "prize"}


def test_a_rotation_that_never_succeeds_leaves_no_new_record(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old id could not be retired, so the session stays under it."""
    monkeypatch.setattr("flask_buffalo_session.attempts.ATTEMPTS", 3)
    cookie = desk.stored(a=1)
    save, made = desk.store.save, set()

    def losing(token: str | None, data: bytes, **settings: t.Any) -> str:
        if token == cookie:
            raise SessionConflictError("changed")
        token = save(token, data, **settings)
        made.add(token)
        return token

    monkeypatch.setattr(desk.store, "save", losing)
    session = desk.session(cookie)
    session.regenerate()
    with pytest.raises(SessionConflictError, match="3 times in a row"):
        session.save()
    assert {desk.store.load(token) for token in made} == {None}
    assert desk.values(cookie) == {"a": 1}


class TestUnansweredWrites:
    """The store may complete a write although its answer is lost. A client that repeats
    the write, as redis-py does, then conflicts with itself.
    """

    @pytest.fixture(params=["server-side", "cookie with a list"])
    def desk(self, request: pytest.FixtureRequest, server_store: Store) -> Desk:
        if request.param == "server-side":
            return Desk(server_store)
        kept: t.Any = server_store
        return Desk(CookieStore(), revocations=RevocationList(kept, 3600))

    def fail_after_tombstones(self, store: Store, error: Exception) -> None:
        """Raise the error after each tombstone is written."""
        save = store.save

        def write(token: str | None, data: bytes, **settings: t.Any) -> str:
            saved = save(token, data, **settings)
            # In a revocation list, the id's hash stands before the tombstone.
            if is_tombstone(data) or is_tombstone(data[32:]):
                raise error
            return saved

        store.save = write  # type: ignore[method-assign]

    @pytest.mark.parametrize("how", ["rotation", "login"])
    @pytest.mark.parametrize(
        "error",
        [SessionConflictError("it is there"), SessionStoreError("it", "timed out")],
        ids=lambda error: type(error).__name__,
    )
    def test_the_id_changes_although_an_answer_is_lost(
        self, desk: Desk, server_store: Store, how: str, error: Exception
    ) -> None:
        """The session is found under the new id. The old id is retired."""
        cookie = desk.stored(a=1)
        session = desk.session(cookie)
        assert session["a"] == 1
        self.fail_after_tombstones(server_store, error)
        desk.emitted.clear()
        if how == "rotation":
            desk.set_times(rotate_after=0)
        else:
            session.regenerate()
        session.save()
        desk.set_times(rotate_after=None)
        assert ("conflict", None) not in desk.emitted
        assert session.cookie
        assert desk.values(session.cookie) == {"a": 1}
        # An id that was rotated by age still finds the session.
        assert desk.values(cookie) == ({"a": 1} if how == "rotation" else {})

    def test_a_new_id_is_kept_if_the_old_one_may_be_retired(
        self, server_store: Store
    ) -> None:
        """The store writes the tombstone and then fails, before it answers. A parallel
        request's change is still saved.
        """
        store = Counting(server_store)
        desk = Desk(store)
        cookie = desk.stored(a=1)
        rotating, writing = two(desk, cookie)
        writing["b"] = 2
        save = store.save

        def write(token: str | None, data: bytes, **settings: t.Any) -> str:
            saved = save(token, data, **settings)
            if is_tombstone(data):
                store.failing["load"] = SessionStoreError("it", "is away")
                raise SessionStoreError("it", "timed out")
            return saved

        store.save = write  # type: ignore[method-assign]
        desk.set_times(rotate_after=0)
        with pytest.raises(SessionStoreError):
            rotating.save()
        store.failing.clear()
        desk.set_times(rotate_after=None)
        writing.save()
        assert ("conflict", None) not in desk.emitted
        assert dict(writing) == {"a": 1, "b": 2}
        assert desk.values(cookie) == {"a": 1, "b": 2}

    @pytest.mark.parametrize("how", ["logout", "removal"])
    def test_a_request_recognizes_its_own_tombstone(
        self, desk: Desk, server_store: Store, how: str
    ) -> None:
        """The repeated write is no conflict: the response removes the cookie. An
        emptied server-side session does not end.
        """
        cookie = desk.stored(a=1)
        session = desk.session(cookie)
        assert session["a"] == 1
        self.fail_after_tombstones(server_store, SessionConflictError("it is there"))
        desk.emitted.clear()
        session.clear() if how == "logout" else session.delete("a")
        session.save()
        assert ("conflict", None) not in desk.emitted
        ended = how == "logout" or desk.revocations is not None
        assert session.cookie == ("" if ended else None)
        assert desk.values(cookie) == {}

    def test_a_repeated_logout_recognizes_its_own_tombstone(
        self, desk: Desk, server_store: Store
    ) -> None:
        """The answer to the first logout was lost. A store that can also delete finds
        out in the first save.
        """
        cookie = desk.stored(a=1)
        session = desk.session(cookie)
        assert session["a"] == 1
        session.clear()
        desk.emitted.clear()
        self.fail_after_tombstones(server_store, SessionStoreError("it", "timed out"))
        with suppress(SessionStoreError):
            session.save()
        session.save()
        assert desk.emitted == [("destroyed", None)]
        assert session.cookie == ""
        assert desk.values(cookie) == {}

    def test_the_first_entry_of_a_session_is_written_again_after_a_conflict(
        self,
    ) -> None:
        """The second attempt uses another id."""
        store = MemoryStore()
        desk = Desk(CookieStore(), revocations=RevocationList(store, 3600))
        save, issued = store.save, []

        def repeated(token: str | None, data: bytes, **settings: t.Any) -> str:
            issued.append(save(token, data, **settings))
            if len(issued) == 1:
                raise SessionConflictError("it is there")
            return issued[-1]

        store.save = repeated  # type: ignore[method-assign]
        session = desk.session()
        session.bind("ann")
        session.save()
        assert session.cookie
        assert desk.session(session.cookie).owner == "ann"
        assert len(set(issued)) == 2


def test_a_failed_regenerate_leaves_no_new_record(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be repeated as often as the view likes."""
    cookie = desk.stored(a=1)
    save, made = desk.store.save, []

    def failing(token: str | None, data: bytes, **settings: t.Any) -> str:
        if token == cookie:
            raise SessionStoreError("it", "is full")
        made.append(save(token, data, **settings))
        return made[-1]

    monkeypatch.setattr(desk.store, "save", failing)
    for _ in range(3):
        session = desk.session(cookie)
        session.regenerate()
        with pytest.raises(SessionStoreError, match="is full"):
            session.save()
    assert [desk.store.load(token) for token in made] == [None] * 3
    assert desk.values(cookie) == {"a": 1}


def test_a_new_id_is_deleted_if_the_old_record_cannot_be_read(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another request changed the old record, and the second of three reads fails."""
    cookie = desk.stored(a=1)
    session = desk.session(cookie)
    session.regenerate()
    save, load, made, looks = desk.store.save, desk.store.load, [], []

    def losing(token: str | None, data: bytes, **settings: t.Any) -> str:
        if token == cookie:
            raise SessionConflictError("changed")
        made.append(save(token, data, **settings))
        return made[-1]

    def failing(token: str) -> bytes | None:
        looks.append(token)
        if len(looks) == 2:
            raise SessionStoreError("it", "is away")
        return load(token)

    with monkeypatch.context() as patch:
        patch.setattr(desk.store, "save", losing)
        patch.setattr(desk.store, "load", failing)
        with pytest.raises(SessionStoreError, match="is away"):
            session.save()
    assert [load(token) for token in made] == [None]
    assert desk.values(cookie) == {"a": 1}


def test_a_failed_cleanup_does_not_replace_the_first_error(desk: Desk) -> None:
    """The store also fails when the session deletes the new id."""
    cookie = desk.stored(a=1)
    store = Counting(desk.store)
    desk.store = store
    session = desk.session(cookie)
    session.regenerate()
    save = store.save

    def failing(token: str | None, data: bytes, **settings: t.Any) -> str:
        if token == cookie:
            store.failing["delete"] = SessionStoreError("it", "cannot delete")
            raise SessionStoreError("it", "cannot write")
        return save(token, data, **settings)

    store.save = failing  # type: ignore[method-assign]
    with pytest.raises(SessionStoreError, match="cannot write"):
        session.save()
    assert "delete" in store.calls


@pytest.mark.parametrize("ending", ["clear", "regenerate", "modified"])
def test_a_request_for_an_end_or_a_new_id_after_a_failed_save_is_done(
    desk: Desk, ending: str
) -> None:
    """A view whose save failed may end the session without another change."""
    cookie = desk.stored(a=1)
    store = Counting(desk.store)
    desk.store = store
    session = desk.session(cookie)
    session["a"] = 2
    store.failing["save"] = SessionStoreError("it", "is away")
    with pytest.raises(SessionStoreError):
        session.save()
    store.failing.clear()
    if ending == "clear":
        session.clear()
    elif ending == "regenerate":
        session.regenerate()
    else:
        session.modified = True
    session.save_once()
    assert desk.values(cookie) == ({"a": 2} if ending == "modified" else {})


@pytest.mark.parametrize("ending", ["clear", "regenerate"])
def test_the_automatic_save_does_not_repeat_a_failed_end_or_new_id(
    desk: Desk, ending: str
) -> None:
    """The view has seen the error and has asked for nothing since."""
    cookie = desk.stored(a=1)
    store = Counting(desk.store)
    desk.store = store
    session = desk.session(cookie)
    getattr(session, ending)()
    store.failing["save"] = SessionStoreError("it", "is away")
    with pytest.raises(SessionStoreError):
        session.save()
    store.failing.clear()
    store.calls.clear()
    session.save_once()
    assert store.calls == []
    assert desk.values(cookie) == {"a": 1}
