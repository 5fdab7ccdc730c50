"""The session's cookie: find it in the request's header, write it to the response."""

from __future__ import annotations

import time
import typing as t

from werkzeug.http import dump_cookie, http_date
from werkzeug.wrappers import Response

from .config import Config

_EPOCH = "Thu, 01 Jan 1970 00:00:00 GMT"

#: Verifying a cookie costs time, and a request's header may hold hundreds of cookies.
MOST_CANDIDATES = 8


class SessionCookie:
    """The session's cookie in the headers of requests and responses.

    :param name: the cookie's name.
    :param permanent_prefix: what the text of a permanent session's cookie begins with.
    :param lifetime: seconds after which browsers drop a permanent session's cookie.
    """

    def __init__(
        self,
        name: str,
        *,
        permanent_prefix: str,
        lifetime: int,
        domain: str | None,
        path: str,
        httponly: bool,
        samesite: str,
        partitioned: bool,
    ) -> None:
        self.permanent_prefix = permanent_prefix
        #: What makes it the same cookie to a browser (RFC 6265, section 5.3).
        self.identity = (name, domain, path)
        self.name = name
        self._lifetime = lifetime
        self._start = f"{name}="
        self._permanent_start = self._start + permanent_prefix
        # What follows the value, without and with the Secure attribute.
        self._attributes = {
            secure: dump_cookie(
                name,
                "",
                domain=domain,
                path=path,
                secure=secure,
                httponly=httponly,
                samesite=samesite,
                partitioned=partitioned,
            ).removeprefix(self._start)
            for secure in (False, True)
        }
        # The bytes beside the text. All dates are equally long.
        self._sizes = {
            permanent: len(self.render("", permanent=permanent, secure=True).encode())
            for permanent in (False, True)
        }

    @classmethod
    def of(
        cls,
        config: Config,
        *,
        name: str | None = None,
        domain: str | None = None,
        path: str | None = None,
    ) -> t.Self:
        """Return the cookie that the settings describe.

        :param name: another name.
        :param domain: another domain; "" for none.
        :param path: another path.
        """
        return cls(
            name or config.name,
            permanent_prefix=config.format.permanent_prefix,
            lifetime=config.permanent_lifetime,
            domain=config.cookie_domain if domain is None else domain or None,
            path=path or config.cookie_path,
            httponly=config.cookie_httponly,
            samesite=config.cookie_samesite,
            partitioned=config.cookie_partitioned,
        )

    def candidates(self, header: str) -> list[str]:
        """Return the texts of the cookies with the session's name, in their order.
        There are at most :data:`MOST_CANDIDATES`.

        :param header: the request's ``Cookie`` header.
        """
        texts = []
        for pair in header.split(";"):
            name, _, text = pair.partition("=")
            if name.strip() == self.name:
                texts.append(text.strip())
        return texts[:MOST_CANDIDATES]

    def permanent_text(self, header: str) -> str | None:
        """Return the text of a permanent session's cookie. The text is not verified.

        :param header: the request's ``Cookie`` header.
        """
        start = header.find(self._permanent_start)
        while start > 0 and header[start - 1] not in "; \t":
            # This is the end of another cookie's name.
            start = header.find(self._permanent_start, start + 1)
        if start < 0:
            return None
        end = header.find(";", start)
        start += len(self._start)
        return header[start:end] if end > 0 else header[start:]

    def render(
        self, text: str, *, permanent: bool, secure: bool, lifetime: int | None = None
    ) -> str:
        """Return the ``Set-Cookie`` value for a sealed text.

        :param lifetime: seconds after which browsers drop this cookie, if it is
            permanent. None for the lifetime that the settings say.
        """
        expires = ""
        if permanent:
            seconds = self._lifetime if lifetime is None else lifetime
            expires = f"; Expires={http_date(time.time() + seconds)}"
        return f"{self._start}{text}{expires}{self._attributes[secure]}"

    def size(self, text: str, *, permanent: bool) -> int:
        """Return how many bytes the longest ``Set-Cookie`` value for a sealed text has.

        :param text: ASCII characters.
        """
        return self._sizes[permanent] + len(text)

    def expire(self, *, secure: bool) -> str:
        """Return the ``Set-Cookie`` value that removes the cookie."""
        return f"{self._start}; Expires={_EPOCH}; Max-Age=0{self._attributes[secure]}"


def restrict_caches(response: Response, *, sets_cookie: bool) -> None:
    """Add ``Cookie`` to the ``Vary`` header.

    :param sets_cookie: whether to forbid shared caches to store the ``Set-Cookie``
        header, too (RFC 9111, section 5.2.2.4).
    """
    # Most responses have neither header, and adding one is faster than parsing it.
    present = [key.lower() for key, _ in response.headers]
    if "vary" in present:
        response.vary.add("Cookie")
    else:
        response.headers.add("Vary", "Cookie")
    if sets_cookie:
        if "cache-control" in present:
            _forbid_caching_cookie(response)
        else:
            response.headers.add("Cache-Control", 'no-cache="Set-Cookie"')


def _forbid_caching_cookie(response: Response) -> None:
    control = response.cache_control
    # If private and no-cache have a value, they concern only the fields it names.
    if control.no_store or control.private is True or control.no_cache is True:
        return
    fields = [field for field in str(control.no_cache or "").split(",") if field]
    if "set-cookie" in (field.strip().lower() for field in fields):
        return
    # Werkzeug would leave out the quotes, which a list of fields needs.
    others = response.headers.getlist("Cache-Control")
    if fields:
        control.no_cache = None
        others = [control.to_header()] if control else []
    named = ", ".join([*fields, "Set-Cookie"])
    response.headers["Cache-Control"] = ", ".join([*others, f'no-cache="{named}"'])
