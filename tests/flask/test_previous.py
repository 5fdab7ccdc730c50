"""Move sessions in from Flask and from earlier settings: ``SESSION_PREVIOUS``."""

from __future__ import annotations

import base64
import datetime as dt
import logging
import secrets
import typing as t
import uuid
import zlib

import flask
import pytest
from flask import Flask, get_flashed_messages
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import TimestampSigner
from markupsafe import Markup
from werkzeug.test import TestResponse

from flask_buffalo_session import (
    CookieStore,
    GorillaFormat,
    MemoryStore,
    Session,
    Store,
    previous,
    register_type,
    session,
    signals,
)
from flask_buffalo_session.config import Config
from flask_buffalo_session.errors import (
    RejectedError,
    SessionConfigError,
    SessionStoreError,
    SessionTooLargeError,
    SessionTypeError,
)
from flask_buffalo_session.native.codec import NativeCodec
from flask_buffalo_session.previous.base import Found
from flask_buffalo_session.testing import session_of
from tests.conftest import SECRET, Clock, Counting, Formatting, make_app

FLASK_KEY = "the secret that Flask used before"

SIGNER = TimestampSigner(FLASK_KEY, salt="cookie-session", key_derivation="hmac")

#: Everything that Flask's own session can hold.
VALUES: dict[str, t.Any] = {
    "user_id": 7,
    "cart": {"apple": 2, "pear": [1, 2.5, None, True]},
    "point": (1, (2, 3)),
    "raw": b"\x00\xff",
    "name": "Zoë",
    "safe": Markup("<b>safe</b>"),
    "key": uuid.UUID(int=7),
    "seen": dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
}


class Act(t.Protocol):
    def __call__(self) -> object: ...


def flask_cookie(
    values: dict[str, t.Any],
    *,
    key: str = FLASK_KEY,
    permanent: bool = False,
    token: str | None = None,
) -> str:
    """Return the cookie that Flask itself makes of a session.

    :param token: makes it unlike other cookies; random by default.
    """
    app = Flask("old")
    app.secret_key = key

    @app.get("/")
    def view() -> str:
        flask.session.permanent = permanent
        flask.session.update(values)
        flask.session["token"] = token or secrets.token_hex()
        flask.flash("Welcome", "info")
        return ""

    client = app.test_client()
    client.get("/")
    cookie = client.get_cookie("session")
    assert cookie is not None
    return cookie.value


class Moved:
    """An application that has moved, and browsers that have old cookies.

    :param store: where sessions are kept now.
    """

    def __init__(self, store: object = "cookie", **config: t.Any) -> None:
        config.setdefault("SESSION_PREVIOUS", ["flask"])
        config.setdefault("SECRET_KEY", FLASK_KEY)
        self.app = make_app(store, **config)
        self.rejections: list[str] = []
        signals.session_rejected.connect(self._rejected, sender=self.app)
        self.errors: list[Exception] = []

        @self.app.get("/")
        def view() -> str:
            return repr(self.act())

        @self.app.errorhandler(Exception)
        def failed(error: Exception) -> tuple[str, int]:
            self.errors.append(error)
            return "failed", 500

    def _rejected(
        self, sender: Flask, *, reason: str, session_id: object, name: None
    ) -> None:
        self.rejections.append(reason)

    def get(self, cookies: str, act: Act = lambda: dict(session)) -> TestResponse:
        """Send a request with this ``Cookie`` header, and run `act` in its view."""
        self.act = act
        client = self.app.test_client(use_cookies=False)
        return client.get("/", headers={"Cookie": cookies} if cookies else {})

    def values(self, cookies: str) -> dict[str, t.Any]:
        """Return what a request finds in its session."""
        found: dict[str, t.Any] = {}
        self.get(cookies, lambda: found.update(session))
        return found


def set_cookies(response: TestResponse) -> dict[str, str]:
    """Return the texts that a response gives to cookies, by name."""
    pairs = (
        header.partition(";")[0].partition("=")
        for header in response.headers.getlist("Set-Cookie")
    )
    return {name: text for name, _, text in pairs}


def ours(response: TestResponse) -> str:
    """Return the ``Cookie`` header of a browser that got this response."""
    texts = {name: text for name, text in set_cookies(response).items() if text}
    return "; ".join(f"{name}={text}" for name, text in texts.items())


