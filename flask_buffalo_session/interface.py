"""Opens and saves sessions for Flask: the cookie, ``Vary`` and the error path."""

from __future__ import annotations

import collections.abc as c
import time
import typing as t

import flask
from blinker import NamedSignal
from flask import Flask, Request, Response
from flask.sessions import SessionInterface
from werkzeug.http import dump_cookie, http_date

from . import signals
from .backends.base import Backend
from .backends.cookie import CookieBackend
from .backends.null import NullBackend
from .backends.server import ServerBackend
from .codec import Codec
from .config import DEVELOPMENT_SECRET, Config, find_secrets
from .doctor import (
    Finding,
    check_secrets,
    check_settings,
    examine,
    one_line,
    stores_of,
)
from .errors import (
    Reason,
    RejectedError,
    SessionError,
    SessionTooLargeError,
)
from .owners import Owners
from .revocation import RevocationList
from .seal import MAX_TOKEN, Seal, Ticket
from .sessions import Session
from .stores.base import Store, is_stateless
from .work import Opened

_EPOCH = "Thu, 01 Jan 1970 00:00:00 GMT"

_NOT_PROTECTED = (
    "The session cannot be written: there is no secret to protect it with. Make one"
    " with `python -c 'import secrets; print(secrets.token_hex(32))'` and set it as"
    " SESSION_SECRET, in the environment or in app.config."
)


