"""Open one of an application's sessions, save it and send its cookie."""

from __future__ import annotations

import collections.abc as c
import typing as t

from blinker import NamedSignal
from flask import Flask, Request, Response

from . import signals
from .arrivals import Arrivals, PreviousPlaces
from .backends.make import make_backend
from .backends.null import NullBackend
from .codec import Codec
from .config import Config
from .cookies import SessionCookie
from .doctor.finding import Finding
from .errors import Reason, SessionConfigError, SessionError, SessionSecretError
from .opener import Opened
from .origin import call
from .owners import Owners
from .routes import Routes
from .seal import Ticket
from .sealing import CookieSealer
from .sessions import Session
from .startup import StartupCheck

_NOT_PROTECTED = (
    "The session cannot be written, because there is no secret to protect it. Make"
    " one with `python -m flask_buffalo_session secret` and set it as SESSION_SECRET,"
    " in the environment or in app.config."
)

#: The error of an application without the extension.
NO_EXTENSION = (
    "This application has no BuffaloSession: call BuffaloSession(app) or init_app(app)"
    " first."
)


class RequestSession(Session):
    """The main session of a request, and the named sessions beside it."""

    _opener: AppOpener
    # A class attribute, so that a request without named sessions makes no dict.
    _named: dict[str, Session] | None = None

    def named(self, name: str) -> Session:
        """Return the request's named session. Nothing is loaded yet.

        :raises SessionConfigError: the application has no such session.
        """
        session = self.used(name)
        if session is None:
            session = Session(self._opener.named_opener(name), self.source)
            if self.detached:
                session.detach()
            if self._named is None:
                self._named = {}
            self._named[name] = session
        # The response now depends on a cookie, and the interface must save the session.
        self.accessed = True
        session.closed = self.closed
        return session

    def used(self, name: str) -> Session | None:
        """Return the request's named session, if the request has used it."""
        return None if self._named is None else self._named.get(name)

    def detach(self) -> None:
        super().detach()
        for session in self._all_named():
            session.detach()

    def check_saved(self) -> None:
        super().check_saved()
        for session in self._all_named():
            session.closed = self.closed
            session.check_saved()

    def _all_named(self) -> c.Collection[Session]:
        return () if self._named is None else self._named.values()


