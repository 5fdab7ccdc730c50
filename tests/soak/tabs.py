"""Send one request at a time, over HTTP or to an application in this process."""

from __future__ import annotations

import http.client
import time
import typing as t
from dataclasses import dataclass
from urllib.parse import urlencode

from flask import Flask
from werkzeug.test import Client

from .actions import Action

#: The name of the session's cookie.
COOKIE = "_buffalo_session"

# Seconds; more than a request needs, whatever is away.
_PATIENCE = 30

_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True)
class Answer:
    """
    :param status: None if the connection was closed instead.
    :param cookie: the text of the cookie that it sets, "" if it removes it.
    :param since: when the connection was opened that the request went over.
    """

    status: int | None
    text: str
    cookie: str | None
    since: float
    begun: float
    ended: float

    @property
    def ok(self) -> bool:
        """Return whether the request succeeded and its session is saved."""
        return self.status in (200, 303)


class Tab(t.Protocol):
    def send(self, action: Action, cookie: str | None) -> Answer: ...


class HttpTab:
    """A tab with a connection that is kept alive."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", port, timeout=_PATIENCE
        )
        self._since = 0.0

    def send(self, action: Action, cookie: str | None) -> Answer:
        connection, begun = self._connection, time.monotonic()
        if connection.sock is None:
            self._since = begun
        status: int | None
        headers: list[str] = []
        try:
            connection.request(
                action.method,
                action.path,
                urlencode(action.form) if action.method == "POST" else None,
                _headers(action, cookie),
            )
            response = connection.getresponse()
            text = response.read().decode()
            status = response.status
            headers = response.headers.get_all("Set-Cookie", [])
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            # The response of a gateway if the server does not answer.
            status = 504 if isinstance(error, TimeoutError) else None
            text = repr(error)
        ended = time.monotonic()
        return Answer(status, text, _cookie_in(headers), self._since, begun, ended)

    def close(self) -> None:
        self._connection.close()


class LocalTab:
    """A tab that calls an application in this process."""

    def __init__(self, app: Flask) -> None:
        self._client = Client(app, use_cookies=False)

    def send(self, action: Action, cookie: str | None) -> Answer:
        begun = time.monotonic()
        response = self._client.open(
            action.path,
            method=action.method,
            data=action.form if action.method == "POST" else None,
            headers=_headers(action, cookie),
        )
        text, headers = response.text, response.headers.getlist("Set-Cookie")
        status, ended = response.status_code, time.monotonic()
        return Answer(status, text, _cookie_in(headers), begun, begun, ended)


def _headers(action: Action, cookie: str | None) -> dict[str, str]:
    headers = dict(_FORM) if action.method == "POST" else {}
    if cookie is not None:
        headers["Cookie"] = f"{COOKIE}={cookie}"
    return headers


def _cookie_in(headers: list[str]) -> str | None:
    for header in headers:
        name, _, text = header.partition(";")[0].partition("=")
        if name == COOKIE:
            return text
    return None
