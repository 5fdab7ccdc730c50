"""Where sessions were kept before, for the setting ``SESSION_PREVIOUS``::

    app.config["SESSION_PREVIOUS"] = [
        previous.FlaskSession("redis://localhost:6379"),
        previous.FlaskCookie(),
        previous.Buffalo(store="cookie", name="_old_session"),
    ]

A request looks at the places in this order when it first uses its session, and only if
it has no cookie of the present kind. A session that it finds becomes a session of the
present kind. So nobody is logged out.
"""

from .buffalo import Buffalo
from .flask_cookie import FlaskCookie
from .flask_session import FlaskSession

__all__ = ["Buffalo", "FlaskCookie", "FlaskSession"]