class BuffaloInterface(SessionInterface):
    """One application's session interface, and the backing of its sessions.

    :param exempt: says whether the route that was matched has no session.
    """

    def __init__(
        self, app: Flask, config: Config, exempt: c.Callable[[Flask, Request], bool]
    ) -> None:
        self.config = config
        self.codec: Codec = config.format.codec
        self.policy = config.policy()
        self.auth_names = config.auth_names
        self._app = app
        self._is_exempt = exempt
        self._null = NullBackend()
        self._unprotected = NullBackend(refusal=_NOT_PROTECTED)
        self.backend = self._make_backend()
        self._seal: Seal | None = None
        self._development_seal: Seal | None = None
        self._serving = False
        self._examined = False
        # What our cookie begins with, and what follows in a permanent one.
        self._mark = f"{config.name}="
        self._permanent_sign = config.format.permanent_mark
        self._permanent_mark = self._mark + self._permanent_sign
        # For each answer to "is it Secure?", what follows the cookie's value.
        self._attributes = {
            secure: self._render_attributes(secure) for secure in (False, True)
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
            # Every request comes by here, so nothing is called that need not be, and
            # the cookie only glanced at before there is a reason to verify it.
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
            if not self._examined and session.answered:
                self._examine_store()
        session.closed = True
        _vary_on_cookie(response)
        if session.cookie is not None:
            self._set_cookie(response, session, request)
        if response.is_streamed:
            # What is written while streaming comes too late to be saved.
            response.call_on_close(session.check_saved)

    @property
    def register(self) -> Store | RevocationList:
        """Where it is known which sessions there are, or which have ended."""
        return self.config.revocations or self.config.store

    def owners(self, session: Session | None = None) -> Owners:
        """
        :param session: the request's own, if there is one.
        :raises SessionUnsupportedError: the store does not know owners.
        """
        return Owners(self.backend, self, session)

    # What a session asks of its application

    def open(self, source: Request) -> Opened:
        if self.config.null or self._is_exempt(self._app, source):
            return Opened(self._null)
        seal = self._seal or self._seal_in_force()
        if seal is None:
            return Opened(self._unprotected)
        return Opened(self.backend, *self._ticket(seal, source))

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
        size = len(self._render_cookie(text, permanent=permanent, secure=True))
        if limit and size > limit:
            raise SessionTooLargeError(size, limit, _largest(values))
        return text

    def emit(
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
        header = request.environ.get("HTTP_COOKIE", "")
        rejected = None
        # Of several cookies with the same name the first that verifies counts.
        for pair in header.split(";"):
            name, _, text = pair.partition("=")
            if name.strip() != self.config.name:
                continue
            try:
                return seal.unseal(text.strip(), max_age=self.policy.idle_timeout), None
            except RejectedError as error:
                rejected = rejected or error.reason
        return None, rejected

    def _renew_untouched(self, session: Session, header: str) -> bool:
        """Have a permanent session renewed although the view did not touch it,
        if its time has come.

        :param header: the cookies of the request.
        """
        start = header.find(self._permanent_mark)
        while start > 0 and header[start - 1] not in "; \t":
            # The end of another cookie's name.
            start = header.find(self._permanent_mark, start + 1)
        if start < 0:
            return False
        seal = self._seal or self._seal_in_force()
        if seal is None or not self.config.refresh_each_request:
            return False
        end = header.find(";", start)
        start += len(self._mark)
        issued = seal.issued(header[start:end] if end > 0 else header[start:])
        if issued is None or not self.policy.refresh_is_due(issued, permanent=True):
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
            cookie = self._render_cookie(
                session.cookie, permanent=session.cookie_permanent, secure=secure
            )
        else:
            cookie = (
                f"{self._mark}; Expires={_EPOCH}; Max-Age=0{self._attributes[secure]}"
            )
        response.headers.add("Set-Cookie", cookie)
        _forbid_caching_cookie(response)

    def _render_cookie(self, text: str, *, permanent: bool, secure: bool) -> str:
        expires = ""
        if permanent:
            end = time.time() + self.config.permanent_lifetime
            expires = f"; Expires={http_date(end)}"
        return f"{self._mark}{text}{expires}{self._attributes[secure]}"

    def _render_attributes(self, secure: bool) -> str:
        config = self.config
        empty = dump_cookie(
            config.name,
            "",
            domain=config.cookie_domain,
            path=config.cookie_path,
            secure=secure,
            httponly=config.cookie_httponly,
            samesite=config.cookie_samesite,
            partitioned=config.cookie_partitioned,
        )
        return empty[len(self._mark) :]

    # A save that fails

    def _answer_failure(
        self, session: Session, response: Response, error: Exception
    ) -> None:
        """Let the application's error handlers answer instead of the view.

        Flask itself would only do so for errors raised before the response was
        there. Without a handler the error goes on, to the handler for 500.
        """
        if not flask.has_request_context() or (
            flask.session._get_current_object() is not session  # type: ignore[attr-defined]
        ):
            # A test's session_transaction(), which there is no response for.
            raise error
        answer = self._app.make_response(self._app.handle_user_exception(error))
        self._app.logger.warning("The session could not be saved: %s", error)
        _replace(response, self._app.process_response(answer))

    # What is said once

    def _begin_serving(self, request: Request) -> None:
        """Say what is wrong with the settings, now that it is known whether this is
        a test or a debugging session.
        """
        self._serving = True
        if self.config.null:
            return
        if self._seal is None:
            self._find_secret()
        if not self._app.debug and not self._app.testing:
            self._warn(
                *self._secret_findings,
                *check_settings(
                    self._app,
                    self.config,
                    secure=self.config.cookie_secure or request.is_secure,
                    alone=not request.environ.get("wsgi.multiprocess"),
                ),
            )
        elif self._seal is None:
            self._app.logger.info(
                "There is no SESSION_SECRET: sessions use the development secret."
            )

    def _examine_store(self) -> None:
        """Ask how the store is, once it has been used: other requests are not to
        wait for it.
        """
        if self._seal is None or self._app.debug or self._app.testing:
            return
        self._examined = True
        try:
            for about, store in stores_of(self.config).items():
                self._warn(*examine(about, store))
        except Exception as error:  # noqa: BLE001 - of a store of one's own, say
            self._app.logger.warning(
                "It is not known how the session's store is: %s.", one_line(error)
            )

    def _warn(self, *findings: Finding) -> None:
        problems = [f"\n{finding}" for finding in findings if not finding.note]
        if problems:
            self._app.logger.warning(
                "Sessions have problems here; `flask session doctor` tells more.%s",
                "".join(problems),
            )

    def _make_backend(self) -> Backend:
        config = self.config
        if config.null:
            return self._null
        if is_stateless(config.store):
            return CookieBackend(
                config.store, self.codec, self.policy, self.seal, config.revocations
            )
        return ServerBackend(config.store, self.codec, self.policy, self.seal)

    # The secret

    def _find_secret(self) -> None:
        secrets = self.config.format.secrets or find_secrets(self._app)
        self._secret_findings = list(check_secrets(self._app, self.config, secrets))
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


def _vary_on_cookie(response: Response) -> None:
    # The header is mostly not there, and then this is the cheapest way.
    if response.headers.getlist("Vary"):
        response.vary.add("Cookie")
    else:
        response.headers.add("Vary", "Cookie")


def _forbid_caching_cookie(response: Response) -> None:
    # RFC 9111, section 5.2.2.4: a shared cache must not hand the field to others.
    if not response.headers.getlist("Cache-Control"):
        response.headers.add("Cache-Control", 'no-cache="Set-Cookie"')
        return
    control = response.cache_control
    # With a value, those two are about the fields that it names.
    if control.no_store or control.private is True or control.no_cache is True:
        return
    fields = [field for field in str(control.no_cache or "").split(",") if field]
    if "set-cookie" in (field.strip().lower() for field in fields):
        return
    # Written by hand, as Werkzeug leaves out the quotes, which belong here.
    others = response.headers.getlist("Cache-Control")
    if fields:
        control.no_cache = None
        others = [control.to_header()] if control else []
    named = ", ".join([*fields, "Set-Cookie"])
    response.headers["Cache-Control"] = ", ".join([*others, f'no-cache="{named}"'])


def _replace(response: Response, answer: Response) -> None:
    """Turn a response, which Flask holds on to, into another one."""
    close = getattr(response.response, "close", None)
    if close is not None:
        close()
    response.response = answer.response
    response.status = answer.status
    response.headers = answer.headers
    response.direct_passthrough = answer.direct_passthrough
    response.call_on_close(answer.close)
