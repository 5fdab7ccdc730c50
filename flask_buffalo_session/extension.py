"""The extension object."""

from __future__ import annotations

import typing as t
import weakref

import flask
from flask import Flask, has_request_context

from .app_opener import AppOpener, RequestSession
from .cli import session_cli
from .config import Config
from .errors import SessionConfigError, SessionTypeError, kind_of
from .interface import BuffaloInterface, current_interface
from .named import check_name, session_named
from .origin import call
from .owners import Owners, SessionInfo
from .routes import Routes
from .sessions import Session
from .strangers import unknown_settings

T = t.TypeVar("T")

_KEY = "buffalo_session"


class BuffaloSession:
    """Give Flask applications Buffalo's session::

        app = Flask(__name__)
        BuffaloSession(app)

    One object may serve several applications, with ``init_app``. The arguments
    win over the settings of those names in ``app.config``.

    :param app: the application, if there is only one.
    :param name: the cookie's name, the ``SESSION_NAME`` setting.
    :param store: where sessions are kept, the ``SESSION_STORE`` setting.
    :param format: how sessions are written, the ``SESSION_FORMAT`` setting.
    :param api: whether the application has no sessions, the ``SESSION_API`` setting.
    :raises SessionConfigError: a setting is wrong.
    :raises TypeError: `app` is not a Flask application.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        name: str | None = None,
        store: object = None,
        format: object = None,
        api: bool | None = None,
    ) -> None:
        self._arguments: dict[str, t.Any] = {
            "name": name,
            "store": store,
            "format": format,
            "api": api,
        }
        self._interfaces: weakref.WeakSet[BuffaloInterface] = weakref.WeakSet()
        # The arguments of named(), by name.
        self._named: dict[str, dict[str, t.Any]] = {}
        self._exempt = Routes("_buffalo_session_exempt")
        self._passive = Routes("_buffalo_session_passive")
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Read the application's settings and replace its session interface.

        :raises SessionConfigError: a setting is wrong, or the application already
            has a BuffaloSession.
        :raises TypeError: `app` is not a Flask application.
        """
        if not isinstance(app, Flask):
            raise TypeError(
                f"BuffaloSession needs a Flask application, not {kind_of(app)}: call"
                " BuffaloSession(app). The cookie's name is the argument name=."
            )
        if _KEY in app.extensions:
            raise SessionConfigError(
                "This application already has a BuffaloSession: call init_app once."
            )
        config = Config.of(app, **self._arguments)
        if unknown := unknown_settings(app.config, config.as_read):
            app.logger.warning(
                "Unknown settings have no effect: %s.", ", ".join(unknown)
            )
        main = AppOpener(app, config, exempt=self._exempt, passive=self._passive)
        interface = BuffaloInterface(app, main, exempt=self._exempt)
        for name, given in self._named.items():
            interface.add(interface.make_named_opener(name, self._settings(), given))
        app.session_interface = interface
        self._interfaces.add(interface)
        app.extensions[_KEY] = self
        app.cli.add_command(session_cli)
        # Flask, its test client and other extensions read the name from this setting.
        app.config["SESSION_COOKIE_NAME"] = config.name

    def named(self, name: str, /, **settings: t.Any) -> Session:
        """Define another session, with a cookie and with settings of its own::

            cart = buffalo.named("cart", idle_timeout=timedelta(days=90))

            @app.post("/cart/<sku>")
            def add(sku):
                cart[sku] = cart.get(sku, 0) + 1
                ...

        Call it once for each name, where the application is set up, before or after
        ``init_app``. A request that does not use the session spends nothing on it.

        :param name: letters, digits, ``_`` and ``-``.
        :param settings: settings in lower case and without ``session_``. The cookie's
            name is ``name=``. The session inherits the other settings from the main
            session, except two: the cookie's name gets the session's name at its end,
            and ``SESSION_PREVIOUS`` moves old sessions only to the main session.
        :returns: the session of the current request, used as ``session`` is.
        :raises SessionConfigError: a setting or the name is wrong, or the name is
            defined already.
        """
        check_name(name)
        if name in self._named:
            raise SessionConfigError(
                f"{call(name)} was called before. Call it once, and use the session"
                " that it returned."
            )
        added = [
            (interface, interface.make_named_opener(name, self._settings(), settings))
            for interface in self._interfaces
        ]
        for interface, opener in added:
            interface.add(opener)
        self._named[name] = settings
        return session_named(name)

    def exempt(self, target: T) -> T:
        """Give a view or a blueprint no session, as ``SESSION_API`` does for a
        whole application. The session is empty, is not saved, and neither reads nor
        sets a cookie. The matched route decides::

            api = buffalo.exempt(Blueprint("api", __name__))

            @app.get("/health")
            @buffalo.exempt
            def health(): ...

        :param target: a view function, a view class or a blueprint.
        :returns: the target.
        """
        self._exempt.add(target)
        return target

    def passive(self, target: T) -> T:
        """Let requests to a view or a blueprint use the session without keeping it
        alive. Use it for requests that a page sends by itself, while its user may be
        away::

            @app.get("/unread-messages")
            @buffalo.passive
            def unread_messages(): ...

        Such a request reads and changes the session as usual, but does not count as
        use: the session ends when it would have ended without the request. A login, or
        a session that begins in such a request, counts.

        :param target: a view function, a view class or a blueprint.
        :returns: the target.
        """
        self._passive.add(target)
        return target

    def sessions_of(
        self, owner: str | int, *, name: str | None = None
    ) -> list[SessionInfo]:
        """Return the live sessions of an owner, the last used first. A session
        belongs to the owner that ``session.bind`` was called with. This method and
        the methods below need an application context.

        :param name: the name of a :meth:`named` session; None for the main session.
        :raises SessionConfigError: the application has no session of this name.
        :raises SessionTypeError: `owner` is neither a str nor an int, or is empty.
        :raises SessionUnsupportedError: the store does not support owners.
        :raises SessionStoreError: the store cannot answer.
        """
        return _owners(name).sessions_of(owner)

    def revoke(self, session_id: str, *, name: str | None = None) -> bool:
        """End a session.

        :param session_id: the :attr:`Session.id` of the session.
        :param name: the name of a :meth:`named` session; None for the main session.
        :returns: whether the session existed. For a session in a cookie: whether
            nobody had ended it before.
        :raises SessionTypeError: `session_id` is not a str.
        :raises SessionUnsupportedError: the store does not support owners.
        :raises SessionStoreError: the store cannot answer.
        """
        if not isinstance(session_id, str):
            raise SessionTypeError(
                "revoke()",
                f"the session id must be a str, not {kind_of(session_id)}. session.id"
                " is None before the first save and on a cookie store.",
            )
        return _owners(name).revoke(session_id)

    def revoke_all(
        self, owner: str | int, keep: str | None = None, *, name: str | None = None
    ) -> int:
        """End all sessions of an owner, except one::

            buffalo.revoke_all(session.owner, keep=session.id)

        :param keep: the id of the session that continues.
        :param name: the name of a :meth:`named` session; None for the main session.
        :returns: how many sessions ended.
        :raises SessionTypeError: `owner` is neither a str nor an int, or is empty.
        :raises SessionUnsupportedError: the store does not support owners.
        :raises SessionStoreError: the store cannot answer.
        """
        return _owners(name).revoke_all(owner, keep)

    def close(self) -> None:
        """Close the connections of the stores that a URL made, for all applications.
        Call it when no request is under way. The next request opens new connections.

        The application itself closes a client or a store that it made.
        """
        for interface in list(self._interfaces):
            for opener in interface.openers:
                opener.close()

    def _settings(self) -> dict[str, t.Any]:
        """Return the arguments as settings."""
        return {
            f"SESSION_{key.upper()}": value
            for key, value in self._arguments.items()
            if value is not None
        }


def _owners(name: str | None) -> Owners:
    session = flask.session if has_request_context() else None
    if not isinstance(session, RequestSession):
        session = None
    return current_interface().opener(name).owners(session)
