"""Flask's session interface: open the session, and save it with the response."""

from __future__ import annotations

import typing as t

import flask
from flask import Flask, Request, Response
from flask.sessions import SessionInterface

from .cookies import vary_on_cookie
from .errors import SessionConfigError
from .failures import answer_failure
from .opening import AppOpener, IsChosen
from .preserved import PRESERVE, PreservedSession
from .sessions import Session


class BuffaloInterface(SessionInterface):
    """The session interface of one application.

    :param main: opens and saves the application's session. Public as :attr:`main`.
    :param exempt: returns whether the matched route has no session.
    """

    def __init__(self, app: Flask, main: AppOpener, *, exempt: IsChosen) -> None:
        self.main = main
        self._app = app
        self._is_exempt = exempt
        # An attribute of the interface as well, because every request reads it.
        self._permanent_sign = main.cookie.permanent_sign
        self._serving = False

    def open_session(self, app: Flask, request: Request) -> Session:
        """Return the request's session. Nothing is verified or loaded yet."""
        if not self._serving:
            self._serving = True
            self.main.begin_serving(request)
        return Session(self.main, request)

    def is_null_session(self, obj: object) -> bool:
        """Return whether Flask must not save the session."""
        return self.main.config.null

    def save_session(self, app: Flask, session: t.Any, response: Response) -> None:
        """Save what the request changed, and send the cookie if there is a new one."""
        if not session.accessed:
            # Every request runs this code, so it calls as little as possible. It
            # verifies the cookie only if the cookie may need to be refreshed.
            environ = session.source.environ
            header = environ.get("HTTP_COOKIE")
            if (
                header is None
                or self._permanent_sign not in header
                or not self.main.refresh_untouched(session, header)
            ):
                session.closed = True
                if PRESERVE in environ:
                    environ[PRESERVE](PreservedSession(session))
                if type(response.response) is not list:
                    response.call_on_close(session.check_saved)
                return
        request: Request = session.source
        if self._is_exempt(app, request):
            return
        error = self.main.save(session)
        if error is not None:
            self._answer_failure(session, response, error)
            return
        session.closed = True
        if PRESERVE in request.environ:
            request.environ[PRESERVE](PreservedSession(session))
        vary_on_cookie(response)
        self.main.send_cookie(session, response)
        if response.is_streamed:
            # A change during streaming comes too late to be saved.
            response.call_on_close(session.check_saved)

    def _answer_failure(
        self, session: Session, response: Response, error: Exception
    ) -> None:
        if not flask.has_request_context() or (
            flask.session._get_current_object() is not session  # type: ignore[attr-defined]
        ):
            # The client's session_transaction() has no response to replace.
            raise error
        answer_failure(self._app, response, error)


def current_interface() -> BuffaloInterface:
    """Return the session interface of the current application.

    :raises SessionConfigError: the application has no BuffaloSession.
    """
    return interface_of(flask.current_app)


def interface_of(app: Flask) -> BuffaloInterface:
    """Return the session interface of an application.

    :raises SessionConfigError: the application has no BuffaloSession.
    """
    interface = app.session_interface
    if not isinstance(interface, BuffaloInterface):
        raise SessionConfigError(
            "This application has no BuffaloSession: call BuffaloSession(app) or"
            " init_app(app) first."
        )
    return interface
