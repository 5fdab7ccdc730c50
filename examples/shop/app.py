"""The shop. It never needs to set ``modified = True``."""

from __future__ import annotations

import secrets
import typing as t

from flask import Flask, Response, redirect, render_template, request, url_for

from flask_buffalo_session import BuffaloSession, session
from flask_buffalo_session.errors import SessionTooLargeError
from flask_buffalo_session.stores.base import Owned

from .cost import LastCost, counted

PRODUCTS = {
    "hay": ("Prairie hay", "A bale, sun-dried", 12),
    "bell": ("Brass bell", "Heard for a mile", 28),
    "brush": ("Coat brush", "For a winter's fur", 9),
    "salt": ("Salt lick", "Two kilograms of it", 7),
}


# The names that the shop itself uses. A visitor must not overwrite them.
OWN_NAMES = ("cart", "saved", "_owner_")


def create_app(store: str = "cookie") -> Flask:
    """Create the shop. ``store`` is a value of the ``SESSION_STORE`` setting."""
    app = Flask(__name__)
    # Forms need no CSRF token: the cookie is SameSite=Lax, so browsers do not send it
    # with a POST from another site.
    keeper = counted(store, app.instance_path)
    buffalo = BuffaloSession(app, store=keeper)
    # A cookie store cannot list the other sessions of a user.
    knows_owners = isinstance(keeper, Owned)
    last = LastCost(app)

    app.add_url_rule("/logout", view_func=logout, methods=["POST"])
    app.add_url_rule("/cart/<sku>", view_func=change_cart, methods=["POST"])
    app.add_url_rule("/session/<action>", view_func=use_session, methods=["POST"])
    app.add_url_rule("/too-large", view_func=too_large, methods=["POST"])
    app.register_error_handler(SessionTooLargeError, show_too_large)

    @app.get("/")
    def home() -> str:
        # get_once deletes the message as it returns it, so it is shown once.
        flash = session.get_once("flash")
        owner = session.owner
        return render_template(
            "home.html",
            flash=flash,
            products=PRODUCTS,
            cart=session.get("cart", {}),
            held={name: brief(value) for name, value in session.items()},
            session=session,
            logins=buffalo.sessions_of(owner) if owner else None,
            store=redacted(store),
            in_cookie=store == "cookie",
            cost=last.cost,
        )

    @app.post("/login")
    def login() -> Response:
        name = field("name")
        if not name:
            return home_again("Which name?")
        if knows_owners:
            info = {"browser": browser_of(request.user_agent.string)}
            session.authenticate(owner=name, info=info)
        else:
            session.authenticate()
        session.set("user_id", name)
        return home_again(f"Welcome, {name}!")

    @app.post("/logout-there")
    def logout_there() -> Response:
        chosen = request.form.get("id", "")
        mine = buffalo.sessions_of(session.owner) if session.owner else []
        # The id comes from the browser. It must be one of this user's.
        if not any(login.id == chosen for login in mine):
            return home_again("That login has already ended.")
        buffalo.revoke(chosen)
        return home_again("Logged out there.")

    @app.post("/logout-elsewhere")
    def logout_elsewhere() -> Response:
        ended = 0
        if session.owner:
            ended = buffalo.revoke_all(session.owner, keep=session.id)
        return home_again(f"Logged out elsewhere: {ended}.")

    return app


# What browsers and systems call themselves, the special ones first.
BROWSERS = {
    "Edg": "Edge",
    "OPR": "Opera",
    "Firefox": "Firefox",
    "Chrome": "Chrome",
    "Safari": "Safari",
}
SYSTEMS = {
    "Android": "Android",
    "iPhone": "an iPhone",
    "iPad": "an iPad",
    "Windows": "Windows",
    "Mac OS": "a Mac",
    "Linux": "Linux",
}


def browser_of(agent: str) -> str:
    """Return a browser in plain words, from its ``User-Agent`` header."""
    browser = next((BROWSERS[sign] for sign in BROWSERS if sign in agent), "A browser")
    system = next((SYSTEMS[sign] for sign in SYSTEMS if sign in agent), "a device")
    return f"{browser} on {system}"


def home_again(flash: str) -> Response:
    session.set("flash", flash)
    return t.cast(Response, redirect(url_for("home"), 303))


def logout() -> Response:
    session.clear()
    return home_again("Goodbye. This message is in a session of its own.")


def change_cart(sku: str) -> Response:
    if sku not in PRODUCTS:
        return home_again("There is no such thing here.")
    lines = session.setdefault("cart", {})
    line = lines.setdefault(sku, {"count": 0})
    # The session compares nested values, so it finds and saves this edit.
    line["count"] += -1 if field("change") == "less" else 1
    if line["count"] < 1:
        del lines[sku]
    return home_again(f"{PRODUCTS[sku][0]}: {line['count']} in the cart.")


def use_session(action: str) -> Response:
    name, value = field("name") or "x", field("value")
    if action == "set" and name in OWN_NAMES:
        said = f"{name!r} is the shop's own: choose another name"
    elif action == "set":
        session.set(name, value)
        said = f"set({name!r}, {value!r})"
    elif action == "get":
        said = f"get({name!r}) gave {brief(session.get(name))}"
    elif action == "get_once":
        said = f"get_once({name!r}) gave {brief(session.get_once(name))}"
    elif action == "delete":
        session.delete(name)
        said = f"delete({name!r})"
    elif action == "clear":
        session.clear()
        said = "clear(): this message began another session"
    elif action == "regenerate":
        session.regenerate()
        said = "regenerate(): the same values, a new id"
    elif action == "save":
        session.set("saved", session.get("saved", 0) + 1)
        session.save()
        said = "save(): saved now, and once more with this message"
    else:
        said = "The session has no such method."
    return home_again(said)


def too_large() -> Response:
    session.set("too_large", secrets.token_hex(5000))
    return home_again("10 KB are no problem here; in a cookie they are.")


def show_too_large(error: SessionTooLargeError) -> tuple[str, int]:
    return render_template("too_large.html", error=error), 413


def redacted(setting: str) -> str:
    """Return the setting without the password that a URL may contain."""
    head, at, tail = setting.rpartition("@")
    return f"{head.partition('://')[0]}://…@{tail}" if at else setting


def brief(value: object) -> str:
    """Return what a page shows of a value."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:119]}…"


def field(name: str) -> str:
    return request.form.get(name, "").strip()[:40]
