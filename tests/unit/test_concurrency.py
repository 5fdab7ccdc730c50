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


@pytest.fixture
def desk(server_store: Store) -> Desk:
    return Desk(server_store)


def two(desk: Desk, cookie: str) -> tuple[Session, Session]:
    """Two requests with the same cookie that have both loaded the session."""
    sessions = desk.session(cookie), desk.session(cookie)
    for session in sessions:
        list(session)
    return sessions


class TestDifferentNames:
    def test_both_writes_survive(self, desk: Desk) -> None:
        """Setting different names."""
        cookie = desk.stored(a=1)
        first, second = two(desk, cookie)
        first["x"] = 1
        second["y"] = 2
        first.save()
        second.save()
        assert desk.values(cookie) == {"a": 1, "x": 1, "y": 2}

    def test_a_deletion_is_not_undone(self, desk: Desk) -> None:
        """By a save that did not touch the name."""
        cookie = desk.stored(a=1, b=2)
        first, second = two(desk, cookie)
        second["b"] = 3
        del first["a"]
        first.save()
        second.save()
        assert desk.values(cookie) == {"b": 3}

    def test_a_name_that_was_only_read_is_not_written_back(self, desk: Desk) -> None:
        """Having handed out the old value is no claim to it."""
        cookie = desk.stored(cart=[1], b=1)
        first, second = two(desk, cookie)
        assert second["cart"] == [1]
        first["cart"].append(2)
        first.save()
        second["b"] = 2
        second.save()
        assert desk.values(cookie) == {"cart": [1, 2], "b": 2}

    def test_a_request_that_only_reads_writes_nothing(self, desk: Desk) -> None:
        """Whatever the other did meanwhile."""
        cookie = desk.stored(a=[1])
        first, second = two(desk, cookie)
        assert second["a"] == [1]
        first["a"].append(2)
        first.save()
        second.save()
        assert desk.values(cookie) == {"a": [1, 2]}

    def test_an_untouched_session_writes_nothing(self, desk: Desk) -> None:
        """Not even to extend its life."""
        cookie = desk.stored(a=1)
        untouched = desk.session(cookie)
        writer = desk.session(cookie)
        writer["a"] = 2
        writer.save()
        untouched.save()
        assert desk.values(cookie) == {"a": 2}

    def test_many_conflicts_in_a_row_are_survived(self, desk: Desk) -> None:
        """Each attempt merges anew, until one gets through."""
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

    def test_what_the_other_saved_is_seen_after_saving(self, desk: Desk) -> None:
        """A session that has merged shows what is stored."""
        cookie = desk.stored(a=1)
        first, second = two(desk, cookie)
        first["x"] = 1
        first.save()
        second["y"] = 1
        second.save()
        assert dict(second) == {"a": 1, "x": 1, "y": 1}

    def test_an_edit_after_a_merging_save_keeps_both(self, desk: Desk) -> None:
        """The value in hand is older than the store's; only the edit counts."""
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
        """Two ``flash()`` calls both arrive, also where there was no list."""
        cookie = desk.stored(a=1)
        for expected in (["x", "y"], ["x", "y", "x", "y"]):
            first, second = two(desk, cookie)
            first.setdefault("_flashes", []).append("x")
            second.setdefault("_flashes", []).append("y")
            first.save()
            second.save()
            assert desk.values(cookie)["_flashes"] == expected

    def test_taking_all_keeps_what_the_other_adds(self, desk: Desk) -> None:
        """One shows the messages, the other adds one."""
        cookie = desk.stored(_flashes=["old"])
        first, second = two(desk, cookie)
        first.pop("_flashes")
        second["_flashes"].append("new")
        first.save()
        second.save()
        assert desk.values(cookie) == {"_flashes": ["new"]}

    def test_adding_keeps_what_the_other_adds_while_taking_all(
        self, desk: Desk
    ) -> None:
        """The same the other way round."""
        cookie = desk.stored(_flashes=["old"])
        first, second = two(desk, cookie)
        first.pop("_flashes")
        second["_flashes"].append("new")
        second.save()
        first.save()
        assert desk.values(cookie) == {"_flashes": ["new"]}

    def test_what_is_appended_after_a_merging_save_is_added(self, desk: Desk) -> None:
        """To what the others had appended, which the list in hand does not have; and
        in lists within other values, too.
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

    def test_what_is_appended_after_a_merging_save_brings_nothing_back(
        self, desk: Desk
    ) -> None:
        """Another one took what the list in hand still has."""
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
    def test_another_list_after_a_merging_save_replaces_it(
        self, desk: Desk, again: str
    ) -> None:
        """It is the later one then; and so is what is made of that."""
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
        """Meanwhile one adds a message, and another one takes all and adds its own."""
        cookie = desk.stored(_flashes=["old"])
        adding, taking = two(desk, cookie)
        adding["_flashes"].append("new")
        taking["_flashes"] = ["other"]
        sessions = [adding, taking]
        sessions.pop(first_to_save).save()
        sessions.pop().save()
        assert desk.values(cookie) == {"_flashes": ["other", "new"]}

    def test_buffalo_flashes_are_merged_by_kind(self, desk: Desk) -> None:
        """Dicts by key, the lists in them by what was appended."""
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
        """Two tabs put different things into it."""
        cookie = desk.stored(cart={"tea": 1, "cup": 1})
        first, second = two(desk, cookie)
        first["cart"]["tea"] = 2
        del first["cart"]["cup"]
        second["cart"]["milk"] = 1
        first.save()
        second.save()
        assert desk.values(cookie) == {"cart": {"tea": 2, "milk": 1}}

    def test_sets_are_merged_by_element(self, desk: Desk) -> None:
        """Added by one, removed by the other."""
        cookie = desk.stored(seen={1, 2})
        first, second = two(desk, cookie)
        first["seen"].add(3)
        second["seen"].discard(1)
        first.save()
        second.save()
        assert desk.values(cookie) == {"seen": {2, 3}}

    def test_otherwise_the_later_save_wins(self, desk: Desk) -> None:
        """There is nothing to merge in a number."""
        cookie = desk.stored(a=1)
        first, second = two(desk, cookie)
        first["a"] = 2
        second["a"] = 3
        first.save()
        second.save()
        assert desk.values(cookie) == {"a": 3}

    def test_an_append_to_what_was_edited_is_the_later_save(self, desk: Desk) -> None:
        """As long as this request has not merged the list itself."""
        cookie = desk.stored(a=[1, 2])
        first, second = two(desk, cookie)
        first["a"][0] = "edited"
        second["a"].append(3)
        first.save()
        second.save()
        assert desk.values(cookie) == {"a": [1, 2, 3]}

    def test_what_cannot_be_read_here_is_not_merged(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another release wrote a class this one does not know: the later save
        wins, and nothing fails.
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
    def test_a_slow_request_does_not_bring_it_back(
        self, desk: Desk, ending: str
    ) -> None:
        """Its write is dropped, told of, and sets no cookie."""
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

    def test_a_slow_request_does_not_revive_an_expired_session(
        self, desk: Desk
    ) -> None:
        """Gone while the request was under way."""
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
        """There is nothing to apply the change to."""
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
    def test_what_was_asked_without_a_change_is_dropped(
        self, desk: Desk, asked: str
    ) -> None:
        """And told: the view takes it for done."""
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

    def test_of_what_was_not_changed_nothing_is_dropped(
        self, desk: Desk, request: pytest.FixtureRequest
    ) -> None:
        """A renewal comes too late. There is nothing to warn of."""
        cookie = desk.stored(a=1)
        desk.refresh_due = True
        reading, leaving = two(desk, cookie)
        leaving.clear()
        leaving.save()
        desk.emitted.clear()
        reading.save()
        assert reading.cookie is None
        assert desk.emitted == []

    def test_a_renewal_does_not_revive_it(self, desk: Desk) -> None:
        """Reading alone, when the cookie is due."""
        desk.refresh_due = True
        cookie = desk.stored(a=1)
        slow, logout = two(desk, cookie)
        logout.clear()
        logout.save()
        slow.save()
        assert slow.cookie is None
        assert desk.values(cookie) == {}

    def test_logging_out_beats_a_write_in_between(self, desk: Desk) -> None:
        """The session ends although it changed after it was loaded."""
        cookie = desk.stored(user_id=1)
        writer, logout = two(desk, cookie)
        writer["seen"] = True
        writer.save()
        logout.clear()
        logout.save()
        assert logout.cookie == ""
        assert desk.values(cookie) == {}

    def test_what_comes_after_a_dropped_save_is_dropped_with_it(
        self, desk: Desk
    ) -> None:
        """The session of this request has ended; that is told once."""
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

    def test_two_logouts_leave_a_newer_cookie_alone(self, desk: Desk) -> None:
        """The second finds it done, and the browser may have logged in again."""
        cookie = desk.stored(user_id=1)
        first, second = two(desk, cookie)
        first.clear()
        first.save()
        second.clear()
        second.save()
        assert first.cookie == ""
        assert second.cookie is None

    def test_logging_out_of_an_expired_session_leaves_the_cookie_alone(
        self, desk: Desk
    ) -> None:
        """There is nothing to end, and nothing is left under the old id."""
        cookie = desk.stored(user_id=1)
        session = desk.session(cookie)
        session.clear()
        desk.store.delete(cookie)
        session.save()
        assert session.cookie is None
        assert ("conflict", None) in desk.emitted
        assert desk.store.load(cookie) is None

    def test_a_login_after_clear_is_kept_though_the_old_session_ended(
        self, desk: Desk
    ) -> None:
        """The new session does not depend on the old one."""
        cookie = desk.stored(user_id=1)
        first, second = two(desk, cookie)
        first.destroy()
        first.save()
        second.clear()
        second["user_id"] = 2
        second.save()
        assert second.cookie
        assert desk.values(second.cookie) == {"user_id": 2}

    def test_regenerating_keeps_a_write_in_between(self, desk: Desk) -> None:
        """What was saved under the old id moves to the new one."""
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

    def test_a_write_in_between_leaves_one_successor(self, desk: Desk) -> None:
        """The second attempt makes another id, and the first one is forgotten."""
        cookie = desk.stored(a=1)
        login, other = two(desk, cookie)
        made = new_tokens(desk)
        other["b"] = 2
        other.save()
        login.regenerate()
        login.save()
        assert made[-1] == login.cookie
        assert [desk.store.load(token) for token in made[:-1]] == [None]

    def test_of_two_that_regenerate_one_does(self, desk: Desk) -> None:
        """There are never two live successors."""
        cookie = desk.stored(a=1)
        first, second = two(desk, cookie)
        made = new_tokens(desk)
        first.regenerate()
        second.regenerate()
        first.save()
        second.save()
        assert second.cookie is None
        assert [desk.values(token) for token in made] == [{"a": 1}, {}]

    def test_a_store_that_fails_while_regenerating_costs_nothing(
        self, desk: Desk
    ) -> None:
        """Whichever of the two writes it is, the old session goes on."""
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
    """Those that the store issues from now on."""
    made: list[str] = []
    save = desk.store.save

    def noting(token: str | None, *args: object, **kwargs: object) -> str:
        result = save(token, *args, **kwargs)  # type: ignore[arg-type]
        if token is None:
            made.append(result)
        return result

    desk.store.save = noting  # type: ignore[method-assign]
    return made


class TestGetOnce:
    def test_one_of_two_gets_it(self, desk: Desk) -> None:
        """Though both had loaded the session before."""
        cookie = desk.stored(ticket="prize")
        first, second = two(desk, cookie)
        assert first.get_once("ticket") == "prize"
        assert second.get_once("ticket", "none") == "none"

    def test_it_is_claimed_at_the_call(self, desk: Desk) -> None:
        """Not at the end of the request, and whatever becomes of the request."""
        cookie = desk.stored(ticket="prize", a=1)
        first = desk.session(cookie)
        first["a"] = 2
        assert first.get_once("ticket") == "prize"
        assert desk.values(cookie) == {"a": 1}
        first.save()
        assert desk.values(cookie) == {"a": 2}

    def test_one_that_had_read_it_before_loses_too(self, desk: Desk) -> None:
        """A value read earlier is no claim."""
        cookie = desk.stored(ticket=["prize"])
        first, second = two(desk, cookie)
        assert second["ticket"] == ["prize"]
        assert first.get_once("ticket") == ["prize"]
        assert second.get_once("ticket") is None

    def test_a_value_that_was_edited_is_claimed_all_the_same(self, desk: Desk) -> None:
        """As flash messages to which this request adds one: of those that were there
        before, each is handed out once.
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

    def test_one_that_was_replaced_is_claimed_with_what_replaces_it(
        self, desk: Desk
    ) -> None:
        """The one before is nobody's any more."""
        cookie = desk.stored(ticket="first")
        first, second = two(desk, cookie)
        first["ticket"] = "second"
        assert first.get_once("ticket") == "second"
        assert second.get_once("ticket") is None
        assert "ticket" not in first

    def test_what_was_claimed_can_be_set_again(self, desk: Desk) -> None:
        """The very same value, too: it is not there any more."""
        cookie = desk.stored(ticket=["prize"])
        session = desk.session(cookie)
        assert session["ticket"] == ["prize"]
        session["ticket"] = session.get_once("ticket")
        session.save()
        assert desk.values(cookie) == {"ticket": ["prize"]}

    def test_what_the_other_wrote_meanwhile_survives_the_claim(
        self, desk: Desk
    ) -> None:
        """Claiming changes nothing but the one name."""
        cookie = desk.stored(ticket="prize")
        first, second = two(desk, cookie)
        first["x"] = 1
        first.save()
        assert second.get_once("ticket") == "prize"
        assert desk.values(cookie) == {"x": 1}

    def test_a_newer_value_is_what_is_claimed(self, desk: Desk) -> None:
        """What is handed out is what was taken out of the store."""
        cookie = desk.stored(ticket="old")
        first, second = two(desk, cookie)
        first["ticket"] = "new"
        first.save()
        assert second.get_once("ticket") == "new"
        assert desk.values(cookie) == {}

    def test_nothing_is_claimed_of_a_session_that_ended(self, desk: Desk) -> None:
        """The value went with it."""
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

    def test_a_claim_that_fails_hands_out_nothing(self, desk: Desk) -> None:
        """The error comes out and the value stays for another request."""
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
    """A dict that was assigned is a whole; a dict that was edited is merged."""

    @pytest.mark.parametrize("first", ["editing", "assigning"])
    def test_an_edit_beside_an_assignment_makes_no_mixture(
        self, desk: Desk, first: str
    ) -> None:
        """Whichever is saved first. The edit was made inside another user's dict."""
        cookie = desk.stored(user={"id": 1, "role": "user"})
        editing, assigning = two(desk, cookie)
        editing["user"]["seen"] = 1
        assigning["user"] = {"id": 2, "role": "user"}
        order = [editing, assigning] if first == "editing" else [assigning, editing]
        for session in order:
            session.save()
        assert desk.values(cookie) == {"user": {"id": 2, "role": "user"}}

    def test_an_authentication_name_is_never_merged(self, desk: Desk) -> None:
        """An edit inside it does not bring it back."""
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

    def test_of_two_assignments_the_later_wins(self, desk: Desk) -> None:
        """Never a mixture of two accounts."""
        cookie = desk.stored(user={"id": 1})
        first, second = two(desk, cookie)
        first["user"] = {"id": 2, "admin": True}
        second["user"] = {"id": 3}
        first.save()
        second.save()
        assert desk.values(cookie) == {"user": {"id": 3}}


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_each_session_that_was_cleared_ends(desk: Desk, failing: int) -> None:
    """Also if one ending fails and saving is tried again."""
    first = desk.stored(a=1)
    session = desk.session(first)
    session.clear()
    session["b"] = 1
    session.save()
    second = str(session.cookie)
    session.clear()
    session["c"] = 1
    end, calls = desk.backend.end, []

    def ending(what: t.Any) -> bool:
        calls.append(what)
        if len(calls) <= failing:
            raise SessionStoreError("it", "is away")
        return end(what)

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


