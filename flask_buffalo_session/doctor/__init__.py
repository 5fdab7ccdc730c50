"""Find settings and stores that are unsafe, for ``flask session doctor`` and for the
warning when the application begins to serve.
"""

from __future__ import annotations

import collections.abc as c

from flask import Flask

from ..config import Config
from ..errors import SessionConfigError
from ..secret import find_secrets
from .finding import Finding, one_line, own_findings
from .levels import LEVELS, check_level
from .probe import diagnose_store
from .settings import check_secrets, check_settings

__all__ = ["LEVELS", "Finding", "diagnose", "own_findings"]


def diagnose(
    app: Flask, config: Config, *, lenient: bool, level: str | None = None
) -> c.Iterator[Finding]:
    """Check the settings and try out the stores.

    :param lenient: whether the application is in debug or testing mode. What matters
        only in production is a note then.
    :param level: the level of NIST SP 800-63B-4 to check against, too.
    """
    try:
        yield from _diagnose_secrets(config, lenient=lenient)
    except SessionConfigError as error:
        problem = f"it cannot be used: {one_line(error)}"
        yield Finding("SESSION_SECRET", problem, "Correct it.")
    yield from check_settings(
        app, config, secure=config.cookie_secure, alone=False, lenient=lenient
    )
    if level is not None:
        yield from check_level(config, level)
    for about, store in config.own_stores.items():
        in_cookie = config.in_cookie and about == "SESSION_STORE"
        yield from diagnose_store(
            about, store, config.format.codec, in_cookie=in_cookie, lenient=lenient
        )


def _diagnose_secrets(config: Config, *, lenient: bool) -> c.Iterator[Finding]:
    secrets = config.format.secrets or find_secrets(config.as_read)
    if secrets:
        read_late = False
    else:
        # The interface also looks for the secret again while none is found.
        read_late = True
        secrets = find_secrets(config.origin.settings)
    if secrets:
        config.format.seal(secrets, config.name, encrypt=config.encrypt)
    settings = config.origin.settings if read_late else config.as_read
    yield from check_secrets(settings, config, secrets, lenient=lenient)
