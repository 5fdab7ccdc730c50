"""Check the settings, without asking a store."""

from __future__ import annotations

import collections.abc as c
import os
import typing as t

from flask import Flask

from ..config import DEFAULT_LIFETIME, Config
from ..errors import SessionConfigError
from ..secret import environment_fallbacks, find_secrets, weakness
from ..stores.base import Store
from .finding import Finding

#: Bytes. Browsers drop a larger cookie (RFC 6265, section 6.1).
LARGEST_COOKIE = 4096


def check_secrets(
    settings: c.Mapping[str, t.Any],
    config: Config,
    secrets: c.Sequence[bytes],
    *,
    lenient: bool = False,
) -> c.Iterator[Finding]:
    """Check the secrets.

    :param settings: where `secrets` were found.
    :param secrets: what :func:`.secret.find_secrets` returns, or the format's own.
    """
    make = "Make one with `flask session secret` and set it"
    if not secrets:
        problem = (
            "there is none, so sessions use the development secret, which is public"
            if lenient
            else "there is none: sessions are not protected, so they stay empty and"
            " cannot be written"
        )
        fix = f"{make}, in the environment or in app.config."
        yield Finding("SESSION_SECRET", problem, fix, lenient)
    about = _secret_setting(settings, config, secrets)
    older = about if config.format.secrets else f"{about}_FALLBACKS"
    for number, secret in enumerate(secrets):
        place = f"{older}, number {number}" if number else about
        if weak := weakness(secret):
            problem = f"it {weak}, so an attacker can guess it and forge sessions"
            fix = "Drop it, although that ends its sessions." if number else f"{make}."
            if number and secret in environment_fallbacks():
                fix += (
                    " If it is a part of a secret that contains white space, put that"
                    " secret into app.config: in the environment, white space"
                    " separates fallbacks."
                )
            yield Finding(place, problem, fix, lenient)
        if secret in secrets[:number]:
            same = "the secret in force" if secret == secrets[0] else "another fallback"
            yield Finding(
                place,
                f"it is the same as {same}, so no secret was replaced",
                f"{make}, or drop this one. A replaced secret is needed only until"
                " SESSION_IDLE_TIMEOUT has passed.",
            )
    if config.format.secrets and settings.get("SESSION_SECRET"):
        yield Finding(
            "SESSION_SECRET",
            "it has no effect, because the format in SESSION_FORMAT has its own keys",
            "Drop one of the two.",
            note=True,
        )


def _secret_setting(
    settings: c.Mapping[str, t.Any], config: Config, secrets: c.Sequence[bytes]
) -> str:
    if config.format.secrets:
        return "SESSION_FORMAT"
    flasks = settings.get("SECRET_KEY")
    if isinstance(flasks, str):
        # If another secret is in force, SECRET_KEY may contain anything.
        flasks = flasks.encode("utf-8", "surrogatepass")
    if not settings.get("SESSION_SECRET") and flasks in secrets[:1]:
        return "SECRET_KEY"
    return "SESSION_SECRET"


def check_settings(
    app: Flask, config: Config, *, secure: bool, alone: bool, lenient: bool = False
) -> c.Iterator[Finding]:
    """Check the settings in force, apart from the secrets.

    :param secure: whether the cookie is Secure.
    :param alone: whether no other process serves this application.
    """
    changed = config.changed()
    for key in changed:
        yield _changed_late(key)
    if not config.format.secrets:
        was = _usable_secrets(config.as_read)
        if was and was != _usable_secrets(config.origin.settings):
            yield _changed_late("SESSION_SECRET")
    for finding in _check_values(
        app, config, secure=secure, alone=alone, lenient=lenient
    ):
        # The value in force is not the one that the developer sees in app.config.
        if finding.about not in changed:
            yield finding


def _usable_secrets(settings: c.Mapping[str, t.Any]) -> tuple[bytes, ...]:
    """Return the secrets, or none if one of them cannot be used: a secret that is not
    in force must not stop the application.
    """
    try:
        return find_secrets(settings)
    except SessionConfigError:
        return ()


def _changed_late(key: str) -> Finding:
    return Finding(
        key,
        "it was changed after init_app, which has no effect",
        "Set it before BuffaloSession(app) or init_app(app).",
    )


def _check_values(
    app: Flask, config: Config, *, secure: bool, alone: bool, lenient: bool
) -> c.Iterator[Finding]:
    yield from _check_cookie(app, config, secure=secure, lenient=lenient)
    yield from _check_times(config)
    for about, store in config.stores.items():
        yield from _check_memory(about, store, alone=alone, lenient=lenient)
    yield from _check_effects(config)


