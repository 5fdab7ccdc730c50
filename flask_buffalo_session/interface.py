"""Open and save sessions for Flask, and answer requests whose save fails."""

from __future__ import annotations

import collections.abc as c
import time
import typing as t

import flask
from blinker import NamedSignal
from flask import Flask, Request, Response
from flask.sessions import SessionInterface

from . import signals
from .codec import Codec
from .config import Config
from .cookies import SessionCookie, forbid_caching_cookie, vary_on_cookie
from .doctor.settings import check_secrets
from .errors import (
    Reason,
    RejectedError,
    SessionConfigError,
    SessionError,
    SessionSecretError,
    SessionTooLargeError,
)
from .owners import Owners
from .revocation import RevocationList
from .seal import MAX_TOKEN, Seal, Ticket
from .secret import DEVELOPMENT_SECRET, find_secrets
from .sessions import Opened, Session
from .startup import StartupCheck
from .stores.base import Store
from .stores.null import NullStore

# A session that is in use is saved only once a tenth of its lifetime has passed, so
# the last use is known to within that tenth.
_RENEWALS_IN_A_LIFETIME = 10

_NOT_PROTECTED = (
    "The session cannot be written, because there is no secret to protect it. Make"
    " one with `python -m flask_buffalo_session secret` and set it as SESSION_SECRET,"
    " in the environment or in app.config."
)


