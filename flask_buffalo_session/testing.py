"""Help to test an application that uses sessions."""

from __future__ import annotations

import collections.abc as c
import contextlib
import typing as t

from .interface import interface_of
from .opening import RequestSession
from .sessions import Session

if t.TYPE_CHECKING:
    # The package imports this module, and applications need no test client.
    from flask.testing import FlaskClient

__all__ = ["session_of"]


def session_of(
    client: FlaskClient, *, name: str | None = None, **request: t.Any
) -> contextlib.AbstractContextManager[Session]:
    """Open the session of a test client, and save it at the end of the block.

    ``client.session_transaction()``, typed as :class:`~.sessions.Session`::

        with session_of(client) as session:
            session.set("user_id", 42)

    :param name: the name of a named session; None for the main session.
    :param request: describes the request that the session is opened for, as
        :meth:`flask.Flask.test_request_context` takes it: ``base_url="https://…"``.
    :raises SessionConfigError: the application has no BuffaloSession, or no session of
        this name.
    """
    interface_of(client.application).opener(name)
    transaction = t.cast(
        "contextlib.AbstractContextManager[RequestSession]",
        client.session_transaction(**request),
    )
    return transaction if name is None else _beside(transaction, name)


@contextlib.contextmanager
def _beside(
    transaction: contextlib.AbstractContextManager[RequestSession], name: str
) -> c.Iterator[Session]:
    with transaction as main:
        yield main.beside(name)
