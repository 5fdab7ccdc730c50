"""What a request's session costs: store calls, bytes in the cookie."""

from __future__ import annotations

from dataclasses import dataclass, field

from flask import Flask, Response, g, request, request_finished

from flask_buffalo_session import CookieStore, NullStore, Store, signals
from flask_buffalo_session.stores.url import store_from_url


@dataclass
class Cost:
    """Of one request.

    :param calls: the store operations, in order.
    :param cookie: bytes of the ``Set-Cookie`` header, None if there was none.
    """

    request: str
    calls: list[str] = field(default_factory=list)
    cookie: int | None = None
    saved: bool = False


class Counted:
    """A store that notes what it is asked. Any store can be put into another
    like this.
    """

    def __init__(self, store: Store) -> None:
        self.inner = store
        self.stateless = getattr(store, "stateless", False)

    def load(self, token: str) -> bytes | None:
        this_request().calls.append("load")
        return self.inner.load(token)

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        this_request().calls.append("save")
        return self.inner.save(token, data, expected=expected, max_age=max_age)

    def delete(self, token: str) -> None:
        this_request().calls.append("delete")
        self.inner.delete(token)


def counted(setting: str) -> Counted:
    """The store for a ``SESSION_STORE`` setting."""
    if setting == "cookie":
        return Counted(CookieStore())
    if setting == "null":
        return Counted(NullStore())
    return Counted(store_from_url(setting))


def this_request() -> Cost:
    if "cost" not in g:
        g.cost = Cost(f"{request.method} {request.path}")
    cost: Cost = g.cost
    return cost


class LastCost:
    """The cost of the request before this one, files left out."""

    def __init__(self, app: Flask) -> None:
        self.cost: Cost | None = None
        # blinker holds on to methods of living objects only.
        app.extensions["last_cost"] = self
        signals.session_saved.connect(self._note_saved, app)
        request_finished.connect(self._note_finished, app)

    def _note_saved(self, app: Flask, **_: object) -> None:
        this_request().saved = True

    def _note_finished(self, app: Flask, response: Response) -> None:
        if request.endpoint in (None, "static"):
            return
        cost = this_request()
        cookies = response.headers.getlist("Set-Cookie")
        cost.cookie = len(cookies[0]) if cookies else None
        self.cost = cost
