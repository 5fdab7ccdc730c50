"""What is unsafe or contradicts itself: told by ``flask session doctor``, and as a
warning when the application starts to serve.
"""

from __future__ import annotations

import collections.abc as c
import os
import re
import time
import typing as t

from flask import Flask

from .codec import Codec, Record
from .config import DEFAULT_LIFETIME, Config, find_secrets, is_weak
from .errors import SessionConfigError, SessionConflictError, SessionStoreError
from .stores.base import Examinable, Store, is_stateless

#: Bytes. Browsers drop a larger cookie (RFC 6265, section 6.1).
LARGEST_COOKIE = 4096

# Fewer different bytes than any random secret has.
_FEWEST_BYTES = 6

# Seconds by which clocks may differ.
_TOLERANCE = 5

# Seconds after which the record that tries out a store is gone in any case.
_PROBE_LIFE = 60


class Finding(t.NamedTuple):
    """Something that is unsafe or contradicts itself. Never quotes a secret.

    :param about: the setting.
    :param problem: what is wrong, the rest of a sentence.
    :param fix: what to do, in sentences.
    :param note: that this may well be as it should be.
    """

    about: str
    problem: str
    fix: str
    note: bool = False

    def __str__(self) -> str:
        return f"{self.about}: {self.problem}. {self.fix}"


def diagnose(app: Flask, config: Config, *, lenient: bool) -> c.Iterator[Finding]:
    """Everything there is to say, for which the store is asked and tried out.

    :param lenient: whether it is not production, but debug or testing mode. What
        matters in production alone is a note then.
    """
    try:
        secrets = config.format.secrets or find_secrets(app)
        if secrets:
            config.format.seal(secrets, config.name, encrypt=config.encrypt)
        yield from check_secrets(app, config, secrets, lenient=lenient)
    except SessionConfigError as error:
        problem = f"it cannot be used: {one_line(error)}"
        yield Finding("SESSION_SECRET", problem, "Correct it.")
    yield from check_settings(
        app, config, secure=config.cookie_secure, alone=False, lenient=lenient
    )
    for about, store in stores_of(config).items():
        yield from _diagnose_store(about, store, config.format.codec, lenient=lenient)


def stores_of(config: Config) -> dict[str, Store]:
    """The stores that are in use, by the setting."""
    stores = {"SESSION_STORE": config.store}
    if config.revocations is not None:
        stores["SESSION_REVOCATION"] = config.revocations.store
    return stores


def _diagnose_store(
    about: str, store: Store, codec: Codec, *, lenient: bool
) -> c.Iterator[Finding]:
    try:
        yield from try_out(about, store, codec)
    except SessionStoreError as error:
        yield Finding(
            about,
            f"the store cannot answer ({one_line(error)})",
            "See that it runs, and that the setting says where and with which login.",
        )
        return
    try:
        yield from examine(about, store, lenient=lenient)
    except SessionStoreError as error:
        yield Finding(
            about,
            "the store works, but does not tell its clock and whether it evicts"
            f" ({one_line(error)})",
            "Redis and Valkey tell those who may use TIME and INFO.",
            note=True,
        )


# The secrets


def check_secrets(
    app: Flask, config: Config, secrets: c.Sequence[bytes], *, lenient: bool = False
) -> c.Iterator[Finding]:
    """
    :param secrets: as :func:`.config.find_secrets` gives them, or the format's own.
    """
    make = "Make one with `flask session secret` and set it"
    if not secrets:
        problem = (
            "there is none, so the development secret is used, which everybody knows"
            if lenient
            else "there is none: sessions are not protected, so they stay empty and"
            " cannot be written"
        )
        fix = f"{make}, in the environment or in app.config."
        yield Finding("SESSION_SECRET", problem, fix, lenient)
    about = _secret_setting(app, config, secrets)
    older = about if config.format.secrets else f"{about}_FALLBACKS"
    for number, secret in enumerate(secrets):
        place = f"{older}, number {number}" if number else about
        if weakness := _weakness(secret):
            problem = f"it is {weakness}: sessions can be forged"
            fix = "Drop it, although that ends its sessions." if number else f"{make}."
            yield Finding(place, problem, fix, lenient)
        if secret in secrets[:number]:
            same = "the secret in force" if secret == secrets[0] else "another of them"
            yield Finding(
                place,
                f"it is the same as {same}, so nothing was replaced",
                f"{make}, or drop this one. An older secret is of use until"
                " SESSION_IDLE_TIMEOUT has passed.",
            )
    if config.format.secrets and app.config.get("SESSION_SECRET"):
        yield Finding(
            "SESSION_SECRET",
            "it has no effect, as the format in SESSION_FORMAT has keys of its own",
            "Drop one of the two.",
            note=True,
        )


