"""Check what an application gives to the session's methods.

Each error names the call, what is wrong and what to do.
"""

from __future__ import annotations

import collections.abc as c
import json

from .errors import SessionTypeError, kind_of
from .policy import NO_TIMEOUTS, Timeouts, whole_seconds

#: The longest info about a login, in bytes of JSON. In a cookie there is room for it.
MAX_INFO_BYTES = 1024


def owner_name(call: str, owner: object) -> str:
    """Return an owner as sessions keep it.

    :param call: the call to name in the error.
    :param owner: a str that is not empty, or an int.
    :raises SessionTypeError: the value is neither.
    """
    if isinstance(owner, int) and not isinstance(owner, bool):
        return str(int(owner))
    if not isinstance(owner, str) or not owner:
        raise SessionTypeError(
            call,
            "the owner must be a str that is not empty, or an int, not"
            f" {kind_of(owner)}",
        )
    return str.__str__(owner)


def info_text(call: str, info: object) -> str:
    """Return what an application knows about a login, as the session keeps it.

    :param call: the call to name in the error.
    :param info: a mapping of str to str.
    :raises SessionTypeError: it is no such mapping, or is longer than
        :data:`MAX_INFO_BYTES`.
    """
    if not isinstance(info, c.Mapping):
        raise SessionTypeError(
            call, f"info must be a dict of str to str, not {kind_of(info)}"
        )
    known = dict(info.items())
    for part in (part for item in known.items() for part in item):
        if not isinstance(part, str):
            raise SessionTypeError(
                call,
                f"info must be a dict of str to str, but has {kind_of(part)} in it. Use"
                " str() on it, or leave it out",
            )
    text = json.dumps(known, ensure_ascii=False, separators=(",", ":"))
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise SessionTypeError(
            call,
            "info contains lone surrogates, which UTF-8 cannot encode. Remove them",
        ) from None
    if size > MAX_INFO_BYTES:
        raise SessionTypeError(
            call,
            f"info needs {size} bytes as JSON, but only {MAX_INFO_BYTES} are allowed."
            " Shorten its values",
        )
    return text


def own_timeouts(idle: object, absolute: object, limit: int) -> str | None:
    """Return a session's own timeouts as the session keeps them; None for none.

    :param limit: the longest timeout that is allowed, in seconds.
    :raises SessionTypeError: a timeout is neither a number of seconds above 0, nor a
        ``timedelta``, nor None; or it is above the limit.
    """
    own = Timeouts(
        _own_timeout("idle", idle, limit), _own_timeout("absolute", absolute, limit)
    )
    return None if own == NO_TIMEOUTS else own.text()


def max_age(call: str, value: object) -> int:
    """Return an age in seconds, rounded up.

    :param call: the call to name in the error.
    :raises SessionTypeError: the value is neither a number of seconds above 0, nor a
        ``timedelta``.
    """
    seconds = whole_seconds(value)
    if seconds is None:
        raise _wrong_time(call, "max_age", value, "")
    return seconds


def _own_timeout(argument: str, value: object, limit: int) -> int | None:
    """Return a timeout in seconds, rounded up.

    :param limit: the longest that is allowed, in seconds.
    :raises SessionTypeError: the value cannot be a timeout.
    """
    if value is None:
        return None
    seconds = whole_seconds(value)
    if seconds is None:
        raise _wrong_time("session.set_timeouts()", argument, value, ", or None")
    if seconds > limit:
        raise SessionTypeError(
            "session.set_timeouts()",
            f"{argument} must be at most SESSION_TIMEOUT_LIMIT, which is {limit}"
            " seconds. Use a shorter timeout, or raise that setting",
        )
    return seconds


def _wrong_time(call: str, argument: str, value: object, more: str) -> SessionTypeError:
    return SessionTypeError(
        call,
        f"{argument} must be a number of seconds above 0, or a timedelta{more}, not"
        f" {kind_of(value)}",
    )