def _check_cookie(
    app: Flask, config: Config, *, secure: bool, lenient: bool
) -> c.Iterator[Finding]:
    be_secure = "Set SESSION_COOKIE_SECURE = True"
    if not secure:
        yield Finding(
            "SESSION_COOKIE_SECURE",
            "it is not True, so an attacker on the network can read and take over a"
            " session that begins over plain HTTP",
            f"Serve over HTTPS. {be_secure}. Behind a proxy that ends TLS, use"
            " Werkzeug's ProxyFix as well, so that Flask knows of HTTPS.",
            lenient,
        )
    if config.cookie_samesite == "None" and not secure:
        yield Finding(
            "SESSION_COOKIE_SAMESITE",
            "it is 'None', and browsers drop such a cookie if it is not Secure",
            f"{be_secure}, or SESSION_COOKIE_SAMESITE = 'Lax'.",
        )
    elif config.cookie_samesite == "None":
        yield Finding(
            "SESSION_COOKIE_SAMESITE",
            "it is 'None', so the requests of every other site carry the session",
            "Set it to 'Lax'. If other sites must embed this one, protect it against"
            " CSRF, for example with Flask-WTF's CSRFProtect.",
            lenient or "csrf" in app.extensions,
        )
    if not config.cookie_httponly:
        yield Finding(
            "SESSION_COOKIE_HTTPONLY",
            "it is False, so any script in a page can steal the cookie",
            "Set SESSION_COOKIE_HTTPONLY = True.",
            lenient,
        )
    if config.cookie_partitioned and not secure:
        yield Finding(
            "SESSION_COOKIE_PARTITIONED",
            "browsers drop a Partitioned cookie that is not Secure",
            f"{be_secure}.",
        )
    if config.cookie_domain is not None:
        yield Finding(
            "SESSION_COOKIE_DOMAIN",
            "browsers send the cookie to every subdomain",
            "Leave it unset unless the subdomains share the session.",
            note=True,
        )
    limit = config.max_cookie_size
    if config.in_cookie and not 0 < limit <= LARGEST_COOKIE:
        yield Finding(
            "MAX_COOKIE_SIZE",
            f"it allows cookies of more than {LARGEST_COOKIE} bytes, which browsers"
            " drop silently",
            "Leave it at Flask's 4093. For larger sessions choose a SESSION_STORE on a"
            " server.",
        )


def _check_times(config: Config) -> c.Iterator[Finding]:
    # A timeout at its default contradicts nothing.
    absolute, idle = config.absolute_timeout, config.idle_timeout
    if absolute is not None and absolute < idle != DEFAULT_LIFETIME:
        yield Finding(
            "SESSION_ABSOLUTE_TIMEOUT",
            "it is less than SESSION_IDLE_TIMEOUT, so the idle timeout never applies",
            "Set SESSION_IDLE_TIMEOUT to less than SESSION_ABSOLUTE_TIMEOUT.",
        )
    if idle < config.permanent_lifetime != DEFAULT_LIFETIME:
        yield Finding(
            "PERMANENT_SESSION_LIFETIME",
            "it is more than SESSION_IDLE_TIMEOUT, so browsers keep the cookies of"
            " expired sessions",
            "Set it to SESSION_IDLE_TIMEOUT or less.",
        )


def _check_memory(
    about: str, store: Store, *, alone: bool, lenient: bool
) -> c.Iterator[Finding]:
    if not alone and getattr(store, "in_memory", False):
        workers = os.environ.get("WEB_CONCURRENCY", "")
        several = workers.isdecimal() and int(workers) > 1
        yield Finding(
            about,
            "sessions are in the memory of one process: a restart loses them, and each"
            " worker has its own sessions"
            + (f" (WEB_CONCURRENCY is {int(workers)})" if several else ""),
            "Choose a store that processes share: sqlite: on one machine, redis: or"
            " postgresql: on several.",
            lenient,
        )


def _check_effects(config: Config) -> c.Iterator[Finding]:
    in_cookie = config.in_cookie
    if config.as_read["SESSION_REVOCATION"] is not None and not in_cookie:
        yield Finding(
            "SESSION_REVOCATION",
            "it has no effect, because the store in SESSION_STORE deletes the sessions"
            " that end",
            "Drop it.",
            note=True,
        )
    if config.renew_after is not None and in_cookie and config.revocations is None:
        yield Finding(
            "SESSION_RENEW_AFTER",
            "it has no effect, because sessions in cookies have no id to rotate",
            "Choose a SESSION_STORE on a server, or set SESSION_REVOCATION.",
        )
    if config.renew_after is not None and config.renew_after > config.idle_timeout:
        # A session that is always in use still gets a new id.
        yield Finding(
            "SESSION_RENEW_AFTER",
            "it is more than SESSION_IDLE_TIMEOUT, so most sessions expire before",
            "Set it to less than SESSION_IDLE_TIMEOUT.",
            note=True,
        )
    if (
        config.encrypt
        and not (in_cookie or config.encrypts_records)
        and not getattr(config.store, "encrypts", False)
    ):
        yield Finding(
            "SESSION_ENCRYPT",
            "it encrypts only the cookie, which contains an id. The records in the"
            " store are not encrypted, because other programs read them in this format",
            "Set SESSION_FORMAT = 'native', or encrypt the store itself or its disk if"
            " the records need it.",
            note=True,
        )
