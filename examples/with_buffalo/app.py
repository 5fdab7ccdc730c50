"""The Flask side: it has taken the shop over from the Buffalo application, and hands
everything else on to it. Both read and write the same cookie.
"""

from __future__ import annotations

import os
import typing as t
from http.client import HTTPConnection

from flask import Flask, Response, redirect, render_template, request

from flask_buffalo_session import BuffaloSession, GorillaFormat, session

# What both sides need to know of the session: the secret, its name, and which types
# the Go side has registered beside those that every Go program knows.
SESSION_FORMAT = GorillaFormat(registered=["map[string]interface {}"])

SKUS = ["hay", "bell", "brush"]

# Those that concern one connection, RFC 9110, section 7.6.1.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade"}


def create_app(go_port: int) -> Flask:
    app = Flask(__name__)
    app.config["SESSION_NAME"] = os.environ.get("SESSION_NAME", "_shop_session")
    app.config["SESSION_FORMAT"] = SESSION_FORMAT
    buffalo = BuffaloSession(app)

    @app.get("/")
    def shop() -> str:
        return render_template(
            "shop.html",
            user=session.get("current_user_id"),
            cart=session.get("cart", {}),
            flash=session.flash.take(),
            skus=SKUS,
        )

    @app.post("/cart/<sku>")
    def add(sku: str) -> t.Any:
        if sku in SKUS:
            cart = session.setdefault("cart", {})
            cart[sku] = cart.get(sku, 0) + 1
            session.flash.add("success", f"One {sku} more, says Flask.")
        return redirect("/", 303)

    @app.post("/message")
    def message() -> t.Any:
        session.flash.add("info", "A message that Flask left, for Go to show.")
        return redirect("/account", 303)

    @app.route("/<path:path>", methods=["GET", "POST"])
    @buffalo.exempt
    def not_taken_over_yet(path: str) -> Response:
        return forwarded(go_port)

    return app


def forwarded(port: int) -> Response:
    """This request's answer by the server behind."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {k: v for k, v in request.headers if k.lower() not in HOP_BY_HOP}
    try:
        connection.request(
            request.method, request.full_path, request.get_data(), headers
        )
        answer = connection.getresponse()
        kept = [(k, v) for k, v in answer.getheaders() if k.lower() not in HOP_BY_HOP]
        return Response(answer.read(), answer.status, kept)
    finally:
        connection.close()
