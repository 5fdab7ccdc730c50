"""Open, save and send one of an application's sessions."""

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
from .cookies import SessionCookie, forbid_caching_cookie
from .errors import Reason, SessionError, SessionSecretError
from .owners import Owners
from .seal import Ticket
from .sealing import CookieSealer
from .sessions import Session
from .startup import StartupCheck
from .work import Opened

_NOT_PROTECTED = (
    "The session cannot be written, because there is no secret to protect it. Make"
    " one with `python -m flask_buffalo_session secret` and set it as SESSION_SECRET,"
    " in the environment or in app.config."
)

#: Returns whether the route that a request matched has been chosen.
IsChosen: t.TypeAlias = c.Callable[[Flask, Request], bool]


class AppOpener:
    """Opens an application's session for each request, saves it, and sends its cookie.

    :param config: the session's settings. Public as :attr:`config`.
    :param exempt: returns whether the matched route has no session.
    :param passive: returns whether requests to the matched route do not count as use of
        the session.
    """

    def __init__(
        self, app: Flask, config: Config, *, exempt: IsChosen, passive: IsChosen
    ) -> None:
        self.config = config
        self.codec: Codec = config.format.codec
        self.policy = config.policy()
        self.auth_names = config.auth_names
        self.owner_limit = config.owner_limit
        self._app = app
        self._is_exempt = exempt
        self._is_passive = passive
        self.cookie = SessionCookie.of(config)
        self._sealer = CookieSealer(app, config, self.cookie, app.config)
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

    def begin_serving(self, request: Request) -> None:
        """Check the settings before the first request."""
        if self.config.null:
            return
        if self._sealer.seal is None:
            self._sealer.find_secret()
        self._startup.check_settings(
            request, self._sealer.findings, sealed=self._sealer.seal is not None
        )

    # At the end of a request

    def save(self, session: Session) -> Exception | None:
        """Save what the request changed.

        :returns: the error to answer the request with, if the session cannot be saved.
        """
        try:
            session.save_once()
        except Exception as error:  # noqa: BLE001 - handed to Flask's handlers
            if session.modified or not isinstance(error, SessionError):
                session.abandon()
                return error
            self._skip_refresh(session, error)
        else:
            if not session.loaded:
                header = session.source.environ.get("HTTP_COOKIE", "")
                self.refresh_untouched(session, header)
            if self._startup.store_is_due and session.answered and self._sealer.seal:
                self._startup.check_store()
        return None

    def send_cookie(self, session: Session, response: Response) -> None:
        """Add the session's cookie to the response, if there is a new one."""
        text = session.cookie
        if text is None:
            return
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
            old = {one.identity: one for one in arrivals.leave(ended=not text)}
            old.pop(self.cookie.identity, None)
            for one in old.values():
                response.headers.add("Set-Cookie", one.expire(secure=secure))
        response.headers.add("Set-Cookie", cookie)
        forbid_caching_cookie(response)

    # Refresh a permanent session that the view did not touch

    def refresh_untouched(self, session: Session, header: str) -> bool:
        """Refresh a permanent session whose cookie is due.

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
        if self._is_passive(self._app, session.source):
            return False
        try:
            # A gorilla cookie does not show whether the session is permanent. Such a
            # session is refreshed in any case, so it is looked at this closely only
            # ten times in its lifetime.
            if session:
                session.save()
        except SessionError as error:
            self._skip_refresh(session, error)
        return session.cookie is not None

    def _skip_refresh(self, session: Session, error: SessionError) -> None:
        # The view did not ask for anything to be saved, so it gets no error.
        self._app.logger.warning("The session could not be refreshed: %s", error)
        session.abandon()

    # What sessions need from their application

    def open(self, source: Request) -> Opened:
        """Verify the request's cookies, and return where its session lives."""
        if self.config.null or self._is_exempt(self._app, source):
            return Opened(self._null)
        seal = self._sealer.seal or self._sealer.in_force()
        if seal is None:
            return Opened(self._unprotected)
        header = source.environ.get("HTTP_COOKIE", "")
        max_age, longest = self.policy.idle_timeout, self.policy.longest_idle
        ticket, reason = self._sealer.unseal(
            seal, header, max_age=max_age, longest=longest
        )
        arrivals = None
        if self._previous is not None:
            arrivals = self._previous.arrivals(self.config.name, header, reason)
        passive = self._is_passive(self._app, source)
        return Opened(self.backend, ticket, reason, arrivals, passive)

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
        logger = self._app.logger
        shown = f" (id hash {session_id[:16]})" if session_id else ""
        if signal is signals.session_rejected:
            serious = reason in ("bad-signature", "corrupt")
            log = logger.warning if serious else logger.info
            log("A session was rejected: %s%s.", reason, shown)
            signal.send(self._app, session_id=session_id, reason=reason)
            return
        if signal is signals.session_conflict:
            logger.warning(
                "Changes to a session%s were dropped, because it has ended.", shown
            )
        if signal is signals.session_regenerated:
            signal.send(self._app, session_id=session_id, old_id=old_id)
        elif signal.receivers:
            signal.send(self._app, session_id=session_id)

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

    def owners(self, session: Session | None = None) -> Owners:
        """Return access to the sessions of owners.

        :param session: the session of the current request, if there is one.
        :raises SessionUnsupportedError: the store does not support owners.
        """
        return Owners(self.backend, self, session)
