"""The extension object."""

from __future__ import annotations

import typing as t
import weakref

import flask
from flask import Blueprint, Flask, Request, current_app, has_request_context

from .cli import session_cli
from .config import Config
from .errors import SessionConfigError
from .interface import BuffaloInterface
from .owners import Owners, SessionInfo
from .sessions import Session

T = t.TypeVar("T")

_KEY = "buffalo_session"
_EXEMPT = "_buffalo_session_exempt"


class BuffaloSession:
    """Gives Flask applications Buffalo's session::

        app = Flask(__name__)
        BuffaloSession(app)

    One object may serve several applications, with ``init_app``. The arguments
    win over the settings in ``app.config``, which ``docs/settings.md`` lists.

    :param app: the application, if there is only one.
    :param name: the cookie's name, the ``SESSION_NAME`` setting.
    :param store: where sessions are kept, ``SESSION_STORE``.
    :param format: what they look like, ``SESSION_FORMAT``.
    :param api: no sessions at all, ``SESSION_API``.
    :raises SessionConfigError: a setting is wrong.
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
        self._any_exempt = False
        self._exempt_blueprints: weakref.WeakSet[Blueprint] = weakref.WeakSet()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Read the application's settings and replace its session interface.

        :raises SessionConfigError: a setting is wrong, or the application has
            such a session already.
        """
        if _KEY in app.extensions:
            raise SessionConfigError(
                "This application has a BuffaloSession already: call init_app once."
            )
        config = Config.of(app, **self._arguments)
        app.session_interface = BuffaloInterface(app, config, self._is_exempt)
        app.extensions[_KEY] = self
        app.cli.add_command(session_cli)
        # The one place where Flask, its test client and other extensions look.
        app.config["SESSION_COOKIE_NAME"] = config.name

    def exempt(self, target: T) -> T:
        """Give a view or a blueprint no session, as ``SESSION_API`` does for a
        whole application: it finds nothing, keeps nothing, and neither reads
        nor sets a cookie. Decided by the route that was matched::

            api = buffalo.exempt(Blueprint("api", __name__))

            @app.get("/health")
            @buffalo.exempt
            def health(): ...

        :param target: a view function, a view class or a blueprint.
        :returns: the same.
        """
        self._any_exempt = True
        if isinstance(target, Blueprint):
            self._exempt_blueprints.add(target)
        else:
            # Kept on the view, so that decorators put around it carry it on.
            setattr(target, _EXEMPT, True)
        return target

    def sessions_of(self, owner: str) -> list[SessionInfo]:
        """The live sessions that were bound to an owner with ``session.bind``, the
        one used last first. Needs an application context, as the methods below do.

        :raises SessionTypeError: `owner` is no str, or empty.
        :raises SessionUnsupportedError: the store does not know owners.
        :raises SessionStoreError: the store cannot answer.
        """
        return _owners().sessions_of(owner)

    def revoke(self, session_id: str) -> bool:
        """End a session, wherever it is in use.

        :param session_id: what :attr:`Session.id` is in it.
        :returns: whether there was such a session; of one that lives in a cookie,
            whether it had not been ended before.
        :raises SessionUnsupportedError: the store does not know owners.
        :raises SessionStoreError: the store cannot answer.
        """
        return _owners().revoke(session_id)

    def revoke_all(self, owner: str, keep: str | None = None) -> int:
        """End all sessions of an owner, but for one::

            buffalo.revoke_all(session.owner, keep=session.id)

        :param keep: the id of the session to go on.
        :returns: how many were ended.
        :raises SessionTypeError: `owner` is no str, or empty.
        :raises SessionUnsupportedError: the store does not know owners.
        :raises SessionStoreError: the store cannot answer.
        """
        return _owners().revoke_all(owner, keep)

    def _is_exempt(self, app: Flask, request: Request) -> bool:
        if not self._any_exempt:
            return False
        endpoint = request.endpoint
        if endpoint is None:
            return False
        view = app.view_functions.get(endpoint)
        return (
            getattr(view, _EXEMPT, False)
            or getattr(getattr(view, "view_class", None), _EXEMPT, False)
            or any(
                app.blueprints.get(name) in self._exempt_blueprints
                for name in request.blueprints
            )
        )


def _owners() -> Owners:
    interface = t.cast(BuffaloInterface, current_app.session_interface)
    session = flask.session if has_request_context() else None
    return interface.owners(session if isinstance(session, Session) else None)
