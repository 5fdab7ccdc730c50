"""Seal and open the session's cookies with the secret in force."""

from __future__ import annotations

import collections.abc as c
import typing as t
from contextlib import suppress

from flask import Flask

from .config import Config
from .cookies import SessionCookie
from .doctor.finding import Finding
from .doctor.settings import check_secrets
from .errors import (
    Reason,
    RejectedError,
    SessionSecretError,
    SessionTooLargeError,
)
from .policy import Policy
from .records import RecordCipher
from .seal import MAX_TOKEN, Seal, Ticket
from .secret import DEVELOPMENT_SECRET, find_secrets


class CookieSealer:
    """One application's secret, and the seal that it makes.

    While there is no secret, each request looks for one again: applications set the
    secret late.

    :param cookie: how the cookie is sent, which decides how long it is.
    :param settings: where the secret is found.
    """

    def __init__(
        self,
        app: Flask,
        config: Config,
        cookie: SessionCookie,
        settings: c.Mapping[str, t.Any],
    ) -> None:
        self._app = app
        self._settings = settings
        self._config = config
        self._cookie = cookie
        self._development_seal: Seal | None = None
        # The cipher of the application's secret, and that of the development secret.
        self._cipher: RecordCipher | None = None
        self._development_cipher: RecordCipher | None = None
        #: The seal of the application's secret; None until there is a secret.
        self.seal: Seal | None = None
        #: What is wrong with the secrets.
        self.findings: list[Finding] = []

    def find_secret(self) -> None:
        """Look for the secret.

        :raises SessionConfigError: a secret cannot be used.
        """
        settings = self._settings
        secrets = self._config.format.secrets or find_secrets(settings)
        self.findings = list(check_secrets(settings, self._config, secrets))
        if secrets:
            # Before the seal, because a request that finds the seal uses the cipher.
            self._cipher = self._make_cipher(secrets)
            self.seal = self._make_seal(secrets)

    def in_force(self) -> Seal | None:
        """Return the seal to use now: that of the application's secret, or in debug and
        testing mode that of the development secret, or None.
        """
        if self.seal is None:
            self.find_secret()
        if self.seal is None and (self._app.debug or self._app.testing):
            if self._development_seal is None:
                secrets = (DEVELOPMENT_SECRET,)
                self._development_cipher = self._make_cipher(secrets)
                self._development_seal = self._make_seal(secrets)
            return self._development_seal
        return self.seal

    def cipher(self) -> RecordCipher:
        """Return the cipher of the secret in force, for settings that encrypt records.

        :raises SessionSecretError: there is no secret.
        """
        if self._cipher is None and self.in_force() is None:
            raise SessionSecretError(
                "There is no secret to decrypt sessions with. Set SESSION_SECRET."
            )
        return t.cast(RecordCipher, self._cipher or self._development_cipher)

    def unseal(
        self, seal: Seal, header: str, policy: Policy
    ) -> tuple[Ticket | None, Reason | None]:
        """Verify the cookies with the session's name.

        :param header: the request's ``Cookie`` header.
        :param policy: says when a cookie is too old.
        :returns: the first cookie that verifies, or the reason why the first one does
            not. A cookie older than the idle timeout comes last: its session may have
            a longer timeout of its own.
        """
        rejected = aged = None
        for text in self._cookie.candidates(header):
            try:
                return seal.unseal(text, max_age=policy.idle_timeout), None
            except RejectedError as error:
                rejected = rejected or error.reason
                if error.reason == "expired" and aged is None:
                    with suppress(RejectedError):
                        aged = seal.unseal(text, max_age=policy.longest_idle)
        return aged, None if aged else rejected

    def __call__(
        self,
        token: str,
        *,
        permanent: bool,
        values: c.Mapping[t.Hashable, bytes],
        issued: int | None = None,
    ) -> str:
        """Return the cookie's text for a token.

        :param values: the session's values, to name the largest in an error.
        :param issued: the time that the text bears, in seconds since the epoch; now by
            default.
        :raises SessionTooLargeError: browsers would drop the cookie.
        """
        seal = self.seal or t.cast(Seal, self.in_force())
        limit = self._config.max_cookie_size
        if len(token) > MAX_TOKEN:
            raise SessionTooLargeError(len(token), MAX_TOKEN, _largest(values))
        try:
            text = seal.seal(token, permanent=permanent, issued=issued)
        except SessionTooLargeError as error:
            # The format has a limit of its own. Name the smaller one.
            allowed = min(error.limit, limit or error.limit)
            raise SessionTooLargeError(error.size, allowed, _largest(values)) from None
        size = self._cookie.size(text, permanent=permanent)
        if limit and size > limit:
            raise SessionTooLargeError(size, limit, _largest(values))
        return text

    def _make_seal(self, secrets: c.Sequence[bytes]) -> Seal:
        config = self._config
        return config.format.seal(secrets, config.name, encrypt=config.encrypt)

    def _make_cipher(self, secrets: c.Sequence[bytes]) -> RecordCipher | None:
        return RecordCipher(secrets) if self._config.encrypts_records else None


def _largest(values: c.Mapping[t.Hashable, bytes]) -> list[tuple[t.Hashable, int]]:
    sizes = [(name, len(value)) for name, value in values.items()]
    return sorted(sizes, key=lambda pair: pair[1], reverse=True)[:3]
