"""Log a warning about problems when an application begins to serve."""

from __future__ import annotations

import collections.abc as c

from flask import Flask, Request

from .config import Config
from .doctor.finding import Finding, one_line, own_findings
from .doctor.probe import check_health
from .doctor.settings import check_settings


class StartupCheck:
    """The checks of one application, each of them once per start. The checks wait for
    a request, because applications set ``DEBUG`` and ``TESTING`` late.
    """

    def __init__(self, app: Flask, config: Config) -> None:
        self._app = app
        self._config = config
        #: Whether the stores are still to be checked.
        self.store_is_due = True

    def check_settings(
        self,
        request: Request,
        secret_findings: c.Collection[Finding],
        *,
        sealed: bool,
        known: c.Collection[Finding],
    ) -> list[Finding]:
        """Check the settings in production.

        :param request: the first request.
        :param secret_findings: what is wrong with the secrets.
        :param sealed: whether there is a secret.
        :param known: what was found in other sessions of the application.
        :returns: what was found.
        """
        findings = list(secret_findings)
        if not self._app.debug and not self._app.testing:
            findings += check_settings(
                self._app,
                self._config,
                secure=self._config.cookie_secure or request.is_secure,
                alone=not request.environ.get("wsgi.multiprocess"),
            )
            self._warn(own_findings(self._config.origin, findings, known))
        elif not sealed and not known:
            self._app.logger.info(
                "There is no SESSION_SECRET: sessions use the development secret."
            )
        return findings

    def check_store(self) -> None:
        """Check the stores in production. The interface calls this after a request has
        used the store, so no request waits for a store that it does not use.
        """
        if self._app.debug or self._app.testing:
            return
        self.store_is_due = False
        try:
            for about, store in self._config.own_stores.items():
                found = check_health(about, store)
                self._warn(own_findings(self._config.origin, found))
        except Exception as error:  # noqa: BLE001 - a custom store may raise anything
            self._app.logger.warning(
                "Could not check the session store: %s.", one_line(error)
            )

    def _warn(self, findings: c.Iterable[Finding]) -> None:
        problems = [f"\n{finding}" for finding in findings if not finding.note]
        if problems:
            self._app.logger.warning(
                "The session has problems. Run `flask session doctor` for details.%s",
                "".join(problems),
            )
