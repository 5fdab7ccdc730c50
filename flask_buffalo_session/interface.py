"""Flask's session interface: open the session, and save it with the response."""

from __future__ import annotations

import collections.abc as c
import typing as t

import flask
from flask import Flask, Request, Response
from flask.sessions import SessionInterface

from .app_opener import NO_EXTENSION, AppOpener, RequestSession
from .cookies import restrict_caches
from .doctor.finding import Finding
from .errors import SessionConfigError
from .failures import answer_failure
from .named import named_config, reworded
from .preserved import PRESERVE, PreservedSession
from .routes import Routes
from .sessions import Session


class BuffaloInterface(SessionInterface):
    """The session interface of one application.

    :param main: opens and saves the application's session. Public as :attr:`main`.
    :param exempt: the routes that have no session.
    """

    def __init__(self, app: Flask, main: AppOpener, *, exempt: Routes) -> None:
        self.main = main
        self._app = app
        self._exempt = exempt
        self._serving = False
        self._update()

    def _update(self) -> None:
        # Computed here, because every request reads these attributes.
        self._active = [opener for opener in self.openers if not opener.config.null]
        prefixes = {opener.cookie.permanent_prefix for opener in self._active}
        # With several prefixes no header is ruled out: each contains the empty text.
        self._permanent_prefix = prefixes.pop() if len(prefixes) == 1 else ""
        # Nearly every application has one session, which needs no loop.
        self._refresh: c.Callable[[RequestSession, str], bool] = (
            self._active[0].refresh_untouched
            if len(self._active) == 1
            else self._refresh_untouched
        )

    def make_named_opener(
        self, name: str, arguments: c.Mapping[str, t.Any], given: c.Mapping[str, t.Any]
    ) -> AppOpener:
        """Return the opener of a named session that is to be added.

        :param arguments: the arguments of the extension, by setting.
        :param given: the arguments of ``named()``.
        :raises SessionConfigError: a setting is wrong.
        """
        others = [opener.config for opener in self.openers]
        config = named_config(self._app, others, name, arguments, given)
        try:
            return self.main.sibling(config)
        except SessionConfigError as error:
            raise reworded(config.origin, error) from error

    def add(self, opener: AppOpener) -> None:
        """Add a named session to the application."""
        self.main.named[str(opener.name)] = opener
        self._update()

    @property
    def openers(self) -> list[AppOpener]:
        """The openers of all sessions of the application, the main one first."""
        return [self.main, *self.main.named.values()]

    def opener(self, name: str | None) -> AppOpener:
        """Return the opener of a session.

        :param name: the name of a named session; None for the main session.
        :raises SessionConfigError: the application has no such session.
        """
        if name is None:
            return self.main
        return self.main.named_opener(name)

    def open_session(self, app: Flask, request: Request) -> RequestSession:
        """Return the request's session. Nothing is verified or loaded yet."""
        if not self._serving:
            self._begin_serving(request)
        return RequestSession(self.main, request)

    def _begin_serving(self, request: Request) -> None:
        self._serving = True
        known: list[Finding] = []
        for opener in self.openers:
            known += opener.begin_serving(request, known)

    def is_null_session(self, obj: object) -> bool:
        """Return whether Flask must not save the session."""
        return not self._active

    def save_session(self, app: Flask, session: t.Any, response: Response) -> None:
        """Save what the request changed, and send the cookie if there is a new one."""
        if not session.accessed:
            # Every request runs this code, so it calls as little as possible. It
            # verifies the cookie only if the cookie may need to be refreshed.
            environ = session.source.environ
            header = environ.get("HTTP_COOKIE")
            if (
                header is None
                or self._permanent_prefix not in header
                or not self._refresh(session, header)
            ):
                session.closed = True
                if PRESERVE in environ:
                    environ[PRESERVE](PreservedSession(session))
                if type(response.response) is not list:
                    response.call_on_close(session.check_saved)
                return
        request: Request = session.source
        if self._exempt.chosen and self._exempt.include(app, request):
            return
        saved: list[tuple[AppOpener, Session]] = []
        failed: list[tuple[AppOpener, Exception]] = []
        for opener in self._active:
            try:
                used = opener.save(session)
            except Exception as error:  # noqa: BLE001 - handed to Flask's handlers
                failed.append((opener, error))
            else:
                if used is not None:
                    saved.append((opener, used))
        if failed:
            self._answer_failure(session, response, failed)
            return
        session.closed = True
        if PRESERVE in request.environ:
            request.environ[PRESERVE](PreservedSession(session))
        sets_cookie = False
        for opener, used in saved:
            # The application may keep a reference to a named session.
            used.closed = True
            if (text := used.cookie) is not None:
                opener.send_cookie(used, text, response)
                sets_cookie = True
        if saved:
            restrict_caches(response, sets_cookie=sets_cookie)
        if type(response.response) is not list:
            # A change during streaming comes too late to be saved.
            response.call_on_close(session.check_saved)

    def _refresh_untouched(self, session: RequestSession, header: str) -> bool:
        refreshed = False
        for opener in self._active:
            if opener.refresh_untouched(session, header):
                refreshed = True
        return refreshed

    def _answer_failure(
        self,
        session: RequestSession,
        response: Response,
        failed: list[tuple[AppOpener, Exception]],
    ) -> None:
        """Let the error handlers answer for the first session that could not be saved.
        The handlers' response gets the cookies of the sessions that were saved.
        """
        (opener, error), *others = failed
        logger = self._app.logger
        for other, unanswered in others:
            title = other.config.origin.title
            logger.warning("%s could not be saved: %s", title, unanswered)
        if not flask.has_request_context() or (
            flask.session._get_current_object() is not session  # type: ignore[attr-defined]
        ):
            # The client's session_transaction() has no response to replace.
            raise error
        answer_failure(self._app, response, error, opener.config.origin.title)


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
        raise SessionConfigError(NO_EXTENSION)
    return interface