class BuffaloInterface(SessionInterface):
    """The session interface of one application.

    :param exempt: returns whether the matched route has no session.
    """

    def __init__(
        self, app: Flask, config: Config, exempt: c.Callable[[Flask, Request], bool]
    ) -> None:
        self.config = config
        self.codec: Codec = config.format.codec
        self.idle_timeout = config.idle_timeout
        self.absolute_timeout = config.absolute_timeout
        self.renew_after = config.renew_after
        self.auth_names = config.auth_names
        self._app = app
        self._is_exempt = exempt
        self._null_store = NullStore()
        self._seal: Seal | None = None
        self._development_seal: Seal | None = None
        self._serving = False
        self._startup = StartupCheck(app, config)
        self._cookie = SessionCookie(
            config.name,
            permanent_sign=config.format.permanent_mark,
            lifetime=config.permanent_lifetime,
            domain=config.cookie_domain,
            path=config.cookie_path,
            httponly=config.cookie_httponly,
            samesite=config.cookie_samesite,
            partitioned=config.cookie_partitioned,
        )
        # Every request reads it, so it is an attribute of the interface as well.
        self._permanent_sign = self._cookie.permanent_sign
        permanent_lifetime = min(config.idle_timeout, config.permanent_lifetime)
        self._renewed_after = {
            False: config.idle_timeout / _RENEWALS_IN_A_LIFETIME,
            True: permanent_lifetime / _RENEWALS_IN_A_LIFETIME,
        }
        if not config.null:
            self._find_secret()

    # Flask's interface

    def open_session(self, app: Flask, request: Request) -> Session:
        if not self._serving:
            self._begin_serving(request)
        return Session(self, request)

    def is_null_session(self, obj: object) -> bool:
        return self.config.null

    def save_session(self, app: Flask, session: t.Any, response: Response) -> None:
        if not session.accessed:
            # Every request runs this code, so it calls as little as possible. It
            # verifies the cookie only if the cookie may need to be refreshed.
            header = session.source.environ.get("HTTP_COOKIE")
            if (
                header is None
                or self._permanent_sign not in header
                or not self._renew_untouched(session, header)
            ):
                session.closed = True
                if type(response.response) is not list:
                    response.call_on_close(session.check_saved)
                return
        request: Request = session.source
        if self._is_exempt(app, request):
            return
        try:
            session.save_once()
        except Exception as error:  # noqa: BLE001 - handed to Flask's handlers
            if session.modified or not isinstance(error, SessionError):
                session.abandon()
                self._answer_failure(session, response, error)
                return
            self._give_up_renewal(session, error)
        else:
            if not session.loaded:
                self._renew_untouched(session, request.environ.get("HTTP_COOKIE", ""))
            if (
                self._startup.store_is_due
                and session.answered
                and self._seal is not None
            ):
                self._startup.check_store()
        session.closed = True
        vary_on_cookie(response)
        if session.cookie is not None:
            self._set_cookie(response, session, request)
        if response.is_streamed:
            # A change during streaming comes too late to be saved.
            response.call_on_close(session.check_saved)

    @property
    def register(self) -> Store | RevocationList:
        """The store or the revocation list that manages the ids of sessions."""
        return self.config.revocations or self.config.store

    def owners(self, session: Session | None = None) -> Owners:
        """Return access to the sessions of owners.

        :param session: the session of the current request, if there is one.
        :raises SessionUnsupportedError: the store does not support owners.
        """
        return Owners(self.register, self, session)

    # What a session asks of its application

    def open(self, source: Request) -> Opened:
        if self.config.null or self._is_exempt(self._app, source):
            return Opened(self._null_store, None)
        seal = self._seal_in_force()
        if seal is None:
            refusal = SessionSecretError(_NOT_PROTECTED)
            return Opened(self._null_store, None, refusal=refusal)
        return Opened(
            self.config.store,
            *self._ticket(seal, source),
            revocations=self.config.revocations,
        )

    def seal(
        self, token: str, *, permanent: bool, values: c.Mapping[t.Hashable, bytes]
    ) -> str:
        seal = t.cast(Seal, self._seal_in_force())
        limit = self.config.max_cookie_size
        if len(token) > MAX_TOKEN:
            raise SessionTooLargeError(len(token), MAX_TOKEN, _largest(values))
        try:
            text = seal.seal(token, permanent=permanent)
        except SessionTooLargeError as error:
            # The format's own limit may be the wider one.
            allowed = min(error.limit, limit or error.limit)
            raise SessionTooLargeError(error.size, allowed, _largest(values)) from None
        size = len(self._cookie.render(text, permanent=permanent, secure=True))
        if limit and size > limit:
            raise SessionTooLargeError(size, limit, _largest(values))
        return text

    def due(self, issued: int, *, permanent: bool) -> bool:
        # Either way: a clock that was set back would put it off for too long.
        return abs(time.time() - issued) >= self._renewed_after[permanent]

    def tell(
        self, signal: NamedSignal, session_id: str | None, reason: Reason | None = None
    ) -> None:
        shown = f" (id hash {session_id[:16]})" if session_id else ""
        if signal is signals.session_rejected:
            rejected = "A session was rejected: %s%s."
            if reason in ("bad-signature", "corrupt"):
                self._app.logger.warning(rejected, reason, shown)
            else:
                self._app.logger.info(rejected, reason, shown)
            signal.send(self._app, session_id=session_id, reason=reason)
            return
        if signal is signals.session_conflict:
            self._app.logger.warning(
                "Changes to a session%s were dropped: it has ended meanwhile.", shown
            )
        if signal.receivers:
            signal.send(self._app, session_id=session_id)

    # The incoming cookie

    def _ticket(
        self, seal: Seal, request: Request
    ) -> tuple[Ticket | None, Reason | None]:
        """The first of the cookies that verifies, or why the first one does not."""
        rejected = None
        header = request.environ.get("HTTP_COOKIE", "")
        for text in self._cookie.candidates(header):
            try:
                return seal.unseal(text, max_age=self.idle_timeout), None
            except RejectedError as error:
                rejected = rejected or error.reason
        return None, rejected

    def _renew_untouched(self, session: Session, header: str) -> bool:
        """Have a permanent session renewed although the view did not touch it,
        if its time has come.

        :param header: the cookies of the request.
        """
        text = self._cookie.permanent_text(header)
        if text is None:
            return False
        seal = self._seal or self._seal_in_force()
        if seal is None or not self.config.refresh_each_request:
            return False
        issued = seal.issued(text)
        if issued is None or not self.due(issued, permanent=True):
            return False
        try:
            # In a format without a mark it need not be permanent. It is renewed all
            # the same, so that it is looked at this closely ten times in its life.
            if session:
                session.save()
        except SessionError as error:
            self._give_up_renewal(session, error)
        return session.cookie is not None

    def _give_up_renewal(self, session: Session, error: SessionError) -> None:
        # The view asked for nothing to be saved, so it gets no error either.
        self._app.logger.warning("A session could not be renewed: %s", error)
        session.abandon()

    # The outgoing cookie

    def _set_cookie(
        self, response: Response, session: Session, request: Request
    ) -> None:
        secure = self.config.cookie_secure or (
            request.is_secure and not self._app.debug and not self._app.testing
        )
        if session.cookie:
            cookie = self._cookie.render(
                session.cookie, permanent=session.cookie_permanent, secure=secure
            )
        else:
            cookie = self._cookie.expire(secure=secure)
        response.headers.add("Set-Cookie", cookie)
        forbid_caching_cookie(response)

    # A save that fails

    def _answer_failure(
        self, session: Session, response: Response, error: Exception
    ) -> None:
        """Let the application's error handlers answer instead of the view.

        Flask calls error handlers only for errors before the response was made.
        Without a handler the error reaches Flask's handler for 500.
        """
        if not flask.has_request_context() or (
            flask.session._get_current_object() is not session  # type: ignore[attr-defined]
        ):
            # The client's session_transaction() has no response to replace.
            raise error
        answer = self._app.make_response(self._app.handle_user_exception(error))
        self._app.logger.warning("The session could not be saved: %s", error)
        _replace(response, self._app.process_response(answer))

    # The start of serving

    def _begin_serving(self, request: Request) -> None:
        self._serving = True
        if self.config.null:
            return
        if self._seal is None:
            self._find_secret()
        self._startup.check_settings(
            request, self._secret_findings, sealed=self._seal is not None
        )

    # The secret

    def _find_secret(self) -> None:
        settings = self._app.config
        secrets = self.config.format.secrets or find_secrets(settings)
        self._secret_findings = list(check_secrets(settings, self.config, secrets))
        if secrets:
            self._seal = self._make_seal(secrets)

    def _seal_in_force(self) -> Seal | None:
        if self._seal is None:
            self._find_secret()
        if self._seal is None and (self._app.debug or self._app.testing):
            if self._development_seal is None:
                self._development_seal = self._make_seal((DEVELOPMENT_SECRET,))
            return self._development_seal
        return self._seal

    def _make_seal(self, secrets: c.Sequence[bytes]) -> Seal:
        return self.config.format.seal(
            secrets, self.config.name, encrypt=self.config.encrypt
        )


def _largest(values: c.Mapping[t.Hashable, bytes]) -> list[tuple[t.Hashable, int]]:
    sizes = [(name, len(value)) for name, value in values.items()]
    return sorted(sizes, key=lambda pair: pair[1], reverse=True)[:3]


def _replace(response: Response, answer: Response) -> None:
    """Replace a response in place, because Flask keeps a reference to it."""
    close = getattr(response.response, "close", None)
    if close is not None:
        close()
    response.response = answer.response
    response.status = answer.status
    response.headers = answer.headers
    response.direct_passthrough = answer.direct_passthrough
    response.call_on_close(answer.close)


def current_interface() -> BuffaloInterface:
    """Return the session interface of the current application.

    :raises SessionConfigError: the application has no BuffaloSession.
    """
    interface = flask.current_app.session_interface
    if not isinstance(interface, BuffaloInterface):
        raise SessionConfigError(
            "This application has no BuffaloSession: call BuffaloSession(app) or"
            " init_app(app) first."
        )
    return interface