class TestFromFlask:
    def test_values_types_permanence_and_flashes_move(self, store: Store) -> None:
        """The response sets our cookie and removes the old one, and from then on the
        session is an ordinary one."""
        moved = Moved(store)
        old = flask_cookie(VALUES, permanent=True)
        response = moved.get(f"session={old}", lambda: session["user_id"])
        assert response.text == "7"
        assert set_cookies(response).keys() == {"session", "_buffalo_session"}
        assert set_cookies(response)["session"] == ""
        assert "Expires=Thu, 01 Jan 1970" in response.headers.getlist("Set-Cookie")[0]
        assert "Expires=" in response.headers.getlist("Set-Cookie")[1], "not permanent"
        assert response.headers["Vary"] == "Cookie"
        found = moved.values(ours(response))
        assert found.pop("_permanent") is True
        assert found.pop("_flashes") == [("info", "Welcome")]
        assert found.pop("token")
        assert found == VALUES
        assert {name: type(found[name]) for name in found} == {
            name: type(VALUES[name]) for name in VALUES
        }
        flashes: list[t.Any] = []
        moved.get(ours(response), lambda: flashes.extend(get_flashed_messages()))
        assert flashes == ["Welcome"]
        assert moved.rejections == []

    def test_a_changed_session_moves_with_its_change(self, store: Store) -> None:
        """Nested changes count, too."""
        moved = Moved(store)

        def act() -> None:
            assert not session.new
            session["cart"]["apple"] = 3
            session["more"] = 1

        response = moved.get(f"session={flask_cookie(VALUES)}", act)
        found = moved.values(ours(response))
        assert (found["cart"]["apple"], found["more"]) == (3, 1)

    def test_an_old_cookie_with_our_name_is_no_bad_signature(
        self, store: Store
    ) -> None:
        """Our cookie takes the place of the old one."""
        moved = Moved(store, SESSION_NAME="session")
        response = moved.get(f"session={flask_cookie(VALUES)}")
        assert moved.values(ours(response))["user_id"] == 7
        assert len(response.headers.getlist("Set-Cookie")) == 1
        assert moved.rejections == []

    def test_an_untouched_request_costs_nothing(self, store: Store) -> None:
        """No store operation, no cookie, no ``Vary``."""
        counting = Counting(store)
        moved = Moved(counting)
        old = flask_cookie(VALUES, permanent=True)
        response = moved.get(f"session={old}", lambda: None)
        assert counting.calls == []
        assert "Set-Cookie" not in response.headers
        assert "Vary" not in response.headers

    def test_a_session_of_ours_never_asks_an_old_place(self, store: Store) -> None:
        """Not even where an old cookie comes with it."""

        class Untouchable(previous.FlaskCookie):
            def source(self, app: Flask, config: Config) -> t.Any:
                source = super().source(app, config)
                source.find = asked  # type: ignore[method-assign]
                return source

        def asked(text: str) -> Found:
            raise AssertionError("the old place was asked")

        moved = Moved(store, SESSION_PREVIOUS=[Untouchable()])
        response = moved.get("", lambda: session.set("a", 1))
        both = f"session={flask_cookie(VALUES)}; {ours(response)}"
        assert moved.values(both) == {"a": 1}
        assert not moved.errors

    @pytest.mark.parametrize("finish_first", [False, True])
    def test_two_requests_at_once_make_one_session(
        self, server_store: Store, finish_first: bool
    ) -> None:
        """The writes of both are in it."""
        moved = Moved(server_store)
        interface = moved.app.session_interface
        header = {"Cookie": f"session={flask_cookie(VALUES)}"}
        responses = []
        with moved.app.test_request_context(headers=header) as context:
            first = t.cast(Session, context.session)
            first["first"] = 1
            response = moved.app.response_class()
            if finish_first:
                interface.save_session(moved.app, first, response)
            with moved.app.test_request_context(headers=header) as other:
                second = t.cast(Session, other.session)
                second["second"] = 2
                assert second.id == first.id
                responses.append(moved.app.response_class())
                interface.save_session(moved.app, second, responses[0])
            if not finish_first:
                interface.save_session(moved.app, first, response)
            responses.append(response)
        for response in responses:
            text = response.headers.getlist("Set-Cookie")[-1].partition(";")[0]
            found = moved.values(text)
            assert (found["first"], found["second"], found["user_id"]) == (1, 2, 7)

    def test_a_request_that_is_overtaken_while_it_moves_a_session(
        self, server_store: Store
    ) -> None:
        """Its own copy is deleted, and it goes on with the session of the other."""
        old = f"session={flask_cookie(VALUES)}"
        overtaken: list[TestResponse] = []

        class Overtaken(Counting):
            def save(self, token: str | None, data: bytes, **how: t.Any) -> str:
                if token is not None and not overtaken:
                    # This is the pointer. The session itself is saved already.
                    other = Moved(self.inner)
                    overtaken.append(other.get(old, lambda: session.set("first", 1)))
                return super().save(token, data, **how)

        store = Overtaken(server_store)
        moved = Moved(store)
        response = moved.get(old, lambda: session.set("second", 2))
        for cookies in (ours(overtaken[0]), ours(response), old):
            found = moved.values(cookies)
            assert (found["first"], found["second"], found["user_id"]) == (1, 2, 7)
        assert "delete" in store.calls, "a copy of the session stays in the store"

    def test_the_same_old_cookie_leads_to_the_same_session_later(
        self, server_store: Store
    ) -> None:
        """If the browser never received our cookie, the session is not lost."""
        moved = Moved(server_store)
        old = f"session={flask_cookie(VALUES)}"
        moved.get(old, lambda: session.set("more", 1))
        assert moved.values(old)["more"] == 1

    def test_users_with_equal_cookies_do_not_share_a_session(
        self, server_store: Store, clock: Clock
    ) -> None:
        """Flask's cookies of two anonymous users may be the same text."""
        moved = Moved(server_store)
        token = secrets.token_hex()
        ann, bob = (flask_cookie({}, token=token) for _ in range(2))
        assert ann == bob
        ann = ours(moved.get(f"session={ann}", lambda: session.set("mail", "ann@")))
        clock.tick(31)
        bob = ours(moved.get(f"session={bob}", lambda: session.set("name", "Bob")))
        assert "mail" not in moved.values(bob)
        assert "name" not in moved.values(ann)

    def test_the_cookie_of_a_user_leads_to_one_session(
        self, server_store: Store, clock: Clock
    ) -> None:
        """However late the cookie comes again, and a logout ends this session."""
        moved = Moved(server_store)
        old = f"session={flask_cookie(VALUES)}"
        cookies = ours(moved.get(old, lambda: session.set("more", 1)))
        clock.tick(31)
        assert moved.values(old)["more"] == 1
        moved.get(cookies, lambda: session.clear())
        for seconds in (1, 60):
            clock.tick(seconds)
            assert moved.values(old) == {}

    @pytest.mark.parametrize("at_once", [False, True])
    @pytest.mark.parametrize("rotated", [False, True])
    def test_a_logout_is_final(
        self, store: Store, clock: Clock, at_once: bool, rotated: bool
    ) -> None:
        """The old cookie does not bring the session back while Flask itself would
        still accept the cookie."""
        listed = MemoryStore() if getattr(store, "stateless", False) else None
        moved = Moved(store, SESSION_REVOCATION=listed, SESSION_IDLE_TIMEOUT=60)
        old = f"session={flask_cookie(VALUES)}"
        cookies = old
        if rotated:
            cookies = ours(moved.get(cookies, lambda: session.regenerate()))
        if not at_once:
            cookies = ours(moved.get(cookies)) or cookies
        response = moved.get(cookies, lambda: session.clear())
        assert set_cookies(response)["_buffalo_session"] == ""
        for seconds in (1, 60, 3600, 30 * 24 * 3600 - 3700):
            clock.tick(seconds)
            assert moved.values(old) == {}, f"back after {seconds} seconds"
        assert not moved.errors

    def test_another_text_of_the_same_cookie_does_not_undo_a_logout(
        self, server_store: Store
    ) -> None:
        """Base64 has several texts for one signature."""
        moved = Moved(server_store)
        old = flask_cookie(VALUES)
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        other = old[:-1] + alphabet[alphabet.index(old[-1]) ^ 1]
        signer = TimestampSigner(
            FLASK_KEY, salt="cookie-session", key_derivation="hmac"
        )
        assert signer.validate(other), "this text does not stand for the signature"
        moved.get(f"session={old}", lambda: session.clear())
        assert moved.values(f"session={other}") == {}

    def test_a_user_can_log_in_again_after_a_logout(
        self, server_store: Store, clock: Clock
    ) -> None:
        """Although the browser still sends the old cookie."""
        moved = Moved(server_store)
        old = f"session={flask_cookie(VALUES)}"
        moved.get(old, lambda: session.clear())
        clock.tick(61)
        response = moved.get(old, lambda: session.set("user_id", 8))
        assert moved.values(f"{old}; {ours(response)}") == {"user_id": 8}

    def test_a_save_that_fails_leaves_the_old_session(
        self, server_store: Store
    ) -> None:
        """The error is raised in the view. The browser keeps its old cookie."""
        counting = Counting(server_store)
        moved = Moved(counting)
        old = f"session={flask_cookie(VALUES)}"
        counting.failing["save"] = SessionStoreError("Test", "is full")
        response = moved.get(old)
        assert response.status_code == 500
        assert "Set-Cookie" not in response.headers
        del counting.failing["save"]
        assert moved.values(old)["user_id"] == 7

    def test_an_unsuitable_value_leaves_the_old_session(self, store: Store) -> None:
        """The browser keeps its old cookie."""
        moved = Moved(store)
        old = f"session={flask_cookie(VALUES)}"
        response = moved.get(old, lambda: session.set("bad", object()))
        assert isinstance(moved.errors[0], SessionTypeError)
        assert "Set-Cookie" not in response.headers
        assert moved.values(old)["user_id"] == 7

    def test_a_session_that_is_too_large_stays_where_it_is(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Reading goes on, with a warning; a change is an error."""
        store = MemoryStore()
        before = make_app(store, SESSION_NAME="old")
        with before.test_client() as client:
            with client.session_transaction() as old:
                old["long"] = "".join(map(str, range(3000)))
            cookies = f"old={client.get_cookie('old').value}"  # type: ignore[union-attr]
        moved = Moved(
            "cookie", SESSION_PREVIOUS=[previous.Buffalo(store=store, name="old")]
        )
        response = moved.get(cookies, lambda: len(session["long"]))
        assert response.status_code == 200
        assert "Set-Cookie" not in response.headers
        assert "could not be refreshed" in caplog.text
        assert moved.get(cookies, lambda: session.set("a", 1)).status_code == 500
        assert isinstance(moved.errors[0], SessionTooLargeError)
        assert len(moved.values(cookies)["long"]) > 4093

    def test_flasks_own_limits_hold(self, store: Store, clock: Clock) -> None:
        """A cookie that Flask would reject for its age is expired here, too."""
        moved = Moved(store, PERMANENT_SESSION_LIFETIME=100)
        old = f"session={flask_cookie(VALUES)}"
        clock.tick(102)
        assert moved.values(old) == {}
        assert moved.rejections == ["expired"]

    @pytest.mark.parametrize("name", ["session", "_buffalo_session"])
    def test_forged_and_foreign_cookies_are_not_taken(
        self, store: Store, name: str
    ) -> None:
        """Each is a fresh session, without a look at the store."""
        counting = Counting(store)
        moved = Moved(counting, SESSION_NAME="_buffalo_session")
        good = flask_cookie(VALUES)
        for bad in (
            "",
            good[:-3],
            good[3:],
            good + good,
            good.swapcase(),
            flask_cookie(VALUES, key="another secret"),
            "é" * 10,
            "." * 100,
            "A" * 100_000,
        ):
            assert moved.values(f"{name}={bad}") == {}, bad[:30]
        assert counting.calls == []
        assert not moved.errors

    @pytest.mark.parametrize("domain", [None, "", "shop.test"])
    def test_the_old_cookie_is_removed_under_its_own_domain(
        self, domain: str | None
    ) -> None:
        """A browser keeps a cookie for each domain, and one without a domain."""
        settings = {"SESSION_COOKIE_DOMAIN": "www.shop.test"}
        place = previous.FlaskCookie(domain=domain)
        moved = Moved(SESSION_PREVIOUS=[place], **settings)
        response = moved.get(f"session={flask_cookie(VALUES)}")
        removal, _ = response.headers.getlist("Set-Cookie")
        expected = "www.shop.test" if domain is None else domain
        assert removal.startswith("session=;")
        assert (f"Domain={expected};" in removal) is bool(expected)
        assert ("Domain=" in removal) is bool(expected)

    def test_a_missing_secret_is_logged_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Otherwise nobody would learn why all users are logged out."""
        moved = Moved(SECRET_KEY=None)
        for _ in range(2):
            assert moved.values(f"session={flask_cookie(VALUES)}") == {}
        assert caplog.text.count("there is no SECRET_KEY") == 1

    def test_a_value_that_the_format_cannot_store_stays_behind(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The user stays logged in."""
        moved = Moved(SESSION_FORMAT="gorilla")
        found = moved.values(f"session={flask_cookie(VALUES)}")
        assert found["user_id"] == 7
        assert "seen" not in found, "a date is in it, which Go could not read"
        assert "stays behind: session['seen']" in caplog.text

    def test_fallbacks_of_the_old_secret_count(self) -> None:
        """As Flask 3.1 takes them, and as an argument."""
        old = flask_cookie(VALUES, key="older")
        cookies = f"session={old}"
        by_setting = Moved(SECRET_KEY="newer", SECRET_KEY_FALLBACKS=["older"])
        assert by_setting.values(cookies)["user_id"] == 7
        places = [previous.FlaskCookie(secret=["newer", "older"])]
        by_argument = Moved(SESSION_PREVIOUS=places, SECRET_KEY=None)
        assert by_argument.values(cookies)["user_id"] == 7
        assert Moved(SECRET_KEY=None).values(cookies) == {}

    def test_another_name_path_and_salt(self) -> None:
        """The old cookie is removed where it was."""
        app = Flask("old")
        app.secret_key = FLASK_KEY
        serializer = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
        serializer.salt = b"another"
        place = previous.FlaskCookie(name="old", path="/app", salt="another")
        moved = Moved(SESSION_PREVIOUS=[place])
        response = moved.get(f"old={serializer.dumps({'a': 1})}")
        assert response.text == "{'a': 1}"
        removal, _ = response.headers.getlist("Set-Cookie")
        assert removal.startswith("old=;")
        assert "Path=/app" in removal

    def test_the_tests_of_an_application_can_move_a_session(self) -> None:
        """``session_transaction`` moves it, too."""
        moved = Moved()
        client = moved.app.test_client()
        client.set_cookie("session", flask_cookie(VALUES))
        with client.session_transaction() as opened:
            assert opened["user_id"] == 7
        assert client.get_cookie("session") is None
        assert client.get_cookie("_buffalo_session") is not None

    @pytest.mark.parametrize(
        "body",
        [
            b"[1]",
            b"7",
            b"\xff\xfe",
            b'{" t": 5}',
            b'{"a": {" u": "?"}}',
            b'{"a": "\\ud800"}',
            b"[" * 100_000,
        ],
    )
    @pytest.mark.parametrize("packed", [False, True])
    def test_malformed_payloads_are_a_fresh_session(
        self, store: Store, body: bytes, packed: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Although their signature is good."""
        moved = Moved(store)
        assert moved.values(f"session={signed(body, packed=packed)}") == {}
        assert moved.rejections == ["corrupt"]
        assert not moved.errors

    def test_a_payload_that_inflates_without_end_is_not_read(self) -> None:
        """50 MB in a cookie of some KB."""
        moved = Moved()
        bomb = signed(b'{"a": "' + b"A" * 50_000_000 + b'"}', packed=True)
        assert moved.values(f"session={bomb}") == {}
        assert moved.rejections == ["corrupt"]

    def test_the_move_is_logged_without_the_cookie(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """At the level info, so that the setting can be dropped once it is silent."""
        caplog.set_level(logging.INFO)
        moved = Moved()
        old = flask_cookie(VALUES)
        moved.get(f"session={old}")
        assert "A session has moved here from FlaskCookies." in caplog.text
        assert old not in caplog.text


def signed(body: bytes, *, packed: bool) -> str:
    """Return a cookie of this content, with Flask's signature."""
    data = base64.urlsafe_b64encode(zlib.compress(body) if packed else body)
    data = (b"." if packed else b"") + data.rstrip(b"=")
    return SIGNER.sign(data).decode()


def test_a_name_that_cannot_be_stored_is_a_fresh_session(store: Store) -> None:
    """Flask's JSON has names with lone surrogates."""
    moved = Moved(store)
    text = signed(rb'{"\ud800":1}', packed=False)
    assert moved.values(f"session={text}") == {}
    assert moved.rejections == ["corrupt"]
    assert not moved.errors


@given(st.binary(), st.booleans())
def test_no_signed_content_raises_anything_but_a_rejection(
    body: bytes, packed: bool
) -> None:
    """Or it is read."""
    app = make_app(SECRET_KEY=FLASK_KEY)
    source = previous.FlaskCookie(name="session").source(app, Config.of(app))
    try:
        found = source.find(signed(body, packed=packed))
        found.load(NativeCodec())
    except RejectedError as error:
        assert error.reason == "corrupt"


class TestFromEarlierSettings:
    def cookies(self, app: Flask, **values: t.Any) -> str:
        """Return the ``Cookie`` header of a browser that has a session there."""
        client = app.test_client()
        with client.session_transaction() as opened:
            opened.update(values or VALUES)
        name = app.config["SESSION_COOKIE_NAME"]
        cookie = client.get_cookie(name)
        assert cookie is not None
        return f"{name}={cookie.value}"

    def test_from_the_cookie_to_any_store(
        self, server_store: Store, formatting: Formatting
    ) -> None:
        """In every format."""
        settings = formatting.settings(SECRET)
        cookies = self.cookies(make_app("cookie", **settings), **VALUES_OF_GO)
        place = previous.Buffalo(store="cookie")
        moved = Moved(server_store, SESSION_PREVIOUS=[place], **settings)
        response = moved.get(cookies, lambda: session.set("more", 1))
        found = moved.values(ours(response))
        assert found == {**VALUES_OF_GO, "more": 1}
        assert moved.rejections == []

    def test_from_a_store_to_the_cookie(self, server_store: Store) -> None:
        """The old record is deleted once the session is saved here."""
        counting = Counting(server_store)
        before = make_app(counting, SESSION_NAME="old")
        cookies = self.cookies(before)
        place = previous.Buffalo(store=counting, name="old")
        moved = Moved("cookie", SESSION_PREVIOUS=[place])
        response = moved.get(cookies)
        assert moved.values(ours(response)) == VALUES
        with before.test_client() as client:
            client.set_cookie("old", cookies.partition("=")[2])
            with client.session_transaction() as opened:
                assert dict(opened) == {}

    @pytest.mark.parametrize("before", ["cookie", "memory:", "another"])
    def test_a_store_can_change_under_the_same_name_and_secret(
        self, store: Store, before: str
    ) -> None:
        """The old cookie verifies, but its session is in the other store."""
        kept: object = MemoryStore() if before == "another" else before
        app = make_app(kept)
        cookies = self.cookies(app)
        kept = app.session_interface.main.config.store  # type: ignore[attr-defined]
        moved = Moved(store, SESSION_PREVIOUS=[previous.Buffalo(store=kept)])
        response = moved.get(cookies, lambda: session.set("more", 1))
        cookies = ours(response)
        assert len(response.headers.getlist("Set-Cookie")) == 1
        assert moved.values(cookies) == {**VALUES, "more": 1}
        assert moved.rejections == []

    def test_a_logout_is_final_under_the_same_name_and_secret(
        self, server_store: Store, clock: Clock
    ) -> None:
        """Neither of the two cookies brings the session back."""
        old = self.cookies(make_app("cookie"))
        place = previous.Buffalo(store="cookie")
        moved = Moved(server_store, SESSION_PREVIOUS=[place])
        cookies = ours(moved.get(old))
        moved.get(cookies, lambda: session.clear())
        for seconds in (1, 100, 100_000):
            clock.tick(seconds)
            assert moved.values(old) == {}
            assert moved.values(cookies) == {}

    def test_an_ended_session_of_ours_does_not_lead_to_another_cookie(
        self, server_store: Store, clock: Clock
    ) -> None:
        """Old places are only for browsers that have no cookie of ours."""
        moved = Moved(server_store)
        cookies = ours(moved.get("", lambda: session.set("a", 1)))
        moved.get(cookies, lambda: session.clear())
        clock.tick(100)
        old = f"session={flask_cookie(VALUES)}"
        assert moved.values(f"{cookies}; {old}") == {}
        assert moved.rejections == ["unknown"]

    @pytest.mark.parametrize(
        ("before", "place"),
        [
            ({"SESSION_NAME": "old"}, previous.Buffalo(name="old")),
            ({"SESSION_SECRET": "an older secret, long enough"}, None),
            ({"SESSION_ENCRYPT": True}, previous.Buffalo(encrypt=True)),
            ({"SESSION_FORMAT": "gorilla"}, previous.Buffalo(format="gorilla")),
        ],
    )
    def test_from_another_name_secret_or_format(
        self,
        store: Store,
        before: dict[str, t.Any],
        place: previous.Buffalo | None,
    ) -> None:
        """What is not given stays as it is now."""
        place = place or previous.Buffalo(secret="an older secret, long enough")
        cookies = self.cookies(make_app(store, **before), **VALUES_OF_GO)
        moved = Moved(store, SESSION_PREVIOUS=[place])
        response = moved.get(cookies, lambda: session.set("more", 1))
        assert moved.values(ours(response)) == {**VALUES_OF_GO, "more": 1}
        assert moved.rejections == []
        assert not moved.errors

    def test_equal_cookies_of_gorilla_lead_to_two_sessions(
        self, server_store: Store, clock: Clock
    ) -> None:
        """Visitors with the same values have the same token, at any time."""
        before = make_app("cookie", SESSION_NAME="old", SESSION_FORMAT="gorilla")
        place = previous.Buffalo(store="cookie", name="old", format="gorilla")
        moved = Moved(server_store, SESSION_PREVIOUS=[place])
        ann = self.cookies(before, language="de")
        clock.tick(1)
        bob = self.cookies(before, language="de")
        ann = ours(moved.get(ann, lambda: session.set("mail", "ann@")))
        bob = ours(moved.get(bob, lambda: session.set("name", "Bob")))
        assert "mail" not in moved.values(bob)
        assert "name" not in moved.values(ann)

    def test_a_logout_of_a_user_of_gorilla_is_final(
        self, server_store: Store, clock: Clock
    ) -> None:
        """Also if the old cookie came twice before, with some time in between."""
        before = make_app("cookie", SESSION_NAME="old", SESSION_FORMAT="gorilla")
        old = self.cookies(before, **VALUES_OF_GO)
        place = previous.Buffalo(store="cookie", name="old", format="gorilla")
        moved = Moved(server_store, SESSION_PREVIOUS=[place])
        cookies = ours(moved.get(old, lambda: session.set("more", 1)))
        clock.tick(31)
        assert moved.values(old)["more"] == 1
        moved.get(cookies, lambda: session.clear())
        for seconds in (1, 100):
            clock.tick(seconds)
            assert moved.values(old) == {}

    def test_the_creation_time_moves(self, store: Store, clock: Clock) -> None:
        """So the absolute time-out holds across the move."""
        limit = {"SESSION_ABSOLUTE_TIMEOUT": 100}
        cookies = self.cookies(make_app("cookie", SESSION_NAME="old", **limit))
        place = previous.Buffalo(store="cookie", name="old")
        moved = Moved(store, SESSION_PREVIOUS=[place], **limit)
        clock.tick(50)
        cookies = ours(moved.get(cookies))
        assert moved.values(cookies) == VALUES
        clock.tick(52)
        assert moved.values(cookies) == {}

    def test_time_outs_of_the_sessions_own_move(
        self, store: Store, clock: Clock
    ) -> None:
        """They count in the old place, too. A logout is final for as long."""
        before = make_app("cookie", SESSION_NAME="old", SESSION_IDLE_TIMEOUT=100)

        @before.get("/begin")
        def begin() -> str:
            session["a"] = 1
            session.set_timeouts(idle=20_000)
            return ""

        client = before.test_client()
        client.get("/begin")
        kept = client.get_cookie("old")
        assert kept is not None
        old = f"old={kept.value}"
        moved = Moved(
            store,
            SESSION_PREVIOUS=[previous.Buffalo(store="cookie", name="old")],
            SESSION_IDLE_TIMEOUT=100,
        )
        clock.tick(5000)
        cookies = ours(moved.get(old, lambda: session.set("b", 2)))
        clock.tick(5000)
        assert moved.values(cookies) == {"a": 1, "b": 2}
        if not isinstance(store, CookieStore):
            moved.get(cookies, lambda: session.clear())
            clock.tick(5000)
            assert moved.values(old) == {}
        clock.tick(15_002)
        assert moved.values(old) == {}

    def test_a_session_that_was_revoked_does_not_move(self, clock: Clock) -> None:
        """Its list still counts."""
        listed = MemoryStore()
        before = make_app("cookie", SESSION_NAME="old", SESSION_REVOCATION=listed)
        cookies = self.cookies(before)
        with before.test_client() as client:
            client.set_cookie("old", cookies.partition("=")[2])
            with client.session_transaction() as opened:
                opened.clear()
        clock.tick(100)
        moved = Moved(
            MemoryStore(),
            SESSION_REVOCATION=listed,
            SESSION_PREVIOUS=[previous.Buffalo(store="cookie", name="old")],
        )
        assert moved.values(cookies) == {}

    def test_a_value_that_cannot_be_read_stays_behind(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The others move, and the old session is kept."""

        class Gone:
            pass

        register_type(Gone, name="moved.Gone", encode=lambda _: 1, decode=forget)
        store = MemoryStore()
        before = make_app(store, SESSION_NAME="old")
        cookies = self.cookies(before, gone=Gone(), kept=1)
        places = [previous.Buffalo(store=store, name="old", format="native")]
        moved = Moved(
            "cookie",
            SESSION_PREVIOUS=places,
            SESSION_FORMAT=GorillaFormat(),
        )
        response = moved.get(cookies)
        assert moved.values(ours(response)) == {"kept": 1}
        assert "A value of an old session stays behind: session['gone']" in caplog.text
        with before.test_client() as client:
            client.set_cookie("old", cookies.partition("=")[2])
            with client.session_transaction() as opened:
                assert "gone" in opened

    def test_a_name_that_the_new_format_cannot_store_stays_behind(self) -> None:
        """It is no error in each request of the user."""
        store = MemoryStore()
        before = make_app(store, SESSION_NAME="old")
        values: dict[t.Any, t.Any] = {("a", "tuple"): 1, "kept": 2}
        client = before.test_client()
        with session_of(client) as opened:
            opened.update(values)
        cookie = client.get_cookie("old")
        assert cookie is not None
        place = previous.Buffalo(store=store, name="old", format="native")
        moved = Moved(SESSION_FORMAT="gorilla", SESSION_PREVIOUS=[place])
        assert moved.values(f"old={cookie.value}") == {"kept": 2}
        assert not moved.errors

    def test_the_newest_place_counts(self, server_store: Store, clock: Clock) -> None:
        """After a logout no older cookie counts, either."""
        first = self.cookies(make_app("cookie", SESSION_NAME="first"), a=1)
        second = self.cookies(make_app("cookie", SESSION_NAME="second"), a=2)
        places = [
            previous.Buffalo(store="cookie", name="second"),
            previous.Buffalo(store="cookie", name="first"),
        ]
        moved = Moved(server_store, SESSION_PREVIOUS=places)
        assert moved.values(f"{first}; {second}") == {"a": 2}
        moved.get(f"{first}; {second}", lambda: session.clear())
        clock.tick(100)
        assert moved.values(f"{first}; {second}") == {}

    @pytest.mark.parametrize("later", [False, True])
    def test_a_browser_with_several_old_cookies_is_logged_out(
        self, store: Store, later: bool
    ) -> None:
        """The older cookie does not log the user in again after the logout."""
        first = make_app("cookie", SESSION_NAME="first")
        second = make_app("cookie", SESSION_NAME="second")
        places = [
            previous.Buffalo(store="cookie", name="second"),
            previous.Buffalo(store="cookie", name="first"),
        ]
        moved = Moved(store, SESSION_PREVIOUS=places)
        browser = moved.app.test_client()
        for app, user in ((first, 1), (second, 2)):
            name, _, text = self.cookies(app, user_id=user).partition("=")
            browser.set_cookie(name, text)
        found: list[object] = []
        moved.act = lambda: found.append(session.get("user_id"))
        browser.get("/")
        if later:
            # A worker of the old version answers late, and sets its cookie again.
            name, _, text = self.cookies(first, user_id=1).partition("=")
            browser.set_cookie(name, text)
        moved.act = lambda: session.clear()
        browser.get("/")
        moved.act = lambda: found.append(session.get("user_id"))
        browser.get("/")
        assert found == [2, None]

    def test_a_cookie_of_another_application_is_never_removed(
        self, store: Store
    ) -> None:
        """Many applications on a host call their cookie "session"."""
        places = [previous.Buffalo(store="cookie", name="old"), "flask"]
        moved = Moved(store, SESSION_PREVIOUS=places)
        foreign = f"session={flask_cookie(VALUES, key='the key of another')}"
        old = self.cookies(make_app("cookie", SESSION_NAME="old"))
        response = moved.get(f"{foreign}; {old}")
        assert set(set_cookies(response)) == {"_buffalo_session", "old"}
        response = moved.get(f"{foreign}; {ours(response)}", lambda: session.clear())
        assert set(set_cookies(response)) == {"_buffalo_session"}

    def test_a_login_keeps_an_old_cookie_that_cannot_be_read(
        self, store: Store
    ) -> None:
        """Only a move and a logout remove old cookies."""
        moved = Moved(store)
        old = flask_cookie({}, key="another key")
        response = moved.get(f"session={old}", lambda: session.set("user_id", 7))
        assert set(set_cookies(response)) == {"_buffalo_session"}

    def test_a_request_that_comes_between_the_move_and_the_deletion(
        self, server_store: Store
    ) -> None:
        """It has seen no pointer, and the old record is gone when it looks."""
        old_store = Counting(MemoryStore())
        cookies = self.cookies(make_app(old_store, SESSION_NAME="old"))
        place = previous.Buffalo(store=old_store, name="old")
        moved, other = (Moved(server_store, SESSION_PREVIOUS=[place]) for _ in range(2))
        overtaken: list[TestResponse] = []
        load = old_store.load

        def load_late(token: str) -> bytes | None:
            if not overtaken:
                old_store.load = load  # type: ignore[method-assign]
                overtaken.append(other.get(cookies, lambda: session.set("first", 1)))
            return load(token)

        old_store.load = load_late  # type: ignore[method-assign]
        response = moved.get(cookies, lambda: session.set("second", 2))
        found = moved.values(ours(response))
        assert found == {**VALUES, "first": 1, "second": 2}

    def test_an_outage_of_the_old_store_is_an_error(self) -> None:
        """It is never taken for an empty session."""
        store = Counting(MemoryStore())
        cookies = self.cookies(make_app(store, SESSION_NAME="old"))
        moved = Moved(SESSION_PREVIOUS=[previous.Buffalo(store=store, name="old")])
        store.failing["load"] = SessionStoreError("Test", "is away")
        assert moved.get(cookies).status_code == 500
        store.failing.clear()
        assert moved.values(cookies) == VALUES

    def test_an_old_record_that_cannot_be_deleted_is_logged(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The session has moved all the same."""
        store = Counting(MemoryStore())
        cookies = self.cookies(make_app(store, SESSION_NAME="old"))
        moved = Moved(SESSION_PREVIOUS=[previous.Buffalo(store=store, name="old")])
        store.failing["save"] = SessionStoreError("Test", "is full")
        response = moved.get(cookies)
        assert "An old session was not deleted" in caplog.text
        assert moved.values(ours(response)) == VALUES

    def test_a_later_request_deletes_the_old_record(self, server_store: Store) -> None:
        """The first request moved the session, but it could not save its change."""
        old_store = Counting(MemoryStore())
        before = make_app(old_store, SESSION_NAME="old")
        cookies = self.cookies(before)
        place = previous.Buffalo(store=old_store, name="old")
        store = Counting(server_store)
        moved = Moved(store, SESSION_PREVIOUS=[place])

        def fail() -> None:
            session["more"] = 1
            store.failing["save"] = SessionStoreError("Test", "is full")

        assert moved.get(cookies, fail).status_code == 500
        store.failing.clear()
        assert moved.values(cookies) == VALUES
        with before.test_client() as client:
            client.set_cookie("old", cookies.partition("=")[2])
            with client.session_transaction() as opened:
                assert not opened

    def test_close_closes_what_was_opened_for_old_places(self) -> None:
        """A store that a URL made."""
        closed = []

        class Place:
            def source(self, app: Flask, config: Config) -> t.Any:
                source = t.cast(t.Any, previous.FlaskCookie().source(app, config))
                source.close = lambda: closed.append("closed")
                return source

        moved = Moved(SESSION_PREVIOUS=[Place()])
        moved.app.extensions["buffalo_session"].close()
        assert closed == ["closed"]


#: What Go can hold, too.
VALUES_OF_GO: dict[str, t.Any] = {"user_id": 7, "name": "Zoë", "seen": 1.5}


def forget(_: object) -> t.Any:
    raise ValueError


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("flask", "a list of 'flask'"),
        (["cookie"], "a list of 'flask'"),
        ([previous.FlaskCookie], "a list of 'flask'"),
        ([None], "a list of 'flask'"),
        (["Flask"], "did you mean 'flask'?"),
    ],
)
def test_a_wrong_setting_is_an_error(value: object, problem: str) -> None:
    """It says what is allowed."""
    with pytest.raises(SessionConfigError, match="SESSION_PREVIOUS must be") as caught:
        make_app(SESSION_PREVIOUS=value)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: previous.FlaskCookie(secret=""),
        lambda: previous.FlaskCookie(secret=["good enough", ""]),
        lambda: previous.Buffalo(secret=7),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_secret_is_an_error(make: t.Callable[[], object]) -> None:
    """At once, and without the secret in the message."""
    with pytest.raises(SessionConfigError, match="secret=") as caught:
        make()
    assert "good enough" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "setting"),
    [
        (previous.Buffalo(store="rediss"), "SESSION_STORE"),
        (previous.Buffalo(store="null"), "SESSION_STORE"),
        (previous.FlaskCookie(name="a;b"), "SESSION_NAME"),
        (previous.FlaskCookie(domain="a; Path=/"), "SESSION_COOKIE_DOMAIN"),
        (previous.FlaskCookie(path=t.cast(t.Any, 3)), "SESSION_COOKIE_PATH"),
        (previous.FlaskSession("redis://localhost", name="a b"), "SESSION_NAME"),
    ],
)
def test_a_wrong_parameter_names_the_setting(place: object, setting: str) -> None:
    """The parameter is that of a setting."""
    name = type(place).__name__
    with pytest.raises(SessionConfigError, match=rf"a {name}\(\) .* {setting} "):
        make_app(SESSION_PREVIOUS=[place])


def test_null_mode_looks_at_no_old_place() -> None:
    """There are no sessions to move."""
    moved = Moved("null", SECRET_KEY=FLASK_KEY)
    assert moved.values(f"session={flask_cookie(VALUES)}") == {}
