"""Measure what a session costs a request: store calls and bytes in the cookie."""

from __future__ import annotations

import typing as t
import urllib.parse
from dataclasses import dataclass, field

from flask import (
    Flask,
    Response,
    g,
    has_request_context,
    request,
    request_finished,
)

from flask_buffalo_session import CookieStore, NullStore, Store, signals
from flask_buffalo_session.stores.url import store_from_url


@dataclass
class Cost:
    """The cost of one request.

    :param calls: the store operations, in order.

    :param cookie: bytes of the ``Set-Cookie`` header, None if there was none.
    """

    request: str
    calls: list[str] = field(default_factory=list)
    cookie: int | None = None
    saved: bool = False


def counted(setting: str, folder: str) -> Store:
    """Return the store for a ``SESSION_STORE`` setting.

    The store counts its calls, unless it keeps nothing itself.
    """
    if setting == "cookie":
        return CookieStore()
    if setting == "null":
        return NullStore()
    store = store_from_url(setting, folder)
    for name in ("load", "save", "delete", "own", "owned", "revoke"):
        if hasattr(store, name):
            setattr(store, name, counting(name, getattr(store, name)))
    return store


def counting(name: str, method: t.Any) -> t.Any:
    def counted_method(*args: t.Any, **kwargs: t.Any) -> t.Any:
        # `flask session ...` has no request.
        if has_request_context():
            this_request().calls.append(name)
        return method(*args, **kwargs)

    return counted_method


def this_request() -> Cost:
    if "cost" not in g:
        g.cost = Cost(f"{request.method} {request.path}")
    cost: Cost = g.cost
    return cost


class LastCost:
    """The cost of the browser's previous request, without static files.

    A separate cookie keeps the cost, so each browser sees its own requests, and the
    session is not used for it.
    """

    NAME = "shop_last_cost"

    def __init__(self, app: Flask) -> None:
        # blinker holds methods weakly, so this object must stay alive.
        app.extensions["last_cost"] = self
        signals.session_saved.connect(self._record_saved, app)
        request_finished.connect(self._record_finished, app)

    @property
    def cost(self) -> dict[str, str]:
        """Return the request, its store calls, "saved" and the bytes of the cookie."""
        return dict(urllib.parse.parse_qsl(request.cookies.get(self.NAME, "")))

    def _record_saved(self, app: Flask, **_: object) -> None:
        this_request().saved = True

    def _record_finished(self, app: Flask, response: Response) -> None:
        if request.endpoint in (None, "static"):
            return
        cost = this_request()
        cookies = response.headers.getlist("Set-Cookie")
        cost.cookie = len(cookies[0]) if cookies else None
        fields = {
            "request": cost.request,
            "calls": ", ".join(cost.calls),
            "saved": "yes" if cost.saved else "",
            "cookie": cost.cookie or "",
        }
        response.set_cookie(
            self.NAME, urllib.parse.urlencode(fields), httponly=True, samesite="Lax"
        )