class AppOpener:
    """Opens an application's session for each request, saves it, and sends its cookie.

    :param config: the session's settings. Public as :attr:`config`.
    :param exempt: the routes that have no session.
    :param passive: the routes whose requests do not count as use of the session.
    """

    def __init__(
        self, app: Flask, config: Config, *, exempt: Routes, passive: Routes
    ) -> None:
        self.config = config
        self.codec: Codec = config.format.codec
        self.policy = config.policy()
        self.auth_names = config.auth_names
        self.owner_limit = config.owner_limit
        #: The name of a named session; None for the main session.
        self.name = config.origin.session
        #: For the main session: the openers of the named sessions.
        self.named: dict[str, AppOpener] = {}
        self._app = app
        self._exempt = exempt
        self._passive = passive
        self.cookie = SessionCookie.of(config)
        self._sealer = CookieSealer(app, config, self.cookie, config.origin.settings)
        self._null = NullBackend()
        self._unprotected = NullBackend(refusal=_NOT_PROTECTED)
        #: Where the sessions live.
        self.backend = make_backend(config, self.policy, self._sealer)
        self._startup = StartupCheck(app, config)
        self._previous: PreviousPlaces | None = None
        if not config.null:
            self._sealer.find_secret()
            if config.previous:
                self._previous = PreviousPlaces(app, config)

    def sibling(self, config: Config) -> AppOpener:
        """Return the opener of another session of the application.

        :raises SessionConfigError: a setting is wrong.
        """
        exempt, passive = self._exempt, self._passive
        return AppOpener(self._app, config, exempt=exempt, passive=passive)

    def named_opener(self, name: str) -> AppOpener:
        """Return the opener of a named session.

        :raises SessionConfigError: the application has no such session.
        """
        opener = self.named.get(name)
        if opener is None:
            raise SessionConfigError(
                f'This application has no session "{name}". Define it with'
                f" {call(name)} on the application's BuffaloSession."
            )
        return opener

    def begin_serving(
        self, request: Request, known: c.Collection[Finding]
    ) -> list[Finding]:
        """Check the settings before the first request.

        :param known: what was found in other sessions of the application.
        :returns: what was found.
        """
        if self.config.null:
            return []
        if self._sealer.seal is None:
            self._sealer.find_secret()
        return self._startup.check_settings(
            request,
            self._sealer.findings,
            sealed=self._sealer.seal is not None,
            known=known,
        )

    # At the end of a request

    def save(self, main: RequestSession) -> Session | None:
        """Save what the request changed.

        :param main: the request's main session.
        :returns: the session, if the request has used it or its cookie was due.
        :raises Exception: the session cannot be saved. Answer the request with this
            error.
        """
        session: Session = main
        if self.name is not None:
            used = main.used(self.name)
            if used is None:
                header = main.source.environ.get("HTTP_COOKIE", "")
                refreshed = self.refresh_untouched(main, header)
                return main.used(self.name) if refreshed else None
            session = used
        try:
            loaded = session.save_once()
        except Exception as error:
            if session.modified or not isinstance(error, SessionError):
                session.abandon()
                raise
            self._skip_refresh(session, error)
            return session
        if not loaded:
            header = main.source.environ.get("HTTP_COOKIE", "")
            self.refresh_untouched(main, header)
        if self._startup.store_is_due and session.answered and self._sealer.seal:
            self._startup.check_store()
        return session

    def send_cookie(self, session: Session, text: str, response: Response) -> None:
        """Add the session's cookie to the response.

        :param text: the cookie's new text; "" removes the cookie.
        """
        secure = self.config.cookie_secure or (
            session.source.is_secure and not self._app.debug and not self._app.testing
        )
        if text:
            permanent = session.cookie_permanent
            lifetime = session.cookie_lifetime if permanent else None
            cookie = self.cookie.render(
                text, permanent=permanent, secure=secure, lifetime=lifetime
            )
        else:
            cookie = self.cookie.expire(secure=secure)
        if session.arrivals is not None:
            arrivals = t.cast(Arrivals, session.arrivals)
            old = {other.identity: other for other in arrivals.leave(ended=not text)}
            old.pop(self.cookie.identity, None)
            for other in old.values():
                response.headers.add("Set-Cookie", other.expire(secure=secure))
        response.headers.add("Set-Cookie", cookie)

    # Refresh a permanent session that the view did not touch

    def refresh_untouched(self, main: RequestSession, header: str) -> bool:
        """Refresh a permanent session whose cookie is due.

        :param main: the request's main session.
        :param header: the request's ``Cookie`` header.
        :returns: whether there is a new cookie to send.
        """
        text = self.cookie.permanent_text(header)
        if text is None or not self.config.refresh_each_request:
            return False
        seal = self._sealer.seal or self._sealer.in_force()
        if seal is None:
            return False
        issued = seal.issued(text)
        if issued is None or not self.policy.refresh_is_due(issued, permanent=True):
            return False
        if self._passive.chosen and self._passive.include(self._app, main.source):
            return False
        session = main if self.name is None else main.named(self.name)
        try:
            # A gorilla cookie does not show whether its session is permanent, so any
            # session that is not empty is refreshed. This loads the session, at most
            # ten times in its lifetime.
            if session:
                session.save()
        except SessionError as error:
            self._skip_refresh(session, error)
        return session.cookie is not None

    def _skip_refresh(self, session: Session, error: SessionError) -> None:
        # The view did not ask for anything to be saved, so it gets no error.
        title = self.config.origin.title
        self._app.logger.warning("%s could not be refreshed: %s", title, error)
        session.abandon()

    # What sessions need from their application

    def open(self, source: Request) -> Opened:
        """Verify the request's cookies, and return where its session lives."""
        app, exempt, passive = self._app, self._exempt, self._passive
        if self.config.null or (exempt.chosen and exempt.include(app, source)):
            return Opened(self._null)
        seal = self._sealer.seal or self._sealer.in_force()
        if seal is None:
            return Opened(self._unprotected)
        header = source.environ.get("HTTP_COOKIE", "")
        ticket, reason = self._sealer.unseal(seal, header, self.policy)
        arrivals = None
        if self._previous is not None:
            arrivals = self._previous.arrivals(self.config.name, header, reason)
        is_passive = passive.chosen and passive.include(app, source)
        return Opened(self.backend, ticket, reason, arrivals, is_passive)

    def listens_to(self, signal: NamedSignal) -> bool:
        """Return whether a signal has a receiver, or is logged."""
        return bool(signal.receivers) or signal is signals.session_conflict

    def emit(
        self,
        signal: NamedSignal,
        session_id: str | None,
        reason: Reason | None = None,
        *,
        old_id: str | None = None,
    ) -> None:
        """Emit a signal, and log it if it reports a problem."""
        logger, name = self._app.logger, self.name
        shown = f" (id hash {session_id[:16]})" if session_id else ""
        which = "" if name is None else f' "{name}"'
        if signal is signals.session_rejected:
            serious = reason in ("bad-signature", "corrupt")
            log = logger.warning if serious else logger.info
            log("A session%s was rejected: %s%s.", which, reason, shown)
            signal.send(self._app, session_id=session_id, reason=reason, name=name)
            return
        if signal is signals.session_conflict:
            logger.warning(
                "Changes to a session%s%s were dropped, because it has ended.",
                which,
                shown,
            )
        if signal is signals.session_regenerated:
            signal.send(self._app, session_id=session_id, old_id=old_id, name=name)
        elif signal.receivers:
            signal.send(self._app, session_id=session_id, name=name)

    # For the extension and the command line

    def unsealed(self, text: str) -> Ticket:
        """Verify the text of a cookie.

        :raises RejectedError: it does not verify.
        :raises SessionSecretError: there is no secret to verify it with.
        """
        seal = self._sealer.in_force()
        if seal is None:
            raise SessionSecretError(
                "There is no secret to verify the cookie with. Set SESSION_SECRET."
            )
        return seal.unseal(text, max_age=self.policy.longest_idle)

    def close(self) -> None:
        """Close the connections of the stores that a URL made."""
        self.config.close()
        if self._previous is not None:
            self._previous.close()

    def owners(self, main: RequestSession | None = None) -> Owners:
        """Return access to the sessions of owners.

        :param main: the main session of the current request, if there is one.
        :raises SessionUnsupportedError: the store does not support owners.
        """
        session: Session | None = main
        if main is not None and self.name is not None:
            session = main.named(self.name)
        return Owners(self.backend, self, session)
