"""Everything that can go wrong, and what each error carries.

All errors derive from :class:`SessionError`, so one ``@app.errorhandler``
answers for the whole extension. No message ever holds a secret, a cookie, an
id or a stored value.
"""

from __future__ import annotations

import typing as t


class SessionError(Exception):
    """Base of every error this package raises."""


class SessionConfigError(SessionError, ValueError):
    """A setting is wrong. Raised by ``init_app`` and naming the setting, what
    kind of value was found and what is allowed.
    """


class SessionSecretError(SessionError, RuntimeError):
    """Something was written to the session, but there is no secret to protect
    it with. Raised by the first write of a request.
    """


class SessionStoreError(SessionError):
    """A store cannot answer: it is unreachable, full or refuses the operation.
    Never raised for a record that is missing. ``__cause__`` is the client's
    own error.

    :param store: the store's name, kept as :attr:`store`.
    :param problem: what could not be done.
    """

    def __init__(self, store: str, problem: str) -> None:
        super().__init__(f"{store}: {problem}")
        self.store = store


class SessionConflictError(SessionError):
    """The stored record is not the one that was expected. A store raises it
    from ``save``; the session then merges and tries again, and lets it through
    only when it has lost too many times in a row.
    """


class SessionTooLargeError(SessionError):
    """The cookie would be larger than browsers keep, so they would drop it
    without a word.

    :param size: bytes of the whole ``Set-Cookie`` value, kept as :attr:`size`.
    :param limit: bytes allowed, kept as :attr:`limit`.
    :param largest: the largest names with the bytes each value takes before
        compression, largest first, kept as :attr:`largest`.
    """

    def __init__(
        self, size: int, limit: int, largest: t.Sequence[tuple[t.Hashable, int]]
    ) -> None:
        names = ", ".join(f"{shown(name)} ({length} bytes)" for name, length in largest)
        super().__init__(
            f"The session needs {size} bytes in the cookie and {limit} are allowed."
            f" The largest values: {names or 'none'}."
            " Keep less in the session or choose a server-side SESSION_STORE."
        )
        self.size = size
        self.limit = limit
        self.largest = list(largest)


class SessionTypeError(SessionError, TypeError):
    """A value that the session cannot store, or one that it cannot read back
    because its type is not registered here.

    :param path: where the value is, as ``session['cart'][0]``, kept as
        :attr:`path`.
    :param problem: what is wrong and what would mend it.
    """

    def __init__(self, path: str, problem: str) -> None:
        shown = path if len(path) <= 200 else f"{path[:100]}...{path[-60:]}"
        super().__init__(f"{shown}: {problem}")
        self.path = path


class SessionClosedError(SessionError, RuntimeError):
    """The session was changed after its response had been made, when the
    change can no longer be saved.
    """


class SessionUnsupportedError(SessionError, NotImplementedError):
    """The store in use has no such ability."""


class RejectedError(SessionError):
    """What came in is not a session: raised by a seal for a cookie and by a
    codec for a record. The request goes on with a fresh session.

    :param reason: one of the :data:`REASONS`, kept as :attr:`reason`.
    :param detail: for the log; never anything taken from the input.
    :ivar session_id: the hash of the session's id, where it is known.
    """

    session_id: str | None = None

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail


Reason = t.Literal["bad-signature", "expired", "corrupt", "unknown"]

#: Why a cookie or a record is rejected, as logs and ``session_rejected`` say it.
REASONS: tuple[Reason, ...] = t.get_args(Reason)


def shown(name: object) -> str:
    """A name or a key, for an error message."""
    try:
        text = repr(name)
    except Exception:  # noqa: BLE001 - an int can be too long for it, for one
        text = f"<{type(name).__name__}>"
    return text if len(text) <= 40 else f"{text[:37]}..."
