"""What a request costs without sessions."""

from __future__ import annotations

import typing as t

from flask import Flask, Request, Response
from flask.sessions import SessionInterface, SessionMixin

from .suite import Contender


class _Nothing(dict[str, t.Any], SessionMixin):
    """A session that is neither opened nor saved."""


class FloorInterface(SessionInterface):
    """Does nothing at all: what a request costs without sessions. Its one dict
    stands in for the values that views read and write.
    """

    def __init__(self) -> None:
        self._session = _Nothing()

    def open_session(self, app: Flask, request: Request) -> SessionMixin:
        return self._session

    def save_session(
        self, app: Flask, session: SessionMixin, response: Response
    ) -> None:
        pass


def _install_floor(app: Flask) -> None:
    app.session_interface = FloorInterface()


FLOOR = Contender("floor", _install_floor)
