"""Several sessions in one application: isolation, saving, failures and settings."""

from __future__ import annotations

import logging
import secrets
import threading
import typing as t
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask, Response, get_flashed_messages, stream_with_context

from flask_buffalo_session import (
    BuffaloSession,
    CookieStore,
    MemoryStore,
    Session,
    Store,
    previous,
    session,
    signals,
)
from flask_buffalo_session.errors import (
    SessionClosedError,
    SessionConfigError,
    SessionStoreError,
    SessionTooLargeError,
)
from flask_buffalo_session.testing import session_of
from tests.conftest import NAME, SECRET, Clock, Counting, Formatting

CART = f"{NAME}_cart"


class Shop:
    """An application with a session and a cart.

    :param store: what keeps both.
    :param cart: the settings of the cart.
    """

    def __init__(
        self,
        store: object = None,
        cart: dict[str, t.Any] | None = None,
        **settings: t.Any,
    ) -> None:
        self.app = Flask("shop")
        self.app.config.update({"SESSION_SECRET": SECRET, "TESTING": True} | settings)
        self.buffalo = BuffaloSession(store=store)
        self.cart = self.buffalo.named("cart", **cart or {})
        self.buffalo.init_app(self.app)
        self.app.add_url_rule("/", view_func=lambda: str(self.act()))
        self.act: t.Callable[[], object] = str
        self.client = self.app.test_client()

    def do(self, act: t.Callable[[], object]) -> t.Any:
        """Send a request, and run `act` in its view."""
        self.act = act
        return self.client.get("/")

    def both(self) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
        """Return the values of the main session and of the cart."""
        with session_of(self.client) as main:
            values = dict(main)
        with session_of(self.client, name="cart") as cart:
            return values, dict(cart)

    def change(self) -> None:
        session["user"] = "ann"
        self.cart["tea"] = 1


def names_of(response: t.Any) -> list[str]:
    """Return the names of the cookies that a response sets."""
    headers = response.headers.getlist("Set-Cookie")
    return [header.partition("=")[0] for header in headers]


# Isolation


def test_both_change_in_one_request_and_stay_apart(store: Store) -> None:
    """Each has a cookie of its own. ``Vary`` is sent once."""
    shop = Shop(store)
    response = shop.do(shop.change)
    assert names_of(response) == [NAME, CART]
    assert response.headers.getlist("Vary") == ["Cookie"]
    assert shop.both() == ({"user": "ann"}, {"tea": 1})


@pytest.mark.parametrize("ending", ["main", "cart"])
def test_one_ends_while_the_other_lives(store: Store, ending: str) -> None:
    """``clear()`` removes one cookie and leaves the other alone."""
    shop = Shop(store)
    shop.do(shop.change)
    one = session if ending == "main" else shop.cart
    response = shop.do(lambda: one.clear())
    assert names_of(response) == [NAME if ending == "main" else CART]
    left = ({}, {"tea": 1}) if ending == "main" else ({"user": "ann"}, {})
    assert shop.both() == left


@pytest.mark.parametrize("kept", ["cookie", "memory:"])
def test_no_cookie_verifies_under_the_other_name(
    formatting: Formatting, kept: str
) -> None:
    """The cookies are exchanged, with every format."""
    shop = Shop(kept, **formatting.settings(SECRET))
    shop.do(shop.change)
    texts = [t.cast(t.Any, shop.client.get_cookie(name)).value for name in (NAME, CART)]
    shop.client.set_cookie(NAME, texts[1])
    shop.client.set_cookie(CART, texts[0])
    rejected: list[str | None] = []

    def receive(sender: Flask, name: str | None, **extra: t.Any) -> None:
        rejected.append(name)

    with signals.session_rejected.connected_to(receive, shop.app):
        assert shop.do(lambda: (dict(session), dict(shop.cart))).text == "({}, {})"
    assert rejected == [None, "cart"]


