"""The errors of this package, and what each error carries.

Every error derives from :class:`SessionError`, so one ``@app.errorhandler`` handles
them all. A message never contains a secret, a cookie, an id or a stored value.
"""

from __future__ import annotations

import difflib
import typing as t


class SessionError(Exception):
    """Base class of every error that this package raises."""


class SessionConfigError(SessionError, ValueError):
    """A setting is wrong. ``init_app`` raises this error. The message names the
    setting, the type of the value that was found, and the values that are allowed.
    """


class SessionSecretError(SessionError, RuntimeError):
    """The application wrote to the session, but no secret is set to protect it.
    The first write of a request raises this error.
    """


class SessionStoreError(SessionError):
    """A store cannot answer: it is unreachable, full or refuses the operation.
    A missing record is never this error. ``__cause__`` is the client's own error.

    :param store: the store's name, kept as ``store``.
    :param problem: what the store could not do.
    """

    def __init__(self, store: str, problem: str) -> None:
        super().__init__(f"{store}: {problem}")
        self.store = store


class SessionConflictError(SessionError):
    """The stored record is not the expected one. The ``save`` of a store raises this
    error, and the session then merges and tries again. The session passes the error
    on only after it has lost too many attempts in a row.
    """


class SessionTooLargeError(SessionError):
    """The cookie would exceed the size that browsers keep. Browsers drop such a
    cookie silently.

    :param size: bytes of the whole ``Set-Cookie`` value, kept as ``size``.
    :param limit: bytes allowed, kept as ``limit``.
    :param largest: the largest names with the bytes of each value before
        compression, largest first, kept as ``largest``.
    """

    def __init__(
        self, size: int, limit: int, largest: t.Sequence[tuple[t.Hashable, int]]
    ) -> None:
        names = ", ".join(f"{shown(name)} ({length} bytes)" for name, length in largest)
        super().__init__(
            f"The session needs {size} bytes in the cookie, but only {limit} are"
            f" allowed. The largest values: {names or 'none'}."
            " Keep less in the session or choose a server-side SESSION_STORE."
        )
        self.size = size
        self.limit = limit
        self.largest = list(largest)


class SessionTypeError(SessionError, TypeError):
    """The session cannot store a value, or cannot read a value back because its
    type is not registered here.

    :param path: where the value is, as ``session['cart'][0]``, kept as
        ``path``.
    :param problem: what is wrong and how to fix it.
    """

    def __init__(self, path: str, problem: str) -> None:
        shown = path if len(path) <= 200 else f"{path[:100]}...{path[-60:]}"
        super().__init__(f"{shown}: {problem}")
        self.path = path


class SessionClosedError(SessionError, RuntimeError):
    """The application changed the session after its response was made. The change
    can no longer be saved.
    """


class SessionUnsupportedError(SessionError, NotImplementedError):
    """The store in use does not support the operation."""


class RejectedError(SessionError):
    """The incoming data is no valid session. A seal raises this error for a cookie,
    a codec for a record. The request continues with a fresh session.

    :param reason: one of the :data:`REASONS`, kept as ``reason``.
    :param detail: text for the log; never taken from the input.
    :ivar session_id: the hash of the session's id, where it is known.
    """

    session_id: str | None = None

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail


Reason = t.Literal["bad-signature", "expired", "corrupt", "unknown"]

#: Why a cookie or a record is rejected, as in logs and ``session_rejected``.
REASONS: tuple[Reason, ...] = t.get_args(Reason)


def shown(name: object) -> str:
    """Return a name or a key for an error message, at most 40 characters long."""
    try:
        text = repr(name)
    except Exception:  # noqa: BLE001 - an int can have too many digits for repr()
        text = f"<{type(name).__name__}>"
    return text if len(text) <= 40 else f"{text[:37]}..."


def wrong_setting(
    key: str, value: object, allowed: str, words: t.Sequence[str] = ()
) -> SessionConfigError:
    """Return the error for a setting. Its message contains the type of the value and
    never the value itself, which may be a secret.

    :param allowed: the allowed values, after "must be".
    :param words: the allowed words. The message suggests the closest one.
    """
    return SessionConfigError(
        f"{key} must be {allowed}, not {kind_of(value)}{suggestion(value, words)}."
    )


def kind_of(value: object) -> str:
    """Return the type of a value, with an article, for an error message."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    kind = type(value).__name__
    if isinstance(value, str | bytes) and not value:
        kind = f"empty {kind}"
    return f"{'an' if kind[0] in 'aeiouAEIO' else 'a'} {kind}"


def suggestion(value: object, words: t.Sequence[str]) -> str:
    """Return a hint at the word that is closest to a value, in parentheses. Of a URL
    only the scheme counts. The hint is empty if no word is close.
    """
    if not isinstance(value, str):
        return ""
    typed = "".join(value.partition(":")[:2]).lower()
    lower = {word.lower(): word for word in words}
    close = difflib.get_close_matches(typed, lower, n=1)
    return f" (did you mean '{lower[close[0]]}'?)" if close else ""
