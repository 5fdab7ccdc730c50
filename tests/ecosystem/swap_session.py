"""A pytest plugin that gives every Flask application the session of this package.

The environment variable ``ECOSYSTEM_STORE`` names the store. Without it the plugin does
nothing.
"""

from __future__ import annotations

import os
import typing as t

from flask import Flask, Request
from flask.sessions import SessionInterface, SessionMixin

from flask_buffalo_session import BuffaloSession

_STORE = os.environ.get("ECOSYSTEM_STORE")
_original_init = Flask.__init__


class SwapAtFirstRequest(SessionInterface):
    """Replace itself when the first session is opened.

    Tests change ``app.config`` after they have made the application, and BuffaloSession
    reads the settings only once.
    """

    def open_session(self, app: Flask, request: Request) -> SessionMixin | None:
        """Install the session of this package under the cookie name of the tests."""
        BuffaloSession(app, store=_STORE, name=app.config["SESSION_COOKIE_NAME"])
        return app.session_interface.open_session(app, request)


def _init(self: Flask, *args: t.Any, **kwargs: t.Any) -> None:
    _original_init(self, *args, **kwargs)
    # A test that brings a session interface of its own keeps it.
    if type(self).session_interface is Flask.session_interface:
        self.session_interface = SwapAtFirstRequest()


if _STORE:
    Flask.__init__ = _init  # type: ignore[method-assign]
