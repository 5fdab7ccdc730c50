"""Judge the settings against the assurance levels of NIST SP 800-63B-4."""

from __future__ import annotations

import collections.abc as c
import typing as t
from datetime import timedelta

from ..config import Config
from .finding import Finding

_HOUR = 3600
_DAY = 24 * _HOUR


class _Limits(t.NamedTuple):
    """The timeouts of one level, in seconds.

    :param clause: the section of the standard.
    :param overall: since the user has authenticated.
    :param verb: how strongly the standard asks for `overall`.
    :param idle: since the last use; None for no limit.
    """

    clause: str
    overall: int
    verb: str
    idle: int | None


_LIMITS = {
    "aal1": _Limits("2.1.3", 30 * _DAY, "SHOULD", None),
    "aal2": _Limits("2.2.3", _DAY, "SHOULD", _HOUR),
    "aal3": _Limits("2.3.3", 12 * _HOUR, "SHALL", _HOUR // 4),
}

#: The names of the levels.
LEVELS: tuple[str, ...] = tuple(_LIMITS)


def check_level(config: Config, level: str) -> c.Iterator[Finding]:
    """Check the timeouts and the cookie against a level.

    :param level: one of :data:`LEVELS`.
    """
    yield from _check_times(config, _LIMITS[level])
    yield from _check_cookie(config)
    if config.in_cookie and config.revocations is None:
        yield _finding(
            "SESSION_STORE",
            "a copy of the cookie stays valid after a logout",
            "5.1, SHALL",
            "Choose a SESSION_STORE on a server, or set SESSION_REVOCATION.",
        )


def _check_times(config: Config, limits: _Limits) -> c.Iterator[Finding]:
    overall, idle = config.absolute_timeout, config.idle_timeout
    fix = f"Set SESSION_ABSOLUTE_TIMEOUT = {limits.overall} (seconds) or less."
    if overall is None:
        problem = "a session in use never ends"
        clause = f"{limits.clause}, SHALL"
        yield _finding("SESSION_ABSOLUTE_TIMEOUT", problem, clause, fix)
    elif overall > limits.overall:
        problem = f"a session in use lasts {_shown(overall)}"
        clause = f"{limits.clause}, {limits.verb}"
        yield _finding("SESSION_ABSOLUTE_TIMEOUT", problem, clause, fix)
    if limits.idle is not None and idle > limits.idle:
        yield _finding(
            "SESSION_IDLE_TIMEOUT",
            f"a session that is not used lasts {_shown(idle)}",
            f"{limits.clause}, SHOULD",
            f"Set SESSION_IDLE_TIMEOUT = {limits.idle} (seconds) or less.",
        )
    longest = limits.idle or limits.overall
    if config.timeout_limit > longest:
        yield _finding(
            "SESSION_TIMEOUT_LIMIT",
            "session.set_timeouts() may let a session last"
            f" {_shown(config.timeout_limit)}",
            f"{limits.clause}, SHOULD",
            f"Set SESSION_TIMEOUT_LIMIT = {longest} (seconds) or less.",
            note=True,
        )


def _check_cookie(config: Config) -> c.Iterator[Finding]:
    if not config.cookie_secure:
        yield _finding(
            "SESSION_COOKIE_SECURE",
            "the cookie may be sent over plain HTTP",
            "5.1.1, SHALL",
            "Set SESSION_COOKIE_SECURE = True.",
        )
    if config.cookie_domain is not None:
        yield _finding(
            "SESSION_COOKIE_DOMAIN",
            "every subdomain gets the cookie",
            "5.1.1, SHALL",
            "Leave it unset.",
        )
    if config.in_cookie and not config.encrypt:
        yield _finding(
            "SESSION_ENCRYPT",
            "the cookie contains the session's values, and its owner can read them",
            "5.1.1, SHALL",
            "Set SESSION_ENCRYPT = True, or choose a SESSION_STORE on a server.",
        )
    if not config.cookie_httponly:
        yield _finding(
            "SESSION_COOKIE_HTTPONLY",
            "scripts can read the cookie",
            "5.1.1, SHOULD",
            "Set SESSION_COOKIE_HTTPONLY = True.",
        )
    if config.cookie_samesite == "None":
        yield _finding(
            "SESSION_COOKIE_SAMESITE",
            "requests of other sites carry the cookie",
            "5.1.1, SHOULD",
            "Set SESSION_COOKIE_SAMESITE = 'Lax' or 'Strict'.",
        )
    if not config.name.lower().startswith("__host-"):
        yield _finding(
            "SESSION_NAME",
            "the name does not bind the cookie to this host",
            "5.1.1, SHOULD",
            f"Set SESSION_NAME = '__Host-{config.name.lstrip('_')}'.",
        )


def _finding(
    about: str, problem: str, clause: str, fix: str, *, note: bool = False
) -> Finding:
    return Finding(about, f"{problem} (NIST SP 800-63B-4, {clause})", fix, note)


def _shown(seconds: int) -> str:
    """Return a time as people say it: "31 days, 0:00:00"."""
    return str(timedelta(seconds=seconds)).removesuffix(", 0:00:00")