def test_owners_are_indexed_apart(owned: Store) -> None:
    """The same owner has a session and a cart in one store."""
    shop = Shop(owned)
    buffalo, owner = shop.buffalo, secrets.token_hex(8)

    def bind() -> None:
        session["a"] = shop.cart["a"] = 1
        session.bind(owner)
        shop.cart.bind(owner)

    shop.do(bind)
    main, cart = shop.do(lambda: f"{session.id} {shop.cart.id}").text.split()
    with shop.app.app_context():
        assert [info.id for info in buffalo.sessions_of(owner)] == [main]
        assert [info.id for info in buffalo.sessions_of(owner, name="cart")] == [cart]
        assert buffalo.sessions_of(f"cart:{owner}") == []
        assert buffalo.revoke_all(owner) == 1
        assert [info.id for info in buffalo.sessions_of(owner, name="cart")] == [cart]
    assert shop.both() == ({}, {"_owner_": owner, "a": 1})
    with shop.app.app_context():
        assert buffalo.revoke(cart, name="cart")
        assert buffalo.sessions_of(owner, name="cart") == []
    assert shop.both() == ({}, {})


def test_owners_of_cookie_sessions_are_indexed_apart() -> None:
    """In the list of ended sessions, which both share."""
    shop = Shop("cookie", SESSION_REVOCATION=MemoryStore())

    def bind() -> None:
        session.bind("ann")
        shop.cart.bind("ann")

    shop.do(bind)
    with shop.app.app_context():
        assert len(shop.buffalo.sessions_of("ann")) == 1
        assert shop.buffalo.revoke_all("ann", name="cart") == 1
        assert len(shop.buffalo.sessions_of("ann")) == 1
    assert shop.both() == ({"_owner_": "ann"}, {})


def test_revoking_the_requests_own_cart_removes_its_cookie() -> None:
    """``current`` and ``revoke`` know the cart of the request."""
    shop = Shop("memory:")

    def bind() -> None:
        shop.cart.bind("ann")

    def revoke() -> str:
        (info,) = shop.buffalo.sessions_of("ann", name="cart")
        return f"{info.current} {shop.buffalo.revoke(info.id, name='cart')}"

    shop.do(bind)
    response = shop.do(revoke)
    assert response.text == "True True"
    assert "Max-Age=0" in response.headers["Set-Cookie"]
    assert names_of(response) == [CART]


def test_one_old_cookie_becomes_two_sessions() -> None:
    """The main session and the cart share a store and an earlier place. Neither leads
    to the record of the other.
    """
    place = previous.FlaskCookie(name="session")
    shop = Shop(
        MemoryStore(),
        {"previous": [place]},
        SESSION_PREVIOUS=[place],
        SECRET_KEY=SECRET,
    )
    old = Flask("old")
    old.secret_key = SECRET
    serializer = t.cast(t.Any, old.session_interface).get_signing_serializer(old)
    cookie = serializer.dumps({"kept": 1})
    shop.client.set_cookie("session", cookie)
    # In one request, so that both find the cookie.
    ids = shop.do(lambda: f"{session['kept']}{shop.cart['kept']} {session.id}").text
    assert ids.startswith("11 ")
    both = shop.both()
    assert both == ({"kept": 1}, {"kept": 1})
    shop.do(lambda: session.clear())
    assert shop.both() == ({}, {"kept": 1})


@pytest.mark.parametrize("given", [None, "old_name"])
@pytest.mark.parametrize("late", [False, True])
def test_an_old_cookie_is_found_before_and_after_init_app(
    late: bool, given: str | None
) -> None:
    """``init_app`` writes its own name to ``SESSION_COOKIE_NAME``, where the name of
    Flask's cookie was.
    """
    app = Flask("shop")
    app.config.update(SESSION_SECRET=SECRET, SECRET_KEY=SECRET, SESSION_NAME=NAME)
    if given is not None:
        app.config["SESSION_COOKIE_NAME"] = given
    old = t.cast(t.Any, app.session_interface).get_signing_serializer(app)
    buffalo = BuffaloSession()
    if late:
        buffalo.init_app(app)
    cart = buffalo.named("cart", store="memory:", previous=["flask"])
    if not late:
        buffalo.init_app(app)
    app.add_url_rule("/", view_func=lambda: dict(cart))
    client = app.test_client()
    client.set_cookie(given or "session", old.dumps({"tea": 1}))
    assert client.get("/").json == {"tea": 1}


