"""Measure what a request costs without sessions."""

from __future__ import annotations

import typing as t

from flask import Flask, Request, Response
from flask.sessions import SessionInterface, SessionMixin

from .suite import Contender


class _NullSession(dict[str, t.Any], SessionMixin):
    """Represent a session that is neither opened nor saved."""


class FloorInterface(SessionInterface):
    """Open and save nothing, so a request costs what it costs without sessions. One
    dict holds the values that the views read and write.
    """

    def __init__(self) -> None:
        self._session = _NullSession()

    def open_session(self, app: Flask, request: Request) -> SessionMixin:
        return self._session

    def save_session(
        self, app: Flask, session: SessionMixin, response: Response
    ) -> None:
        pass


def _install_floor(app: Flask) -> None:
    app.session_interface = FloorInterface()


FLOOR = Contender("floor", _install_floor)