def test_whoever_loses_waits_a_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the second time on, for a few hundredths of a second at most, and not in
    step with others.
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


def test_losing_too_often_is_an_error(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounded retries: nothing is overwritten and nothing hangs."""
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


def test_a_new_id_that_is_never_given_leaves_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old id could not be given up, so it goes on under that."""
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
    """A write may be done although its answer is lost. A client that repeats it by
    itself, as redis-py does, then finds its own, and takes it for another's.
    """

    @pytest.fixture(params=["server-side", "cookie with a list"])
    def desk(self, request: pytest.FixtureRequest, server_store: Store) -> Desk:
        if request.param == "server-side":
            return Desk(server_store)
        kept: t.Any = server_store
        return Desk(CookieStore(), revocations=RevocationList(kept, 3600))

    def unanswered(self, store: Store, error: Exception) -> None:
        """Have each mark that is written answered with an error."""
        save = store.save

        def write(token: str | None, data: bytes, **settings: t.Any) -> str:
            saved = save(token, data, **settings)
            # In a revocation list, the id's hash stands before the tombstone.
            if is_tombstone(data) or is_tombstone(data[32:]):
                raise error
            return saved

        store.save = write  # type: ignore[method-assign]

    @pytest.mark.parametrize("how", ["renewal", "login"])
    @pytest.mark.parametrize(
        "error",
        [SessionConflictError("it is there"), SessionStoreError("it", "timed out")],
        ids=lambda error: type(error).__name__,
    )
    def test_a_new_id_is_given(
        self, desk: Desk, server_store: Store, how: str, error: Exception
    ) -> None:
        """The session goes on under it, and has ended under the old one."""
        cookie = desk.stored(a=1)
        session = desk.session(cookie)
        assert session["a"] == 1
        self.unanswered(server_store, error)
        desk.emitted.clear()
        if how == "renewal":
            desk.set_times(rotate_after=0)
        else:
            session.regenerate()
        session.save()
        desk.set_times(rotate_after=None)
        assert ("conflict", None) not in desk.emitted
        assert session.cookie
        assert desk.values(session.cookie) == {"a": 1}
        # An id that was rotated for its age leads on to the session.
        assert desk.values(cookie) == ({"a": 1} if how == "renewal" else {})

    def test_what_may_have_a_new_id_is_left_under_it(self, server_store: Store) -> None:
        """The store takes the end of the old one, and is away before it says so. What a
        request under way has saved meanwhile is there.
        """
        store = Counting(server_store)
        desk = Desk(store)
        cookie = desk.stored(a=1)
        renewing, writing = two(desk, cookie)
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
            renewing.save()
        store.failing.clear()
        desk.set_times(rotate_after=None)
        writing.save()
        assert ("conflict", None) not in desk.emitted
        assert dict(writing) == {"a": 1, "b": 2}
        assert desk.values(cookie) == {"a": 1, "b": 2}

    @pytest.mark.parametrize("how", ["logout", "removal"])
    def test_an_end_that_was_repeated_is_the_end(
        self, desk: Desk, server_store: Store, how: str
    ) -> None:
        """Not another request's: the cookie is removed. Without a value, a session on
        a server goes on.
        """
        cookie = desk.stored(a=1)
        session = desk.session(cookie)
        assert session["a"] == 1
        self.unanswered(server_store, SessionConflictError("it is there"))
        desk.emitted.clear()
        session.clear() if how == "logout" else session.delete("a")
        session.save()
        assert ("conflict", None) not in desk.emitted
        ended = how == "logout" or desk.revocations is not None
        assert session.cookie == ("" if ended else None)
        assert desk.values(cookie) == {}

    def test_an_end_without_an_answer_is_found_when_it_is_tried_again(
        self, desk: Desk, server_store: Store
    ) -> None:
        """It is this request's, and not another's. A store that can also delete finds
        out at once.
        """
        cookie = desk.stored(a=1)
        session = desk.session(cookie)
        assert session["a"] == 1
        session.clear()
        desk.emitted.clear()
        self.unanswered(server_store, SessionStoreError("it", "timed out"))
        with suppress(SessionStoreError):
            session.save()
        session.save()
        assert desk.emitted == [("destroyed", None)]
        assert session.cookie == ""
        assert desk.values(cookie) == {}

    def test_the_first_note_of_a_session_is_made_again(self) -> None:
        """Under another id."""
        store = MemoryStore()
        desk = Desk(CookieStore(), revocations=RevocationList(store, 3600))
        save, noted = store.save, []

        def repeated(token: str | None, data: bytes, **settings: t.Any) -> str:
            noted.append(save(token, data, **settings))
            if len(noted) == 1:
                raise SessionConflictError("it is there")
            return noted[-1]

        store.save = repeated  # type: ignore[method-assign]
        session = desk.session()
        session.bind("ann")
        session.save()
        assert session.cookie
        assert desk.session(session.cookie).owner == "ann"
        assert len(set(noted)) == 2


def test_a_new_id_that_cannot_be_given_leaves_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is tried while the old one cannot be given up."""
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


def test_a_new_id_is_taken_back_when_what_changed_cannot_be_read(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one was used meanwhile; and of three looks at it the second fails."""
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


def test_what_cannot_be_undone_either_is_no_other_error(desk: Desk) -> None:
    """The store has gone away in between."""
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
def test_what_is_asked_after_a_failure_is_done(desk: Desk, ending: str) -> None:
    """Though no value has changed since: a view that could not save ends it, say."""
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
def test_what_could_not_be_done_is_not_tried_again(desk: Desk, ending: str) -> None:
    """At the end of the request, if nothing has been asked since: the view knows."""
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