def _secret_setting(app: Flask, config: Config, secrets: c.Sequence[bytes]) -> str:
    if config.format.secrets:
        return "SESSION_FORMAT"
    flasks = app.config.get("SECRET_KEY")
    if isinstance(flasks, str):
        # It need not be one that could be used, if it is not the one in force.
        flasks = flasks.encode("utf-8", "surrogatepass")
    if not app.config.get("SESSION_SECRET") and flasks in secrets[:1]:
        return "SECRET_KEY"
    return "SESSION_SECRET"


def _weakness(secret: bytes) -> str | None:
    if is_weak(secret):
        return "short or well known"
    # Whatever repeats itself is found in itself, moved on.
    if len(set(secret)) < _FEWEST_BYTES or secret in (secret + secret)[1:-1]:
        return "made of the same few characters again and again"
    return None


# The other settings


def check_settings(
    app: Flask, config: Config, *, secure: bool, alone: bool, lenient: bool = False
) -> c.Iterator[Finding]:
    """
    :param secure: whether the cookie is Secure.
    :param alone: whether no other process serves this application.
    """
    yield from _check_cookie(app, config, secure=secure, lenient=lenient)
    yield from _check_times(config)
    for about, store in stores_of(config).items():
        yield from _check_memory(about, store, alone=alone, lenient=lenient)
    yield from _check_effects(app, config)


def _check_cookie(
    app: Flask, config: Config, *, secure: bool, lenient: bool
) -> c.Iterator[Finding]:
    be_secure = "Set SESSION_COOKIE_SECURE = True"
    if not secure:
        yield Finding(
            "SESSION_COOKIE_SECURE",
            "it is not True, so a session that begins over plain HTTP can be read and"
            " taken over on the way",
            f"Serve over HTTPS. {be_secure}; behind a proxy that ends TLS, have"
            " Werkzeug's ProxyFix tell Flask of HTTPS as well.",
            lenient,
        )
    if config.cookie_samesite == "None" and not secure:
        yield Finding(
            "SESSION_COOKIE_SAMESITE",
            "browsers drop a cookie that is 'None' and not Secure",
            f"{be_secure}, or SESSION_COOKIE_SAMESITE = 'Lax'.",
        )
    elif config.cookie_samesite == "None":
        yield Finding(
            "SESSION_COOKIE_SAMESITE",
            "it is 'None', so the requests of every other site carry the session",
            "Set it to 'Lax'; where other sites have to embed this one, protect it"
            " against CSRF, as Flask-WTF's CSRFProtect does.",
            lenient or "csrf" in app.extensions,
        )
    if not config.cookie_httponly:
        yield Finding(
            "SESSION_COOKIE_HTTPONLY",
            "it is False, so any script in a page can read the cookie and send it on",
            "Set SESSION_COOKIE_HTTPONLY = True.",
            lenient,
        )
    if config.cookie_partitioned and not secure:
        yield Finding(
            "SESSION_COOKIE_PARTITIONED",
            "browsers drop a cookie that is Partitioned and not Secure",
            f"{be_secure}.",
        )
    if config.cookie_domain is not None:
        yield Finding(
            "SESSION_COOKIE_DOMAIN",
            "every subdomain gets the cookie",
            "Leave it unset, unless they are to share the session.",
            note=True,
        )
    limit = config.max_cookie_size
    if is_stateless(config.store) and not 0 < limit <= LARGEST_COOKIE:
        yield Finding(
            "MAX_COOKIE_SIZE",
            f"it allows cookies of more than {LARGEST_COOKIE} bytes, which browsers"
            " drop without a word",
            "Leave it at Flask's 4093. For more than that choose a SESSION_STORE on a"
            " server.",
        )


def _check_times(config: Config) -> c.Iterator[Finding]:
    # Who has left a time at its default has not contradicted himself.
    absolute, idle = config.absolute_timeout, config.idle_timeout
    if absolute is not None and absolute < idle != DEFAULT_LIFETIME:
        yield Finding(
            "SESSION_ABSOLUTE_TIMEOUT",
            "it is less than SESSION_IDLE_TIMEOUT, which so never ends a session",
            "Set SESSION_IDLE_TIMEOUT to less than that.",
        )
    if idle < config.permanent_lifetime != DEFAULT_LIFETIME:
        yield Finding(
            "PERMANENT_SESSION_LIFETIME",
            "it is more than SESSION_IDLE_TIMEOUT, so browsers keep cookies whose"
            " session is over",
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
            "what it keeps is in the memory of one process: a restart ends it, and each"
            " worker has its own"
            + (f" (WEB_CONCURRENCY asks for {int(workers)})" if several else ""),
            "Choose a store that processes share: sqlite: on one machine,"
            " redis: or postgresql: on many.",
            lenient,
        )