@pytest.mark.parametrize("days", [30, 32])
@pytest.mark.parametrize("idle", [15 * 60, 90 * 24 * 3600])
def test_an_old_cookie_keeps_its_limit(clock: Clock, idle: int, days: int) -> None:
    """The idle time-out of the cart does not change how long Flask's cookies live."""
    app = Flask("shop")
    app.config.update(SESSION_SECRET=SECRET, SECRET_KEY=SECRET)
    old = t.cast(t.Any, app.session_interface).get_signing_serializer(app)
    cookie = old.dumps({"tea": 1})
    buffalo = BuffaloSession(app, store="memory:")
    cart = buffalo.named("cart", idle_timeout=idle, previous=["flask"])
    app.add_url_rule("/", view_func=lambda: dict(cart))
    client = app.test_client()
    clock.tick(days * 24 * 3600)
    client.set_cookie("session", cookie)
    assert client.get("/").json == ({"tea": 1} if days == 30 else {})


# At the end of a request


def test_untouched_it_costs_nothing(store: Store) -> None:
    """No call to the store, no header. A request that uses the main session alone does
    nothing to the cart either.
    """
    counting = Counting(store)
    shop = Shop(counting)
    shop.do(shop.change)
    counting.calls.clear()
    response = shop.do(lambda: "nothing")
    assert counting.calls == []
    assert not {"Set-Cookie", "Vary"} & {*response.headers.keys()}
    shop.do(lambda: session.get("user"))
    assert counting.calls == ["load"]


@pytest.mark.parametrize("touch", ["neither", "main"])
@pytest.mark.parametrize("kept", ["cookie", "memory:"])
def test_untouched_permanent_cookies_are_refreshed(
    clock: Clock, kept: str, touch: str
) -> None:
    """Each at its own time."""
    shop = Shop(kept, {"idle_timeout": 1000}, SESSION_IDLE_TIMEOUT=100)

    def begin() -> None:
        shop.change()
        session.permanent = shop.cart.permanent = True

    def act() -> None:
        if touch == "main":
            session.get("user")

    shop.do(begin)
    clock.tick(50)
    assert names_of(shop.do(act)) == [NAME]
    clock.tick(60)
    assert CART in names_of(shop.do(act))
    assert shop.both()[1]["tea"] == 1


