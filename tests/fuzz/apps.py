"""Applications that a target calls, as a server would."""

from __future__ import annotations

import collections.abc as c
import contextlib
import io
import logging
import re
import typing as t

from flask import Flask, flash

from flask_buffalo_session import (
    BuffaloSession,
    GorillaFormat,
    MemoryStore,
    session,
    signals,
)
from flask_buffalo_session.errors import SessionTypeError
from flask_buffalo_session.interface import BuffaloInterface
from flask_buffalo_session.seal import Seal
from flask_buffalo_session.secret import find_secrets

SECRET = "a secret for the fuzzer, long enough"
BLOCK_KEY = "a block key of 32 bytes, exactly"
NAME = "_buffalo_session"

#: Seconds. The stored cookies must not expire.
AGE = 1000 * 365 * 24 * 3600

#: An id of the form that stores make.
TOKEN = "a-token-of-forty-three-characters-in-base64"

_LOGGED = re.compile(
    r"A session was rejected: [a-z-]+( \(id hash [0-9a-f]{16}\))?\."
    r"|Changes to a session( \(id hash [0-9a-f]{16}\))? were dropped: .*"
)


class Emptied(MemoryStore):
    """A store that a test can empty."""

    def empty(self) -> None:
        super().__init__()


class Answer(t.NamedTuple):
    """
    :param cookies: the values of the ``Set-Cookie`` headers.
    :param new: whether the view had a fresh session; None if it had none.
    :param rejections: the reasons of the ``session_rejected`` signals.
    """

    cookies: list[str]
    new: bool | None
    rejections: list[str]

    @property
    def cookie(self) -> str | None:
        """Return the cookie that the browser sends next. None: it is unchanged."""
        return self.cookies[-1].partition(";")[0] if self.cookies else None


class Shop:
    """An application, and what happened in a request to it.

    :param server_side: whether its sessions are in a store on the server.
    """

    def __init__(self, *, server_side: bool, **settings: t.Any) -> None:
        self.store = Emptied()
        self.server_side = server_side
        app = Flask("shop", static_folder=None)
        app.config.update(
            PROPAGATE_EXCEPTIONS=True,
            SESSION_SECRET=SECRET,
            SESSION_STORE=self.store if server_side else "cookie",
            PERMANENT_SESSION_LIFETIME=AGE,
            MAX_COOKIE_SIZE=0,
            **settings,
        )
        BuffaloSession(app)
        for name, view in VIEWS.items():
            app.add_url_rule(f"/{name}", name, view)
        # The first request logs the warnings about the settings.
        app.logger.handlers = [logging.NullHandler()]
        app.test_client().get("/")
        app.logger.handlers = [_Listener(self)]
        signals.session_rejected.connect(self._rejected, app)
        interface = t.cast(BuffaloInterface, app.session_interface)
        self.codec = interface.main.codec
        config = interface.main.config
        secrets = config.format.secrets or find_secrets(app.config)
        self.seal: Seal = config.format.seal(secrets, NAME, encrypt=config.encrypt)
        self.app = app
        self.logged: list[str] = []
        self._rejections: list[str] = []

    def cookie(self, token: str = TOKEN) -> str:
        return f"{NAME}={self.seal.seal(token, permanent=False)}"

    def holding(self, record: bytes) -> str:
        """Empty the store, save a record, and return the cookie of its session."""
        if not self.server_side:
            return self.cookie(record.decode("latin-1"))
        self.store.empty()
        self.store.save(TOKEN, record, expected=None, max_age=AGE)
        return self.cookie()

    def ask(self, view: str, cookie: str | None) -> Answer:
        """
        :raises AssertionError: there was an error, or a log line contains what it
            must not contain.
        """
        started: list[t.Any] = []
        self.logged.clear()
        self._rejections = []
        _seen.clear()

        def start_response(
            status: str, headers: t.Any, exc_info: t.Any = None
        ) -> t.Any:
            started[:] = status, headers

        body: t.Any = self.app.wsgi_app(_environ(view, cookie), start_response)
        assert b"".join(body) == b"ok"
        body.close()
        status, headers = started
        assert status == "200 OK", status
        for message in self.logged:
            assert _LOGGED.fullmatch(message), message
        cookies = [value for key, value in headers if key == "Set-Cookie"]
        new = _seen[0] if _seen else None
        return Answer(cookies, new, self._rejections)

    def _rejected(
        self, app: Flask, *, session_id: object, reason: str, name: None
    ) -> None:
        self._rejections.append(reason)


