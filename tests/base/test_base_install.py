"""Use the package without any of its extras.

This file must not import an extra, nor another file of the tests that does so.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from flask import Flask, redirect
from flask.testing import FlaskClient

from flask_buffalo_session import BuffaloSession, session
from flask_buffalo_session.errors import SessionConfigError

SECRET = "a secret for the tests, long enough"


def make_client(**config: t.Any) -> FlaskClient:
    app = Flask(__name__)
    app.config.update(SESSION_SECRET=SECRET, SESSION_COOKIE_SECURE=True, **config)
    BuffaloSession(app)

    @app.post("/login/<name>")
    def login(name: str) -> t.Any:
        session.regenerate()
        session["user_id"] = name
        return redirect("/")

    @app.post("/cart/<item>")
    def add(item: str) -> t.Any:
        session.setdefault("cart", []).append(item)
        return redirect("/")

    @app.post("/logout")
    def logout() -> t.Any:
        session.clear()
        return redirect("/")

    @app.get("/")
    def show() -> dict[str, t.Any]:
        return dict(session)

    return app.test_client()


@pytest.mark.parametrize("place", ["cookie", "memory:", "file:{}"])
def test_the_stores_that_need_no_extra_work(place: str, tmp_path: Path) -> None:
    """A user logs in, fills a cart and logs out."""
    client = make_client(SESSION_STORE=place.format(tmp_path))
    https = {"base_url": "https://localhost/"}
    client.post("/login/ann", **https)
    client.post("/cart/tea", **https)
    client.post("/cart/milk", **https)
    shown = client.get("/", **https).json
    assert shown == {"user_id": "ann", "cart": ["tea", "milk"]}
    client.post("/logout", **https)
    assert client.get("/", **https).json == {}


@pytest.mark.parametrize(
    ("module", "extra", "config"),
    [
        ("redis", "redis", {"SESSION_STORE": "redis://localhost"}),
        ("valkey", "valkey", {"SESSION_STORE": "valkey://localhost"}),
        ("sqlalchemy", "sql", {"SESSION_STORE": "sqlite:///sessions.db"}),
        ("pymemcache", "memcached", {"SESSION_STORE": "memcached://localhost"}),
        ("cryptography", "crypto", {"SESSION_ENCRYPT": True}),
    ],
)
def test_the_error_names_the_missing_extra(
    module: str, extra: str, config: dict[str, t.Any]
) -> None:
    """``init_app`` raises it, before the first request."""
    if importlib.util.find_spec(module):
        pytest.skip(f"{module} is installed")
    with pytest.raises(SessionConfigError, match=rf"flask-buffalo-session\[{extra}\]"):
        make_client(**config)


def test_the_commands_work(tmp_path: Path) -> None:
    """``secret`` needs no application, and ``doctor`` examines one."""

    def run(*command: str) -> str:
        result = subprocess.run(
            [sys.executable, "-m", *command],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    secret = run("flask_buffalo_session", "secret").strip()
    assert len(secret) >= 32
    (tmp_path / "app.py").write_text(
        "from flask import Flask\n"
        "from flask_buffalo_session import BuffaloSession\n"
        "app = Flask(__name__)\n"
        f"app.config.update(SESSION_SECRET={SECRET!r}, SESSION_COOKIE_SECURE=True)\n"
        "BuffaloSession(app)\n"
    )
    assert "No problems found." in run("flask", "session", "doctor")