def _check_effects(app: Flask, config: Config) -> c.Iterator[Finding]:
    in_cookie = is_stateless(config.store)
    if app.config.get("SESSION_REVOCATION") is not None and not in_cookie:
        yield Finding(
            "SESSION_REVOCATION",
            "it has no effect: the store in SESSION_STORE knows by itself what has"
            " ended",
            "Drop it.",
            note=True,
        )
    if config.renew_after is not None and in_cookie and config.revocations is None:
        yield Finding(
            "SESSION_RENEW_AFTER",
            "it has no effect, as sessions in cookies have no id to renew",
            "Choose a SESSION_STORE on a server, or set SESSION_REVOCATION.",
        )
    if config.renew_after is not None and config.renew_after > config.idle_timeout:
        # It still has one, for sessions that are always in use.
        yield Finding(
            "SESSION_RENEW_AFTER",
            "it is more than SESSION_IDLE_TIMEOUT, so that few sessions live to see it",
            "Set it to less than that.",
            note=True,
        )
    if config.encrypt and not in_cookie:
        yield Finding(
            "SESSION_ENCRYPT",
            "it encrypts the cookie, which holds an id alone; the records in the store"
            " are as they are",
            "Encrypt the store itself, or its disk, where they need it.",
            note=True,
        )


# The store


def try_out(about: str, store: Store, codec: Codec) -> c.Iterator[Finding]:
    """Write, read, change and delete a record.

    :raises SessionStoreError: the store cannot answer.
    """
    first, second = (
        codec.dumps(Record(int(time.time()), b"", {"n": codec.encode(number, "n")}))
        for number in (1, 2)
    )
    try:
        broken = _try_register(store, first, second)
    except SessionStoreError:
        raise
    except Exception as error:  # noqa: BLE001 - a store of the application's own
        broken = f"raises {type(error).__name__} where it has no reason to"
    if broken is not None:
        yield Finding(
            about,
            f"the {type(store).__name__} {broken}, so sessions get lost",
            "Have it do what the Store protocol promises.",
        )


def _try_register(store: Store, first: bytes, second: bytes) -> str | None:
    """What the store does not do."""
    token = store.save(None, first, expected=None, max_age=_PROBE_LIFE)
    try:
        if store.load(token) != first:
            return "does not give back what was saved"
        if is_stateless(store):
            return None
        token = store.save(token, second, expected=first, max_age=_PROBE_LIFE)
        if store.load(token) != second:
            return "does not keep what was saved over an older record"
        for expected in (first, None):
            if not _refuses(store, token, first, expected) or (
                store.load(token) != second
            ):
                return "saves whatever `expected` is"
        store.delete(token)
        if store.load(token) is not None:
            return "still has what was deleted"
        if not _refuses(store, token, first, second):
            return "brings back what was deleted, whatever `expected` is"
    finally:
        store.delete(token)
    return None


def _refuses(store: Store, token: str, data: bytes, expected: bytes | None) -> bool:
    try:
        store.save(token, data, expected=expected, max_age=_PROBE_LIFE)
    except SessionConflictError:
        return True
    return False


def examine(about: str, store: Store, *, lenient: bool = False) -> c.Iterator[Finding]:
    """
    :raises SessionStoreError: the store cannot answer, or may not.
    """
    if not isinstance(store, Examinable):
        return
    before = time.time()
    health = store.check_health()
    after = time.time()
    if health.evicts is not None:
        yield Finding(
            about,
            f"the store throws live sessions away: {health.evicts}",
            health.remedy,
            lenient,
        )
    if health.clock is None:
        return
    # It was read between the two.
    apart = max(before - health.clock, health.clock - after)
    if apart > _TOLERANCE:
        where = "behind" if health.clock < before else "ahead of"
        yield Finding(
            about,
            f"the store's clock is {apart:.0f} seconds {where} this machine's, and"
            " sessions end by both",
            "Have both set by NTP.",
        )


def one_line(error: Exception) -> str:
    """An error's message in one line, without a full stop and any URL's login."""
    line = " ".join(str(error).split()).rstrip(".")
    return re.sub(r"//\S*@", "//***@", line)
