"""The shop with the views that the soak needs.

An outage is answered with 503. The views show the whole session, or take their time.
"""

from __future__ import annotations

import os
import time
import typing as t

from flask import Flask, request

from examples.shop.app import create_app
from flask_buffalo_session import session
from flask_buffalo_session.errors import SessionStoreError

#: For a longer value, the view shows its length.
LONGEST_SHOWN = 200


def make_app(store: str) -> Flask:
    """
    :param store: as the shop takes it.
    """
    app = create_app(store)
    app.register_error_handler(SessionStoreError, away)
    app.add_url_rule("/soak/held", view_func=held)
    for name, view in (("put", put), ("take", take), ("add", add), ("read", read)):
        app.add_url_rule(f"/soak/{name}", view_func=view, methods=["POST"])
    return app


def from_environment() -> Flask:
    return make_app(os.environ["SESSION_STORE"])


def away(error: SessionStoreError) -> tuple[str, int]:
    return "Please try again in a minute.", 503


def held() -> dict[str, t.Any]:
    return {
        "id": session.id,
        "values": {name: shown(value) for name, value in session.items()},
    }


def put() -> dict[str, t.Any]:
    """Write slowly, so that others may save between the load and the save."""
    len(session)
    time.sleep(float(request.form["seconds"]))
    session.set(request.form["name"], request.form["value"])
    return {}


def take() -> dict[str, t.Any]:
    return {"got": session.get_once(request.form["name"])}


def add() -> dict[str, t.Any]:
    session.flash.add("info", request.form["message"])
    return {}


def read() -> dict[str, t.Any]:
    return {"got": session.flash.take()}


def shown(value: t.Any) -> t.Any:
    if isinstance(value, str) and len(value) > LONGEST_SHOWN:
        return f"{len(value)} characters"
    return value
