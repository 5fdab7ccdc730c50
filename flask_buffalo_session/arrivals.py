"""Find the sessions that were kept elsewhere before, and move them here."""

from __future__ import annotations

import hashlib
from contextlib import suppress

from flask import Flask

from .backends.base import Arrival, Backend, Snapshot
from .config import PREVIOUS, Config
from .cookies import SessionCookie
from .errors import Reason, RejectedError, SessionStoreError, wrong_setting
from .previous.base import Found, Previous, Source
from .previous.flask_cookie import FlaskCookie
from .seal import Ticket, base64_encode
from .stores.base import Closable


class Arrivals:
    """The old sessions that one request's cookies may belong to.

    :param sources: the newest place first.
    :param name: the name of the cookie of the present kind.
    :param header: the request's ``Cookie`` header.
    :param reason: why the request's cookies of the present kind were rejected.
    :param session: the name of a named session.
    """

    def __init__(
        self,
        app: Flask,
        sources: list[Source],
        name: str,
        header: str,
        reason: Reason | None,
        session: str | None,
    ) -> None:
        self._app = app
        self._sources = sources
        self._name = name
        self._header = header
        self._reason = reason
        self._session = session
        self._chosen: tuple[Source, Found] | None = None

    def load(self, backend: Backend, ticket: Ticket | None) -> Snapshot | None:
        """Return the ticket's session, or else the first old session that exists, as a
        session of the backend.

        :returns: None if the request has no cookie of any kind.
        :raises EndedError: the session has just ended.
        :raises RejectedError: no session exists.
        :raises SessionStoreError: a store cannot answer.
        """
        rejected = None
        if self._reason is not None:
            rejected = RejectedError(self._reason, "not a cookie of the present kind")
        if ticket is not None:
            try:
                return backend.load(ticket)
            except RejectedError as error:
                # The cookie may be an old one nevertheless: the same secret protects
                # cookies of the same name, whichever store keeps the session.
                rejected = error
        for source in self._sources:
            if ticket is not None and source.cookie.name != self._name:
                continue
            for text in source.cookie.candidates(self._header):
                try:
                    return self._adopt(backend, source, text)
                except RejectedError as error:
                    if error.session_id is not None:
                        # The session had moved here, and has ended. So no older
                        # session may take its place.
                        raise
                    # A cookie with a wrong signature belongs to another place.
                    is_known = rejected is not None and rejected.session_id is not None
                    if error.reason != "bad-signature" and not is_known:
                        rejected = error
        if rejected is not None:
            raise rejected
        return None

    def _adopt(self, backend: Backend, source: Source, text: str) -> Snapshot:
        found = source.find(text)
        # The hash has the form of a token, as a store may check the form.
        kind = type(source).__name__
        if self._session is not None:
            # Two sessions may share a store and an earlier place.
            kind = f"{kind}.{self._session}"
        digest = hashlib.sha256(f"flask-buffalo-session.v1.{kind}.".encode())
        digest.update(found.identity)
        key = base64_encode(digest.digest()).decode()
        arrival = Arrival(key, source.lifetime, found.load, found.unique)
        snapshot = backend.adopt(arrival)
        self._chosen = source, found
        return snapshot

    def leave(self, *, ended: bool) -> list[SessionCookie]:
        """Delete the old session, if one was found, because it is saved here now.

        :param ended: whether the session here has ended instead.
        :returns: the old cookies to remove. No older cookie may log the user in again,
            so these are all cookies of the request that an old place accepts.
        """
        if self._chosen is not None:
            self._delete(*self._chosen)
        elif not ended:
            return []
        return [source.cookie for source in self._sources if self._accepts(source)]

    def _accepts(self, source: Source) -> bool:
        """Return whether the request has a cookie of this kind. Another application's
        cookie of the same name does not count.
        """
        for text in source.cookie.candidates(self._header):
            with suppress(RejectedError):
                source.find(text)
                return True
        return False

    def _delete(self, source: Source, found: Found) -> None:
        logger, kind = self._app.logger, type(source).__name__
        logger.info("A session has moved here from %s.", kind)
        try:
            found.delete()
        except SessionStoreError as error:
            # The session lives on here, and its old cookie leads to it.
            logger.warning("An old session was not deleted from %s: %s", kind, error)


class PreviousPlaces:
    """Where an application's sessions were kept before.

    :raises SessionConfigError: ``SESSION_PREVIOUS`` is wrong.
    """

    def __init__(self, app: Flask, config: Config) -> None:
        self._app = app
        self._session = config.origin.session
        self._sources = [
            _previous(item).source(app, config) for item in config.previous
        ]

    def arrivals(self, name: str, header: str, reason: Reason | None) -> Arrivals:
        """Return the old sessions that a request's cookies may belong to.

        :param name: the name of the cookie of the present kind.
        :param header: the request's ``Cookie`` header.
        :param reason: why the request's cookies of the present kind were rejected.
        """
        return Arrivals(self._app, self._sources, name, header, reason, self._session)

    def close(self) -> None:
        """Close the connections that were made for the old places."""
        for source in self._sources:
            if isinstance(source, Closable):
                source.close()


def _previous(item: object) -> Previous:
    if item == "flask":
        return FlaskCookie()
    if isinstance(item, type) or not isinstance(item, Previous):
        raise wrong_setting("SESSION_PREVIOUS", item, PREVIOUS, ("flask",))
    return item
