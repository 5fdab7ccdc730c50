"""The public names as a type checker sees them. Checked, never run."""

from __future__ import annotations

import datetime as dt
import enum
import typing as t
from dataclasses import dataclass

from flask import Blueprint, Flask
from flask.testing import FlaskClient

from flask_buffalo_session import (
    BuffaloSession,
    CookieStore,
    MemoryStore,
    NativeFormat,
    NullStore,
    Session,
    SessionInfo,
    Store,
    errors,
    register_type,
    session,
    signals,
    testing,
)
from flask_buffalo_session.testing import session_of

# The session

t.assert_type(session, Session)
t.assert_type(session.get("name"), t.Any)
t.assert_type(session.get("name", 1), t.Any)
t.assert_type(session.get_once(("any", "hashable")), t.Any)
t.assert_type(session[7], t.Any)
t.assert_type(session.set(1, [1]), None)
t.assert_type(session.delete(None), None)
t.assert_type(session.clear(), None)
t.assert_type(session.save(), None)
t.assert_type(session.regenerate(), None)
t.assert_type(session.destroy(), None)
t.assert_type(session.authenticate(owner=5), None)
t.assert_type(session.authenticated_at, dt.datetime | None)
t.assert_type(session.is_fresh(dt.timedelta(minutes=5)), bool)
t.assert_type(session.set_timeouts(idle=60, absolute=dt.timedelta(days=1)), None)
t.assert_type(session.expires_at, dt.datetime)
t.assert_type(session.id, str | None)
t.assert_type(session.sid, str | None)
t.assert_type(session.copy(), dict[t.Any, t.Any])
t.assert_type(session | {"a": 1}, dict[t.Any, t.Any])
t.assert_type({"a": 1} | session, dict[t.Any, t.Any])
t.assert_type(session.popitem(), tuple[t.Any, t.Any])
t.assert_type(session.new, bool)
t.assert_type(session.created_at, dt.datetime)
t.assert_type(session.modified, bool)
t.assert_type(session.accessed, bool)
t.assert_type(session.permanent, bool)
t.assert_type(session.flash.add("kind", "message"), None)
t.assert_type(session.flash.take(), dict[str, list[str]])
session["name"] = 1
session.permanent = True
session.modified = True
session.id = "chosen"  # type: ignore[misc]
session.get([])  # type: ignore[arg-type]
session.flash.add("kind", 5)  # type: ignore[arg-type]

# The extension

app = Flask(__name__)
buffalo = BuffaloSession(app, name="n", store="memory:", format="native", api=False)
t.assert_type(buffalo.init_app(app), None)
BuffaloSession()
BuffaloSession(store=MemoryStore(), format=NativeFormat())
BuffaloSession(app, "n")  # type: ignore[call-arg]
BuffaloSession(app, name=5)  # type: ignore[arg-type]
BuffaloSession(app, api="yes")  # type: ignore[arg-type]
BuffaloSession(app, secret="s")  # type: ignore[call-arg]

t.assert_type(buffalo.exempt(Blueprint("api", __name__)), Blueprint)

cart = buffalo.named("cart", store="memory:", idle_timeout=dt.timedelta(days=90))
t.assert_type(cart, Session)
t.assert_type(cart.get("tea", 0), t.Any)
buffalo.named("other", name="_other_cookie")
buffalo.named(5)  # type: ignore[arg-type]
t.assert_type(buffalo.sessions_of(42, name="cart"), list[SessionInfo])
t.assert_type(buffalo.revoke("id", name="cart"), bool)
t.assert_type(buffalo.revoke_all("ann", keep="id", name=None), int)


@buffalo.exempt
def health(verbose: bool) -> str:
    return "ok"


t.assert_type(health(True), str)
health("yes")  # type: ignore[arg-type]

# Tests of applications


def logs_in(client: FlaskClient) -> None:
    with session_of(client, base_url="https://shop.example") as of_client:
        t.assert_type(of_client, Session)
        of_client.set("user_id", 42)
    testing.session_of(app)  # type: ignore[arg-type]


# Stores


class OwnStore:
    def load(self, token: str) -> bytes | None:
        return None

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        return token or "token"

    def delete(self, token: str) -> None: ...


class SyncedStore:
    """Accept no ``expected`` argument."""

    def load(self, token: str) -> bytes | None:
        return None

    def save(self, token: str | None, data: bytes, *, max_age: int) -> str:
        return token or "token"

    def delete(self, token: str) -> None: ...


stores: list[Store] = [CookieStore(), MemoryStore(), NullStore(), OwnStore()]
wrong: Store = SyncedStore()  # type: ignore[assignment]

# Registered classes


@register_type
@dataclass
class Item:
    sku: str


@register_type(name="color")
class Color(enum.Enum):
    RED = 1


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents


t.assert_type(Item("tea"), Item)
t.assert_type(Item("tea").sku, str)
t.assert_type(Color("red"), Color)
t.assert_type(
    register_type(Money, encode=lambda money: money.cents, decode=Money), type[Money]
)
Item(5)  # type: ignore[arg-type]
register_type(Money, encode=lambda money: money.euros, decode=Money)  # type: ignore[attr-defined]
register_type("Money")  # type: ignore[call-overload]

# Errors and signals


@app.errorhandler(errors.SessionTooLargeError)
def too_large(error: errors.SessionTooLargeError) -> tuple[str, int]:
    t.assert_type(error.size, int)
    t.assert_type(error.limit, int)
    t.assert_type(error.largest, list[tuple[t.Hashable, int]])
    return "", 413


def carried(
    kind: errors.SessionTypeError,
    store: errors.SessionStoreError,
    rejected: errors.RejectedError,
) -> None:
    t.assert_type(kind.path, str)
    t.assert_type(store.store, str)
    t.assert_type(rejected.reason, errors.Reason)


@signals.session_rejected.connect
def on_rejected(
    sender: Flask, session_id: str | None, reason: str, name: str | None
) -> None: ...
