"""Send requests to an application with one contender, and check the responses."""

from __future__ import annotations

import collections.abc as c
import itertools
import typing as t

from flask import Flask, session
from werkzeug.datastructures import Headers
from werkzeug.http import parse_cookie
from werkzeug.test import EnvironBuilder

from .payloads import NESTED, PAYLOADS, READ, WRITTEN, Payload
from .suite import CASES, Case, Contender

# The headers that a browser sends beside the cookie.
_HEADERS = {
    "Host": "shop.example",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.5",
    "Accept-Encoding": "gzip, deflate",
    "Connection": "keep-alive",
}

Environ: t.TypeAlias = dict[str, t.Any]


class WrongAnswerError(Exception):
    """Raised if a case does not do what its title says."""


class Driver:
    """Send requests to a contender, in this process.

    :ivar app: the application.
    :raises WrongAnswerError: a case does not do what its title says.
    """

    def __init__(self, contender: Contender, payload: str) -> None:
        self._contender = contender
        self._payload = PAYLOADS[payload]
        self.app = make_app(contender, self._payload)
        self._status = ""
        self._headers: list[tuple[str, str]] = []
        self._environs = {case: self._new_environ(case) for case in CASES}
        for case in CASES:
            if payload in case.payloads:
                self._check(case)

    def run(self, case: Case, requests: int) -> None:
        """Send this number of requests."""
        app, answer, environ = self.app, self._answer, self._environs[case]
        for _ in itertools.repeat(None, requests):
            body = app(environ.copy(), answer)
            for _ in body:
                pass
            body.close()  # type: ignore[attr-defined]

    def new_session(self, kind: t.Literal["browser", "permanent"]) -> str | None:
        """Return the cookie of a new session that holds the payload."""
        self._get(_environ(f"/seed/{kind}"))
        return self._cookie_set()

    def environ_of(self, case: Case) -> Environ:
        """Return the environ of the case's requests. Give each request a copy."""
        return self._environs[case]

    def _answer(
        self, status: str, headers: list[tuple[str, str]], exc_info: object = None
    ) -> c.Callable[[bytes], object]:
        self._status, self._headers = status, headers
        return bytes

    def _get(self, environ: Environ) -> str:
        body = b"".join(self.app(environ, self._answer)).decode()
        if self._status != "200 OK":
            raise WrongAnswerError(f"{self._contender.title}: {self._status}")
        return body

    def _new_environ(self, case: Case) -> Environ:
        cookie = None
        if case.cookie is not None:
            cookie = self.new_session(case.cookie)
        return _environ(case.view, cookie)

    def _cookie_set(self) -> str | None:
        return next(
            (text.split(";")[0] for key, text in self._headers if key == "Set-Cookie"),
            None,
        )

    def _check(self, case: Case) -> None:
        environ = self._environs[case]
        body = self._get(environ.copy())
        cookie = self._cookie_set()
        self._expect(case, body == _expected(case, self._payload, body), "wrong body")
        expected = case in self._contender.answers_with_cookie
        self._expect(case, (cookie is not None) == expected, "wrong Set-Cookie")
        if case.view == "/write":
            after = cookie or environ.get("HTTP_COOKIE")
            written = self._get(_environ("/written", after))
            self._expect(case, written == body, "the written value is missing")
            again = self._get(environ.copy())
            self._expect(case, again != body, "the same was written again")

    def _expect(self, case: Case, holds: bool, problem: str) -> None:
        if not holds:
            raise WrongAnswerError(
                f"{self._contender.title}, {case.title}: {problem};"
                f" {self._status}, {self._headers}"
            )


def _expected(case: Case, payload: Payload, body: str) -> str:
    match case.view:
        case "/untouched":
            return "hello"
        case "/read":
            return str(payload[READ])
        case "/read_nested":
            return str(payload[NESTED][-1]["title"])
        case _:
            return body


def _environ(path: str, cookie: str | None = None) -> Environ:
    environ = EnvironBuilder(path, headers=Headers(_HEADERS)).get_environ()
    if cookie is not None:
        if len(parse_cookie(cookie)) != 1:
            raise WrongAnswerError(f"not one cookie: {cookie}")
        environ["HTTP_COOKIE"] = cookie
    return environ


def make_app(contender: Contender, payload: Payload) -> Flask:
    """Return an application whose views use the session in a way each."""
    app = Flask("benchmarks")
    app.config["SECRET_KEY"] = "9d5e0c5b7e1f4b0f8a6c2d3e4f506172"
    app.config["SESSION_COOKIE_SECURE"] = True
    contender.install(app)
    # Each number has four digits and differs from the stored value.
    numbers = itertools.cycle(range(1001, 2000))

    @app.get("/seed/<kind>")
    def seed(kind: str) -> str:
        session.update(payload)
        if kind == "permanent":
            session.permanent = True
        return "seeded"

    @app.get("/untouched")
    def untouched() -> str:
        return "hello"

    @app.get("/read")
    def read() -> str:
        return t.cast(str, session[READ])

    @app.get("/read_nested")
    def read_nested() -> str:
        return t.cast(str, session[NESTED][-1]["title"])

    @app.get("/write")
    def write() -> str:
        number = next(numbers)
        session[WRITTEN] = number
        return str(number)

    @app.get("/written")
    def written() -> str:
        return str(session[WRITTEN])

    return app
