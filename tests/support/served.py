"""The application that real servers serve in tests."""

from __future__ import annotations

import os
import time
import typing as t

from asgiref.wsgi import WsgiToAsgi

from flask_buffalo_session import session
from tests.conftest import make_app, url

STORE = os.environ["SESSION_STORE"]

app = make_app(STORE if STORE == "cookie" else url(STORE))

#: The same for servers of ASGI.
asgi = WsgiToAsgi(app)  # type: ignore[no-untyped-call]


@app.get("/")
def show() -> dict[str, t.Any]:
    return dict(session)


@app.post("/login/<name>")
def login(name: str) -> str:
    session.regenerate()
    session["user_id"] = name
    session["carts"] = {"home": {}}
    return "logged in"


@app.post("/cart/<item>")
def add(item: str) -> str:
    home = session["carts"]["home"]
    # Other requests load the session before this one saves it.
    time.sleep(0.1)
    home[item] = 1
    return "added"


@app.post("/logout")
def logout() -> str:
    session.clear()
    return "logged out"