class _Listener(logging.Handler):
    def __init__(self, shop: Shop) -> None:
        super().__init__()
        self._shop = shop

    def emit(self, record: logging.LogRecord) -> None:
        self._shop.logged.append(record.getMessage())


def _environ(view: str, cookie: str | None) -> dict[str, t.Any]:
    environ: dict[str, t.Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": f"/{view}",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if cookie is not None:
        environ["HTTP_COOKIE"] = cookie
    return environ


# The views. If a value cannot be read, the session raises SessionTypeError. A view
# needs to handle no other error.

# Whether the session was new, and what else a view has seen.
_seen: list[t.Any] = []


def _read() -> None:
    for name in list(session):
        with contextlib.suppress(SessionTypeError):
            session.get(name)
    _seen[:] = [session.new]


def untouched() -> str:
    return "ok"


def read() -> str:
    _read()
    assert session.created_at.year
    assert session.id is None or len(session.id) == 64
    return "ok"


def write() -> str:
    """Write a name without reading the session."""
    session["written"] = "written"
    _seen[:] = [session.new]
    return "ok"


def change() -> str:
    """Change every value that can be changed."""
    _read()
    for name in list(session):
        with contextlib.suppress(SessionTypeError):
            value = session.get(name)
            if isinstance(value, list):
                value.append("more")
            elif isinstance(value, dict) and name != "_flash_":
                value["more"] = "more"
    session["written"] = "written"
    return "ok"


def once() -> str:
    for name in list(session):
        with contextlib.suppress(SessionTypeError):
            session.get_once(name)
    return "ok"


def clear() -> str:
    session.clear()
    session["written"] = "written"
    return "ok"


def regenerate() -> str:
    session.regenerate()
    session["written"] = "written"
    return "ok"


def keep() -> str:
    session.permanent = True
    session["written"] = "written"
    return "ok"


def login() -> str:
    session["user_id"] = 5
    session["written"] = "written"
    return "ok"


def messages() -> str:
    for name in ("_flash_", "_flashes"):
        # An application that keeps something else there, or damaged bytes, has no
        # messages. A value that cannot be read can be deleted.
        try:
            sound = _is_messages(session.get(name))
        except SessionTypeError:
            sound = False
        if not sound:
            session.delete(name)
    session.flash.add("success", "Saved")
    flash("Saved")
    assert "Saved" in session.flash.take()["success"]
    session["written"] = "written"
    return "ok"


def _is_messages(value: object) -> bool:
    lists = list(value.values()) if isinstance(value, dict) else [value]
    return all(isinstance(listed, list) for listed in lists)


def written() -> str:
    """Return whether an earlier request has written."""
    assert session.get("written") == "written"
    return "ok"


VIEWS: dict[str, c.Callable[[], str]] = {
    view.__name__: view
    for view in (
        *(untouched, read, write, change, once, clear, regenerate, keep, login),
        *(messages, written),
    )
}

#: The views that a target may call first.
ASKED = tuple(name for name in VIEWS if name != "written")

#: The views after which the next request must find a written value.
WRITING = ("write", "change", "clear", "regenerate", "keep", "login", "messages")

_FORMATS: dict[str, dict[str, t.Any]] = {
    "native": {},
    "encrypted": {"SESSION_ENCRYPT": True},
    "gorilla": {"SESSION_FORMAT": "gorilla"},
    "gorilla-encrypted": {"SESSION_FORMAT": GorillaFormat(SECRET, BLOCK_KEY)},
}

SHOPS = {
    f"{name}-{'memory' if server_side else 'cookie'}": Shop(
        server_side=server_side, **settings
    )
    for name, settings in _FORMATS.items()
    for server_side in (False, True)
}
