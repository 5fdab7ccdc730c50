"""Sessions in the contexts that a test, or Werkzeug's debugger, enters again after the
response.
"""

from __future__ import annotations

import typing as t

from .sessions import Session

#: The key in the WSGI environment of a function that takes context managers. Flask's
#: test client (in ``with client:``) enters them after the request, and Werkzeug's
#: debugger enters them in its console. Flask hands over the request's context.
PRESERVE: t.Final = "werkzeug.debug.preserve_context"


class PreservedSession:
    """Detach the session when the request's context is entered again.

    The key alone is no reason to detach: the debugger sets it in every request. And
    until the context is entered again, a late change is a mistake of the application.

    :param session: a session whose response has been made.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> None:
        self._session.detach()

    def __exit__(self, *error: object) -> None:
        """Leave the session detached."""