@pytest.mark.parametrize("failing", ["main", "cart", "both"])
@pytest.mark.parametrize("handled", [True, False])
def test_a_save_that_fails_does_not_cost_the_other_session_its_cookie(
    failing: str, handled: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The error handler answers once, also where both fail."""
    shop = Shop("cookie", TESTING=False, DEBUG=False)
    answers: list[object] = []

    def handler(error: t.Any) -> tuple[str, int]:
        answers.append(getattr(error, "original_exception", error))
        return "too large", 507

    kind: t.Any = SessionTooLargeError if handled else 500
    shop.app.register_error_handler(kind, handler)
    large = secrets.token_hex(5000)

    def change() -> str:
        session["user"] = large if failing != "cart" else "ann"
        shop.cart["tea"] = large if failing != "main" else 1
        return "done"

    response = shop.do(change)
    assert (response.status_code, response.text) == (507, "too large")
    assert [type(error) for error in answers] == [SessionTooLargeError]
    saved = {"main": [CART], "cart": [NAME], "both": []}[failing]
    assert names_of(response) == saved
    if failing == "both":
        assert 'The session "cart" could not be saved: ' in caplog.text


def test_an_error_handler_can_use_the_session_that_was_saved() -> None:
    """What the handler changes is saved, too."""
    shop = Shop("memory:", {"store": "cookie"})

    @shop.app.errorhandler(SessionTooLargeError)
    def handler(error: SessionTooLargeError) -> str:
        session["failed"] = True
        return "too large"

    def change() -> None:
        session["user"] = "ann"
        shop.cart["tea"] = secrets.token_hex(5000)

    assert shop.do(change).text == "too large"
    assert shop.both() == ({"user": "ann", "failed": True}, {})


def test_an_outage_of_one_store_does_not_touch_the_other() -> None:
    """The view sees the error of the cart alone."""
    counting = Counting(MemoryStore())
    shop = Shop("memory:", {"store": counting})
    shop.do(shop.change)
    counting.failing["load"] = SessionStoreError("Test", "is away")

    def view() -> str:
        session["more"] = 1
        try:
            return str(shop.cart["tea"])
        except SessionStoreError:
            return "no cart now"

    assert shop.do(view).text == "no cart now"
    counting.failing.clear()
    assert shop.both() == ({"user": "ann", "more": 1}, {"tea": 1})


def test_parallel_requests_are_merged_in_each_session(server_store: Store) -> None:
    """Two requests at once change both sessions. Nothing is lost."""
    shop = Shop(server_store)
    shop.do(shop.change)
    jar = {
        name: t.cast(t.Any, shop.client.get_cookie(name)).value for name in (NAME, CART)
    }
    header = "; ".join(f"{name}={text}" for name, text in jar.items())
    barrier = threading.Barrier(2)

    def view() -> str:
        number = threading.current_thread().name
        session.get("user"), shop.cart.get("tea")
        barrier.wait(10)
        session[f"s{number}"] = shop.cart[f"c{number}"] = 1
        return ""

    shop.act = view

    def send() -> None:
        client = shop.app.test_client(use_cookies=False)
        client.get("/", headers={"Cookie": header})

    threads = [threading.Thread(target=send, name=name) for name in "12"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    main, cart = shop.both()
    assert main == {"user": "ann", "s1": 1, "s2": 1}
    assert cart == {"tea": 1, "c1": 1, "c2": 1}


def test_a_change_while_streaming_is_refused() -> None:
    """Also where the stream is the first to use the cart."""
    shop = Shop("memory:")
    seen: list[object] = []

    def view() -> Response:
        def stream() -> t.Iterator[str]:
            yield "begin"
            try:
                shop.cart["late"] = 1
            except SessionClosedError as error:
                seen.append(error)

        return Response(stream_with_context(stream()))

    shop.app.add_url_rule("/stream", view_func=view)
    assert shop.client.get("/stream").text == "begin"
    assert [type(error) for error in seen] == [SessionClosedError]
    assert shop.both() == ({}, {})


def test_a_change_after_the_response_is_refused() -> None:
    """Also through a reference to the cart that the view has kept."""
    shop = Shop("memory:")
    kept: list[Session] = []

    def act() -> None:
        shop.change()
        kept.extend(one._get_current_object() for one in (session, shop.cart))  # type: ignore[attr-defined]

    shop.do(act)
    for one in kept:
        with pytest.raises(SessionClosedError):
            one["late"] = 1


def test_in_a_kept_context_the_cart_reads_and_saves_nothing() -> None:
    """As the main session does, whether the request used the cart or not."""
    shop = Shop("memory:")
    shop.do(shop.change)
    for act in (str, lambda: shop.cart.get("tea")):
        with shop.client:
            shop.do(act)
            assert get_flashed_messages() == []
            assert shop.cart["tea"] == 1
            shop.cart["more"] = 1
    assert shop.both() == ({"user": "ann"}, {"tea": 1})


def test_after_request_and_session_transaction_save_the_cart() -> None:
    """And Flask's own transaction opens the main session."""
    shop = Shop("cookie")

    @shop.app.after_request
    def count(response: Response) -> Response:
        shop.cart["seen"] = shop.cart.get("seen", 0) + 1
        return response

    shop.do(str)
    shop.do(str)
    with shop.client.session_transaction() as main:
        main["user"] = "ann"
    with session_of(shop.client, name="cart") as cart:
        assert isinstance(cart, Session)
        cart["tea"] = 1
    assert shop.both() == ({"user": "ann"}, {"seen": 2, "tea": 1})


def test_signals_and_logs_carry_the_name(caplog: pytest.LogCaptureFixture) -> None:
    """The main session's name is None."""
    shop = Shop("memory:")
    got: list[tuple[str, object]] = []

    def receive(kind: str) -> t.Callable[..., None]:
        return lambda sender, name, **extra: got.append((kind, name))

    receivers = {
        kind: receive(kind)
        for kind in ("created", "saved", "destroyed", "rejected", "regenerated")
    }
    for kind, receiver in receivers.items():
        getattr(signals, f"session_{kind}").connect(receiver, shop.app)
    shop.do(shop.change)
    shop.do(lambda: shop.cart.regenerate())
    shop.do(lambda: shop.cart.clear())
    shop.client.set_cookie(CART, "forged")
    shop.do(lambda: dict(shop.cart))
    assert got == [
        ("created", None),
        ("saved", None),
        ("created", "cart"),
        ("saved", "cart"),
        ("regenerated", "cart"),
        ("destroyed", "cart"),
        ("rejected", "cart"),
    ]
    assert 'A session "cart" was rejected: bad-signature' in caplog.text


# Exempt, passive and null


def test_an_exempt_view_has_no_session_of_any_name() -> None:
    """Nothing is read, kept or sent."""
    shop = Shop("memory:")

    @shop.app.get("/health")
    @shop.buffalo.exempt
    def health() -> str:
        before = dict(shop.cart)
        shop.cart["tea"] = 7
        return f"{before} {dict(shop.cart)}"

    shop.do(shop.change)
    response = shop.client.get("/health")
    assert response.text == "{} {'tea': 7}"
    assert not {"Set-Cookie", "Vary"} & {*response.headers.keys()}
    assert shop.both()[1] == {"tea": 1}


def test_a_passive_view_keeps_no_session_alive(clock: Clock) -> None:
    """It does not count as use of the cart either."""
    shop = Shop("memory:", SESSION_IDLE_TIMEOUT=100)

    @shop.app.get("/poll")
    @shop.buffalo.passive
    def poll() -> str:
        return str(shop.cart.get("tea"))

    shop.do(shop.change)
    for _ in range(2):
        clock.tick(49)
        assert shop.client.get("/poll").text == "1"
    clock.tick(5)
    assert shop.client.get("/poll").text == "None"


def test_a_cart_beside_a_null_main_session() -> None:
    """The main session sends nothing, and the cart works."""
    shop = Shop("null", {"store": "cookie"})
    response = shop.do(shop.change)
    assert names_of(response) == [CART]
    assert shop.both() == ({}, {"tea": 1})
    response = shop.do(lambda: session.get("user"))
    assert "Vary" not in response.headers


@pytest.mark.parametrize("api", [None, False])
def test_api_makes_all_null_unless_the_session_says_otherwise(api: bool | None) -> None:
    """``api=False`` gives the cart the application's store."""
    given = {} if api is None else {"api": api}
    shop = Shop(None, given, SESSION_API=True)
    response = shop.do(shop.change)
    assert names_of(response) == ([] if api is None else [CART])
    null = shop.app.session_interface.is_null_session(t.cast(t.Any, None))
    assert null == (api is None)


# Settings


def test_the_cart_has_the_main_sessions_objects() -> None:
    """Nothing is opened twice, and a store in memory is shared."""
    shop = Shop("memory:")
    main, cart = t.cast(t.Any, shop.app.session_interface).openers
    assert cart.config.store is main.config.store
    assert cart.config.format is main.config.format
    assert cart.config.name == CART


def test_none_is_no_argument() -> None:
    """As for the extension itself: otherwise the cart would move into a cookie."""
    shop = Shop("memory:", {"name": None, "store": None, "format": None, "api": None})
    main, cart = t.cast(t.Any, shop.app.session_interface).openers
    assert cart.config.store is main.config.store
    assert cart.config.format is main.config.format
    assert cart.config.name == CART


def test_a_permanent_cart_lasts_as_long_as_its_idle_timeout(clock: Clock) -> None:
    """The browser keeps its cookie for that time, too."""
    shop = Shop(
        "memory:", {"idle_timeout": timedelta(days=90)}, SESSION_IDLE_TIMEOUT=3600
    )

    def begin() -> None:
        shop.change()
        shop.cart.permanent = True

    response = shop.do(begin)
    assert "Expires=" in response.headers.getlist("Set-Cookie")[1]
    lifetime = t.cast(t.Any, shop.app.session_interface).openers[1].config
    assert lifetime.permanent_lifetime == 90 * 24 * 3600
    clock.tick(89 * 24 * 3600)
    assert shop.both()[0] == {}
    assert shop.both()[1]["tea"] == 1


def test_a_secret_of_its_own_and_a_cookie_of_its_own() -> None:
    """Settings have their documented names, with or without ``session_``."""
    shop = Shop(
        "cookie",
        {
            "secret": "another secret, long enough too",
            "name": "_basket",
            "session_cookie_path": "/shop",
            "permanent_session_lifetime": 60,
            "max_cookie_size": 100,
        },
    )
    config = t.cast(t.Any, shop.app.session_interface).openers[1].config
    assert (config.name, config.cookie_path) == ("_basket", "/shop")
    assert (config.permanent_lifetime, config.max_cookie_size) == (60, 100)


WRONG: dict[str, tuple[dict[str, t.Any], str]] = {
    "value": ({"idle_timeout": "x"}, 'named("cart"): idle_timeout must be'),
    "spelling": ({"idle_timeot": 1}, "no setting idle_timeot (did you mean 'idle"),
    "as written": ({"session_cookie_samesite": "lax"}, "): session_cookie_samesite m"),
    "secret": ({"secret": 5}, "): secret must be"),
    "store": ({"store": "nosuch://:hunter2@host"}, "): store cannot be used"),
    "twice": ({"idle_timeout": 1, "session_idle_timeout": 1}, "the same setting"),
    "cookie": ({"name": NAME, "cookie_path": "/x"}, "another session of this"),
    "prefix": ({"name": "__Host-x"}, "needs cookie_secure = True"),
    "previous": ({"previous": [5]}, "): previous must be"),
    "cookie_name": ({"cookie_name": "x"}, "no setting cookie_name"),
}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_setting_is_named_as_it_was_written(wrong: str, late: bool) -> None:
    """In ``init_app``, or at once if the application is known."""
    given, expected = WRONG[wrong]
    app = Flask("shop")
    app.config["SESSION_SECRET"] = SECRET
    buffalo = BuffaloSession(app if late else None)
    with pytest.raises(SessionConfigError) as raised:
        buffalo.named("cart", **given)
        buffalo.init_app(app)
    message = str(raised.value)
    assert expected in message
    assert 'named("cart")' in message
    assert "SESSION_" not in message
    assert "hunter2" not in message


@pytest.mark.parametrize("name", ["", "a b", "a:b", "ä", 5, None])
def test_a_name_has_simple_characters(name: t.Any) -> None:
    """The name is part of a cookie's name, and of log lines."""
    with pytest.raises(SessionConfigError, match=r"named\(\) needs a name of letters"):
        BuffaloSession().named(name)


def test_each_name_is_defined_once() -> None:
    """A wrong definition defines nothing."""
    app = Flask("shop")
    app.config["SESSION_SECRET"] = SECRET
    buffalo = BuffaloSession(app)
    with pytest.raises(SessionConfigError):
        buffalo.named("cart", store=5)
    buffalo.named("cart")
    with pytest.raises(SessionConfigError, match="was called before"):
        buffalo.named("cart")


def test_one_definition_serves_several_applications() -> None:
    """Also applications that come before and after it."""
    buffalo = BuffaloSession()
    apps = [Flask("one"), Flask("two")]
    for app in apps:
        app.config.update(SESSION_SECRET=SECRET, SESSION_NAME=app.name)
    buffalo.init_app(apps[0])
    cart = buffalo.named("cart")
    buffalo.init_app(apps[1])
    for app in apps:
        app.add_url_rule("/", view_func=lambda: cart.setdefault("tea", "tea"))
        response = app.test_client().get("/")
        assert names_of(response) == [f"{app.name}_cart"]


def test_outside_a_request_flasks_error_says_so() -> None:
    """And in an application without the session, an error says what to do."""
    cart = BuffaloSession().named("cart")
    with pytest.raises(RuntimeError, match="Working outside of request context"):
        cart["tea"] = 1
    with (
        Flask("plain").test_request_context(),
        pytest.raises(SessionConfigError, match="has no BuffaloSession"),
    ):
        cart.get("tea")
    other = Shop("cookie")
    drawer = BuffaloSession().named("drawer")
    with (
        other.app.test_request_context(),
        pytest.raises(SessionConfigError, match='no session "drawer"'),
    ):
        drawer.get("tea")
    with pytest.raises(SessionConfigError, match='no session "drawer"'):
        session_of(other.client, name="drawer")


# The doctor, the start and the command line


def run(shop: Shop, *arguments: str) -> t.Any:
    return shop.app.test_cli_runner().invoke(args=["session", *arguments])


def test_findings_name_the_session_and_its_argument(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The doctor and the warning at the start. What the main session has as well is
    reported once.
    """
    shop = Shop("cookie", {"cookie_httponly": False}, TESTING=False)
    output = run(shop, "doctor").output
    assert 'problem  named("cart") cookie_httponly: it is False' in output
    assert "Set cookie_httponly = True." in output
    assert output.count("it is not True, so an attacker") == 1
    with caplog.at_level(logging.WARNING):
        shop.do(str)
    assert 'named("cart") cookie_httponly: it is False' in caplog.text
    assert caplog.text.count("it is not True, so an attacker") == 1


def test_a_setting_that_is_changed_late_is_reported_once() -> None:
    """It concerns both, and the cart's own settings do not count as changed."""
    shop = Shop("cookie", {"idle_timeout": 60, "name": "_basket"})
    assert "changed after init_app" not in run(shop, "doctor").output
    shop.app.config["SESSION_ABSOLUTE_TIMEOUT"] = 5
    assert run(shop, "doctor").output.count("changed after init_app") == 1


def test_the_command_line_finds_carts() -> None:
    """``list``, ``show`` and ``revoke`` take the name."""
    shop = Shop("memory:")
    shop.do(lambda: shop.cart.bind("ann"))
    cookie = t.cast(t.Any, shop.client.get_cookie(CART)).value
    assert run(shop, "list", "ann").output == "Sessions: 0.\n"
    listed = run(shop, "list", "ann", "--name", "cart").output
    assert listed.endswith("Sessions: 1.\n")
    assert "bad-signature" in run(shop, "show", cookie).output
    assert "alive" in run(shop, "show", cookie, "--name", "cart").output
    assert run(shop, "revoke", "--owner", "ann").output == "Sessions ended: 0.\n"
    revoked = run(shop, "revoke", "--owner", "ann", "--name", "cart")
    assert revoked.output == "Sessions ended: 1.\n"
    assert 'no session "drawer"' in run(shop, "list", "ann", "--name", "drawer").output


def test_purge_and_close_visit_each_store_once(tmp_path: Path) -> None:
    """A shared store is purged once, and a store of the cart's own as well."""
    shared = Shop(f"sqlite:///{tmp_path}/a.db")
    assert run(shared, "purge").output == "Expired sessions removed: 0.\n"
    shared.buffalo.close()
    apart = Shop(f"sqlite:///{tmp_path}/a.db", {"store": f"sqlite:///{tmp_path}/b.db"})
    assert run(apart, "purge").output == (
        'Expired sessions removed: 0.\nnamed("cart"): Expired sessions removed: 0.\n'
    )
    apart.buffalo.close()
    closed: list[str] = []

    class Closing(MemoryStore):
        def close(self) -> None:
            closed.append("closed")

    Shop(Closing(), {"store": CookieStore()}).buffalo.close()
    assert closed == [], "the application made this store"
